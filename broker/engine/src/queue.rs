//! One queue on one shard: its lanes, whose turn it is, what is due, and the rules of a message's life.

mod ages;
mod browse;
mod delete;
mod due;
mod kept;
mod operate;
mod receive;
mod remains;
mod rows;
mod salvage;
mod send;
mod tables;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::attributes::{QueueAttributes, QueueId, QueueKind};
use crate::chunk::{ChunkKey, NamedPages};
use crate::deduplication::Deduplication;
use crate::lane::{Lane, ReadyKey};
use crate::limits::LANES_TOUCHED_MAX;
use crate::message::{DEFAULT_LANE, LaneId, QueueEpoch, Slot};
use crate::outcome::{Effects, Totals};
use crate::row::Dirty;

/// Where a standard queue keeps its delayed messages, whatever their group.
const DELAYED_LANE: LaneId = LaneId(1);

/// A message on its way to a dead-letter queue of the same shard.
#[derive(Clone, Debug)]
pub(crate) struct Move {
    pub(crate) source: QueueId,
    pub(crate) target: QueueId,
    pub(crate) group: Option<Box<str>>,
    pub(crate) slot: Slot,
}

/// What an operation reads and changes beside the queue itself.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) stamp_ms: u64,
    pub(crate) pages: NamedPages<'a>,
    pub(crate) effects: &'a mut Effects,
    pub(crate) dirty: &'a mut Dirty,
    pub(crate) moves: &'a mut Vec<Move>,
    /// Drops, moves and timers that this operation may still do.
    pub(crate) steps: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Queue {
    pub(crate) epoch: QueueEpoch,
    pub(crate) attributes: QueueAttributes,
    /// Boxed, for most queues have one and a tree node has room for eleven.
    lanes: BTreeMap<LaneId, Box<Lane>>,
    groups: HashMap<Box<str>, LaneId>,
    next_lane: u64,
    next_ticket: u64,
    /// Lanes that have something to hand out, in the order in which they are served.
    ready: BTreeSet<ReadyKey>,
    /// When delays and leases end, and when messages that came back are too old.
    timers: BTreeSet<(u64, LaneId, u64)>,
    /// When the oldest untouched message of each lane is too old.
    age_timers: BTreeSet<(u64, LaneId)>,
    /// Stamp of the oldest message of each lane that holds any.
    oldest: BTreeSet<(u64, LaneId)>,
    /// Lanes of deleted messages that a rewind can bring back, by the start of their spans, which do not overlap.
    segments: BTreeMap<u64, LaneId>,
    /// Lanes of messages that a rewind brought back.
    rewound: BTreeSet<LaneId>,
    /// Number of the latest rewind that was done.
    pub(crate) rewinds_done: u64,
    deduplication: Deduplication,
    rewindable: u64,
    stored: u64,
    in_flight: u64,
    delayed: u64,
    records: usize,
    /// The entry of this queue in the shard's table of what is due next.
    pub(crate) registered_due_ms: Option<u64>,
    pub(crate) totals: Totals,
}

impl Queue {
    pub(crate) fn new(epoch: QueueEpoch, attributes: QueueAttributes) -> Self {
        Self {
            epoch,
            attributes,
            lanes: BTreeMap::from([(DEFAULT_LANE, Box::default())]),
            groups: HashMap::new(),
            next_lane: DELAYED_LANE.0 + 1,
            next_ticket: 0,
            ready: BTreeSet::new(),
            timers: BTreeSet::new(),
            age_timers: BTreeSet::new(),
            oldest: BTreeSet::new(),
            segments: BTreeMap::new(),
            rewound: BTreeSet::new(),
            rewinds_done: 0,
            deduplication: Deduplication::default(),
            rewindable: 0,
            stored: 0,
            in_flight: 0,
            delayed: 0,
            records: 0,
            registered_due_ms: None,
            totals: Totals::default(),
        }
    }

    fn is_fifo(&self) -> bool {
        matches!(self.attributes.kind, QueueKind::Fifo { .. })
    }

    /// Messages that are stored, and of those the ones in flight and delayed.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        (self.stored, self.in_flight, self.delayed)
    }

    /// Messages with state of their own.
    pub(crate) fn records(&self) -> usize {
        self.records
    }

    /// Lanes, in memory all of them.
    pub(crate) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Deduplication ids inside their window, or just outside.
    pub(crate) fn deduplication_ids(&self) -> usize {
        self.deduplication.len()
    }

    /// Whether a receive would find something, but for messages that turn out too old.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether a delay or a lease, or the time of a message that came back, has ended and waits to be handled.
    pub(crate) fn has_due_timer(&self, stamp_ms: u64) -> bool {
        self.timers.first().is_some_and(|(due_ms, ..)| *due_ms <= stamp_ms)
    }

    /// Whether as many messages are out as may be.
    pub(crate) fn is_at_flight_limit(&self) -> bool {
        self.in_flight >= u64::from(self.attributes.max_in_flight)
    }

    /// When the oldest message that is not finished was sent. Early where the page of the first untouched message was
    /// not at hand when it became that; late where older ones are in a later chunk of what a rewind brought back.
    pub(crate) fn oldest_ms(&self) -> Option<u64> {
        self.oldest.first().map(|(sent_ms, _)| *sent_ms)
    }

    /// The chunk pages that [`Queue::exact_oldest_ms`] looks at.
    pub(crate) fn oldest_pages(&self) -> Vec<ChunkKey> {
        let lanes = self.oldest.iter().take(LANES_TOUCHED_MAX);
        lanes.flat_map(|(_, id)| self.lane_pages(*id).take(1)).collect()
    }

    /// As [`Queue::oldest_ms`], but not early as long as the oldest messages lie in few lanes.
    pub(crate) fn exact_oldest_ms(&self, pages: &NamedPages<'_>) -> Option<u64> {
        let mut best: Option<u64> = None;
        for (at, (bound_ms, id)) in self.oldest.iter().enumerate() {
            if best.is_some_and(|best| best <= *bound_ms) {
                break;
            }
            if at >= LANES_TOUCHED_MAX {
                return Some(*bound_ms);
            }
            let exact_ms = self.lanes[id].exact_oldest_ms(self.epoch, *id, pages).unwrap_or(*bound_ms);
            best = Some(best.map_or(exact_ms, |best| best.min(exact_ms)));
        }
        best
    }

    /// When something is due next.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        let timer = self.timers.first().map(|timer| timer.0);
        let age = self.age_timers.first().map(|timer| timer.0);
        [timer, age, self.deduplication.next_due_ms()].into_iter().flatten().min()
    }

    /// The chunk pages that a receive of `max` messages may touch.
    pub(crate) fn receive_pages(&self, max: u16) -> Vec<ChunkKey> {
        let lanes = usize::from(max).min(LANES_TOUCHED_MAX);
        self.ready.iter().take(lanes).flat_map(|(_, _, id)| self.lane_pages(*id)).collect()
    }

    /// The chunk pages at the head of a lane.
    pub(crate) fn lane_pages(&self, id: LaneId) -> impl Iterator<Item = ChunkKey> {
        let numbers = self.lanes.get(&id).map_or(0..0, |lane| lane.chunk_numbers());
        numbers.take(2).map(move |number| ChunkKey { queue: self.epoch, lane: id, number })
    }
}
