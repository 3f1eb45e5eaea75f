//! The store of a real broker: one fjall database on one volume.
//!
//! The volume: `lock`, `durable` (see `side_file`), `ballast` (see `space`) and `db`, which is fjall's. Reads come from
//! the driver thread while the committer writes; that they need no snapshot is the invariant of the layer.
//!
//! Checksums: fjall has one over every batch of a journal and one over every block of a table, and checks the latter at
//! every read. Rows of `state` and `meta` rely on these. Rows of `log` carry one of their own from the layer above, for
//! they live longest and are what a client gets to see.

pub(super) mod open;
mod trees;
mod write;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use fjall::{AbstractTree, Database, Keyspace, PersistMode};

use super::budget::MemoryBudget;
use super::files::io_error;
use super::format::{FORMAT_KEY, FormatRow};
use super::options::{JOURNAL_BYTES_FLUSH_ALL, Options, ReclaimPolicy, SHARED_VALUE_BYTES_MIN};
use super::pressure::{Counters, StorePressure};
use super::side_file::SideFile;
use super::space::{Ballast, Room, Space, Volume};
use super::{ScanLimit, Store, StoreError, Tree};

/// Handle of an open store; cheap to clone. The volume is closed when the last one goes.
#[derive(Clone)]
pub struct FjallStore {
    inner: Arc<Inner>,
}

struct Inner {
    db: Database,
    /// In the order of [`ALL_TREES`].
    trees: [Keyspace; 3],
    dir: PathBuf,
    memory: MemoryBudget,
    reclaim: ReclaimPolicy,
    /// The newest batch at the open.
    last_batch: u64,
    /// The newest batch that is known to be synced.
    durable: AtomicU64,
    space: Space,
    ballast: Ballast,
    counters: Counters,
    /// Taken by the committer while there is one.
    side_file: Mutex<Option<SideFile>>,
    /// Dropped last: nobody else may open the directory before the database is closed.
    _lock: File,
}

/// The trees in the order of all arrays by tree.
pub(super) const ALL_TREES: [Tree; 3] = [Tree::Log, Tree::State, Tree::Meta];

impl FjallStore {
    /// Opens the volume in `options.dir`, or makes a new one there.
    ///
    /// # Errors
    /// Every state in which the volume must not be used, with what to do about it: in use, too small, too new, damaged,
    /// shorter than what had been synced, or refused by the operating system.
    pub fn open(options: &Options) -> Result<Self, StoreError> {
        open::open(options)
    }

    /// The number of the newest batch when the store was opened; the next one submitted must be one higher.
    pub fn last_batch(&self) -> u64 {
        self.inner.last_batch
    }

    /// The number of the newest batch that is known to be durable.
    pub fn durable_batch(&self) -> u64 {
        self.inner.durable.load(Ordering::Acquire)
    }

    /// Whether new messages may be taken. As of at most a quarter of a second ago; costs nothing.
    pub fn room(&self) -> Room {
        self.inner.space.room()
    }

    /// Free bytes of the volume, as of the same look.
    pub fn free_bytes(&self) -> u64 {
        self.inner.space.free()
    }

    /// Bytes of the volume in all, as of the same look.
    pub fn total_bytes(&self) -> u64 {
        self.inner.space.total()
    }

    /// Figures for metrics. Asks the operating system and locks fjall for a moment: not for every message.
    ///
    /// # Errors
    /// When the size of the journal cannot be had.
    pub fn pressure(&self) -> Result<StorePressure, StoreError> {
        let db = &self.inner.db;
        let mut pressure = StorePressure {
            l0_runs: self.inner.trees.each_ref().map(|tree| tree.tree.l0_run_count()),
            sealed_memtables: self.inner.trees.each_ref().map(Keyspace::sealed_memtable_count),
            outstanding_flushes: db.outstanding_flushes(),
            active_compactions: db.active_compactions(),
            memtable_bytes: db.write_buffer_size(),
            block_cache_bytes: db.cache_size(),
            journals: db.journal_count(),
            journal_bytes: self.journal_bytes()?,
            disk_bytes: db.disk_space().map_err(|error| open::refused("measure the database", &error))?,
            free_bytes: self.free_bytes(),
            durable_batch: self.durable_batch(),
            ..StorePressure::default()
        };
        self.inner.counters.fill(&mut pressure);
        Ok(pressure)
    }

