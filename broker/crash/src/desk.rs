//! What all connections of a run share: the ledger, the clock, the handles kept for later.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::ledger::{Held, Ledger, Span};

/// Handles that are kept for later at most.
const SHELF_MAX: usize = 2_000;

/// Shared by all connections of a run.
#[derive(Debug)]
pub(crate) struct Desk {
    ledger: Mutex<Ledger>,
    shelf: Mutex<Vec<(Duration, Held)>>,
    began: Instant,
    acknowledged: AtomicU64,
    is_closing: AtomicBool,
}

impl Desk {
    /// A desk with this ledger; its clock starts now.
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self {
            ledger: Mutex::new(ledger),
            shelf: Mutex::default(),
            began: Instant::now(),
            acknowledged: AtomicU64::new(0),
            is_closing: AtomicBool::new(false),
        }
    }

    /// The ledger. Hold it for no longer than a few entries take, and never across an await.
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time since the start of the run.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// From `start` until now.
    pub(crate) fn span_from(&self, start: Duration) -> Span {
        Span { start, end: self.now() }
    }

    /// Counts a send or a delete that was acknowledged.
    pub(crate) fn acknowledge(&self) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    /// Sends and deletes acknowledged so far; a batch counts once.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Tells the connections that the broker is about to go, or that it is back.
    pub(crate) fn set_closing(&self, is_closing: bool) {
        self.is_closing.store(is_closing, Ordering::SeqCst);
    }

    /// Whether a connection that breaks should stay closed.
    pub(crate) fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::SeqCst)
    }

    /// Keeps a handle until `due`, also over a kill.
    pub(crate) fn shelve(&self, due: Duration, held: Held) {
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        if shelf.len() < SHELF_MAX {
            shelf.push((due, held));
        }
    }

    /// A kept handle that is due.
    pub(crate) fn take_due(&self) -> Option<Held> {
        let now = self.now();
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        let position = shelf.iter().position(|(due, _)| *due <= now)?;
        Some(shelf.swap_remove(position).1)
    }
}
