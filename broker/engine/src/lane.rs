//! A lane: one message group of a queue, or all its messages without a group. A dense sequence with state only for
//! exceptions.
//!
//! Below `fresh` a message without a record is finished; from `fresh` to `tail` one without a record was never touched.
//! So neither a backlog nor what was deleted out of order costs memory. Records at or above `fresh` exist only in FIFO
//! lanes, for delayed messages; a standard queue keeps its delayed messages in a lane of their own, where none is fresh.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::chunk::{Chunk, ChunkKey, Pages, decode_slots, encode_slots};
use crate::codec::{DecodeError, Reader, Writer};
use crate::faults::{self, Fault};
use crate::limits::CHUNK_MESSAGES;
use crate::message::{LaneId, QueueEpoch, Slot};

const LANE_FORMAT: u8 = 1;
const RECORDS_FORMAT: u8 = 1;

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

/// State of one message that is neither untouched nor finished.
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

/// Place of a lane among the lanes that have something to hand out: few in flight first, then in turn.
pub(crate) type ReadyKey = (u32, u64, LaneId);

#[derive(Clone, Debug)]
pub(crate) struct Lane {
    /// Name of the message group; None for the lane of messages without one.
    pub(crate) group: Option<Box<str>>,
    /// Sequence of the first message that was never touched.
    pub(crate) fresh: u64,
    /// Sequence of the next message to come.
    pub(crate) tail: u64,
    /// The untouched slots of the open chunk; the last one has the sequence `tail - 1`.
    open: VecDeque<Slot>,
    pub(crate) records: BTreeMap<u64, Record>,
    pub(crate) returned: BTreeSet<u64>,
    pub(crate) in_flight: u32,
    /// No untouched message was sent before this stamp.
    pub(crate) fresh_sent_ms: u64,
    /// The timer that is set for the age of the oldest untouched message.
    pub(crate) age_timer_ms: Option<u64>,
    /// The entry of this lane in the queue's table of oldest messages.
    pub(crate) listed_oldest_ms: Option<u64>,
    /// When it became ready, or was served last; decides whose turn it is.
    pub(crate) ticket: u64,
    pub(crate) ready: Option<ReadyKey>,
}

impl Lane {
    pub(crate) fn new(group: Option<Box<str>>) -> Self {
        Self {
            group,
            fresh: 0,
            tail: 0,
            open: VecDeque::new(),
            records: BTreeMap::new(),
            returned: BTreeSet::new(),
            in_flight: 0,
            fresh_sent_ms: 0,
            age_timer_ms: None,
            listed_oldest_ms: None,
            ticket: 0,
            ready: None,
        }
    }

    /// Whether every message that ever came is finished.
    pub(crate) fn is_drained(&self) -> bool {
        self.fresh == self.tail && self.records.is_empty()
    }

    /// When the oldest message that is not finished was sent.
    pub(crate) fn oldest_ms(&self) -> Option<u64> {
        let fresh_ms = (self.fresh < self.tail).then_some(self.fresh_sent_ms);
        let record_ms = self.records.first_key_value().map(|(_, record)| record.slot.sent_ms);
        [fresh_ms, record_ms].into_iter().flatten().min()
    }

    /// Appends a message; answers its sequence and the row of the chunk that it closed, if it did.
    pub(crate) fn push(&mut self, slot: Slot, state: Option<State>) -> (u64, Option<(u64, Vec<u8>)>) {
        let sequence = self.tail;
        if self.fresh == self.tail {
            self.fresh_sent_ms = slot.sent_ms;
        }
        self.tail += 1;
        self.open.push_back(slot);
        if let Some(state) = state {
            self.records.insert(sequence, Record::new(slot, state));
        }
        // Before the chunk is closed, for a slot that has a record needs no place in its row.
        self.skip_records();
        let closed = self.tail.is_multiple_of(CHUNK_MESSAGES).then(|| {
            let row = (!self.open.is_empty())
                .then(|| (sequence / CHUNK_MESSAGES, Chunk::encode(self.open_first(), &self.open)));
            self.open = VecDeque::new();
            row
        });
        (sequence, closed.flatten())
    }

    /// Sequence of the first slot in the open chunk.
    fn open_first(&self) -> u64 {
        self.tail - self.open.len() as u64
    }

    /// Moves `fresh` over messages that have a record.
    fn skip_records(&mut self) {
        while self.fresh < self.tail
            && let Some(record) = self.records.get(&self.fresh)
        {
            if record.state == State::Finished {
                self.records.remove(&self.fresh);
            }
            self.step_fresh();
        }
    }

    /// Takes a record away for good; the message is finished.
    pub(crate) fn finish(&mut self, sequence: u64) -> Option<Record> {
        let record = self.records.get_mut(&sequence)?;
        let finished = *record;
        match record.state {
            State::Leased { .. } => self.in_flight -= 1,
            State::Returned => _ = self.returned.remove(&sequence),
            State::Delayed { .. } | State::Finished => {}
        }
        if sequence < self.fresh {
            self.records.remove(&sequence);
        } else {
            record.state = State::Finished;
        }
        Some(finished)
    }

    fn step_fresh(&mut self) {
        if self.fresh == self.open_first() && !self.open.is_empty() {
            self.open.pop_front();
            if self.open.is_empty() {
                // A drained queue keeps no buffer.
                self.open = VecDeque::new();
            }
        }
        self.fresh += 1;
    }

    /// Number of the chunk that holds the first untouched message on disk; None when it is in the open chunk, or absent.
    pub(crate) fn fresh_chunk(&self) -> Option<u64> {
        (self.fresh < self.open_first()).then_some(self.fresh / CHUNK_MESSAGES)
    }

