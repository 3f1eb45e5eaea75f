//! A lane: one message group of a queue, or all its messages without a group. A dense sequence with state only for
//! exceptions.
//!
//! Below `fresh` a message without a record is finished; from `fresh` to `tail` one without a record was never touched.
//! So neither a backlog nor what was deleted out of order costs memory. Records at or above `fresh` are those of messages
//! that were delayed in a FIFO lane, and of messages that an operator removed from the middle of a backlog. A standard
//! queue keeps its delayed messages in a lane of their own, where none is fresh. The message at `fresh` has no record.

mod disorder;
mod open;
mod rows;
mod salvage;
mod untouched;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use disorder::Disorder;
use open::OpenChunk;

use crate::chunk::{Chunk, ChunkKey, NamedPages};
use crate::faults::{self, Fault};
use crate::limits::CHUNK_MESSAGES;
use crate::message::{LaneId, QueueEpoch, Slot};

/// Why a message has state of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Hidden until the stamp reaches `due_ms`.
    Delayed { due_ms: u64 },
    /// Handed out; comes back when the stamp reaches `until_ms`.
    Leased { until_ms: u64 },
    /// Ready again after a delay or a lease.
    Returned,
    /// Finished before `fresh` passed it, which forgets it.
    Finished,
}

/// State of one message that is not untouched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) slot: Slot,
    pub(crate) state: State,
    /// Of the latest delivery; 0 before the first.
    pub(crate) generation: u32,
    pub(crate) receive_count: u32,
    /// Stamp of the first receive; 0 before it.
    pub(crate) first_received_ms: u64,
}

impl Record {
    pub(crate) fn new(slot: Slot, state: State) -> Self {
        Self { slot, state, generation: 0, receive_count: 0, first_received_ms: 0 }
    }

    fn lease(&mut self, stamp_ms: u64, until_ms: u64) {
        self.state = State::Leased { until_ms };
        self.generation += 1;
        self.receive_count += 1;
        if self.receive_count == 1 {
            self.first_received_ms = stamp_ms;
        }
    }
}

/// What a lane can hand out next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// Nothing.
    None,
    /// The oldest message that came back.
    Returned(u64),
    /// The oldest untouched message.
    Fresh,
}

/// What moving `fresh` leaves to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    /// Numbers of the chunk rows that are not needed any more.
    pub(crate) chunks: Range<u64>,
    /// Numbers of the chunks in which records of finished messages were forgotten.
    pub(crate) records: Range<u64>,
}

/// Place of a lane among the lanes that have something to hand out: few in flight first, then in turn.
pub(crate) type ReadyKey = (u32, u64, LaneId);

/// What the messages of a lane are to their queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Role {
    /// Messages that were not deleted yet.
    #[default]
    Live,
    /// Deleted messages that a rewind can bring back, in the order in which they were deleted. They have no records.
    Kept {
        /// The first of them was sent at this stamp or later.
        start_ms: u64,
        /// The last of them was sent before this stamp.
        end_ms: u64,
        /// Those that were sent before this stamp are out of reach, whatever the attributes say by now: the rewind time
        /// was shorter once. It holds for what comes into this segment later, too.
        floor_ms: u64,
        /// Whether the open chunk is in the order of the sends.
        is_sorted: bool,
    },
    /// Deleted messages that wait to be freed, for rewinding was turned off.
    Dropped,
    /// Deleted messages that came back.
    Rewound {
        /// Those that were sent before this stamp have to go back.
        from_ms: u64,
        /// As of the segment.
        floor_ms: u64,
        /// When they came back.
        at_ms: u64,
    },
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Lane {
    pub(crate) role: Role,
    /// Name of the message group; None for the lane of messages without one.
    pub(crate) group: Option<Box<str>>,
    /// Sequence of the first message that was never touched.
    pub(crate) fresh: u64,
    /// Sequence of the next message to come.
    pub(crate) tail: u64,
    /// The slots of the open chunk from `fresh` on; the last one has the sequence `tail - 1`.
    open: OpenChunk,
    pub(crate) records: BTreeMap<u64, Record>,
    returned: BTreeSet<u64>,
    pub(crate) in_flight: u32,
    /// When the first untouched message was sent, or a stamp before it where its page was not at hand.
    pub(crate) fresh_sent_ms: u64,
    /// The timer that is set for the age of the oldest untouched message.
    pub(crate) age_timer_ms: Option<u64>,
    /// The entry of this lane in the queue's table of oldest messages.
    pub(crate) listed_oldest_ms: Option<u64>,
    /// When it became ready, or was served last; decides whose turn it is.
    pub(crate) ticket: u64,
    pub(crate) ready: Option<ReadyKey>,
    /// None while no dead-letter move brought a message behind younger ones.
    disorder: Option<Box<Disorder>>,
}

