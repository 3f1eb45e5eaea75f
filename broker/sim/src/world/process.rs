//! Processes begin and end: as they wish, by force, or because their data cannot be trusted.

use std::collections::{BTreeMap, BTreeSet};

use cmq_broker::replication::driver::Driver;
use cmq_broker::replication::{Fatal, NodeId};
use cmq_broker::storage::StoreError;
use cmq_engine::faults::{self, Fault};

use super::node::{Process, Running};
use super::{Event, World};
use crate::disk::{LastBatch, Loss};
use crate::guard::guarded;
use crate::tally::Sight;

impl World {
    /// Starts a process on a node, unless one runs or none may.
    pub(super) fn start(&mut self, id: NodeId) {
        let now_us = self.now_us;
        let node = self.node(id);
        if node.is_running() || node.is_out() {
            return;
        }
        if node.is_full {
            self.at(200_000, Event::Start(id));
            return;
        }
        let last_batch = match node.disk.open(faults::is_active(Fault::VoteAfterLostDisk)) {
            Ok(last_batch) => last_batch,
            Err(error) => return self.stop_for_good(id, &error.to_string()),
        };
        node.processes += 1;
        let (number, disk) = (node.processes, node.disk.clone());
        let config = self.plan.config_of(id, &mut self.rng);
        let monotonic_base_ms = self.rng.u64(..1_000_000);
        let surroundings = self.surroundings(id, monotonic_base_ms);
        self.trace.mix(&[now_us, 1, id, number, last_batch]);
        self.trace.note(now_us, || format!("node {id} starts at batch {last_batch}"));
        match guarded(|| Driver::open(config, disk, last_batch, surroundings)) {
            Err(panic) => self.process_failed(id, "panic while it opened", &panic),
            Ok(Err(fatal)) => self.process_is_fatal(id, &fatal),
            Ok(Ok((driver, output))) => {
                if number > 1 {
                    self.tally.sight(Sight::Restart);
                }
                self.node(id).running = Running::Yes(Box::new(Process {
                    number,
                    driver,
                    inbox: Vec::new(),
                    pending: BTreeSet::new(),
                    overdue: BTreeMap::new(),
                    started_us: now_us,
                    monotonic_base_ms,
                    turn_us: None,
                    paused_until_us: 0,
                    is_stopping: false,
                    idle_turns: 0,
                    doom: None,
                }));
                self.carry_out(id, output);
                self.wake(id, now_us);
            }
        }
    }

    /// A process ends as it wished, or its time is over.
    pub(super) fn end_process(&mut self, id: NodeId, process: u64) {
        if self.node(id).is_process(process) {
            self.crash(id, Loss::None);
        }
    }

    /// A process ends by force.
    pub(super) fn crash(&mut self, id: NodeId, loss: Loss) -> LastBatch {
        let now_us = self.now_us;
        if let Some(process) = self.node(id).process() {
            // Connections break at once.
            for operation in std::mem::take(&mut process.pending) {
                let delay_us = self.rng.u64(100..1_000);
                self.at(delay_us, Event::Over(operation));
            }
        }
        let node = &mut self.nodes[id as usize - 1];
        if !node.is_out() {
            node.running = Running::No;
        }
        let last = node.disk.crash(loss, &mut self.rng);
        self.trace.mix(&[now_us, 5, id, last as u64]);
        self.trace.note(now_us, || format!("node {id} ends ({loss:?}, last batch {last:?})"));
        let delay_us = self.rng.u64(50_000..3_000_000);
        self.at(delay_us, Event::Start(id));
        last
    }

    pub(super) fn process_is_fatal(&mut self, id: NodeId, fatal: &Fatal) {
        let is_damage = matches!(fatal, Fatal::Store(StoreError::Damaged { .. }));
        if is_damage && self.node(id).disk.damage_found() {
            return self.stop_for_good(id, &fatal.to_string());
        }
        self.find("a replica gives up", format!("node {id}: {fatal}"));
    }

    pub(super) fn process_failed(&mut self, id: NodeId, rule: &'static str, panic: &str) {
        if self.node(id).disk.damage_found() {
            return self.stop_for_good(id, panic);
        }
        self.find(rule, format!("node {id}: {panic}"));
    }

    /// A replica whose data cannot be trusted stays out. At most one has been made so.
    pub(super) fn stop_for_good(&mut self, id: NodeId, why: &str) {
        self.trace.note(self.now_us, || format!("node {id} stays out: {why}"));
        if !self.node(id).is_marked {
            return self.find("a replica gives up", format!("node {id}: {why}"));
        }
        self.tally.sight(Sight::Outcast);
        self.crash(id, Loss::None);
        self.node(id).running = Running::Out;
    }
}
