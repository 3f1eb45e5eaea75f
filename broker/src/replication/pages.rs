//! Chunk pages in memory, read from disk when a command needs them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use cmq_engine::chunk::{Chunk, ChunkKey, Pages};
use cmq_engine::row::RowKey;

use super::keys::Space;
use super::offline::row_name;
use crate::storage::{Store, StoreError, Tree};

/// Places in the order of eviction that may be left over from pages that were let go.
const ORDER_SLACK: usize = 64;

/// A page in memory.
#[derive(Clone, Debug)]
pub(crate) enum Peeked {
    /// As it is used.
    Chunk(Arc<Chunk>),
    /// As it goes to disk.
    Row(Bytes),
}

/// The pages of one group: rows on their way to disk, and those that were read lately.
#[derive(Debug, Default)]
pub(crate) struct PageCache {
    /// Closed chunks whose batch is not durable yet: the storage does not have them.
    writing: HashMap<ChunkKey, (u64, Bytes)>,
    pages: HashMap<ChunkKey, Arc<Chunk>>,
    order: VecDeque<ChunkKey>,
    bytes: usize,
}

impl PageCache {
    /// Bytes of the pages in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the row of a chunk that goes to disk with a batch.
    pub(crate) fn closed(&mut self, key: ChunkKey, row: Bytes, batch: u64) {
        self.writing.insert(key, (batch, row));
    }

    /// Forgets what is on disk by now.
    pub(crate) fn persisted(&mut self, batch: u64) {
        if !self.writing.is_empty() {
            self.writing.retain(|_, (number, _)| *number > batch);
        }
    }

    /// Puts the named pages into `pages`, from memory or disk; keeps at most `budget` bytes.
    pub(crate) fn load(
        &mut self,
        keys: &[ChunkKey],
        space: Space,
        store: &dyn Store,
        budget: usize,
        pages: &mut Pages,
    ) -> Result<(), StoreError> {
        for key in keys {
            let chunk = match self.pages.get(key) {
                Some(chunk) => chunk.clone(),
                None => self.read(key, space, store)?,
            };
            pages.insert(*key, chunk);
        }
        while (self.bytes > budget || self.order.len() > 2 * self.pages.len() + ORDER_SLACK)
            && let Some(oldest) = self.order.pop_front()
        {
            self.forget(&oldest);
        }
        Ok(())
    }

    /// Lets go of a page whose messages were all handed out: it is never asked for again.
    pub(crate) fn forget(&mut self, key: &ChunkKey) {
        if let Some(chunk) = self.pages.remove(key) {
            self.bytes -= chunk.memory_bytes();
        }
    }

    /// A page that the disk need not be asked for, or does not have yet.
    pub(crate) fn peek(&self, key: &ChunkKey) -> Option<Peeked> {
        let row = || Some(Peeked::Row(self.writing.get(key)?.1.clone()));
        self.pages.get(key).map(|chunk| Peeked::Chunk(chunk.clone())).or_else(row)
    }

    fn read(&mut self, key: &ChunkKey, space: Space, store: &dyn Store) -> Result<Arc<Chunk>, StoreError> {
        let row_key = space.row(&RowKey::Chunk(*key));
        let damaged = |detail: &str| StoreError::Damaged {
            place: format!("group {}, {}", space.group.0, row_name(&RowKey::Chunk(*key))),
            detail: detail.into(),
        };
        let row = match self.writing.get(key) {
            Some((_, row)) => row.clone(),
            None => store.get(Tree::State, &row_key)?.ok_or_else(|| damaged("the row is missing"))?,
        };
        let chunk = Arc::new(Chunk::decode(&row).map_err(|error| damaged(&error.to_string()))?);
        self.bytes += chunk.memory_bytes();
        self.pages.insert(*key, chunk.clone());
        self.order.push_back(*key);
        Ok(chunk)
    }
}