impl Lane {
    pub(crate) fn new(group: Option<Box<str>>) -> Self {
        Self { group, ..Self::default() }
    }

    /// A segment for deleted messages, the first of which was sent at `sent_ms`.
    pub(crate) fn segment(sent_ms: u64) -> Self {
        let role = Role::Kept { start_ms: sent_ms, end_ms: sent_ms + 1, floor_ms: 0, is_sorted: true };
        Self { role, ..Self::default() }
    }

    /// Whether its messages are stored: neither deleted nor given up.
    pub(crate) fn is_stored(&self) -> bool {
        matches!(self.role, Role::Live | Role::Rewound { .. })
    }

    /// Whether it has something to hand out.
    pub(crate) fn is_ready(&self, is_fifo: bool) -> bool {
        self.is_stored() && self.head(is_fifo, 0) != Head::None
    }

    /// Whether every message that ever came is finished.
    pub(crate) fn is_drained(&self) -> bool {
        self.fresh == self.tail && self.records.is_empty()
    }

    pub(crate) fn has_fresh(&self) -> bool {
        self.fresh < self.tail
    }

    /// When the oldest message that is not finished was sent. Early where the page of the first untouched message was not
    /// at hand when it became that.
    pub(crate) fn oldest_ms(&self) -> Option<u64> {
        let fresh_ms = self.has_fresh().then_some(self.fresh_sent_ms);
        [fresh_ms, self.known_oldest_ms()].into_iter().flatten().min()
    }

    /// As [`Lane::oldest_ms`], not early. None also when the page of the first untouched message was not named.
    pub(crate) fn exact_oldest_ms(
        &self,
        queue: QueueEpoch,
        id: LaneId,
        pages: &NamedPages<'_>,
    ) -> Option<u64> {
        let known_ms = self.known_oldest_ms();
        if !self.has_fresh() {
            return known_ms;
        }
        let mut fresh_ms = self.fresh_slot(queue, id, pages)?.sent_ms;
        if let Role::Rewound { from_ms, .. } = self.role {
            fresh_ms = fresh_ms.max(from_ms);
        }
        Some(known_ms.map_or(fresh_ms, |known_ms| known_ms.min(fresh_ms)))
    }

    /// Appends a message; answers its sequence and the row of the chunk that it closed, if it did.
    pub(crate) fn push(
        &mut self,
        slot: Slot,
        delayed_until_ms: Option<u64>,
    ) -> (u64, Option<(u64, Vec<u8>)>) {
        let sequence = self.tail;
        self.tail += 1;
        let is_first = self.fresh == sequence;
        if is_first {
            self.fresh_sent_ms = slot.sent_ms;
        }
        if let Some(disorder) = &mut self.disorder {
            match delayed_until_ms {
                None => disorder.push(sequence, slot.sent_ms),
                Some(_) => disorder.add_record(slot.sent_ms),
            }
        }
        if let Some(due_ms) = delayed_until_ms {
            self.records.insert(sequence, Record::new(slot, State::Delayed { due_ms }));
        }
        if is_first && delayed_until_ms.is_some() {
            // It has a record, so it is not fresh, and needs no place in a chunk.
            self.fresh = self.tail;
        } else {
            self.open.push(slot);
        }
        (sequence, self.close_chunk())
    }

    /// Closes the open chunk if it is full; answers its number and row.
    fn close_chunk(&mut self) -> Option<(u64, Vec<u8>)> {
        if !self.tail.is_multiple_of(CHUNK_MESSAGES) || self.open.len() == 0 {
            return None;
        }
        self.sort_open();
        let first = self.open_first();
        let row = Chunk::encode(|out| std::mem::take(&mut self.open).encode(first, out));
        Some(((self.tail - 1) / CHUNK_MESSAGES, row))
    }

