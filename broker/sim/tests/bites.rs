//! The simulator finds what is wrong: each bug that was put in on purpose, alone, within the seeds that every change has
//! to pass.

use cmq_engine::faults::Fault;
use cmq_sim::campaign::run_all;

const SEEDS: u64 = 500;

#[test]
fn every_bug_is_found() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut missed = Vec::new();
    for fault in Fault::ALL {
        let campaign = run_all(0..SEEDS, threads, Some(*fault), |report| report.finding.is_none());
        match campaign.findings.first_key_value() {
            Some((seed, finding)) => println!("{fault:?} is found by seed {seed}: {}", finding.rule),
            None => missed.push(fault),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
