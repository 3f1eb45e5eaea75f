//! A process turns: it takes what came in since the last time.

use cmq_broker::replication::{GroupId, Input, NodeId, PeerMessage, World as Surroundings};

use super::{Event, Phase, World};
use crate::guard::guarded;
use crate::history::OperationId;
use crate::tally::Sight;

/// Time between an input and the turn that takes it at most, microseconds. Inputs gather meanwhile.
const TURN_DELAY_US: u64 = 300;
/// Turns without input or output in a row that are taken for spinning. Leases and delays may make some.
const IDLE_TURNS_MAX: u32 = 500;

impl World {
    pub(super) fn surroundings(&self, node: NodeId, monotonic_ms: u64) -> Surroundings {
        let node = &self.nodes[node as usize - 1];
        Surroundings { monotonic_ms, wall_ms: node.wall_ms(self.now_us), has_room: node.has_room }
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
    pub(super) fn wake(&mut self, id: NodeId, at_us: u64) {
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
}
