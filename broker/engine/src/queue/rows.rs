//! The rows of a queue: its attributes and counters, its lanes, records and deduplication ids.

use std::collections::BTreeSet;

use super::Queue;
use crate::attributes::QueueAttributes;
use crate::chunk::ChunkKey;
use crate::codec::{DecodeError, Reader, Writer};
use crate::lane::Lane;
use crate::limits::CHUNK_MESSAGES;
use crate::message::{LaneId, QueueEpoch};
use crate::row::RowKey;

const FORMAT: u8 = 1;

impl Queue {
    pub(crate) fn encode(&self, is_removed: bool) -> Vec<u8> {
        let mut out = Writer::with_format(FORMAT);
        out.u8(u8::from(is_removed)).int(self.next_lane).int(self.next_ticket).int(self.rewinds_done);
        self.attributes.encode(&mut out);
        out.bytes
    }

    /// Reads a queue row; answers whether the queue is removed and only waits for its clean-up. Its lanes come from rows
    /// of their own.
    pub(crate) fn decode(epoch: QueueEpoch, row: &[u8]) -> Result<(Self, bool), DecodeError> {
        let mut from = Reader::with_format(row, FORMAT, "a queue row")?;
        let is_removed = from.flag()?;
        let (next_lane, next_ticket, rewinds_done) = (from.int()?, from.int()?, from.int()?);
        let mut queue = Self::new(epoch, QueueAttributes::decode(&mut from)?);
        from.end()?;
        queue.lanes.clear();
        (queue.next_lane, queue.next_ticket, queue.rewinds_done) = (next_lane, next_ticket, rewinds_done);
        Ok((queue, is_removed))
    }

    pub(crate) fn restore_lane(&mut self, id: LaneId, row: &[u8]) -> Result<(), DecodeError> {
        let lane = Lane::decode(row)?;
        let is_new = match &lane.group {
            Some(group) => self.groups.insert(group.clone(), id).is_none(),
            None => true,
        };
        if !is_new || id.0 >= self.next_lane || self.lanes.insert(id, Box::new(lane)).is_some() {
            return Err(DecodeError { what: "a lane row that fits its queue" });
        }
        Ok(())
    }

    pub(crate) fn needs_chunk(&self, key: &ChunkKey) -> bool {
        self.lanes.get(&key.lane).is_some_and(|lane| lane.chunk_numbers().contains(&key.number))
    }

    pub(crate) fn restore_records(&mut self, id: LaneId, number: u64, row: &[u8]) -> Result<(), DecodeError> {
        let lane = self.lanes.get_mut(&id);
        lane.ok_or(DecodeError { what: "records of a lane that is not there" })?.restore_records(number, row)
    }

    pub(crate) fn restore_deduplication(&mut self, hash: u128, row: &[u8]) -> Result<(), DecodeError> {
        self.deduplication.restore(hash, row)
    }

    /// The row of a lane, its records or a deduplication id; None when it is gone.
    pub(crate) fn row(&self, key: &RowKey) -> Option<Vec<u8>> {
        match key {
            RowKey::Lane(_, id) => self.lanes.get(id).map(|lane| lane.encode()),
            RowKey::Records(_, id, number) => self.lanes.get(id)?.encode_records(*number),
            RowKey::Deduplication(_, hash) => self.deduplication.row(*hash),
            RowKey::Machine | RowKey::Queue(_) | RowKey::Chunk(_) => None,
        }
    }

    /// The keys of all rows of this queue but for closed chunks.
    pub(crate) fn row_keys(&self) -> Vec<RowKey> {
        let mut keys = vec![RowKey::Queue(self.epoch)];
        for (id, lane) in &self.lanes {
            keys.push(RowKey::Lane(self.epoch, *id));
            let numbers: BTreeSet<u64> =
                lane.records.keys().map(|sequence| sequence / CHUNK_MESSAGES).collect();
            keys.extend(numbers.into_iter().map(|number| RowKey::Records(self.epoch, *id, number)));
        }
        keys.extend(self.deduplication.hashes().map(|hash| RowKey::Deduplication(self.epoch, hash)));
        keys
    }
}
