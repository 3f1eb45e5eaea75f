//! What the driver counts and what it looks like inside, for metrics.

use cmq_engine::attributes::QueueId;
use cmq_engine::outcome::Totals;
use cmq_engine::shard::{Counts, Sizes};

use crate::storage::pressure::{Histogram, HistogramFigures};

/// Bounds for the requests in one log entry.
const REQUESTS: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 4_096];
/// Bounds for the bytes of one log entry.
const BYTES: &[u64] = &[256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304];

/// Queues of one page of a survey: some tens of microseconds on the driver's thread.
pub const SURVEY_QUEUES: usize = 256;

/// What the driver counts while it turns.
#[derive(Debug)]
pub(crate) struct Counters {
    entry_requests: Histogram,
    entry_bytes: Histogram,
}

impl Default for Counters {
    fn default() -> Self {
        Self { entry_requests: Histogram::new(REQUESTS), entry_bytes: Histogram::new(BYTES) }
    }
}

impl Counters {
    pub(crate) fn proposed(&self, requests: usize, bytes: usize) {
        self.entry_requests.observe(requests as u64);
        self.entry_bytes.observe(bytes as u64);
    }

    pub(super) fn fill(&self, figures: &mut DriverFigures) {
        figures.entry_requests = self.entry_requests.figures();
        figures.entry_bytes = self.entry_bytes.figures();
    }
}

/// One look at a driver.
#[derive(Clone, Debug, Default)]
pub struct DriverFigures {
    /// For each group, the catalogue first.
    pub groups: Vec<GroupFigures>,
    /// Receives that wait for a message.
    pub waiters: usize,
    /// Bytes of bodies in memory.
    pub body_bytes: usize,
    /// What happened on all queues while this node led, since the process started.
    pub totals: Totals,
    /// Requests in the log entries that this node proposed.
    pub entry_requests: HistogramFigures,
    /// Bytes of these entries.
    pub entry_bytes: HistogramFigures,
}

/// One look at a group of this node.
#[derive(Clone, Copy, Debug, Default)]
pub struct GroupFigures {
    /// Whether this node leads it and answers for it.
    pub is_serving: bool,
    /// Term of the Raft protocol.
    pub term: u64,
    /// Index of the newest applied entry.
    pub applied: u64,
    /// Entries behind the applied one.
    pub unapplied: u64,
    /// Applied entries that a restart would apply again.
    pub entries_since_checkpoint: u64,
    /// Bytes of entries that a restart would read again.
    pub bytes_since_checkpoint: usize,
    /// Bytes of requests that wait for an entry.
    pub waiting_bytes: usize,
    /// Bytes of pages in memory.
    pub page_bytes: usize,
    /// State in memory; 0 for the catalogue.
    pub sizes: Sizes,
}

/// A part of the queues of a node.
#[derive(Clone, Debug, Default)]
pub struct SurveyPage {
    /// Queues of one shard: what they hold if this node leads the shard, and what happened on them while it did.
    pub queues: Vec<(QueueId, Counts, Totals)>,
    /// Where the next page begins; None: there is none.
    pub next: Option<SurveyCursor>,
}

/// A place in the queues of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SurveyCursor {
    /// Place among the groups.
    pub(super) group: usize,
    /// The queue before it on this shard.
    pub(super) after: Option<QueueId>,
}

impl Default for SurveyCursor {
    /// The beginning.
    fn default() -> Self {
        Self { group: 1, after: None }
    }
}
