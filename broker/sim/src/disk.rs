//! A disk in memory, as wrong as a real one may be: it forgets what was not synced, tears the last batch, loses synced
//! batches, and damages pages.
//!
//! What a reader sees and what survives are two views. A batch becomes visible in two halves before it is durable, as it
//! does in the real store, where reads run beside the committer; so a reader that looks at rows of a batch in flight is
//! caught.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use cmq_broker::replication::keys::Space;
use cmq_broker::storage::{Batch, ScanLimit, Store, StoreError, Tree, Write};
use cmq_engine::row::CHUNK_KIND;

/// Synced batches that can still be lost.
const LOSABLE: usize = 64;

/// Rows of the three trees, which sort before each other.
type Rows = BTreeMap<(Tree, Bytes), Bytes>;

/// What a crash does to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The process ends: the operating system keeps what it was given.
    None,
    /// Power is lost: of the batches that were not synced a random prefix survives.
    Unsynced,
    /// Power is lost, and the disk had lied about synced batches.
    Synced,
}

/// What a crash left of the batch that was being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastBatch {
    /// There was none.
    None,
    /// All of it.
    Whole,
    /// Nothing: it was torn, and a torn batch is dropped at the next open.
    Torn,
}

#[derive(Debug)]
struct InFlight {
    batch: Batch,
    /// How many of its writes can be seen.
    visible: usize,
}

#[derive(Debug, Default)]
struct Inner {
    /// Everything up to the oldest batch that may be lost.
    settled: Rows,
    /// Number of the newest batch in there.
    settled_to: u64,
    /// Synced batches, the latest ones.
    synced: VecDeque<Batch>,
    /// Written, not synced.
    unsynced: Vec<Batch>,
    in_flight: Option<InFlight>,
    view: Rows,
    /// Number of the newest batch that was written.
    newest: u64,
    /// Number in the side file, which is synced on its own.
    side_file: u64,
    damaged: Option<(Tree, Bytes)>,
    /// Whether the damage was read.
    is_found: bool,
    misread: Option<String>,
}

/// The disk of one node. It outlives the node's processes.
#[derive(Debug, Default)]
pub struct SimDisk {
    inner: Mutex<Inner>,
}

fn write(rows: &mut Rows, writes: &[Write]) {
    for write in writes {
        match write {
            Write::Put(tree, key, value) => _ = rows.insert((*tree, key.clone()), value.clone()),
            Write::Delete(tree, key) => _ = rows.remove(&(*tree, key.clone())),
        }
    }
}

fn row_of(write: &Write) -> (Tree, &Bytes) {
    match write {
        Write::Put(tree, key, _) | Write::Delete(tree, key) => (*tree, key),
    }
}

impl Inner {
    fn show(&mut self, until: usize) {
        let Some(in_flight) = &mut self.in_flight else { return };
        let until = until.min(in_flight.batch.writes.len());
        let writes = &in_flight.batch.writes[in_flight.visible.min(until)..until];
        if let Some((tree, key)) = &self.damaged
            && writes.iter().any(|write| row_of(write) == (*tree, key))
        {
            // A new version of the row lies elsewhere.
            self.damaged = None;
        }
        write(&mut self.view, writes);
        in_flight.visible = in_flight.visible.max(until);
    }

    fn settle(&mut self) {
        while self.synced.len() > LOSABLE
            && let Some(batch) = self.synced.pop_front()
        {
            write(&mut self.settled, &batch.writes);
            self.settled_to = batch.number;
        }
    }

    fn check_read(&mut self, tree: Tree, from: &[u8], to: &[u8]) {
        let Some(in_flight) = &self.in_flight else { return };
        // A row that is being deleted is one that nobody needs: seen or not, it changes nothing. Nor does a closed chunk,
        // which never changes: whoever needs it knows that it is there.
        let matters = |write: &&Write| match write {
            Write::Put(Tree::State, key, _) => Space::strip(key).first() != Some(&CHUNK_KIND),
            Write::Put(..) => true,
            Write::Delete(..) => false,
        };
        let puts = in_flight.batch.writes.iter().filter(matters);
        let mut touched =
            puts.map(row_of).filter(|(of, key)| *of == tree && from <= &key[..] && &key[..] <= to);
        if let Some((_, key)) = touched.next()
            && self.misread.is_none()
        {
            self.misread = Some(format!("row {key:?} of {tree:?} was read while its batch was in flight"));
        }
    }

    fn check_damage(&mut self, tree: Tree, key: &[u8]) -> Result<(), StoreError> {
        if self.damaged.as_ref().is_some_and(|(of, damaged)| *of == tree && damaged == key) {
            self.is_found = true;
            return Err(StoreError::Damaged {
                place: format!("{tree:?} {key:?}"),
                detail: "checksum mismatch in a page".into(),
            });
        }
        Ok(())
    }
}

impl SimDisk {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A simulated process may have panicked while it read.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a batch that the node wants written.
    pub fn submit(&self, batch: Batch) {
        self.lock().in_flight = Some(InFlight { batch, visible: 0 });
    }

    /// The first half of the batch in flight can be seen.
    pub fn show_half(&self) {
        let mut inner = self.lock();
        let half = inner.in_flight.as_ref().map_or(0, |in_flight| in_flight.batch.writes.len().div_ceil(2));
        inner.show(half);
    }

