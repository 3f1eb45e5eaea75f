//! A node: its disk, its clock, and the process that runs on it, or does not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cmq_broker::replication::driver::Driver;
use cmq_broker::replication::{GroupId, Input, NodeId};
use cmq_engine::attributes::QueueId;
use cmq_engine::shard::Counts;
use fastrand::Rng;

use crate::disk::SimDisk;
use crate::history::OperationId;
use crate::plan::Plan;

/// Unix milliseconds at which virtual time begins.
pub(super) const EPOCH_MS: u64 = 1_700_000_000_000;

/// How the next turn of a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doom {
    /// Power fails while the batch is being written.
    TornWrite,
    /// Power fails while the output is being carried out.
    MidTurn,
    /// The write fails for lack of room.
    OutOfSpace,
}

/// A running process.
pub(super) struct Process {
    /// Tells processes of a node apart.
    pub(super) number: u64,
    pub(super) driver: Driver<OperationId>,
    pub(super) inbox: Vec<Input<OperationId>>,
    /// Requests that it has not answered.
    pub(super) pending: BTreeSet<OperationId>,
    /// Receives that wait though they could be served, and since when.
    pub(super) overdue: BTreeMap<OperationId, u64>,
    /// When its monotonic clock showed `monotonic_base_ms`.
    pub(super) started_us: u64,
    pub(super) monotonic_base_ms: u64,
    /// When its next turn is.
    pub(super) turn_us: Option<u64>,
    pub(super) paused_until_us: u64,
    pub(super) is_stopping: bool,
    /// Turns in a row in which nothing came in or went out.
    pub(super) idle_turns: u32,
    pub(super) doom: Option<Doom>,
}

/// What runs on a node.
pub(super) enum Running {
    /// A process.
    Yes(Box<Process>),
    /// Nothing for now.
    No,
    /// Nothing ever again: the replica's data cannot be trusted.
    Out,
}

/// A node.
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) disk: Arc<SimDisk>,
    pub(super) running: Running,
    /// What its wall clock is ahead, milliseconds.
    pub(super) skew_ms: i64,
    /// Extra time that a sync takes, microseconds.
    pub(super) sync_delay_us: u64,
    pub(super) has_room: bool,
    /// Whether writes fail for lack of room.
    pub(super) is_full: bool,
    /// Whether something was done to it that lets it stay out for good.
    pub(super) is_marked: bool,
    pub(super) side_file_us: u64,
    pub(super) processes: u64,
}

impl Node {
    pub(super) fn new(id: NodeId, plan: &Plan, rng: &mut Rng) -> Self {
        let skew_ms = plan.skew_ms as i64;
        Self {
            id,
            disk: Arc::default(),
            running: Running::No,
            skew_ms: rng.i64(-skew_ms..=skew_ms),
            sync_delay_us: 0,
            has_room: true,
            is_full: false,
            is_marked: false,
            side_file_us: 0,
            processes: 0,
        }
    }

    pub(super) fn process(&mut self) -> Option<&mut Process> {
        match &mut self.running {
            Running::Yes(process) => Some(process),
            Running::No | Running::Out => None,
        }
    }

    pub(super) fn driver(&self) -> Option<&Driver<OperationId>> {
        match &self.running {
            Running::Yes(process) => Some(&process.driver),
            Running::No | Running::Out => None,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.running, Running::Yes(_))
    }

    pub(super) fn is_out(&self) -> bool {
        matches!(self.running, Running::Out)
    }

    pub(super) fn is_process(&self, number: u64) -> bool {
        matches!(&self.running, Running::Yes(process) if process.number == number)
    }

    pub(super) fn serves(&self, group: GroupId) -> bool {
        matches!(&self.running, Running::Yes(process) if process.driver.serves(group))
    }

    /// What its shards hold of a queue; None when it leads none.
    pub(super) fn counts(&self, queue: QueueId) -> Option<Counts> {
        match &self.running {
            Running::Yes(process) => process.driver.counts(queue),
            Running::No | Running::Out => None,
        }
    }

    /// For whoever reads a finding.
    pub(super) fn describe(&self) -> String {
        match &self.running {
            Running::Yes(process) => format!("node {}: {:?}", self.id, process.driver),
            Running::No => format!("node {} does not run", self.id),
            Running::Out => format!("node {} is out", self.id),
        }
    }

    pub(super) fn wall_ms(&self, now_us: u64) -> u64 {
        (EPOCH_MS + now_us / 1_000).saturating_add_signed(self.skew_ms)
    }
}

impl Process {
    pub(super) fn monotonic_ms(&self, now_us: u64) -> u64 {
        self.monotonic_base_ms + (now_us - self.started_us) / 1_000
    }

    /// The virtual time at which the monotonic clock shows `monotonic_ms`.
    pub(super) fn time_of(&self, monotonic_ms: u64) -> u64 {
        self.started_us + monotonic_ms.saturating_sub(self.monotonic_base_ms) * 1_000
    }
}
