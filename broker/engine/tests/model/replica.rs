//! A shard with the disk that it would have: the rows of its latest checkpoint, its chunk rows, and the log since then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cmq_engine::attributes::QueueId;
use cmq_engine::chunk::{Chunk, ChunkKey, Pages};
use cmq_engine::command::Command;
use cmq_engine::message::BodyRef;
use cmq_engine::outcome::{Effects, Outcome};
use cmq_engine::row::RowKey;
use cmq_engine::shard::{Counts, Shard};

/// One entry of the log, or one step of the clean-up, which is not in the log but done in lock-step here.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Apply { command: Command, stamp_ms: u64, first_body: BodyRef },
    CleanUp,
}

#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) shard: Shard,
    /// Whether each operation sees all chunks, and not only those that it named.
    sees_all: bool,
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    chunks: BTreeMap<ChunkKey, Arc<Chunk>>,
    /// Chunks that were written since the checkpoint.
    unsynced: BTreeSet<ChunkKey>,
    log: Vec<(Step, Outcome, Effects)>,
}

impl Replica {
    pub(crate) fn new(sees_all: bool) -> Self {
        Self {
            shard: Shard::default(),
            sees_all,
            rows: BTreeMap::new(),
            chunks: BTreeMap::new(),
            unsynced: BTreeSet::new(),
            log: Vec::new(),
        }
    }

    pub(crate) fn run(&mut self, step: &Step) -> (Outcome, Effects) {
        let (outcome, effects) = match step {
            Step::Apply { command, stamp_ms, first_body } => {
                let named = self.shard.prefetch(command, *stamp_ms);
                let pages = self.pages(named);
                self.shard.apply(command, *first_body, &pages)
            }
            Step::CleanUp => {
                let pages = self.pages(self.shard.clean_up_page());
                (Outcome::Done, self.shard.clean_up(&pages))
            }
        };
        for (key, row) in &effects.closed_chunks {
            let chunk = Chunk::decode(row).expect("a chunk row that was just made");
            assert!(!chunk.slots().is_empty());
            assert!(self.chunks.insert(*key, Arc::new(chunk)).is_none(), "{key:?} was closed twice");
            self.unsynced.insert(*key);
        }
        self.log.push((step.clone(), outcome.clone(), effects.clone()));
        (outcome, effects)
    }

    pub(crate) fn pages(&self, named: impl IntoIterator<Item = ChunkKey>) -> Pages {
        let mut pages = Pages::default();
        for key in named {
            let chunk = self.chunks.get(&key).unwrap_or_else(|| panic!("{key:?} is not on disk"));
            pages.insert(key, chunk.clone());
        }
        if self.sees_all {
            self.chunks.iter().for_each(|(key, chunk)| pages.insert(*key, chunk.clone()));
        }
        pages
    }

    /// Counts with the pages that they want.
    pub(crate) fn exact_counts(&self, queue: QueueId) -> Option<Counts> {
        let pages = self.pages(self.shard.oldest_pages(queue));
        self.shard.counts_with(queue, &pages)
    }

    pub(crate) fn checkpoint(&mut self) {
        for (key, row) in self.shard.checkpoint() {
            let mut bytes = Vec::new();
            key.encode(&mut bytes);
            match (key, row) {
                (RowKey::Chunk(key), None) => {
                    assert!(self.chunks.remove(&key).is_some(), "{key:?} was deleted twice");
                }
                (RowKey::Chunk(_), Some(_)) => panic!("a checkpoint writes no chunk"),
                (_, Some(row)) => _ = self.rows.insert(bytes, row),
                (_, None) => _ = self.rows.remove(&bytes),
            }
        }
        assert_eq!(self.shard.dirty_rows(), 0);
        assert_eq!(self.rows, encoded(&self.shard), "the rows are the state");
        for key in self.chunks.keys() {
            assert!(self.shard.needs_chunk(key), "{key:?} is kept for nothing");
        }
        self.unsynced.clear();
        self.log.clear();
    }

    /// Loses what is in memory, and chunks that need not be on disk yet; comes back from the rows and the log.
    pub(crate) fn crash(&mut self) {
        let before = std::mem::take(&mut self.shard);
        let chunks = self.chunks.clone();
        for key in std::mem::take(&mut self.unsynced) {
            self.chunks.remove(&key);
        }
        for (key, row) in &self.rows {
            let key = RowKey::decode(key).expect("a key that was encoded");
            self.shard.restore(&key, row).expect("a row of a checkpoint");
        }
        self.shard.finish_restore();
        for (step, outcome, effects) in std::mem::take(&mut self.log) {
            let (outcome_again, effects_again) = self.run(&step);
            assert_eq!(outcome_again, outcome, "{step:?}");
            assert_eq!(effects_again, effects, "{step:?}");
        }
        assert_same(&self.shard, &before);
        assert_eq!(self.chunks, chunks);
    }

    /// Nothing is left but the state of an empty shard.
    pub(crate) fn assert_empty(&self) {
        let rows: Vec<RowKey> = self.shard.export().into_iter().map(|(key, _)| key).collect();
        assert_eq!(rows, [RowKey::Machine]);
        assert_eq!(self.rows.len(), 1);
        assert!(self.chunks.is_empty(), "{:?} are left", self.chunks.keys());
    }
}

fn encoded(shard: &Shard) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let encode = |(key, row): (RowKey, Vec<u8>)| {
        let mut bytes = Vec::new();
        key.encode(&mut bytes);
        (bytes, row)
    };
    shard.export().into_iter().map(encode).collect()
}

/// Checks that two shards have the same state.
pub(crate) fn assert_same(one: &Shard, other: &Shard) {
    assert_eq!(one.hash(), other.hash());
    assert_eq!(one.next_due_ms(), other.next_due_ms());
    assert!(one.queues().eq(other.queues()));
    for queue in one.queues() {
        assert_eq!(one.counts(queue), other.counts(queue));
    }
    let (one, other) = (one.export(), other.export());
    for (one, other) in one.iter().zip(&other) {
        assert_eq!(one, other);
    }
    assert_eq!(one.len(), other.len());
}