    /// The batch in flight is written, and synced together with all before it if `is_synced`.
    pub fn complete(&self, is_synced: bool) {
        let mut inner = self.lock();
        inner.show(usize::MAX);
        let Some(InFlight { batch, .. }) = inner.in_flight.take() else { return };
        inner.newest = batch.number;
        inner.unsynced.push(batch);
        if is_synced {
            let synced = std::mem::take(&mut inner.unsynced);
            inner.synced.extend(synced);
            inner.settle();
        }
    }

    /// Writes the number of the newest synced batch to the side file.
    pub fn write_side_file(&self) {
        let mut inner = self.lock();
        let newest = inner.synced.back().map_or(0, |batch| batch.number);
        inner.side_file = inner.side_file.max(newest);
    }

    /// Whether a loss of synced batches would be noticed by the side file.
    pub fn has_noticeable_tail(&self) -> bool {
        let inner = self.lock();
        inner.synced.front().is_some_and(|batch| batch.number <= inner.side_file)
    }

    /// The process ends. Says what became of the batch in flight.
    pub fn crash(&self, loss: Loss, rng: &mut fastrand::Rng) -> LastBatch {
        let mut inner = self.lock();
        let survivors = match loss {
            Loss::None => inner.unsynced.len(),
            _ => rng.usize(..=inner.unsynced.len()),
        };
        let is_cut = survivors < inner.unsynced.len();
        inner.unsynced.truncate(survivors);
        let last = match inner.in_flight.take() {
            None => LastBatch::None,
            Some(in_flight) if !is_cut && loss != Loss::Synced && rng.bool() => {
                inner.unsynced.push(in_flight.batch);
                LastBatch::Whole
            }
            Some(_) => LastBatch::Torn,
        };
        if loss == Loss::Synced {
            inner.unsynced.clear();
            let side_file = inner.side_file;
            let kept = inner.synced.iter().take_while(|batch| batch.number < side_file).count();
            let kept = rng.usize(kept.saturating_sub(8)..=kept);
            inner.synced.truncate(kept);
        }
        let mut view = inner.settled.clone();
        for batch in inner.synced.iter().chain(&inner.unsynced) {
            write(&mut view, &batch.writes);
        }
        inner.view = view;
        let newest = inner.unsynced.last().or(inner.synced.back()).map(|batch| batch.number);
        inner.newest = newest.unwrap_or(inner.settled_to);
        last
    }

    /// Number of the newest batch, when the store opens.
    ///
    /// # Errors
    /// When batches are missing that the side file knows of, unless `ignore_side_file`.
    pub fn open(&self, ignore_side_file: bool) -> Result<u64, StoreError> {
        let inner = self.lock();
        if inner.newest < inner.side_file && !ignore_side_file {
            return Err(StoreError::LostTail { found: inner.newest, expected: inner.side_file });
        }
        Ok(inner.newest)
    }

    /// Damages a random row of the log or of the state, so that reading it fails. Answers whether there was one.
    pub fn damage(&self, rng: &mut fastrand::Rng) -> bool {
        let mut inner = self.lock();
        let count = inner.view.keys().filter(|(tree, _)| *tree != Tree::Meta).count();
        if count == 0 {
            return false;
        }
        let at = rng.usize(..count);
        let row = inner.view.keys().filter(|(tree, _)| *tree != Tree::Meta).nth(at).cloned();
        inner.damaged = row;
        true
    }

    /// Whether a damaged row was read.
    pub fn damage_found(&self) -> bool {
        self.lock().is_found
    }

    /// Says which row was read although a batch in flight touches it, if any.
    pub fn misread(&self) -> Option<String> {
        self.lock().misread.take()
    }

    /// All rows of a tree.
    pub fn rows(&self, tree: Tree) -> Vec<(Bytes, Bytes)> {
        let inner = self.lock();
        let of_tree = inner.view.iter().filter(|((of, _), _)| *of == tree);
        of_tree.map(|((_, key), value)| (key.clone(), value.clone())).collect()
    }
}

impl Store for SimDisk {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let mut inner = self.lock();
        inner.check_read(tree, key, key);
        inner.check_damage(tree, key)?;
        Ok(inner.view.get(&(tree, Bytes::copy_from_slice(key))).cloned())
    }

    fn scan(
        &self,
        tree: Tree,
        from: &[u8],
        to: &[u8],
        limit: ScanLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let mut inner = self.lock();
        if from >= to {
            return Ok(Vec::new());
        }
        let mut found: Vec<(Bytes, Bytes)> = Vec::new();
        let mut bytes = 0;
        let range = (
            Bound::Included((tree, Bytes::copy_from_slice(from))),
            Bound::Excluded((tree, Bytes::copy_from_slice(to))),
        );
        for ((_, key), value) in inner.view.range(range) {
            bytes += key.len() + value.len();
            if !found.is_empty() && (found.len() >= limit.rows || bytes > limit.bytes) {
                break;
            }
            found.push((key.clone(), value.clone()));
        }
        let last = found.last().map(|(key, _)| key.clone()).unwrap_or_default();
        inner.check_read(tree, from, &last);
        for (key, _) in &found {
            inner.check_damage(tree, key)?;
        }
        Ok(found)
    }
}
