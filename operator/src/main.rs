//! The `cmq-operator` program.

use std::process::ExitCode;

use clap::Parser;
use cmq_operator::config::Cli;
use cmq_operator::{errand, process};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Some(action) => errand::run(&action),
        None => process::run(&cli.run),
    }
}
