//! What the runtime of a node counts: how long its turns take, and requests that were not done.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cmq_engine::outcome::Refusal;

use crate::replication::Reply;
use crate::storage::pressure::{Histogram, HistogramFigures};

/// Bounds for the time of a turn, in microseconds.
const MICROSECONDS: &[u64] = &[
    10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000,
    1_000_000, 5_000_000,
];

/// Why a request was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
enum Reason {
    QueueMissing,
    HeapFull,
    TooManyInFlight,
    TooManyDelayed,
    ShardFull,
    QueueClosed,
    DiskFull,
    NotLeader,
    Busy,
    InboxFull,
    Stopping,
}

const REASONS: [&str; 11] = [
    "queue_missing",
    "heap_full",
    "too_many_in_flight",
    "too_many_delayed",
    "shard_full",
    "queue_closed",
    "disk_full",
    "not_leader",
    "busy",
    "inbox_full",
    "stopping",
];

impl Reason {
    fn of(reply: &Reply) -> Option<Self> {
        Some(match reply {
            Reply::Refused(refusal) => match refusal {
                Refusal::QueueMissing => Self::QueueMissing,
                Refusal::HeapFull => Self::HeapFull,
                Refusal::TooManyInFlight => Self::TooManyInFlight,
                Refusal::TooManyDelayed => Self::TooManyDelayed,
                Refusal::ShardFull => Self::ShardFull,
                Refusal::QueueClosed => Self::QueueClosed,
            },
            Reply::DiskFull => Self::DiskFull,
            Reply::NotLeader => Self::NotLeader,
            Reply::Busy(_) => Self::Busy,
            Reply::Stopping => Self::Stopping,
            _ => return None,
        })
    }
}

/// Counts that every thread may look at.
#[derive(Debug)]
pub(super) struct Counters {
    turn_micros: Histogram,
    refused: [AtomicU64; REASONS.len()],
}

impl Counters {
    pub(super) fn new() -> Self {
        Self { turn_micros: Histogram::new(MICROSECONDS), refused: array::from_fn(|_| AtomicU64::new(0)) }
    }

    pub(super) fn turned(&self, took: Duration) {
        self.turn_micros.observe(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    pub(super) fn answered(&self, reply: &Reply) {
        if let Some(reason) = Reason::of(reply) {
            self.refuse(reason);
        }
    }

    pub(super) fn inbox_was_full(&self) {
        self.refuse(Reason::InboxFull);
    }

    fn refuse(&self, reason: Reason) {
        self.refused[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn figures(&self) -> RuntimeFigures {
        RuntimeFigures {
            turn_micros: self.turn_micros.figures(),
            refused: array::from_fn(|at| (REASONS[at], self.refused[at].load(Ordering::Relaxed))),
            inbox_requests: 0,
            inbox_bytes: 0,
        }
    }
}

/// One look at the runtime of a node.
#[derive(Clone, Debug, Default)]
pub struct RuntimeFigures {
    /// Microseconds of the driver's turns.
    pub turn_micros: HistogramFigures,
    /// Requests that were not done, by reason.
    pub refused: [(&'static str, u64); REASONS.len()],
    /// Requests that wait for the next turn.
    pub inbox_requests: usize,
    /// Their bytes.
    pub inbox_bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_under_the_name_of_the_reason() {
        let counters = Counters::new();
        counters.answered(&Reply::DiskFull);
        counters.answered(&Reply::Refused(Refusal::ShardFull));
        counters.answered(&Reply::Received(Vec::new()));
        counters.answered(&Reply::Stopping);
        counters.inbox_was_full();
        counters.inbox_was_full();
        let figures = counters.figures();
        let counted: Vec<_> = figures.refused.into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [("shard_full", 1), ("disk_full", 1), ("inbox_full", 2), ("stopping", 1)]);
    }
}
