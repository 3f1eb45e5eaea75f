//! The one thread that writes.
//!
//! fjall does not merge the syncs of several writers, so this does: whatever was queued while one commit was being synced
//! becomes the next one. No timer, no deliberate delay. Answers come in the order of the batches. The first failure is
//! the last: a failed sync cannot be repeated, for the kernel may have dropped what it could not write.

mod queue;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fjall::PersistMode;

use super::budget::SEALED_MEMTABLES_MAX;
use super::fjall_store::FjallStore;
use super::keeper::Keeper;
use super::options::{COMMIT_BYTES_MAX, JOURNAL_BYTES_HOLD, ROOM_CHECK_BYTES};
use super::{Batch, StoreError};
pub(super) use queue::Queue;

/// How durable a batch has to be before it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMode {
    /// On disk: it survives the machine.
    Sync,
    /// With the operating system: it survives the process. The next synced commit makes it durable too.
    Buffer,
}

/// What the committer reports.
#[derive(Debug)]
pub enum CommitEvent {
    /// These batches are committed.
    Committed {
        /// The oldest of them.
        first: u64,
        /// The newest of them.
        last: u64,
        /// Whether they, and all before them, are on disk. A batch that asked for it is never answered without.
        synced: bool,
    },
    /// A write or sync failed, or a background flush or compaction. Nothing more will be committed or reported; the
    /// process has to end.
    Failed(StoreError),
}

/// How long commits wait for fjall to delete journals once everything in them is flushed. Its one worker deletes them when
/// it comes to the message of the last flush, which may stand behind compactions: seconds on a slow disk.
const JOURNAL_DELETE_WAIT_MAX: Duration = Duration::from_secs(60);

/// Called on the committer's thread for each event. It must not block: commits wait for it.
pub type OnCommit = Box<dyn FnMut(CommitEvent) + Send>;

/// Handle of the thread. One a store.
pub struct Committer {
    store: FjallStore,
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
    keeper: Option<Keeper>,
}

impl Committer {
    /// Starts the thread, and the one that looks after the volume beside it.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    ///
    /// # Panics
    /// When the store has a committer already.
    pub fn start(store: FjallStore, on_commit: OnCommit) -> Result<Self, StoreError> {
        let queue = Arc::new(Queue::new(store.last_batch()));
        let keeper = Keeper::start(store.clone(), queue.clone())?;
        let mut worker = Worker {
            store: store.clone(),
            queue: queue.clone(),
            wake_keeper: keeper.waker(),
            on_commit,
            sync: sync_mode(),
            bytes_since_look: 0,
            journals_are_long: false,
            flushed: None,
        };
        let thread = std::thread::Builder::new()
            .name("committer".to_owned())
            .spawn(move || worker.run_to_the_end())
            .map_err(|error| StoreError::Io("start the committer", error.to_string()))?;
        Ok(Self { store, queue, thread: Some(thread), keeper: Some(keeper) })
    }

    /// Hands over a batch. Batches come in the order of their numbers, without gaps. Blocks while more than
    /// [`COMMIT_QUEUE_BYTES_MAX`](super::options::COMMIT_QUEUE_BYTES_MAX) wait. After a failure it does nothing.
    ///
    /// # Panics
    /// When the number is not the next one: the count of durable batches would lie from then on. When a key is longer
    /// than [`KEY_BYTES_MAX`](super::options::KEY_BYTES_MAX): the database would cut it off.
    pub fn submit(&self, batch: Batch, mode: SyncMode) {
        self.queue.push(batch, mode);
    }

    /// Bytes that wait. Whoever looks at it before building a batch is never blocked by [`Committer::submit`].
    pub fn queued_bytes(&self) -> usize {
        self.queue.bytes()
    }

    /// Commits what is queued, syncs, stores the number of the last batch and stops.
    ///
    /// # Errors
    /// When something could not be made durable. What was reported as synced is.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.stop()
    }

    fn stop(&mut self) -> Result<(), StoreError> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        self.queue.close();
        let committed =
            thread.join().map_err(|_| StoreError::Io("commit", "the committer panicked".to_owned()));
        let side_file = self.keeper.take().expect("the keeper lives as long as the thread").stop();
        committed?;
        if self.queue.is_dead() {
            return Err(StoreError::Io("close the store", "an earlier write had failed".to_owned()));
        }
        self.store.sync_all()?;
        let last = self.queue.last_number();
        self.store.set_durable(last);
        let Some(mut side_file) = side_file else {
            return Err(StoreError::Io("close the store", "the keeper panicked".to_owned()));
        };
        let stored = side_file
            .store(last)
            .map_err(|error| StoreError::Io("store the number of the last batch", error.to_string()));
        self.store.give_side_file_back(side_file);
        stored
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::error!(%error, "the store did not close cleanly");
        }
    }
}

