//! The options of the three trees. fjall stores them when a tree is made and never looks at them again, so they depend
//! on nothing that a user can set: what `--memory` decides is applied while running.

use std::sync::Arc;

use fjall::CompressionType;
use fjall::KeyspaceCreateOptions;
use fjall::compaction::Leveled;
use fjall::config::{
    BlockSizePolicy, BloomConstructionPolicy, CompressionPolicy, FilterPolicy, FilterPolicyEntry,
    PinningPolicy,
};

use super::super::Tree;
use super::super::options::TABLE_BYTES;

/// fjall's own limit of a memtable, in bytes: a backstop, for the keeper rotates by the memory budget.
const MEMTABLE_BYTES_BACKSTOP: u64 = 128 * 1024 * 1024;
/// Filters of the upper levels: 1 % of false positives.
const FILTER_BITS_PER_KEY: f32 = 10.0;

/// Name of a tree inside the database. Never changes.
pub(super) fn name(tree: Tree) -> &'static str {
    match tree {
        Tree::Log => "log",
        Tree::State => "state",
        Tree::Meta => "meta",
    }
}

pub(super) fn options(tree: Tree) -> KeyspaceCreateOptions {
    let options = KeyspaceCreateOptions::default()
        .manual_journal_persist(true)
        .max_memtable_size(MEMTABLE_BYTES_BACKSTOP)
        .compaction_strategy(Arc::new(Leveled::default().with_table_target_size(TABLE_BYTES)))
        // A body is read once or twice, soon after it was written: compressing it costs more than it saves, and bodies
        // worth it are compressed by their senders.
        .data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
        .index_block_compression_policy(CompressionPolicy::all(CompressionType::None))
        .filter_policy(FilterPolicy::all(FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(
            FILTER_BITS_PER_KEY,
        ))))
        // Pinned blocks would grow with the backlog. In the cache they are bounded.
        .index_block_pinning_policy(PinningPolicy::all(false))
        .filter_block_pinning_policy(PinningPolicy::all(false));
    match tree {
        // Rows are read in order, and only ones that are there.
        Tree::Log => {
            options.expect_point_read_hits(true).data_block_size_policy(BlockSizePolicy::all(8 * 1024))
        }
        Tree::State | Tree::Meta => options.data_block_size_policy(BlockSizePolicy::all(4 * 1024)),
    }
}
