//! The `cmq-operator` program.

use std::process::ExitCode;

use clap::Parser;
use cmq_operator::config::Cli;
use cmq_operator::process;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Some(action) => match action {},
        None => process::run(&cli.run),
    }
}
