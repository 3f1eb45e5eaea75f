//! What a turn wants done is done: rows to the disk, messages to peers, answers to clients.

use cmq_broker::replication::{GroupId, Input, NodeId, Output, PeerBody, PeerMessage, Reply};
use cmq_broker::storage::{Batch, Write};
use raft::eraftpb::MessageType;

use super::node::Doom;
use super::{Event, World};
use crate::disk::Loss;
use crate::history::OperationId;
use crate::tally::{Blow, Sight};

/// Time between two writes of the side file, microseconds.
const SIDE_FILE_US: u64 = 1_000_000;

impl World {
    /// Does what a turn wants done. A crash may come in between.
    pub(super) fn carry_out(&mut self, id: NodeId, output: Output<OperationId>) {
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

    pub(super) fn submit(
        &mut self,
        id: NodeId,
        process: u64,
        batch: Batch,
        is_synced: bool,
        is_doomed: bool,
    ) {
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
}
