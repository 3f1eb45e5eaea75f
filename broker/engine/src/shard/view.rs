//! What can be seen of a shard without changing it.

use std::ops::Bound;

use super::Shard;
use crate::attributes::QueueId;
use crate::chunk::{ChunkKey, NamedPages, Pages};
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
    /// Stamp of the oldest message that is not finished. Early while a page of a deep backlog was not looked at yet (but see
    /// [`Shard::counts_with`]), late where a rewind brought back more than a chunk that was deleted out of order.
    pub oldest_ms: Option<u64>,
}

/// How much state a shard holds in memory, all queues together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Messages with state of their own, at most [`RECORDS_MAX`](crate::limits::RECORDS_MAX).
    pub records: usize,
    /// Message groups that hold messages, and one lane a queue; at most [`LANES_MAX`](crate::limits::LANES_MAX).
    pub lanes: usize,
    /// Deduplication ids, at most [`DEDUPLICATION_IDS_MAX`](crate::limits::DEDUPLICATION_IDS_MAX).
    pub deduplication_ids: usize,
    /// Deleted queues that are not freed yet.
    pub removed_queues: usize,
}

impl Counts {
    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            active: self.active + other.active,
            in_flight: self.in_flight + other.in_flight,
            delayed: self.delayed + other.delayed,
            rewindable: self.rewindable + other.rewindable,
            oldest_ms: [self.oldest_ms, other.oldest_ms].into_iter().flatten().min(),
        }
    }
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
        self.queues_after(None)
    }

    /// The queues of this shard behind `after`, in the order of their numbers; None: from the first.
    pub fn queues_after(&self, after: Option<QueueId>) -> impl Iterator<Item = QueueId> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.queues.range((from, Bound::Unbounded)).map(|(id, _)| *id)
    }

    /// How many messages of a queue are in which state.
    pub fn counts(&self, queue: QueueId) -> Option<Counts> {
        let queue = self.queues.get(&queue)?;
        let (stored, in_flight, delayed) = queue.counts();
        let oldest_ms = if stored == 0 { None } else { queue.oldest_ms() };
        let (active, rewindable) = (stored - in_flight - delayed, queue.rewindable());
        Some(Counts { active, in_flight, delayed, rewindable, oldest_ms })
    }

    /// The chunk pages that [`Shard::counts_with`] wants for a queue.
    pub fn oldest_pages(&self, queue: QueueId) -> Vec<ChunkKey> {
        self.queues.get(&queue).map(Queue::oldest_pages).unwrap_or_default()
    }

    /// As [`Shard::counts`], with the pages that [`Shard::oldest_pages`] named: the stamp of the oldest message is not early.
    ///
    /// # Panics
    /// When a page that was named is missing.
    pub fn counts_with(&self, queue: QueueId, pages: &Pages) -> Option<Counts> {
        let counts = self.counts(queue)?;
        let named = self.oldest_pages(queue);
        let oldest_ms = self.queues.get(&queue)?.exact_oldest_ms(&NamedPages { named: &named, pages });
        Some(Counts { oldest_ms: counts.oldest_ms.and(oldest_ms), ..counts })
    }

    /// What happened on a queue since the process started, as far as it was counted.
    pub fn totals(&self, queue: QueueId) -> Option<Totals> {
        self.queues.get(&queue).map(|queue| queue.totals)
    }

    /// What happened on all queues since the process started, those that are gone included.
    pub fn all_totals(&self) -> Totals {
        self.totals
    }

    /// Whether what happens from now on is counted in the totals: a message that three replicas store was sent once. Fresh
    /// shards do not count. Totals are no part of the replicated state.
    pub fn set_counting(&mut self, is_counting: bool) {
        self.is_counting = is_counting;
    }

    /// Counts a receive that was answered without a message, which leaves no trace in the log.
    pub fn count_empty_receive(&mut self, queue: QueueId) {
        if let Some(queue) = self.queues.get_mut(&queue) {
            queue.totals.empty_receives += 1;
            self.totals.empty_receives += 1;
        }
    }

    /// How much of what is bounded by `limits` there is.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            records: self.records,
            lanes: self.lanes,
            deduplication_ids: self.deduplication_ids,
            removed_queues: self.removed.len(),
        }
    }
}
