//! Untouched messages away from the head of a lane: looked at, or removed by an operator.

use super::{Lane, Record, State};
use crate::chunk::{ChunkKey, NamedPages};
use crate::limits::CHUNK_MESSAGES;
use crate::message::{LaneId, QueueEpoch, Slot};

impl Lane {
    /// Number of the chunk row that holds the untouched message `sequence`; None when there is no such message, or it is in
    /// the open chunk.
    pub(crate) fn chunk_of(&self, sequence: u64) -> Option<u64> {
        (self.fresh..self.open_first()).contains(&sequence).then_some(sequence / CHUNK_MESSAGES)
    }

    /// The untouched messages of the open chunk.
    pub(crate) fn open_slots(&self) -> impl Iterator<Item = (u64, Slot)> {
        (self.open_first()..).zip(self.open.slots())
    }

    /// The slot of an untouched message; None when there is no such message, or its page was not named.
    pub(crate) fn slot_of(
        &self,
        queue: QueueEpoch,
        lane: LaneId,
        sequence: u64,
        pages: &NamedPages<'_>,
    ) -> Option<Slot> {
        if let Some(number) = self.chunk_of(sequence) {
            return pages.get(&ChunkKey { queue, lane, number })?.slot(sequence).copied();
        }
        let offset = sequence.checked_sub(self.open_first())?;
        self.open.slots().nth(usize::try_from(offset).ok()?)
    }

    /// Finishes an untouched message above `fresh`, whose slot is `slot`: a record remembers it until `fresh` passes.
    pub(crate) fn finish_untouched(&mut self, sequence: u64, slot: Slot) {
        self.records.insert(sequence, Record::new(slot, State::Finished));
    }
}
