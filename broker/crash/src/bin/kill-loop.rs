//! Kills a broker under load again and again, and proves that it keeps what it acknowledged.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use cmq_crash::forgetfs::{self, Survival};
use cmq_crash::kill_loop::{self, Plan};
use cmq_crash::ledger::Queue;
use cmq_crash::process::Program;
use cmq_crash::report::Expectation;
use cmq_crash::volume::Loss;

/// Kills under load by default, and with `--forget`, where each takes longer.
const KILLS: u32 = 100;
const KILLS_FORGET: u32 = 30;
/// Visibility timeouts of the queues, in seconds: leases that end under load, within a few restarts, and
/// after many.
const VISIBILITY_S: [u64; 3] = [2, 10, 30];
/// The verdict was not the expected one.
const FAILED: u8 = 1;
/// The loop could not be run.
const NOT_RUN: u8 = 2;

/// Kills a broker under load again and again over one data directory, and proves that every acknowledged
/// message is where it should be. Exits with 0 when that is so (or with --expect-loss, when something is
/// lost), with 1 when not, with 2 when it could not be run. The broker inherits the environment.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    /// The broker's binary; by default `cmq-broker` beside this one.
    #[arg(long)]
    broker: Option<PathBuf>,
    /// A further flag for the broker, as `--broker-arg=--shards=2`; may be repeated.
    #[arg(long = "broker-arg", allow_hyphen_values = true)]
    broker_args: Vec<String>,
    /// Where the broker's data is; it must be empty. By default a temporary directory, removed when all is
    /// well.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Kills under load; by default 100, with --forget 30. Kills during recovery come on top.
    #[arg(long)]
    kills: Option<u32>,
    /// Acknowledged sends and deletes between two kills, at least.
    #[arg(long, default_value_t = 1_000)]
    acks: u64,
    /// Connections under load, three in five of them producers.
    #[arg(long, default_value_t = 20)]
    connections: usize,
    /// Seed of the test's choices; by default a random one, which is printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Run on a file system that loses at each kill what was not synced.
    #[arg(long)]
    forget: bool,
    /// What of the unsynced data survives a kill; by default nothing or a torn prefix, chosen anew at each
    /// kill.
    #[arg(long, value_enum, requires = "forget")]
    survival: Option<Survival>,
    /// The broker's sync is off: succeed only if something acknowledged is lost.
    #[arg(long)]
    expect_loss: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let flags = Flags::parse();
    match run(&flags).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAILED),
        Err(error) => {
            eprintln!("kill-loop: {error}");
            ExitCode::from(NOT_RUN)
        }
    }
}

async fn run(flags: &Flags) -> io::Result<bool> {
    if let Some(reason) = forgetfs::unavailable().filter(|_| flags.forget) {
        return Err(io::Error::other(format!("--forget needs FUSE: {reason}")));
    }
    let (root, temporary) = match &flags.dir {
        Some(dir) => (dir.clone(), None),
        None => {
            let temporary = tempfile::Builder::new().prefix("kill-loop-").tempdir()?;
            (temporary.path().to_owned(), Some(temporary))
        }
    };
    let plan = plan(flags, root)?;
    println!("{} kills of {}, seed {}", plan.kills, plan.program.path.display(), plan.seed);
    let outcome = tokio::select! {
        outcome = kill_loop::run(&plan, |line| println!("{line}")) => outcome,
        _ = tokio::signal::ctrl_c() => Err(io::Error::other("interrupted")),
    };
    let expectation = if flags.expect_loss { Expectation::Loss } else { Expectation::Sound };
    let is_met = outcome.as_ref().is_ok_and(|report| report.meets(expectation));
    if let Some(temporary) = temporary.filter(|_| !is_met) {
        println!("the data is kept in {}", temporary.keep().display());
    }
    println!("\n{}", outcome?);
    println!("{}", verdict(expectation, is_met));
    Ok(is_met)
}

fn plan(flags: &Flags, root: PathBuf) -> io::Result<Plan> {
    std::fs::create_dir_all(&root)?;
    if std::fs::read_dir(&root)?.next().is_some() {
        return Err(io::Error::other(format!("{} is not empty", root.display())));
    }
    let path = match &flags.broker {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("cmq-broker"),
    };
    if !path.is_file() {
        return Err(io::Error::other(format!(
            "{} does not exist; build it or name it by --broker",
            path.display()
        )));
    }
    let queues = VISIBILITY_S
        .map(|seconds| Queue { name: format!("crash-{seconds}"), visibility: Duration::from_secs(seconds) });
    Ok(Plan {
        program: Program { path, arguments: flags.broker_args.clone(), environment: Vec::new() },
        root,
        loss: if flags.forget { Loss::PowerCut(flags.survival) } else { Loss::None },
        kills: flags.kills.unwrap_or(if flags.forget { KILLS_FORGET } else { KILLS }),
        acknowledged_min: flags.acks,
        connections: flags.connections,
        queues: queues.to_vec(),
        stop_at_loss: flags.expect_loss,
        seed: flags.seed.unwrap_or_else(|| fastrand::u64(..)),
    })
}

fn verdict(expectation: Expectation, is_met: bool) -> &'static str {
    match (expectation, is_met) {
        (Expectation::Sound, true) => "PASS: every acknowledged message is where it should be",
        (Expectation::Sound, false) => "FAIL: see the findings",
        (Expectation::Loss, true) => "PASS: the loss that was expected was found",
        (Expectation::Loss, false) => "FAIL: nothing acknowledged was lost",
    }
}
