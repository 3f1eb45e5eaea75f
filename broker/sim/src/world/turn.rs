//! What a process does: it starts, turns, and its outputs are carried out.

use std::collections::{BTreeMap, BTreeSet};

use cmq_broker::replication::driver::Driver;
use cmq_broker::replication::{
    Fatal, GroupId, Input, NodeId, Output, PeerBody, PeerMessage, Reply, World as Surroundings,
};
use cmq_broker::storage::{Batch, StoreError, Write};
use cmq_engine::faults::{self, Fault};
use raft::eraftpb::MessageType;

use super::node::{Doom, Process, Running};
use super::{Event, Phase, World};
use crate::disk::{LastBatch, Loss};
use crate::guard::guarded;
use crate::history::OperationId;
use crate::tally::{Blow, Sight};

/// Time between an input and the turn that takes it at most, microseconds. Inputs gather meanwhile.
const TURN_DELAY_US: u64 = 300;
/// Turns without input or output in a row that are taken for spinning. Leases and delays may make some.
const IDLE_TURNS_MAX: u32 = 500;
/// Time between two writes of the side file, microseconds.
const SIDE_FILE_US: u64 = 1_000_000;

impl World {
    fn surroundings(&self, node: NodeId, monotonic_ms: u64) -> Surroundings {
        let node = &self.nodes[node as usize - 1];
        Surroundings { monotonic_ms, wall_ms: node.wall_ms(self.now_us), has_room: node.has_room }
    }

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

    /// Hands an input to the process of a node, if there is one.
    pub(super) fn input(&mut self, id: NodeId, input: Input<OperationId>) -> bool {
        let delay_us = self.rng.u64(1..=TURN_DELAY_US);
        let at_us = self.now_us + delay_us;
        let Some(process) = self.node(id).process() else { return false };
        process.inbox.push(input);
        process.idle_turns = 0;
        self.wake(id, at_us);
        true
    }

    /// Lets the process turn at `at_us` at the latest.
    fn wake(&mut self, id: NodeId, at_us: u64) {
        let Some(process) = self.node(id).process() else { return };
        if process.turn_us.is_some_and(|turn_us| turn_us <= at_us) {
            return;
        }
        process.turn_us = Some(at_us);
        let number = process.number;
        self.at(at_us.saturating_sub(self.now_us), Event::Turn { node: id, process: number });
    }

    pub(super) fn message_arrives(&mut self, from: NodeId, to: NodeId, message: PeerMessage) {
        if !self.network.is_blocked(from, to) {
            self.input(to, Input::Peer(from, message));
        }
    }

    /// One turn of a process.
    pub(super) fn turn(&mut self, id: NodeId, number: u64) {
        let now_us = self.now_us;
        let Some(process) = self.node(id).process().filter(|process| process.number == number) else {
            return;
        };
        if process.turn_us.is_none_or(|turn_us| turn_us > now_us) {
            return;
        }
        process.turn_us = None;
        if process.paused_until_us > now_us {
            let until_us = process.paused_until_us;
            return self.wake(id, until_us);
        }
        let inputs = std::mem::take(&mut process.inbox);
        let monotonic_ms = process.monotonic_ms(now_us);
        let is_idle = inputs.is_empty();
        let requests = inputs.iter().filter(|input| matches!(input, Input::Request(..))).count();
        let surroundings = self.surroundings(id, monotonic_ms);
        let Some(process) = self.node(id).process() else { return };
        let output = match guarded(|| process.driver.turn(inputs, surroundings)) {
            Ok(output) => output,
            Err(panic) => return self.process_failed(id, "panic", &panic),
        };
        let is_idle = is_idle && output.batch.is_none() && output.messages.is_empty();
        process.idle_turns = if is_idle { process.idle_turns + 1 } else { 0 };
        let is_spinning = process.idle_turns > IDLE_TURNS_MAX;
        if let Some(row) = self.node(id).disk.misread() {
            return self
                .find("a row is read while a batch in flight touches it", format!("node {id}: {row}"));
        }
        if let Some(fatal) = &output.fatal {
            return self.process_is_fatal(id, fatal);
        }
        if is_spinning {
            return self.find("spinning", format!("node {id} turns again and again without anything to do"));
        }
        if requests > 1 {
            self.tally.sight(Sight::Folding);
        }
        self.compare_hashes(id);
        self.carry_out(id, output);
        if self.phase == Phase::Fair {
            self.check_waiters(id);
        }
        self.plan_next_turn(id);
    }

