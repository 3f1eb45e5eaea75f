//! `cmq-broker inspect`: what a data directory holds, without a broker and without changing a byte of it.

mod report;
pub mod volume;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::storage::StoreError;
use volume::Volume;

/// What to look at, and how to show it.
#[derive(Clone, Debug, Args)]
pub struct InspectArgs {
    /// Directory of the data. No broker may be using it.
    #[arg(long, env = "CMQ_DATA_DIR", value_name = "DIR", default_value = "cmq-data")]
    pub data_dir: PathBuf,
    /// List the messages of this queue.
    #[arg(long, value_name = "NAME", conflicts_with = "log")]
    pub queue: Option<String>,
    /// Show the bodies of the messages too.
    #[arg(long, requires = "queue")]
    pub bodies: bool,
    /// Show the log entries of this group that are still there: 0 is the catalogue, 1 and up are shards.
    #[arg(long, value_name = "GROUP")]
    pub log: Option<u16>,
    /// First entry to show.
    #[arg(long, value_name = "INDEX", default_value_t = 1, requires = "log")]
    pub from: u64,
    /// Messages or entries to show at most.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: usize,
    /// Form of the output.
    #[arg(long, value_enum, default_value = "text")]
    pub output: Output,
    /// Directory for a copy of the journals, up to 320 MiB; by default the system's temporary one.
    #[arg(long, value_name = "DIR")]
    pub scratch: Option<PathBuf>,
}

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// Looks and prints. Fails when the volume cannot be read, or something is wrong with it.
pub fn run(args: &InspectArgs) -> ExitCode {
    let scratch = args.scratch.clone().unwrap_or_else(std::env::temp_dir);
    match look(args, &scratch) {
        Ok((shown, is_well)) => {
            match args.output {
                Output::Json => println!("{shown:#}"),
                Output::Text => print!("{}", report::text(&shown, 0)),
            }
            if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn look(args: &InspectArgs, scratch: &Path) -> Result<(Value, bool), StoreError> {
    let volume = Volume::open(&args.data_dir, scratch)?;
    let problems = report::problems(&volume);
    let is_well = problems.is_empty();
    let shown = match (&args.queue, args.log) {
        (Some(queue), _) => report::messages(&volume, queue, args.bodies, args.limit)?,
        (None, Some(group)) => report::entries(&volume, group, args.from, args.limit)?,
        (None, None) => report::overview(&volume),
    };
    let mut shown = shown;
    shown["problems"] = json!(problems);
    Ok((shown, is_well))
}
