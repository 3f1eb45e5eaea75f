//! The `cmq-broker` program.

use std::process::ExitCode;

use clap::Parser;
use cmq_broker::config::{Action, Cli};
use cmq_broker::{check, server};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Some(Action::Check { paths, output }) => check::run(&paths, output),
        None => server::run(cli.serve),
    }
}
