//! What all tasks of the soak share.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use super::lanes::Lane;
use super::ledger::{Ledger, Time};
use crate::stats::Latencies;

/// Failed calls that are kept with their text.
const SHOWN_MAX: usize = 5;

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Send,
    BatchSend,
    Receive,
    BatchReceive,
    Delete,
    BatchDelete,
    /// From the moment a message is acknowledged and due to its arrival at a waiting long poll.
    Delivery,
    CreateQueue,
    DeleteQueue,
    RewindQueue,
    ClearQueue,
}

impl Kind {
    pub(super) const ALL: [Kind; 11] = [
        Kind::Send,
        Kind::BatchSend,
        Kind::Receive,
        Kind::BatchReceive,
        Kind::Delete,
        Kind::BatchDelete,
        Kind::Delivery,
        Kind::CreateQueue,
        Kind::DeleteQueue,
        Kind::RewindQueue,
        Kind::ClearQueue,
    ];

    /// Its name in columns and tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Send => "send",
            Kind::BatchSend => "batch_send",
            Kind::Receive => "receive",
            Kind::BatchReceive => "batch_receive",
            Kind::Delete => "delete",
            Kind::BatchDelete => "batch_delete",
            Kind::Delivery => "delivery",
            Kind::CreateQueue => "create_queue",
            Kind::DeleteQueue => "delete_queue",
            Kind::RewindQueue => "rewind_queue",
            Kind::ClearQueue => "clear_queue",
        }
    }
}

/// Latencies by [`Kind`].
pub(super) type Timings = [Latencies; Kind::ALL.len()];

/// How far the soak is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Messages are sent.
    Load,
    /// No more; what is there is taken.
    Drain,
    /// Nobody calls any more.
    Over,
}

/// Shared by all tasks, which run on one thread.
pub(super) struct World {
    pub(super) broker: SocketAddr,
    pub(super) lanes: Vec<Lane>,
    /// As long as `lanes`.
    pub(super) ledgers: Vec<RefCell<Ledger>>,
    pub(super) phase: Cell<Phase>,
    start: Instant,
    /// Unix time of `start`.
    start_unix: Duration,
    timings: RefCell<Timings>,
    failed: Cell<u64>,
    failures: RefCell<Vec<String>>,
}

impl World {
    pub(super) fn new(broker: SocketAddr, lanes: Vec<Lane>) -> World {
        let ledgers = lanes.iter().map(|lane| RefCell::new(Ledger::new(lane.rules))).collect();
        World {
            broker,
            lanes,
            ledgers,
            phase: Cell::new(Phase::Load),
            start: Instant::now(),
            start_unix: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
            timings: RefCell::default(),
            failed: Cell::new(0),
            failures: RefCell::default(),
        }
    }

    /// Time since the start.
    pub(super) fn now(&self) -> Time {
        self.start.elapsed()
    }

    /// The Unix second in which `time` lies.
    pub(super) fn unix_seconds(&self, time: Time) -> u64 {
        (self.start_unix + time).as_secs()
    }

    /// The time of a Unix second.
    pub(super) fn at_unix(&self, seconds: u64) -> Time {
        Duration::from_secs(seconds).saturating_sub(self.start_unix)
    }

    pub(super) fn time(&self, kind: Kind, latency: Duration) {
        self.timings.borrow_mut()[kind as usize].add(latency);
    }

    /// The latencies since the last look.
    pub(super) fn take_timings(&self) -> Timings {
        self.timings.take()
    }

    /// Counts a call that failed or was refused.
    pub(super) fn fail(&self, text: String) {
        self.failed.set(self.failed.get() + 1);
        let mut failures = self.failures.borrow_mut();
        if failures.len() < SHOWN_MAX {
            eprintln!("soak: {text}");
            failures.push(text);
        }
    }

    pub(super) fn failed(&self) -> u64 {
        self.failed.get()
    }

    pub(super) fn failures(&self) -> Vec<String> {
        self.failures.borrow().clone()
    }
}