    fn tree(&self, tree: Tree) -> &Keyspace {
        &self.inner.trees[match tree {
            Tree::Log => 0,
            Tree::State => 1,
            Tree::Meta => 2,
        }]
    }
}

/// For the threads of the storage.
impl FjallStore {
    pub(super) fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    pub(super) fn reclaim_policy(&self) -> &ReclaimPolicy {
        &self.inner.reclaim
    }

    pub(super) fn set_durable(&self, number: u64) {
        self.inner.durable.store(number, Ordering::Release);
    }

    pub(super) fn take_side_file(&self) -> Option<SideFile> {
        self.inner.side_file.lock().expect("no panic happens under this lock").take()
    }

    pub(super) fn give_side_file_back(&self, file: SideFile) {
        *self.inner.side_file.lock().expect("no panic happens under this lock") = Some(file);
    }

    /// Looks at the free space.
    pub(super) fn look_at_space(&self) -> Result<Volume, StoreError> {
        self.inner.space.refresh()
    }

    /// Makes the ballast again when there is room. May take a while.
    pub(super) fn restore_ballast(&self) {
        self.inner.ballast.restore_if_room(self.free_bytes());
    }

    /// Fails when a worker of fjall, or a write, has failed. fjall then refuses all further writes.
    pub(super) fn check_health(&self) -> Result<(), StoreError> {
        self.inner
            .db
            .persist(PersistMode::Buffer)
            .map_err(|error| self.refused("flush or compact in the background", &error))
    }

    /// Why a write failed, with the room that is left: a full volume is the usual cause, and fjall's own text may not say it.
    fn refused(&self, what: &'static str, error: &fjall::Error) -> StoreError {
        match (open::refused(what, error), Volume::of(&self.inner.dir)) {
            (StoreError::Io(what, detail), Ok(volume)) => {
                let (free, dir) = (volume.free, self.inner.dir.display());
                StoreError::Io(what, format!("{detail}; {free} bytes are free on the volume of {dir}"))
            }
            (error, _) => error,
        }
    }

    /// Makes everything written so far durable.
    pub(super) fn sync_all(&self) -> Result<(), StoreError> {
        self.inner.db.persist(PersistMode::SyncAll).map_err(|error| open::refused("sync the journal", &error))
    }

    pub(super) fn journal_bytes(&self) -> Result<u64, StoreError> {
        self.inner.db.journal_disk_space().map_err(|error| open::refused("measure the journals", &error))
    }

    /// Whether a memtable has outgrown its share.
    pub(super) fn wants_rotation(&self) -> bool {
        ALL_TREES.iter().any(|tree| self.is_larger(*tree, Self::memtable_max(&self.inner.memory, *tree)))
    }

    fn is_larger(&self, tree: Tree, bytes: u64) -> bool {
        self.tree(tree).tree.active_memtable().size() > bytes
    }

    fn memtable_max(memory: &MemoryBudget, tree: Tree) -> u64 {
        match tree {
            Tree::Log => memory.memtable_log,
            Tree::State => memory.memtable_state,
            Tree::Meta => memory.memtable_meta,
        }
    }

    /// Hands large memtables to the flushers; all of them when the journals grow too long, which only flushes shorten.
    pub(super) fn rotate(&self) -> Result<(), StoreError> {
        let all = self.journal_bytes()? > JOURNAL_BYTES_FLUSH_ALL;
        for tree in ALL_TREES {
            let may_rotate = all && self.tree(tree).sealed_memtable_count() == 0;
            let max = if may_rotate { 0 } else { Self::memtable_max(&self.inner.memory, tree) };
            if self.is_larger(tree, max) {
                self.rotate_tree(tree)?;
            }
        }
        Ok(())
    }

    /// Hands over memtables that have outgrown their share by a quarter.
    pub(super) fn rotate_overgrown(&self) -> Result<(), StoreError> {
        for tree in ALL_TREES {
            let max = Self::memtable_max(&self.inner.memory, tree);
            if self.is_larger(tree, max + max / 4) {
                self.rotate_tree(tree)?;
            }
        }
        Ok(())
    }

    pub(super) fn rotate_tree(&self, tree: Tree) -> Result<(), StoreError> {
        self.tree(tree).rotate_memtable().map_err(|error| open::refused("hand over a memtable", &error))?;
        Ok(())
    }

