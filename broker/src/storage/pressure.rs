//! Figures about the store for the metrics, and for those who decide whether to slow down.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// One look at the store. All sizes in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorePressure {
    /// Runs of tables in the first level of each tree (log, state, meta). At 20 fjall slows writes down, at 30 it stops
    /// them.
    pub l0_runs: [usize; 3],
    /// Sealed memtables of each tree (log, state, meta). The committer waits at 3.
    pub sealed_memtables: [usize; 3],
    /// Flushes that wait for a worker.
    pub outstanding_flushes: usize,
    /// Compactions that run now.
    pub active_compactions: usize,
    /// Bytes in memtables.
    pub memtable_bytes: u64,
    /// Bytes in the block cache.
    pub block_cache_bytes: u64,
    /// Journals, the active one included.
    pub journals: usize,
    /// Bytes of journals on disk; the active one counts with its preallocation.
    pub journal_bytes: u64,
    /// Bytes of tables and journals.
    pub disk_bytes: u64,
    /// Free bytes of the volume at the last look.
    pub free_bytes: u64,
    /// Number of the newest durable batch.
    pub durable_batch: u64,
    /// Microseconds of commits that synced: journal write, sync and the update of memtables.
    pub commit_micros: HistogramFigures,
    /// Batches that shared a commit.
    pub commit_batches: HistogramFigures,
    /// Bytes of keys and values a commit.
    pub commit_bytes: HistogramFigures,
    /// Commits that had to wait for memtables to be flushed.
    pub commits_held_back: u64,
    /// Compactions that were forced to win space back.
    pub forced_compactions: u64,
}

/// What a histogram held at one moment, in the form that Prometheus takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramFigures {
    /// Upper bounds, ascending.
    pub bounds: &'static [u64],
    /// Observations at or below each bound and above the one before it; one more for what lies above all.
    pub counts: Vec<u64>,
    /// Sum of all observations, in the unit of the bounds.
    pub sum: u64,
}

impl HistogramFigures {
    /// Number of observations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// Bounds for the time of a commit, in microseconds.
const MICROSECONDS: &[u64] = &[
    50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 102_400, 204_800, 409_600,
    1_000_000, 5_000_000,
];
const BATCHES: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];
const BYTES: &[u64] = &[256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216];

/// Counts that any thread may add to.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: &'static [u64],
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    pub(crate) fn new(bounds: &'static [u64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    pub(crate) fn observe(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    pub(crate) fn figures(&self) -> HistogramFigures {
        HistogramFigures {
            bounds: self.bounds,
            counts: self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

/// What the threads of the store count.
#[derive(Debug)]
pub(super) struct Counters {
    micros: Histogram,
    batches: Histogram,
    bytes: Histogram,
    held_back: AtomicU64,
    forced_compactions: AtomicU64,
    deletes: AtomicU64,
}

impl Counters {
    pub(super) fn new() -> Self {
        Self {
            micros: Histogram::new(MICROSECONDS),
            batches: Histogram::new(BATCHES),
            bytes: Histogram::new(BYTES),
            held_back: AtomicU64::new(0),
            forced_compactions: AtomicU64::new(0),
            deletes: AtomicU64::new(0),
        }
    }

    pub(super) fn committed(&self, took: Duration, synced: bool, batches: usize, bytes: usize) {
        if synced {
            self.micros.observe(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        }
        self.batches.observe(batches as u64);
        self.bytes.observe(bytes as u64);
    }

    pub(super) fn deleted(&self, rows: u64) {
        self.deletes.fetch_add(rows, Ordering::Relaxed);
    }

    /// Bytes written and rows deleted since the store was opened.
    pub(super) fn totals(&self) -> (u64, u64) {
        (self.bytes.sum.load(Ordering::Relaxed), self.deletes.load(Ordering::Relaxed))
    }

    pub(super) fn held_back(&self) {
        self.held_back.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn forced_compaction(&self) {
        self.forced_compactions.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn fill(&self, pressure: &mut StorePressure) {
        pressure.commit_micros = self.micros.figures();
        pressure.commit_batches = self.batches.figures();
        pressure.commit_bytes = self.bytes.figures();
        pressure.commits_held_back = self.held_back.load(Ordering::Relaxed);
        pressure.forced_compactions = self.forced_compactions.load(Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observations_land_in_the_bucket_whose_bound_holds_them() {
        let histogram = Histogram::new(&[10, 20]);
        for value in [0, 10, 11, 20, 21, 1000] {
            histogram.observe(value);
        }
        let figures = histogram.figures();
        assert_eq!((figures.counts.as_slice(), figures.sum, figures.count()), (&[2, 2, 2][..], 1062, 6));
    }
}
