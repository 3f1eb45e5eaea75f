//! Many seeds, on several threads.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cmq_engine::faults::Fault;

use crate::finding::Finding;
use crate::tally::Tally;
use crate::{Report, run};

/// What many runs came to.
#[derive(Debug, Default)]
pub struct Campaign {
    /// Sums over all runs.
    pub tally: Tally,
    /// What was found, by seed.
    pub findings: BTreeMap<u64, Finding>,
}

impl Campaign {
    fn add(&mut self, report: Report) {
        self.tally.add(&report.tally);
        self.findings.extend(report.finding.map(|finding| (report.seed, finding)));
    }
}

/// Runs seeds on `threads` threads, with a bug switched on if one is given. `progress` sees every report; when it answers
/// `false`, no more seeds are begun.
pub fn run_all(
    seeds: std::ops::Range<u64>,
    threads: usize,
    fault: Option<Fault>,
    progress: impl Fn(&Report) -> bool + Sync,
) -> Campaign {
    let next = AtomicU64::new(seeds.start);
    let is_over = AtomicBool::new(false);
    let campaign = Mutex::new(Campaign::default());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let report = run(seed, fault, false);
                    if !progress(&report) {
                        is_over.store(true, Ordering::Relaxed);
                    }
                    campaign.lock().expect("no thread panics while it adds").add(report);
                }
            });
        }
    });
    campaign.into_inner().expect("no thread panics while it adds")
}
