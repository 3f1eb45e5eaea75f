//! Runs many seeds of the simulator, or replays one.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use cmq_engine::faults::Fault;
use cmq_sim::campaign::run_all;

/// Runs seeds of the simulator and prints what was done and found, as tables in Markdown.
#[derive(Debug, Parser)]
struct Options {
    /// How many seeds.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// Replays one seed and prints everything that happens.
    #[arg(long)]
    seed: Option<u64>,
    /// Switches on a bug that was put in on purpose, by its name.
    #[arg(long)]
    fault: Option<String>,
    /// Goes on after a finding.
    #[arg(long)]
    keep_going: bool,
    /// Least count of every kind of fault and operation, or the campaign fails.
    #[arg(long, default_value_t = 100)]
    cell_min: u64,
    /// Threads; as many as there are processors by default.
    #[arg(long)]
    threads: Option<usize>,
}

fn fault_of(name: &str) -> Result<Fault, String> {
    let known = || Fault::ALL.iter().map(|fault| format!("{fault:?}"));
    Fault::ALL.iter().find(|fault| format!("{fault:?}").eq_ignore_ascii_case(name)).copied().ok_or_else(
        || format!("no bug is called {name:?}; known are {}", known().collect::<Vec<_>>().join(", ")),
    )
}

fn main() -> ExitCode {
    let options = Options::parse();
    let fault = match options.fault.as_deref().map(fault_of).transpose() {
        Ok(fault) => fault,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    match options.seed {
        Some(seed) => replay(seed, fault),
        None => campaign(&options, fault),
    }
}

fn replay(seed: u64, fault: Option<Fault>) -> ExitCode {
    let report = cmq_sim::run(seed, fault, true);
    println!("trace {:016x}, {} operations", report.trace, report.tally.operations);
    match report.finding {
        None => ExitCode::SUCCESS,
        Some(finding) => {
            println!("seed {seed}: {finding}");
            ExitCode::FAILURE
        }
    }
}

fn campaign(options: &Options, fault: Option<Fault>) -> ExitCode {
    let began = Instant::now();
    let threads = options.threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from));
    let done = AtomicU64::new(0);
    let seeds = options.start..options.start.saturating_add(options.seeds);
    let campaign = run_all(seeds, threads.unwrap_or(1), fault, |report| {
        if let Some(finding) = &report.finding {
            println!("seed {}: {finding}", report.seed);
            println!("    replay: cargo run --release -p cmq-sim --bin campaign -- --seed {}", report.seed);
        }
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of(100) {
            eprintln!("{done} seeds, {:.0} s", began.elapsed().as_secs_f64());
        }
        report.finding.is_none() || options.keep_going
    });
    println!("{}", campaign.tally);
    println!("{} findings in {:.0} s", campaign.findings.len(), began.elapsed().as_secs_f64());
    let scarce: Vec<_> =
        campaign.tally.cells().into_iter().filter(|(_, count)| *count < options.cell_min).collect();
    for (name, count) in &scarce {
        println!("too few: {name}: {count} of {}", options.cell_min);
    }
    if campaign.findings.is_empty() && scarce.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
