//! What can be seen of a shard without changing it.

use super::Shard;
use crate::attributes::QueueId;
use crate::message::QueueEpoch;
use crate::outcome::Totals;
use crate::queue::Queue;

/// How many messages of a queue are in which state, on this shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ready to be received.
    pub active: u64,
    /// Out under a lease.
    pub in_flight: u64,
    /// Hidden by a delay.
    pub delayed: u64,
    /// Deleted, and within reach of a rewind.
    pub rewindable: u64,
    /// Stamp of the oldest message that is not finished. Early while a page of a deep backlog was not looked at yet, late
    /// where a dead-letter move brought older messages behind younger ones.
    pub oldest_ms: Option<u64>,
}

impl Shard {
    /// Revision of the catalogue that this shard has.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Stamp of the newest applied entry.
    pub fn stamp_ms(&self) -> u64 {
        self.stamp_ms
    }

    /// Rolling hash over all outcomes; equal on all replicas that applied the same entries.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// When something is due next that an [`crate::command::Command::Expire`] would do.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.due.first().map(|(due_ms, _)| *due_ms)
    }

    /// Whether a receive at `stamp_ms` may find a message.
    pub fn may_have_ready(&self, queue: QueueId, stamp_ms: u64) -> bool {
        self.queues.get(&queue).is_some_and(|queue| queue.has_ready() || queue.has_due_timer(stamp_ms))
    }

    /// Whether the queue has as many messages out as it may.
    pub fn is_at_flight_limit(&self, queue: QueueId) -> bool {
        self.queues.get(&queue).is_some_and(Queue::is_at_flight_limit)
    }

    /// The epoch of a queue; None when the shard does not have it.
    pub fn epoch(&self, queue: QueueId) -> Option<QueueEpoch> {
        self.queues.get(&queue).map(|queue| queue.epoch)
    }

    /// The queues of this shard.
    pub fn queues(&self) -> impl Iterator<Item = QueueId> {
        self.queues.keys().copied()
    }

    /// How many messages of a queue are in which state.
    pub fn counts(&self, queue: QueueId) -> Option<Counts> {
        let queue = self.queues.get(&queue)?;
        let (stored, in_flight, delayed) = queue.counts();
        let oldest_ms = if stored == 0 { None } else { queue.oldest_ms() };
        let (active, rewindable) = (stored - in_flight - delayed, queue.rewindable());
        Some(Counts { active, in_flight, delayed, rewindable, oldest_ms })
    }

    /// What happened on a queue since the process started.
    pub fn totals(&self, queue: QueueId) -> Option<Totals> {
        self.queues.get(&queue).map(|queue| queue.totals)
    }
}