    /// The chunk rows that hold untouched messages, for clean-up.
    pub(crate) fn chunk_numbers(&self) -> std::ops::Range<u64> {
        match self.fresh_chunk() {
            Some(first) => first..self.open_first().div_ceil(CHUNK_MESSAGES),
            None => 0..0,
        }
    }

    /// The untouched slots in memory, for clean-up.
    pub(crate) fn open_slots(&self) -> &VecDeque<Slot> {
        &self.open
    }

    /// The first untouched message; None when its page was not named by the prefetch.
    pub(crate) fn fresh_slot(&self, queue: QueueEpoch, lane: LaneId, pages: &Pages) -> Option<Slot> {
        debug_assert!(self.fresh < self.tail);
        if self.fresh >= self.open_first() {
            return self.open.get((self.fresh - self.open_first()) as usize).copied();
        }
        let key = ChunkKey { queue, lane, number: self.fresh / CHUNK_MESSAGES };
        pages.get(&key)?.slot(self.fresh).copied()
    }

    /// Takes the first untouched message, whose slot is `slot`; answers the number of the chunk row that is not needed
    /// any more, if it was the last of one.
    pub(crate) fn take_fresh(&mut self, slot: &Slot) -> Option<u64> {
        let before = self.fresh_chunk();
        self.fresh_sent_ms = slot.sent_ms;
        self.step_fresh();
        self.skip_records();
        before.filter(|number| self.fresh_chunk() != Some(*number))
    }

    /// What can be handed out next. A FIFO lane is strict: nothing while a message is out, nothing past a delayed one.
    pub(crate) fn head(&self, is_fifo: bool, leased_now: u32) -> Head {
        let fresh = (self.fresh < self.tail).then_some(self.fresh);
        let returned = self.returned.first().copied();
        if is_fifo {
            if self.in_flight > leased_now && !faults::is_active(Fault::GroupUnlocked) {
                return Head::None;
            }
            let next = match (returned, fresh) {
                (Some(returned), _) => returned,
                (None, Some(fresh)) => fresh,
                (None, None) => return Head::None,
            };
            let delayed = |record: &Record| matches!(record.state, State::Delayed { .. });
            let first_delayed = self.records.iter().find(|(_, record)| delayed(record)).map(|(at, _)| *at);
            if first_delayed.is_some_and(|at| at < next) {
                return Head::None;
            }
        }
        match (returned, fresh) {
            (Some(sequence), _) => Head::Returned(sequence),
            (None, Some(_)) => Head::Fresh,
            (None, None) => Head::None,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::with_format(LANE_FORMAT);
        out.blob(self.group.as_deref().unwrap_or("").as_bytes())
            .u8(u8::from(self.group.is_some()))
            .int(self.fresh)
            .int(self.tail)
            .int(self.fresh_sent_ms)
            .int(self.ticket);
        encode_slots(self.open_first(), &self.open, &mut out);
        out.bytes
    }

    /// Reads a lane row; its records come from rows of their own.
    pub(crate) fn decode(row: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader::with_format(row, LANE_FORMAT, "a lane row")?;
        let group = from.text()?;
        let group = (from.u8()? == 1).then(|| group.into());
        let mut lane = Self::new(group);
        lane.fresh = from.int()?;
        lane.tail = from.int()?;
        lane.fresh_sent_ms = from.int()?;
        lane.ticket = from.int()?;
        let (first, slots) = decode_slots(&mut from)?;
        if lane.fresh > lane.tail || first.checked_add(slots.len() as u64) != Some(lane.tail) {
            return Err(from.error());
        }
        lane.open = slots.into();
        Ok(lane)
    }

    /// The row of the records of one chunk; None when there are none.
    pub(crate) fn encode_records(&self, number: u64) -> Option<Vec<u8>> {
        let first = number * CHUNK_MESSAGES;
        let mut records = self.records.range(first..first + CHUNK_MESSAGES).peekable();
        records.peek()?;
        let mut out = Writer::with_format(RECORDS_FORMAT);
        let mut base = Slot::ZERO;
        for (sequence, record) in records {
            out.int(*sequence);
            record.slot.encode(&base, &mut out);
            base = record.slot;
            match record.state {
                State::Returned => out.u8(0),
                State::Delayed { due_ms } => out.u8(1).delta(due_ms, base.sent_ms),
                State::Leased { until_ms } => out.u8(2).delta(until_ms, base.sent_ms),
                State::Finished => out.u8(3),
            };
            out.int(u64::from(record.generation))
                .int(u64::from(record.receive_count))
                .delta(record.first_received_ms, base.sent_ms);
        }
        Some(out.bytes)
    }

    /// Reads a records row into this lane.
    pub(crate) fn restore_records(&mut self, row: &[u8]) -> Result<(), DecodeError> {
        let mut from = Reader::with_format(row, RECORDS_FORMAT, "a records row")?;
        let mut base = Slot::ZERO;
        while !from.is_empty() {
            let sequence = from.int()?;
            base = Slot::decode(&base, &mut from)?;
            let state = match from.u8()? {
                0 => State::Returned,
                1 => State::Delayed { due_ms: from.delta(base.sent_ms)? },
                2 => State::Leased { until_ms: from.delta(base.sent_ms)? },
                3 => State::Finished,
                _ => return Err(from.error()),
            };
            let record = Record {
                slot: base,
                state,
                generation: from.int32()?,
                receive_count: from.int32()?,
                first_received_ms: from.delta(base.sent_ms)?,
            };
            if sequence >= self.tail || self.records.insert(sequence, record).is_some() {
                return Err(from.error());
            }
            match state {
                State::Returned => _ = self.returned.insert(sequence),
                State::Leased { .. } => self.in_flight += 1,
                State::Delayed { .. } | State::Finished => {}
            }
        }
        Ok(())
    }
}
