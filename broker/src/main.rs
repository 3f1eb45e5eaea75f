//! The `cmq-broker` program.

use std::process::ExitCode;

use clap::Parser;
use cmq_broker::config::{Action, Cli};
use cmq_broker::{check, inspect, repair, server};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Some(Action::Check { paths, output }) => check::run(&paths, output),
        Some(Action::Inspect(args)) => inspect::run(&args),
        Some(Action::Repair(args)) => repair::run(&args),
        None => server::run(cli.serve),
    }
}
