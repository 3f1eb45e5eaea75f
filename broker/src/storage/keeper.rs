//! The thread that looks after the volume beside the committer: hands memtables over to be flushed, stores the number of
//! the last durable batch, watches the free space, and has space won back. None of it may hold up a commit.

mod reclaim;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::Instant;

use super::StoreError;
use super::committer::Queue;
use super::fjall_store::FjallStore;
use super::options::{KEEPER_INTERVAL, SIDE_FILE_INTERVAL};
use super::side_file::SideFile;
use reclaim::Reclaimer;

/// Handle of the thread.
pub(super) struct Keeper {
    thread: JoinHandle<SideFile>,
    stop: Arc<AtomicBool>,
}

impl Keeper {
    pub(super) fn start(store: FjallStore, queue: Arc<Queue>) -> Result<Self, StoreError> {
        let side_file = store.take_side_file().expect("a store has one committer");
        let stop = Arc::new(AtomicBool::new(false));
        let worker = Worker {
            reclaimer: Reclaimer::new(store.clone()),
            store,
            queue,
            side_file,
            stop: stop.clone(),
            stored: Instant::now(),
        };
        let thread = std::thread::Builder::new()
            .name("keeper".to_owned())
            .spawn(move || worker.run())
            .map_err(|error| StoreError::Io("start the keeper", error.to_string()))?;
        Ok(Self { thread, stop })
    }

    /// Wakes the thread before its next tick.
    pub(super) fn waker(&self) -> Thread {
        self.thread.thread().clone()
    }

    /// Stops the thread and gets the side file back; nothing, if it panicked.
    pub(super) fn stop(self) -> Option<SideFile> {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        self.thread.join().ok()
    }
}

struct Worker {
    store: FjallStore,
    queue: Arc<Queue>,
    side_file: SideFile,
    reclaimer: Reclaimer,
    stop: Arc<AtomicBool>,
    /// When the side file was last looked at.
    stored: Instant,
}

impl Worker {
    fn run(mut self) -> SideFile {
        let mut next_tick = Instant::now();
        while !self.stop.load(Ordering::Acquire) {
            let is_tick = Instant::now() >= next_tick;
            let done = self.store.rotate().and_then(|()| if is_tick { self.tick() } else { Ok(()) });
            if let Err(error) = done {
                self.queue.fail(error);
                break;
            }
            if is_tick {
                next_tick = Instant::now() + KEEPER_INTERVAL;
            }
            std::thread::park_timeout(next_tick.saturating_duration_since(Instant::now()));
        }
        self.side_file
    }

    fn tick(&mut self) -> Result<(), StoreError> {
        self.store.check_health()?;
        self.store.look_at_space()?;
        self.store.restore_ballast();
        if self.stored.elapsed() + KEEPER_INTERVAL / 2 >= SIDE_FILE_INTERVAL {
            self.stored = Instant::now();
            self.store_number()?;
        }
        self.reclaimer.tick();
        Ok(())
    }

    fn store_number(&mut self) -> Result<(), StoreError> {
        let durable = self.store.durable_batch();
        if durable == self.side_file.number() {
            return Ok(());
        }
        self.side_file
            .store(durable)
            .map_err(|error| StoreError::Io("store the number of the last batch", error.to_string()))
    }
}

const _: () = assert!(KEEPER_INTERVAL.as_millis() * 2 < SIDE_FILE_INTERVAL.as_millis());
