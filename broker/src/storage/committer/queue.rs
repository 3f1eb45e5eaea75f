//! What waits for the committer: bounded in bytes, and closed by the first failure.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};

use super::super::options::{COMMIT_QUEUE_BYTES_MAX, KEY_BYTES_MAX};
use super::super::{Batch, StoreError};
use super::SyncMode;

pub(in super::super) struct Queue {
    state: Mutex<State>,
    work: Condvar,
    room: Condvar,
}

struct State {
    batches: VecDeque<(Batch, SyncMode)>,
    bytes: usize,
    /// Number of the newest batch that was taken in.
    last_number: u64,
    failure: Option<StoreError>,
    is_dead: bool,
    is_closed: bool,
}

impl Queue {
    pub(super) fn new(last_number: u64) -> Self {
        let state = State {
            batches: VecDeque::new(),
            bytes: 0,
            last_number,
            failure: None,
            is_dead: false,
            is_closed: false,
        };
        Self { state: Mutex::new(state), work: Condvar::new(), room: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic happens under this lock")
    }

    pub(super) fn push(&self, batch: Batch, mode: SyncMode) {
        let bytes = batch.bytes();
        let longest = batch.writes.iter().map(|write| write.key().len()).max().unwrap_or(0);
        assert!(longest <= KEY_BYTES_MAX, "a key of {longest} bytes is too long");
        let mut state = self.lock();
        while state.bytes >= COMMIT_QUEUE_BYTES_MAX && !state.is_dead {
            state = self.room.wait(state).expect("no panic happens under this lock");
        }
        if state.is_dead {
            return;
        }
        let last_number = state.last_number;
        if batch.number != last_number + 1 {
            drop(state);
            panic!("batch {} follows batch {last_number}", batch.number);
        }
        state.last_number = batch.number;
        state.bytes += bytes;
        state.batches.push_back((batch, mode));
        drop(state);
        self.work.notify_one();
    }

    /// Waits for work and takes as many batches as fit into `bytes_max`, at least one. It has to be synced when one of
    /// them asks for it. Nothing is left when the queue was closed.
    ///
    /// # Errors
    /// What failed elsewhere.
    pub(super) fn take(
        &self,
        into: &mut Vec<Batch>,
        bytes_max: usize,
    ) -> Result<Option<SyncMode>, StoreError> {
        let mut state = self.lock();
        loop {
            if let Some(error) = state.failure.take() {
                return Err(error);
            }
            if !state.batches.is_empty() {
                break;
            }
            if state.is_closed {
                return Ok(None);
            }
            state = self.work.wait(state).expect("no panic happens under this lock");
        }
        let mut taken = 0;
        let mut mode = SyncMode::Buffer;
        while let Some((batch, batch_mode)) = state.batches.pop_front() {
            let bytes = batch.bytes();
            if !into.is_empty() && taken + bytes > bytes_max {
                state.batches.push_front((batch, batch_mode));
                break;
            }
            taken += bytes;
            into.push(batch);
            if batch_mode == SyncMode::Sync {
                mode = SyncMode::Sync;
            }
        }
        state.bytes -= taken;
        drop(state);
        self.room.notify_all();
        Ok(Some(mode))
    }

    /// Makes the committer report a failure that happened elsewhere, once.
    pub(in super::super) fn fail(&self, error: StoreError) {
        let mut state = self.lock();
        if !state.is_dead && state.failure.is_none() {
            state.failure = Some(error);
            self.work.notify_one();
        }
    }

    pub(super) fn kill(&self) {
        self.lock().die();
        self.room.notify_all();
    }

    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.work.notify_one();
    }

    pub(super) fn is_dead(&self) -> bool {
        self.lock().is_dead
    }

    pub(super) fn last_number(&self) -> u64 {
        self.lock().last_number
    }

    pub(super) fn bytes(&self) -> usize {
        self.lock().bytes
    }
}

impl State {
    fn die(&mut self) {
        self.is_dead = true;
        self.batches.clear();
        self.bytes = 0;
    }
}