    /// Appends a deleted message to a segment; answers the row of the chunk that it closed, if it did.
    pub(crate) fn keep(&mut self, slot: Slot) -> Option<(u64, Vec<u8>)> {
        if let Role::Kept { is_sorted, .. } = &mut self.role {
            *is_sorted &=
                self.open.back().is_none_or(|back| (back.sent_ms, back.body) <= (slot.sent_ms, slot.body));
        }
        // The open chunk is put in order before anything is taken from it.
        if self.fresh == self.tail {
            self.fresh_sent_ms = slot.sent_ms;
        } else if self.fresh_chunk().is_none() {
            self.fresh_sent_ms = slot.sent_ms.min(self.fresh_sent_ms);
        }
        self.tail += 1;
        self.open.push(slot);
        self.close_chunk()
    }

    /// Makes the span of a segment hold a stamp.
    pub(crate) fn span(&mut self, sent_ms: u64) {
        if let Role::Kept { start_ms, end_ms, .. } = &mut self.role {
            (*start_ms, *end_ms) = (sent_ms.min(*start_ms), (sent_ms + 1).max(*end_ms));
        }
    }

    /// Puts the open chunk of a segment in the order of the sends. Only there a sequence does not name a message.
    pub(crate) fn sort_open(&mut self) {
        let Role::Kept { is_sorted, .. } = &mut self.role else { return };
        if !std::mem::replace(is_sorted, true) {
            self.open.sort();
        }
    }

    /// Sequence of the first slot in the open chunk.
    fn open_first(&self) -> u64 {
        self.tail - self.open.len() as u64
    }

    /// Number of the chunk row that holds the first untouched message; None when it is in the open chunk, or absent.
    pub(crate) fn fresh_chunk(&self) -> Option<u64> {
        (self.fresh < self.open_first()).then_some(self.fresh / CHUNK_MESSAGES)
    }

    /// The chunk rows from the first untouched message on.
    pub(crate) fn chunk_numbers(&self) -> Range<u64> {
        let end = self.open_first() / CHUNK_MESSAGES;
        self.fresh_chunk().unwrap_or(end)..end
    }

    /// The first untouched message; None when there is none, or its page was not named by the prefetch.
    pub(crate) fn fresh_slot(&self, queue: QueueEpoch, lane: LaneId, pages: &NamedPages<'_>) -> Option<Slot> {
        match self.fresh_chunk() {
            None => self.open.front(),
            Some(number) => pages.get(&ChunkKey { queue, lane, number })?.slot(self.fresh).copied(),
        }
    }

    /// Leases the first untouched message, whose slot is `slot`. [`Lane::pass_fresh`] must follow.
    pub(crate) fn lease_fresh(&mut self, slot: Slot, stamp_ms: u64, until_ms: u64) -> Record {
        let mut record = Record::new(slot, State::Returned);
        record.lease(stamp_ms, until_ms);
        self.records.insert(self.fresh, record);
        if let Some(disorder) = &mut self.disorder {
            disorder.add_record(slot.sent_ms);
        }
        self.in_flight += 1;
        record
    }

    /// Leases a message that came back.
    pub(crate) fn lease_returned(&mut self, sequence: u64, stamp_ms: u64, until_ms: u64) -> Option<Record> {
        let record = self.records.get_mut(&sequence)?;
        self.returned.remove(&sequence);
        record.lease(stamp_ms, until_ms);
        self.in_flight += 1;
        Some(*record)
    }

    /// Makes a delayed or leased message ready; answers what it was.
    pub(crate) fn give_back(&mut self, sequence: u64) -> Option<Record> {
        let record = self.records.get_mut(&sequence)?;
        let before = *record;
        match before.state {
            State::Leased { .. } => self.in_flight -= 1,
            State::Delayed { .. } => {}
            State::Returned | State::Finished => return None,
        }
        record.state = State::Returned;
        self.returned.insert(sequence);
        Some(before)
    }