/// What a batch that wants to be durable is committed with.
fn sync_mode() -> PersistMode {
    // The crash tests prove that they notice a missing sync by leaving it out.
    #[cfg(feature = "test-faults")]
    if std::env::var_os("CMQ_TEST_COMMIT_SYNC").is_some_and(|value| value == "off") {
        tracing::warn!("commits are not synced");
        return PersistMode::Buffer;
    }
    PersistMode::SyncData
}

struct Worker {
    store: FjallStore,
    queue: Arc<Queue>,
    wake_keeper: std::thread::Thread,
    on_commit: OnCommit,
    sync: PersistMode,
    /// Bytes written since free space and journals were looked at.
    bytes_since_look: u64,
    /// Whether the journals were near their bound then.
    journals_are_long: bool,
    /// Since when nothing waits to be flushed, while the journals are still long.
    flushed: Option<Instant>,
}

impl Worker {
    /// Whatever ends the thread but a close is reported, or its callers would wait for ever.
    fn run_to_the_end(&mut self) {
        let ended = catch_unwind(AssertUnwindSafe(|| self.run()))
            .unwrap_or_else(|_| Err(StoreError::Io("commit", "the committer panicked".to_owned())));
        if let Err(error) = ended {
            self.queue.kill();
            (self.on_commit)(CommitEvent::Failed(error));
        }
    }

    fn run(&mut self) -> Result<(), StoreError> {
        let mut batches = Vec::new();
        while let Some(mode) = self.queue.take(&mut batches, COMMIT_BYTES_MAX)? {
            self.commit(&batches, mode)?;
            batches.clear();
        }
        Ok(())
    }

    fn commit(&mut self, batches: &[Batch], mode: SyncMode) -> Result<(), StoreError> {
        self.wait_for_flushes()?;
        let synced = mode == SyncMode::Sync;
        let persist = if synced { self.sync } else { PersistMode::Buffer };
        self.store.commit(batches, persist)?;
        let (first, last) = (batches[0].number, batches[batches.len() - 1].number);
        if synced {
            self.store.set_durable(last);
        }
        (self.on_commit)(CommitEvent::Committed { first, last, synced });
        self.look_after(batches)
    }

    fn look_after(&mut self, batches: &[Batch]) -> Result<(), StoreError> {
        if self.store.wants_rotation() {
            self.wake_keeper.unpark();
        }
        // The keeper may be held up by a slow disk.
        self.store.rotate_overgrown()?;
        self.bytes_since_look += batches.iter().map(Batch::bytes).sum::<usize>() as u64;
        if self.bytes_since_look >= ROOM_CHECK_BYTES {
            self.bytes_since_look = 0;
            self.store.look_at_space()?;
            self.journals_are_long = self.store.journal_bytes()? > JOURNAL_BYTES_HOLD;
        }
        Ok(())
    }

    /// Keeps memtables within the budget, and journals within their bound. fjall would do the first too, but asleep for
    /// 100 ms at a time.
    fn wait_for_flushes(&mut self) -> Result<(), StoreError> {
        const STEP: Duration = Duration::from_millis(1);
        const HEALTH_INTERVAL: Duration = Duration::from_millis(200);
        if !self.must_wait()? {
            return Ok(());
        }
        self.store.counters().held_back();
        let mut looked = Instant::now();
        while self.must_wait()? {
            std::thread::sleep(STEP);
            // A flusher that died would never end the wait.
            if looked.elapsed() > HEALTH_INTERVAL {
                self.store.check_health()?;
                looked = Instant::now();
            }
        }
        Ok(())
    }

    fn must_wait(&mut self) -> Result<bool, StoreError> {
        if self.store.sealed_memtables() >= SEALED_MEMTABLES_MAX {
            return Ok(true);
        }
        if !self.journals_are_long {
            return Ok(false);
        }
        // Only flushes shorten journals.
        self.store.rotate()?;
        let is_flushed = self.store.sealed_memtables() == 0;
        let flushed =
            if is_flushed { *self.flushed.get_or_insert_with(Instant::now) } else { Instant::now() };
        // Where the journals stay long all the same, a broker that stands still would be worse than one that breaks its
        // bound.
        self.journals_are_long =
            self.store.journal_bytes()? > JOURNAL_BYTES_HOLD && flushed.elapsed() < JOURNAL_DELETE_WAIT_MAX;
        if !is_flushed || !self.journals_are_long {
            self.flushed = None;
        }
        Ok(self.journals_are_long)
    }
}

#[cfg(test)]
mod tests;