    fn plan_next_turn(&mut self, id: NodeId) {
        let now_us = self.now_us;
        let Some(process) = self.node(id).process() else { return };
        match guarded(|| process.driver.next_wake_ms()) {
            Ok(Some(wake_ms)) => {
                let at_us = process.time_of(wake_ms).max(now_us + 1_000);
                self.wake(id, at_us);
            }
            Ok(None) => {}
            Err(panic) => return self.process_failed(id, "panic", &panic),
        }
        let Some(process) = self.node(id).process() else { return };
        if process.is_stopping && process.pending.is_empty() && process.driver.is_quiet() {
            let number = process.number;
            self.end_process(id, number);
        }
    }

    /// Replicas that applied the same entries must have the same state.
    fn compare_hashes(&mut self, id: NodeId) {
        for group in (0..=self.plan.shards).map(GroupId) {
            let Some(process) = self.node(id).process() else { return };
            let Some((index, hash)) = process.driver.hash(group) else { continue };
            let (first, by) = *self.hashes.entry((group, index)).or_insert((hash, id));
            if first != hash {
                let detail = format!("nodes {by} and {id} differ in group {} at entry {index}", group.0);
                self.find("replicas differ", detail);
            }
        }
    }

    /// Does what a turn wants done. A crash may come in between.
    fn carry_out(&mut self, id: NodeId, output: Output<OperationId>) {
        let Output { batch, mut messages, mut replies, events: _, fatal: _ } = output;
        let Some(process) = self.node(id).process() else { return };
        let number = process.number;
        let doom = process.doom.filter(|_| batch.is_some());
        self.trace.mix(&[self.now_us, 2, id, messages.len() as u64, replies.len() as u64]);
        let mut is_submitted = false;
        if doom == Some(Doom::MidTurn) {
            // The committer, the network and the clients are other threads: each may have got a part.
            messages.truncate(self.rng.usize(..=messages.len()));
            replies.truncate(self.rng.usize(..=replies.len()));
        }
        if let Some((batch, is_synced)) = batch
            && (doom != Some(Doom::MidTurn) || self.rng.bool())
        {
            self.submit(id, number, batch, is_synced, doom.is_some());
            is_submitted = true;
        }
        for (to, message) in messages {
            self.send(id, to, message);
        }
        for (operation, reply) in replies {
            self.reply(id, operation, reply);
        }
        match doom {
            None => {}
            Some(Doom::OutOfSpace) => {
                self.node(id).is_full = true;
                self.crash(id, Loss::None);
            }
            Some(Doom::MidTurn | Doom::TornWrite) => {
                let kind = if is_submitted { Blow::TornWrite } else { Blow::MidTurn };
                self.tally.blow(kind);
                self.crash(id, Loss::Unsynced);
            }
        }
    }

