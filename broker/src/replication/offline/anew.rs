//! A group as it is written to a fresh volume.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use cmq_engine::attributes::QueueId;
use cmq_engine::chunk::{Chunk, ChunkKey};
use cmq_engine::limits::CHUNK_MESSAGES;
use cmq_engine::message::LaneId;
use cmq_engine::row::RowKey;
use cmq_engine::shard::{Seen, Shard};
use raft::eraftpb::HardState;

use super::super::keys::{self, Space};
use super::super::log::{Progress, encode_hard_state};
use super::super::machine::Machine;
use super::{Fault, GroupImage, row_name};
use crate::storage::offline::Image;
use crate::storage::{Store, Tree, Write};

/// Indexes that are left out after a loss, so that no address of a lost message is ever used again: more than any volume
/// can lose, for journals are bounded.
const INDEXES_SKIPPED: u64 = 1 << 24;
/// Queue ids that are left out after a loss.
const QUEUE_IDS_SKIPPED: u32 = 1 << 16;

/// The row that says how many shards there are.
pub fn shards_row(shards: u16) -> Write {
    let row = Bytes::copy_from_slice(&shards.to_be_bytes());
    Write::Put(Tree::Meta, Bytes::from_static(keys::SHARDS), row)
}

impl GroupImage {
    /// Takes messages out of a shard.
    pub fn give_up(&mut self, gone: &BTreeMap<(QueueId, LaneId), BTreeSet<u64>>) {
        let Machine::Shard(shard) = &mut self.machine else { return };
        if gone.is_empty() {
            return;
        }
        for ((queue, lane), sequences) in gone {
            let sequences: Vec<u64> = sequences.iter().copied().collect();
            shard.give_up(*queue, *lane, &sequences);
        }
        let mut whole = Shard::default();
        for (key, row) in shard.export() {
            if let Err(error) = whole.restore(&key, &row) {
                self.faults.push(Fault { place: row_name(&key), detail: error.to_string() });
            }
        }
        whole.finish_restore();
        **shard = whole;
    }

    /// Moves the catalogue on past everything that may have been used before a loss.
    pub fn go_on_after_loss(&mut self, newest_queue: QueueId, handle_key: [u8; 32]) {
        if let Machine::Catalogue(catalogue) = &mut self.machine {
            catalogue.go_on_after_loss(newest_queue, QUEUE_IDS_SKIPPED, handle_key);
        }
    }

    /// Hands out every row of the group as it has to be on a fresh volume. `substitutes` are chunks that are written empty.
    pub fn write_anew(
        &mut self,
        image: &Image,
        substitutes: &[ChunkKey],
        is_lossy: bool,
        put: &mut dyn FnMut(Write),
    ) {
        let space = self.space();
        if is_lossy && let Machine::Shard(shard) = &mut self.machine {
            shard.forget_catalogue();
        }
        for (key, row) in self.machine.export() {
            put(Write::Put(Tree::State, space.row(&key), row.into()));
        }
        self.put_chunks(image, substitutes, put);
        self.put_messages(image, put);
        let mut newest = self.last.0;
        image.salvage(Tree::Log, &space.first(), &space.end(), |key, _| {
            newest = newest.max(Space::log_position(&key).map_or(0, |(index, _)| index));
        });
        let (term, vote, commit) = self.hard_state.unwrap_or((self.last.1, 0, 0));
        let index = if is_lossy { newest.max(commit) + INDEXES_SKIPPED } else { self.last.0 };
        let term = term.max(self.last.1).max(1);
        let progress = Progress {
            incarnation: self.incarnation,
            clean_from: self.incarnation,
            applied: (index, term),
            truncated: (index, term),
            voters: self.voters.clone(),
        };
        put(Write::Put(Tree::Meta, keys::progress(self.id), progress.encode()));
        let state = HardState { term, vote, commit: index, ..HardState::default() };
        put(Write::Put(Tree::Meta, keys::hard_state(self.id), encode_hard_state(&state)));
    }

    fn put_chunks(&self, image: &Image, substitutes: &[ChunkKey], put: &mut dyn FnMut(Write)) {
        let space = self.space();
        let mut put_chunk = |key: ChunkKey, row: Bytes| {
            if self.machine.needs(&RowKey::Chunk(key)) {
                put(Write::Put(Tree::State, space.row(&RowKey::Chunk(key)), row));
            }
        };
        // Of queues that are gone, too: their messages have yet to be freed.
        image.salvage(Tree::State, &space.chunks(), &space.end(), |key, row| {
            if let Ok(RowKey::Chunk(key)) = RowKey::decode(Space::strip(&key))
                && Chunk::decode(&row).is_ok()
            {
                put_chunk(key, row);
            }
        });
        for (key, row) in &self.closed {
            put_chunk(*key, row.clone());
        }
        for key in substitutes {
            put_chunk(*key, Chunk::empty_row(key.number * CHUNK_MESSAGES).into());
        }
    }

    /// Every message is read by itself, and so are the chunks: a scan loses what lies beside a block that cannot be read.
    fn put_messages(&self, image: &Image, put: &mut dyn FnMut(Write)) {
        let Machine::Shard(shard) = &self.machine else { return };
        let space = self.space();
        let put = RefCell::new(put);
        shard.survey(
            |key| {
                let row = self.chunk_row(image, key)?;
                let chunk = Chunk::decode(&row).ok()?;
                (put.borrow_mut())(Write::Put(Tree::State, space.row(&RowKey::Chunk(*key)), row));
                Some(chunk)
            },
            |seen| {
                if let Seen::Message(message) = seen
                    && let Ok(Some(row)) = image.get(Tree::Log, &space.body(message.body))
                {
                    (put.borrow_mut())(Write::Put(Tree::Log, space.body(message.body), row));
                }
            },
        );
    }
}