    /// The most memtables that wait for their flush in one tree.
    pub(super) fn sealed_memtables(&self) -> usize {
        self.inner.trees.iter().map(Keyspace::sealed_memtable_count).max().unwrap_or(0)
    }

    pub(super) fn tree_figures(&self, tree: Tree) -> TreeFigures {
        let keyspace = self.tree(tree);
        let memtable = keyspace.tree.active_memtable();
        TreeFigures {
            bytes: keyspace.disk_space(),
            rows: (keyspace.approximate_len() as u64).saturating_sub(memtable.len() as u64),
            delete_marks: keyspace.tree.tombstone_count(),
            has_memtable: !memtable.is_empty(),
            sealed_memtables: keyspace.sealed_memtable_count(),
        }
    }

    /// Bytes of tables on disk that were replaced by others. They go once no reader can want them, and fjall looks for that
    /// only when it takes a memtable over.
    pub(super) fn replaced_bytes(&self, tree: Tree) -> Result<u64, StoreError> {
        let keyspace = self.tree(tree);
        let dir = keyspace.path().join("tables");
        let measure = || -> std::io::Result<u64> {
            let mut bytes = 0;
            for table in std::fs::read_dir(&dir)? {
                // One that goes meanwhile takes no room.
                bytes += table?.metadata().map_or(0, |table| table.len());
            }
            Ok(bytes)
        };
        let on_disk = measure().map_err(|error| io_error("measure the tables", &dir, &error))?;
        Ok(on_disk.saturating_sub(keyspace.disk_space()))
    }

    /// Has fjall let go of replaced tables. It keeps those that a reader as old as the last write but one could want, and
    /// looks when it takes over a memtable that is not empty: so a row is written that is there already.
    pub(super) fn let_go_of_replaced_tables(&self) -> Result<(), StoreError> {
        let meta = self.tree(Tree::Meta);
        meta.insert(FORMAT_KEY, FormatRow::current().encode())
            .map_err(|error| self.refused("write the format again", &error))?;
        self.rotate_tree(Tree::Meta)
    }

    /// Merges all tables of a tree; blocks until it is done.
    pub(super) fn compact(&self, tree: Tree) -> Result<(), StoreError> {
        self.tree(tree).major_compact().map_err(|error| open::refused("compact a tree", &error))
    }
}

/// Figures of a tree, memtables apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct TreeFigures {
    /// Bytes on disk.
    pub(super) bytes: u64,
    /// Rows in tables, delete marks included.
    pub(super) rows: u64,
    /// Marks of deletes in tables. Each hides a row below it.
    pub(super) delete_marks: u64,
    /// Whether something was written since the last flush.
    pub(super) has_memtable: bool,
    /// Memtables that wait for their flush.
    pub(super) sealed_memtables: usize,
}

impl Store for FjallStore {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let value = self.tree(tree).get(key).map_err(|error| self.read_error(tree, &error))?;
        Ok(value.map(|value| detached(value.into())))
    }

    fn scan(
        &self,
        tree: Tree,
        from: &[u8],
        to: &[u8],
        limit: ScanLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        scan(self.tree(tree), from, to, limit).map_err(|error| self.read_error(tree, &error))
    }
}

/// The rows of a tree between two keys, the second excluded, as many as the limit lets through.
pub(super) fn scan(
    tree: &Keyspace,
    from: &[u8],
    to: &[u8],
    limit: ScanLimit,
) -> fjall::Result<Vec<(Bytes, Bytes)>> {
    let mut rows = Vec::new();
    if from >= to {
        return Ok(rows);
    }
    let mut bytes = 0;
    for row in tree.range(from..to) {
        let (key, value) = row.into_inner()?;
        bytes += key.len() + value.len();
        if !rows.is_empty() && bytes > limit.bytes {
            break;
        }
        rows.push((detached(key.into()), detached(value.into())));
        if rows.len() >= limit.rows {
            break;
        }
    }
    Ok(rows)
}

impl FjallStore {
    fn read_error(&self, tree: Tree, error: &fjall::Error) -> StoreError {
        open::read_error(self.tree(tree).path(), tree, error)
    }

    /// The data directory.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }
}

/// A small value keeps neither its block nor its commit in memory.
pub(super) fn detached(value: Bytes) -> Bytes {
    if value.len() < SHARED_VALUE_BYTES_MIN { Bytes::copy_from_slice(&value) } else { value }
}

#[cfg(test)]
mod tests;