    fn submit(&mut self, id: NodeId, process: u64, batch: Batch, is_synced: bool, is_doomed: bool) {
        let number = batch.number;
        self.trace.mix(&[3, number, batch.writes.len() as u64, u64::from(is_synced)]);
        self.trace.note(self.now_us, || format!("node {id} writes batch {number}"));
        for write in &batch.writes {
            let (verb, tree, key, value) = match write {
                Write::Put(tree, key, value) => ("puts", tree, key, &value[..]),
                Write::Delete(tree, key) => ("deletes", tree, key, &[][..]),
            };
            self.trace.mix_bytes(key);
            self.trace.mix_bytes(value);
            self.trace
                .note(self.now_us, || format!("    {verb} {tree:?} {:02x?} {} bytes", &key[..], value.len()));
        }
        let node = self.node(id);
        node.disk.submit(batch);
        if is_doomed {
            return;
        }
        let slow_us = if is_synced { node.sync_delay_us } else { 0 };
        let most_us = if is_synced { self.plan.sync_us.1 } else { self.plan.sync_us.0 };
        let time_us = self.rng.u64(self.plan.sync_us.0 / 2..=most_us) + slow_us;
        let shown_us = self.rng.u64(..=time_us);
        self.at(shown_us, Event::Shown { node: id, process });
        self.at(time_us, Event::Written { node: id, process, number, is_synced });
    }

    pub(super) fn batch_is_written(&mut self, id: NodeId, process: u64, number: u64, is_synced: bool) {
        let now_us = self.now_us;
        let node = self.node(id);
        if !node.is_process(process) {
            return;
        }
        node.disk.complete(is_synced);
        if node.side_file_us + SIDE_FILE_US <= now_us {
            node.side_file_us = now_us;
            node.disk.write_side_file();
        }
        self.input(id, Input::Persisted(number));
    }

    fn send(&mut self, from: NodeId, to: NodeId, message: PeerMessage) {
        if let PeerBody::Raft(raft) = &message.body {
            self.trace.mix(&[4, to, u64::from(message.group.0), raft.msg_type as u64, raft.term, raft.index]);
            let speaks_as_leader = matches!(
                raft.get_msg_type(),
                MessageType::MsgAppend | MessageType::MsgHeartbeat | MessageType::MsgSnapshot
            );
            if speaks_as_leader {
                self.check_election(from, message.group, raft.term);
            }
        }
        if let PeerBody::SnapshotPage(page) = &message.body
            && page.last.is_some()
        {
            self.tally.sight(Sight::Snapshot);
        }
        for at_us in self.network.arrivals(from, to, self.now_us) {
            let message = message.clone();
            self.at(at_us - self.now_us, Event::Peer { from, to, message });
        }
    }

    fn check_election(&mut self, from: NodeId, group: GroupId, term: u64) {
        match self.led.insert((group, term), from) {
            None => self.tally.sight(Sight::Election),
            Some(before) if before != from => {
                let detail = format!("nodes {before} and {from} both lead group {} in term {term}", group.0);
                self.find("two leaders in one term", detail);
            }
            Some(_) => {}
        }
    }

    fn reply(&mut self, id: NodeId, operation: OperationId, reply: Reply) {
        let Some(process) = self.node(id).process() else { return };
        if !process.pending.remove(&operation) {
            return self
                .find("an answer nobody waits for", format!("node {id}, operation {operation}: {reply:?}"));
        }
        self.answered(id, operation, reply);
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

    fn process_is_fatal(&mut self, id: NodeId, fatal: &Fatal) {
        let is_damage = matches!(fatal, Fatal::Store(StoreError::Damaged { .. }));
        if is_damage && self.node(id).disk.damage_found() {
            return self.stop_for_good(id, &fatal.to_string());
        }
        self.find("a replica gives up", format!("node {id}: {fatal}"));
    }

    fn process_failed(&mut self, id: NodeId, rule: &'static str, panic: &str) {
        if self.node(id).disk.damage_found() {
            return self.stop_for_good(id, panic);
        }
        self.find(rule, format!("node {id}: {panic}"));
    }

    /// A replica whose data cannot be trusted stays out. At most one has been made so.
    fn stop_for_good(&mut self, id: NodeId, why: &str) {
        self.trace.note(self.now_us, || format!("node {id} stays out: {why}"));
        if !self.node(id).is_marked {
            return self.find("a replica gives up", format!("node {id}: {why}"));
        }
        self.tally.sight(Sight::Outcast);
        self.crash(id, Loss::None);
        self.node(id).running = Running::Out;
    }
}
