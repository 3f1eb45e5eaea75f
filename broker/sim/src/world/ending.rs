//! The end of a run: everything heals, comes to rest, is counted, emptied and compared.

use std::collections::{BTreeMap, BTreeSet};

use cmq_broker::replication::keys::Space;
use cmq_broker::replication::{GroupId, NodeId, Reply};
use cmq_broker::storage::Tree;
use cmq_engine::row::RowKey;

use super::node::Node;
use super::{Event, Phase, World};
use crate::finding::{Finding, Verdict};
use crate::history::{Action, KnownQueue, QueueNumber};

/// Time in which nodes start again and elect, microseconds.
const HEALING_US: u64 = 2_000_000;
/// Time for which clients work without any fault, microseconds.
const FAIR_US: u64 = 6_000_000;
/// Time after which every lease, delay, and short retention is over, microseconds.
const REST_US: u64 = 40_000_000;
/// Time in which a healed broker must be ready and its replicas level, microseconds.
const LEVEL_US: u64 = 60_000_000;
/// Time in which a broker that nobody uses must have written its last checkpoint, microseconds.
const CHECKPOINT_US: u64 = 3_000_000;

impl World {
    pub(super) fn end(&mut self) -> Verdict {
        self.phase = Phase::Calm;
        self.calm();
        self.run_for(HEALING_US)?;
        self.come_level()?;
        self.note_closed();
        self.phase = Phase::Fair;
        self.run_for(FAIR_US)?;
        self.phase = Phase::Clearing;
        self.run_until("queues are removed", |world| world.half_removed().is_none())?;
        self.phase = Phase::Calm;
        self.run_for(REST_US)?;
        self.come_level()?;
        self.check_all_answered()?;
        self.history.rest_us = Some(self.now_us);
        let stored = self.stored()?;
        let drained = self.drain()?;
        if stored != drained {
            let detail = format!("{stored} messages were counted at rest, {drained} came out");
            return Err(Finding::new("counts are wrong", detail));
        }
        self.phase = Phase::Closing;
        let has_closing = |world: &Self| world.history.queues.iter().any(KnownQueue::is_closing);
        self.run_until("closed queues are deleted", |world| !has_closing(world))?;
        self.phase = Phase::Forgetting;
        self.run_until("rewinding is off", |world| world.keeping().is_none())?;
        self.phase = Phase::Calm;
        self.run_for(CHECKPOINT_US)?;
        self.come_level()?;
        self.come_to_rest()?;
        self.check_replicas()?;
        self.check_disks()
    }

    /// Ends all faults and starts all nodes that may run.
    fn calm(&mut self) {
        self.trace.note(self.now_us, || "calm".into());
        self.network.calm();
        self.silent_until_us = 0;
        for id in 1..=self.plan.replicas {
            let node = self.node(id);
            node.sync_delay_us = 0;
            node.has_room = true;
            node.is_full = false;
            if let Some(process) = node.process() {
                process.doom = None;
            }
            self.at(0, Event::Start(id));
        }
    }

    fn running(&self) -> Vec<NodeId> {
        self.nodes.iter().filter(|node| node.is_running()).map(|node| node.id).collect()
    }

    fn is_quiet(&mut self) -> bool {
        let running = self.running();
        running.iter().all(|id| self.node(*id).process().is_some_and(|process| process.driver.is_quiet()))
    }

    fn is_level(&mut self) -> bool {
        let running = self.running();
        let out = self.nodes.iter().filter(|node| node.is_out()).count();
        if running.len() + out < self.nodes.len() {
            return false;
        }
        for group in (0..=self.plan.shards).map(GroupId) {
            let mut positions = BTreeSet::new();
            for id in &running {
                let Some(process) = self.node(*id).process() else { return false };
                if !process.driver.is_ready() || process.is_stopping {
                    return false;
                }
                positions.insert(process.driver.hash(group));
            }
            if positions.len() > 1 {
                return false;
            }
        }
        self.leaders().are_complete()
    }

