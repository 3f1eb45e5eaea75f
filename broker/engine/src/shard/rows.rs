//! The rows of a shard: what a checkpoint writes, a snapshot holds and a restore reads.

use super::Shard;
use crate::attributes::QueueId;
use crate::chunk::{ChunkKey, Pages};
use crate::codec::{DecodeError, Reader, Writer};
use crate::faults::{self, Fault};
use crate::message::QueueEpoch;
use crate::queue::Queue;
use crate::row::RowKey;

const FORMAT: u8 = 1;

impl Shard {
    /// How many rows a checkpoint would write.
    pub fn dirty_rows(&self) -> usize {
        self.dirty.len()
    }

    /// The rows that changed since the last checkpoint, as they are now; None: the row is gone. Together with the rows
    /// that are on disk they are the whole state.
    pub fn checkpoint(&mut self) -> Vec<(RowKey, Option<Vec<u8>>)> {
        let leaves_out = |key: &RowKey| {
            matches!(key, RowKey::Records(..)) && faults::is_active(Fault::CheckpointWithoutRecords)
        };
        let keys = self.dirty.take();
        let row = |key: RowKey| {
            let row = self.row(&key);
            (key, row)
        };
        keys.into_iter().filter(|key| !leaves_out(key)).map(row).collect()
    }

    /// Every row of the state but for closed chunks.
    pub fn export(&self) -> Vec<(RowKey, Vec<u8>)> {
        let queues = self.queues.values().chain(self.removed.values());
        let keys = queues.flat_map(Queue::row_keys).chain([RowKey::Machine]);
        let mut rows: Vec<_> = keys.filter_map(|key| Some((key, self.row(&key)?))).collect();
        rows.sort_unstable_by_key(|(key, _)| *key);
        rows
    }

    fn row(&self, key: &RowKey) -> Option<Vec<u8>> {
        let epoch = match key {
            RowKey::Machine => {
                let mut out = Writer::with_format(FORMAT);
                out.int(self.revision).int(self.stamp_ms).int(self.hash);
                return Some(out.bytes);
            }
            // Chunk rows are only marked when they are not needed any more.
            RowKey::Chunk(_) => return None,
            RowKey::Queue(epoch)
            | RowKey::Lane(epoch, _)
            | RowKey::Records(epoch, ..)
            | RowKey::Deduplication(epoch, _) => *epoch,
        };
        let live = self.queues.get(&epoch.queue).filter(|queue| queue.epoch == epoch);
        let is_removed = live.is_none();
        let queue = live.or_else(|| self.removed.get(&epoch))?;
        match key {
            RowKey::Queue(_) => Some(queue.encode(is_removed)),
            _ => queue.row(key),
        }
    }

    /// Reads one row of a checkpoint. Rows come in the order of their keys, chunk rows not at all.
    ///
    /// # Errors
    /// When the row is damaged or does not fit the ones before it.
    pub fn restore(&mut self, key: &RowKey, row: &[u8]) -> Result<(), DecodeError> {
        const ORPHAN: DecodeError = DecodeError { what: "a row of a queue that is not there" };
        match key {
            RowKey::Machine => {
                let mut from = Reader::with_format(row, FORMAT, "the row of a shard")?;
                (self.revision, self.stamp_ms, self.hash) = (from.int()?, from.int()?, from.int()?);
                from.end()?;
            }
            RowKey::Queue(epoch) => {
                let (queue, is_removed) = Queue::decode(*epoch, row)?;
                if is_removed {
                    self.removed.insert(*epoch, queue);
                } else {
                    self.queues.insert(epoch.queue, queue);
                }
            }
            RowKey::Lane(epoch, lane) => self.restored(epoch).ok_or(ORPHAN)?.restore_lane(*lane, row)?,
            RowKey::Records(epoch, lane, number) => {
                self.restored(epoch).ok_or(ORPHAN)?.restore_records(*lane, *number, row)?;
            }
            RowKey::Deduplication(epoch, hash) => {
                self.restored(epoch).ok_or(ORPHAN)?.restore_deduplication(*hash, row)?;
            }
            RowKey::Chunk(_) => {}
        }
        Ok(())
    }

    /// Whether the row of a closed chunk belongs to this state, as far as it was restored: untouched messages lie in it.
    pub fn needs_chunk(&self, key: &ChunkKey) -> bool {
        let live = self.queues.get(&key.queue.queue).filter(|queue| queue.epoch == key.queue);
        let queue = live.or_else(|| self.removed.get(&key.queue));
        queue.is_some_and(|queue| queue.needs_chunk(key))
    }

    fn restored(&mut self, epoch: &QueueEpoch) -> Option<&mut Queue> {
        match self.queues.get_mut(&epoch.queue) {
            Some(queue) if queue.epoch == *epoch => Some(queue),
            _ => self.removed.get_mut(epoch),
        }
    }

    /// Rebuilds every table that follows from the rows. Call it after the last [`Shard::restore`].
    pub fn finish_restore(&mut self) {
        (self.records, self.lanes, self.deduplication_ids) = (0, 0, 0);
        let ids: Vec<QueueId> = self.queues.keys().copied().collect();
        for id in ids {
            // Counts from nothing, for `on_queue` adds only what an operation changed.
            if let Some(queue) = self.queues.get(&id) {
                self.records += queue.records();
                self.lanes += queue.lanes();
                self.deduplication_ids += queue.deduplication_ids();
            }
            self.on_queue(id, &Pages::default(), |queue, _| queue.index_all());
        }
    }
}
