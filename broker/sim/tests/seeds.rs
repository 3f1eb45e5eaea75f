//! Hundreds of runs of a whole broker, each from its own seed.

use cmq_sim::campaign::run_all;
use cmq_sim::{Report, run};

/// Runs that every change has to pass.
const SEEDS: u64 = 500;
/// Operations that each run must have done for certain.
const OPERATIONS_MIN: u64 = 1_000;
/// Faults that each run must have had.
const FAULTS_MIN: u64 = 3;

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn is_full(report: &Report) -> bool {
    report.tally.operations >= OPERATIONS_MIN && report.tally.faults() >= FAULTS_MIN
}

#[test]
fn no_seed_finds_anything() {
    let campaign = run_all(0..SEEDS, threads(), None, |report| {
        assert!(report.finding.is_some() || is_full(report), "seed {} did too little", report.seed);
        true
    });
    assert_eq!(campaign.tally.runs, SEEDS);
    for (seed, finding) in &campaign.findings {
        println!("seed {seed}: {finding}");
    }
    assert!(campaign.findings.is_empty(), "replay one with: campaign --seed N");
}

#[test]
fn a_seed_gives_the_same_run_again() {
    for seed in [3, 8, 21, 144, 233] {
        let (first, second) = (run(seed, None, false), run(seed, None, false));
        assert_eq!(first.trace, second.trace, "seed {seed}");
        assert_eq!(first.finding, second.finding, "seed {seed}");
    }
    assert_ne!(run(3, None, false).trace, run(8, None, false).trace);
}