    /// Waits until all replicas have applied the same entries, and everything is on disk.
    fn come_level(&mut self) -> Verdict {
        let limit_us = self.now_us + LEVEL_US;
        loop {
            if self.is_level() {
                return Ok(());
            }
            if self.now_us > limit_us {
                let state: Vec<String> = self.nodes.iter().map(Node::describe).collect();
                let detail = format!("a healed broker does not come level: {}", state.join("; "));
                return Err(Finding::new("no progress", detail));
            }
            self.run_for(100_000)?;
        }
    }

    /// Waits until the last checkpoint is on disk: what is due by itself may just have been done.
    fn come_to_rest(&mut self) -> Verdict {
        for _ in 0..1_000 {
            if self.is_quiet() {
                return Ok(());
            }
            self.run_for(100_000)?;
        }
        let state: Vec<String> = self.nodes.iter().map(Node::describe).collect();
        let detail = format!("a broker that nobody uses does not come to rest: {}", state.join("; "));
        Err(Finding::new("no progress", detail))
    }

    fn check_all_answered(&mut self) -> Verdict {
        for id in self.running() {
            let Some(process) = self.node(id).process() else { continue };
            if let Some(operation) = process.pending.first() {
                let detail = format!("node {id} never answered operation {operation}");
                return Err(Finding::new("a request without an answer", detail));
            }
        }
        Ok(())
    }

    /// Messages in all queues, as the leaders count them.
    fn stored(&mut self) -> Result<u64, Finding> {
        let mut stored = 0;
        let mut rewindable: BTreeMap<QueueNumber, u64> = BTreeMap::new();
        let live = self.history.queues.iter().enumerate();
        let live = live.filter(|(_, queue)| queue.removal_asked_us.is_none());
        let ids: Vec<_> = live.filter_map(|(number, queue)| Some((number, queue.id?))).collect();
        for node in self.running() {
            for (number, id) in &ids {
                let Some(process) = self.node(node).process() else { continue };
                let Some(counts) = process.driver.counts(*id) else { continue };
                if counts.in_flight + counts.delayed > 0 {
                    let detail = format!("at rest {counts:?} of queue {} on node {node}", id.0);
                    return Err(Finding::new("counts are wrong", detail));
                }
                self.trace.note(self.now_us, || format!("node {node} has {counts:?} of queue {}", id.0));
                stored += counts.active;
                if self.history.queues[*number].keeps_deleted() {
                    *rewindable.entry(*number).or_default() += counts.rewindable;
                }
            }
        }
        self.history.rewindable = rewindable.into_iter().collect();
        Ok(stored)
    }

    /// Receives and deletes everything; answers how many messages there were.
    fn drain(&mut self) -> Result<u64, Finding> {
        self.trace.note(self.now_us, || "drain".into());
        self.phase = Phase::Drain;
        self.clients.forget_handles();
        let first = self.history.operations.len();
        let limit_us = self.now_us + 600_000_000;
        while self.stored_now() != Some(0) || !self.clients.has_no_handles() {
            if self.now_us > limit_us {
                return Err(Finding::new(
                    "not empty after a drain",
                    format!("{:?} are left", self.stored_now()),
                ));
            }
            self.run_for(50_000)?;
        }
        let mut drained = BTreeSet::new();
        for operation in &self.history.operations[first..] {
            if let (Action::Receive { .. }, Some(Reply::Received(received))) =
                (&operation.action, &operation.reply)
            {
                drained.extend(received.iter().map(|one| (one.shard, one.delivery.body)));
            }
        }
        Ok(drained.len() as u64)
    }

    /// Which nodes have messages of which queues to hand out.
    pub(super) fn stores(&self) -> Vec<(NodeId, QueueNumber)> {
        let mut stores = Vec::new();
        for (number, queue) in self.history.queues.iter().enumerate() {
            let Some(id) = queue.id.filter(|_| queue.removal_asked_us.is_none()) else { continue };
            let has_some = |node: &&Node| node.counts(id).is_some_and(|counts| counts.active > 0);
            stores.extend(self.nodes.iter().filter(has_some).map(|node| (node.id, number)));
        }
        stores
    }

