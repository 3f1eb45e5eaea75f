//! Turns batches into one commit of fjall.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use fjall::{OwnedWriteBatch, PersistMode};

use super::super::format::{BATCH_KEY, BatchRow};
use super::super::options::SHARED_VALUE_BYTES_MIN;
use super::super::{Batch, StoreError, Tree, Write};
use super::FjallStore;

impl FjallStore {
    /// Commits batches as one. They must be consecutive. With `Buffer` they survive the process but
    /// not the machine.
    pub(in super::super) fn commit(&self, batches: &[Batch], mode: PersistMode) -> Result<(), StoreError> {
        let [oldest, ..] = batches else { return Ok(()) };
        let newest = oldest.number + batches.len() as u64 - 1;
        let started = Instant::now();
        let rows: usize = batches.iter().map(|batch| batch.writes.len()).sum();
        let mut all = OwnedWriteBatch::with_capacity(self.inner.db.clone(), rows + 1).durability(Some(mode));
        let mut deletes = 0;
        let mut arena = BytesMut::with_capacity(batches.iter().map(copied_bytes).sum());
        for write in batches.iter().flat_map(|batch| &batch.writes) {
            match write {
                Write::Put(tree, key, value) => {
                    let key = copied(&mut arena, key);
                    let value = if is_copied(value) { copied(&mut arena, value) } else { value.clone() };
                    all.insert(self.tree(*tree), key, value);
                }
                Write::Delete(tree, key) => {
                    all.remove(self.tree(*tree), copied(&mut arena, key));
                    deletes += 1;
                }
            }
        }
        let row = BatchRow { first: oldest.number, number: newest, synced: self.durable_batch() };
        all.insert(self.tree(Tree::Meta), BATCH_KEY, row.encode());
        all.commit().map_err(|error| self.refused("commit a batch", &error))?;

        let bytes = batches.iter().map(Batch::bytes).sum();
        self.counters().deleted(deletes);
        self.counters().committed(started.elapsed(), mode != PersistMode::Buffer, batches.len(), bytes);
        Ok(())
    }
}

fn is_copied(value: &Bytes) -> bool {
    value.len() < SHARED_VALUE_BYTES_MIN
}

fn copied(arena: &mut BytesMut, bytes: &[u8]) -> Bytes {
    arena.extend_from_slice(bytes);
    arena.split().freeze()
}

fn copied_bytes(batch: &Batch) -> usize {
    let of_write = |write: &Write| match write {
        Write::Put(_, key, value) => key.len() + if is_copied(value) { value.len() } else { 0 },
        Write::Delete(_, key) => key.len(),
    };
    batch.writes.iter().map(of_write).sum()
}