    /// Moves `fresh` over the first untouched message, whose slot is `slot`, and over the ones behind it that have a
    /// record.
    pub(crate) fn pass_fresh(&mut self, slot: &Slot) -> Passed {
        let first = self.fresh;
        let chunks_before = self.chunk_numbers();
        self.fresh_sent_ms = slot.sent_ms;
        self.step_fresh();
        let mut has_forgotten = false;
        while self.has_fresh()
            && let Some(record) = self.records.get(&self.fresh)
        {
            if record.state == State::Finished {
                self.records.remove(&self.fresh);
                has_forgotten = true;
            }
            self.step_fresh();
        }
        self.forget_passed();
        let chunks = chunks_before.start..self.chunk_numbers().start;
        let records =
            if has_forgotten { first / CHUNK_MESSAGES..self.fresh.div_ceil(CHUNK_MESSAGES) } else { 0..0 };
        Passed { chunks, records }
    }

    fn step_fresh(&mut self) {
        if self.fresh == self.open_first() {
            self.open.pop_front();
        }
        self.fresh += 1;
    }

    /// Finishes a message that has a record; answers the record.
    pub(crate) fn finish(&mut self, sequence: u64) -> Option<Record> {
        let record = self.records.get_mut(&sequence)?;
        let finished = *record;
        match finished.state {
            State::Leased { .. } => self.in_flight -= 1,
            State::Returned => _ = self.returned.remove(&sequence),
            State::Delayed { .. } => {}
            State::Finished => return None,
        }
        if sequence < self.fresh {
            self.records.remove(&sequence);
        } else {
            record.state = State::Finished;
        }
        if let Some(disorder) = &mut self.disorder {
            disorder.remove_record(finished.slot.sent_ms);
            if self.is_drained() {
                self.disorder = None;
            }
        }
        Some(finished)
    }

    /// What can be handed out next. `leased_now` messages were handed out by the same operation.
    pub(crate) fn head(&self, is_fifo: bool, leased_now: u32) -> Head {
        if is_fifo {
            return self.strict_head(leased_now);
        }
        match self.returned.first() {
            Some(sequence) => Head::Returned(*sequence),
            None if self.has_fresh() => Head::Fresh,
            None => Head::None,
        }
    }

    /// The head of a FIFO lane: nothing while a message is out, nothing past a delayed one.
    fn strict_head(&self, leased_now: u32) -> Head {
        if self.in_flight > leased_now && !faults::is_active(Fault::GroupUnlocked) {
            return Head::None;
        }
        // What is below `fresh` comes first; finished records are only above.
        let is_leased = |record: &Record| matches!(record.state, State::Leased { .. });
        match self.records.range(..self.fresh).find(|(_, record)| !is_leased(record)) {
            Some((sequence, record)) if record.state == State::Returned => Head::Returned(*sequence),
            Some(_) => Head::None,
            None if self.has_fresh() => Head::Fresh,
            None => Head::None,
        }
    }

    /// Gives up the untouched messages of the chunk row `number`, for the clean-up of a removed queue.
    pub(crate) fn abandon_chunk(&mut self, number: u64, chunk: &Chunk) -> Vec<Slot> {
        let sequences = self.fresh..(number + 1) * CHUNK_MESSAGES;
        self.fresh = sequences.end;
        self.abandon(sequences.filter_map(|sequence| Some((sequence, *chunk.slot(sequence)?))).collect())
    }

    /// Gives up the untouched messages of the open chunk, for the clean-up of a removed queue.
    pub(crate) fn abandon_open(&mut self) -> Vec<Slot> {
        let first = self.open_first();
        let mut open = std::mem::take(&mut self.open);
        self.fresh = self.tail;
        self.abandon((first..).zip(std::iter::from_fn(|| open.pop_front())).collect())
    }

    /// Those of the slots whose messages have no record: records are freed by themselves, unless they are of finished
    /// messages and only waited for `fresh` to pass.
    fn abandon(&mut self, mut slots: Vec<(u64, Slot)>) -> Vec<Slot> {
        self.disorder = None;
        slots.retain(|(sequence, _)| match self.records.get(sequence) {
            None => true,
            Some(record) => {
                if record.state == State::Finished {
                    self.records.remove(sequence);
                }
                false
            }
        });
        slots.into_iter().map(|(_, slot)| slot).collect()
    }
}