    /// Messages in all queues, in whatever state; None while a group has no leader.
    fn stored_now(&mut self) -> Option<u64> {
        if !self.leaders().are_complete() {
            return None;
        }
        let live = self.history.queues.iter().filter(|queue| queue.removal_asked_us.is_none());
        let ids: Vec<_> = live.filter_map(|queue| queue.id).collect();
        let mut stored = 0;
        for node in self.running() {
            let Some(process) = self.node(node).process() else { continue };
            let counts = ids.iter().filter_map(|id| process.driver.counts(*id));
            stored += counts.map(|counts| counts.active + counts.in_flight + counts.delayed).sum::<u64>();
        }
        Some(stored)
    }

    /// All replicas have the same rows.
    fn check_replicas(&mut self) -> Verdict {
        for group in (0..=self.plan.shards).map(GroupId) {
            let mut first = None;
            for id in self.running() {
                let Some(state) = self.node(id).process().and_then(|process| process.driver.state(group))
                else {
                    continue;
                };
                let (by, expected) = first.get_or_insert_with(|| (id, state.clone()));
                if *expected != state {
                    let detail = format!(
                        "group {} on nodes {by} and {id}: {}",
                        group.0,
                        difference(&expected.2, &state.2)
                    );
                    return Err(Finding::new("replicas differ", detail));
                }
            }
        }
        Ok(())
    }

    /// Nothing is on disk that is not part of the state: no body of a finished message, no chunk that was used up, no
    /// copy that was given up.
    fn check_disks(&mut self) -> Verdict {
        for id in self.running() {
            let disk = self.node(id).disk.clone();
            let state = disk.rows(Tree::State);
            for group in (0..=self.plan.shards).map(GroupId) {
                let Some(process) = self.node(id).process() else { continue };
                let Some((_, _, rows)) = process.driver.state(group) else { continue };
                let prefix = group.0.to_be_bytes();
                let on_disk = state.iter().filter(|(key, _)| key.starts_with(&prefix));
                let found: Result<Vec<(RowKey, Vec<u8>)>, _> = on_disk
                    .map(|(key, row)| RowKey::decode(Space::strip(key)).map(|key| (key, row.to_vec())))
                    .collect();
                let found = found.map_err(|error| Finding::new("a strange row", error.to_string()))?;
                if found != rows {
                    let detail = format!("node {id}, group {}: {}", group.0, difference(&rows, &found));
                    return Err(Finding::new("the disk holds another state", detail));
                }
            }
            let log = disk.rows(Tree::Log);
            let is_body = |key: &[u8]| Space::log_position(key).is_none_or(|(_, position)| position > 0);
            let bodies: Vec<_> = log.iter().filter(|(key, _)| is_body(key)).collect();
            if let Some((key, _)) = bodies.first() {
                let detail =
                    format!("node {id} keeps {} bodies of finished messages, first {key:?}", bodies.len());
                return Err(Finding::new("space that does not come back", detail));
            }
            self.check_log(id, &log)?;
        }
        Ok(())
    }

    /// Every group has its log in one copy.
    fn check_log(&mut self, id: NodeId, log: &[(bytes::Bytes, bytes::Bytes)]) -> Verdict {
        let mut copies: BTreeMap<&[u8], BTreeSet<&[u8]>> = BTreeMap::new();
        for (key, _) in log {
            copies.entry(&key[..2]).or_default().insert(&key[2..6]);
        }
        match copies.iter().find(|(_, copies)| copies.len() > 1) {
            None => Ok(()),
            Some((group, copies)) => {
                let detail = format!("node {id} has copies {copies:?} of the log of group {group:?}");
                Err(Finding::new("space that does not come back", detail))
            }
        }
    }
}

type Rows = [(RowKey, Vec<u8>)];

/// Says in which row two states differ first.
fn difference(expected: &Rows, found: &Rows) -> String {
    let expected: BTreeMap<&RowKey, &Vec<u8>> = expected.iter().map(|(key, row)| (key, row)).collect();
    let found: BTreeMap<&RowKey, &Vec<u8>> = found.iter().map(|(key, row)| (key, row)).collect();
    let keys: BTreeSet<&RowKey> = expected.keys().chain(found.keys()).copied().collect();
    match keys.into_iter().find(|key| expected.get(key) != found.get(key)) {
        None => "the rows are equal, in another order".into(),
        Some(key) => format!("{key:?} is {:?} and not {:?}", found.get(key), expected.get(key)),
    }
}
