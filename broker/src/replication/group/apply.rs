//! Applying committed entries: commands to the state machine, effects to rows, outcomes to whoever asked.

use bytes::Bytes;
use cmq_engine::attributes::QueueId;
use cmq_engine::catalogue::CatalogueCommand;
use cmq_engine::chunk::Pages;
use cmq_engine::command::Command;
use cmq_engine::faults::{self, Fault};
use cmq_engine::message::BodyRef;
use cmq_engine::outcome::{Effects, Outcome};
use cmq_engine::row::RowKey;
use cmq_engine::shard::Counts;
use raft::StateRole;
use raft::eraftpb;

use super::{Group, Proposal};
use crate::replication::entry::{self, Commands};
use crate::replication::fold::{Asker, TURN_ANSWER_BYTES_MAX};
use crate::replication::hub::Hub;
use crate::replication::machine::Machine;
use crate::replication::waiters::Waiter;
use crate::replication::{Fatal, GroupId, Received, Reply};
use crate::storage::{Tree, Write};

/// Applied indexes between two remembered state hashes.
const HASH_INTERVAL: u64 = 64;
/// State hashes that are remembered.
const HASHES_MAX: usize = 64;

impl<T> Group<T> {
    /// Applies a committed entry and answers who asked for it.
    pub(super) fn apply(&mut self, committed: &eraftpb::Entry, hub: &mut Hub<T>) -> Result<(), Fatal> {
        let position = (committed.index, committed.term);
        assert_eq!(committed.index, self.applied().0 + 1, "entries are applied in order, each once");
        let mut proposal = None;
        while let Some(first) = self.proposals.pop_front_if(|first| first.position().0 <= committed.index) {
            if first.position() == position {
                proposal = Some(first);
            } else {
                self.fail(first, hub);
            }
        }
        if !committed.data.is_empty() {
            let is_catalogue = self.id == GroupId::CATALOGUE;
            let (entry, bodies) = entry::decode(&committed.data, is_catalogue, committed.index)?;
            match entry.commands {
                Commands::Shard(commands) => {
                    self.apply_shard(&commands, entry.stamp_ms, committed.index, bodies, proposal, hub)?;
                }
                Commands::Catalogue(commands) => {
                    self.apply_catalogue(&commands, entry.stamp_ms, proposal, hub);
                }
            }
            self.dirty_since_ms.get_or_insert(hub.world.monotonic_ms);
            self.entries_since_checkpoint += 1;
        }
        self.raw.mut_store().set_applied(committed.index, committed.term);
        if committed.index.is_multiple_of(HASH_INTERVAL) {
            self.hashes.push_back((committed.index, self.machine.hash()));
            if self.hashes.len() > HASHES_MAX {
                self.hashes.pop_front();
            }
        }
        Ok(())
    }

    pub(super) fn apply_catalogue(
        &mut self,
        commands: &[CatalogueCommand],
        stamp_ms: u64,
        proposal: Option<Proposal<T>>,
        hub: &mut Hub<T>,
    ) {
        let Machine::Catalogue(catalogue) = &mut self.machine else { return };
        let tokens = match proposal {
            Some(Proposal::Catalogue { tokens, .. }) => tokens,
            _ => Vec::new(),
        };
        let mut tokens = tokens.into_iter();
        for command in commands {
            let (outcome, event) = catalogue.apply(command, stamp_ms);
            hub.out.events.extend(event);
            let Some(Some(token)) = tokens.next() else { continue };
            match (command, outcome) {
                (CatalogueCommand::Purge { .. } | CatalogueCommand::Rewind { .. }, Ok(queue)) => {
                    hub.epochs_waiting.push_back((catalogue.revision(), token, queue));
                }
                (_, outcome) => hub.out.replies.push((token, Reply::Catalogue(outcome))),
            }
        }
        hub.catalogue_revision = catalogue.revision();
    }

    pub(super) fn apply_shard(
        &mut self,
        commands: &[Command],
        stamp_ms: u64,
        index: u64,
        bodies: Vec<Bytes>,
        proposal: Option<Proposal<T>>,
        hub: &mut Hub<T>,
    ) -> Result<(), Fatal> {
        let is_leader = self.raw.raft.state == StateRole::Leader;
        // What an earlier term did was counted by its leader, perhaps this process before it was restarted.
        let is_counting = self.is_serving();
        if let Some(shard) = self.machine.shard_mut() {
            shard.set_counting(is_counting);
        }
        let askers = match proposal {
            Some(Proposal::Shard { askers, .. }) => askers,
            _ => Vec::new(),
        };
        let mut askers = askers.into_iter();
        let mut first = BodyRef { index, position: 0 };
        let mut pages = Pages::default();
        let mut bodies = bodies.into_iter();
        for command in commands {
            let (outcome, effects) = self.apply_command(command, stamp_ms, first, &mut pages, hub)?;
            let rows = bodies.by_ref().take(command.bodies());
            if let Command::Send { queue, .. } = command
                && is_leader
                && matches!(outcome, Outcome::Sent(_))
                && self.is_worth_caching(*queue, hub)
            {
                for (offset, row) in (0_u16..).zip(rows) {
                    let body = BodyRef { index, position: first.position + offset };
                    hub.bodies.insert(self.id, body, row);
                }
            } else {
                rows.for_each(drop);
            }
            first.position += command.bodies() as u16;
            if *command == Command::Expire {
                self.expire_in_flight = false;
                let due_ms = self.machine.shard().and_then(|shard| shard.next_due_ms());
                if due_ms.is_some_and(|due_ms| due_ms <= stamp_ms) {
                    // One command does a bounded share; what it left goes on at once.
                    self.last_expire_ms = 0;
                }
            }
            // Before the effects, which may let go of bodies that this very entry handed out.
            if let Some(asker) = askers.next() {
                self.answer(asker, outcome, hub)?;
            }
            self.take_effects(effects, is_leader, hub);
        }
        Ok(())
    }

    /// A body is worth its memory when it will be handed out soon.
    pub(super) fn is_worth_caching(&self, queue: QueueId, hub: &Hub<T>) -> bool {
        let counts = self.machine.shard().and_then(|shard| shard.counts(queue));
        counts.is_some_and(|counts| counts.active <= hub.config.cached_backlog_max)
    }

    pub(super) fn apply_command(
        &mut self,
        command: &Command,
        stamp_ms: u64,
        first: BodyRef,
        pages: &mut Pages,
        hub: &mut Hub<T>,
    ) -> Result<(Outcome, Effects), Fatal> {
        let space = self.space();
        let Machine::Shard(shard) = &mut self.machine else {
            return Ok((Outcome::Done, Effects::default()));
        };
        let keys = shard.prefetch(command, stamp_ms);
        pages.clear();
        if !keys.is_empty() {
            self.pages.load(&keys, space, &*hub.store, hub.config.page_bytes, pages)?;
        }
        Ok(shard.apply(command, first, pages))
    }

    /// Counts the messages of a queue, with the pages read that say how old the oldest is.
    pub(crate) fn exact_counts(&mut self, queue: QueueId, hub: &Hub<T>) -> Result<Option<Counts>, Fatal> {
        let space = self.space();
        let Machine::Shard(shard) = &self.machine else { return Ok(None) };
        let mut pages = Pages::default();
        let keys = shard.oldest_pages(queue);
        // Pages of a snapshot can be read when it is durable, which is when Raft counts it as applied.
        if self.raw.raft.raft_log.applied != self.applied().0 {
            return Ok(shard.counts(queue));
        }
        self.pages.load(&keys, space, &*hub.store, hub.config.page_bytes, &mut pages)?;
        Ok(shard.counts_with(queue, &pages))
    }

    pub(super) fn take_effects(&mut self, effects: Effects, is_leader: bool, hub: &mut Hub<T>) {
        let space = self.space();
        for body in effects.dead_bodies {
            if faults::is_active(Fault::KeptBodies) {
                continue;
            }
            hub.writes.push(Write::Delete(Tree::Log, space.body(body)));
            hub.bodies.remove(self.id, body);
        }
        for (key, row) in effects.closed_chunks {
            let row = Bytes::from(row);
            self.pages.closed(key, row.clone(), hub.next_batch);
            hub.put(Tree::State, space.row(&RowKey::Chunk(key)), row);
        }
        if is_leader {
            hub.woken.extend(effects.woken);
        }
    }

    pub(super) fn answer(
        &mut self,
        asker: Asker<T>,
        outcome: Outcome,
        hub: &mut Hub<T>,
    ) -> Result<(), Fatal> {
        match asker {
            Asker::Own => {}
            Asker::Client(token) => {
                let reply = match outcome {
                    Outcome::Sent(bodies) => Reply::Sent(self.id, bodies),
                    Outcome::Deleted(verdicts) => Reply::Deleted(verdicts),
                    Outcome::Handled(handled) => Reply::Handled(handled),
                    Outcome::Refused(refusal) => Reply::Refused(refusal),
                    Outcome::Done | Outcome::Received { .. } => Reply::Busy("unexpected outcome"),
                };
                hub.out.replies.push((token, reply));
            }
            Asker::Receive(waiter) => self.answer_receive(waiter, outcome, hub)?,
        }
        Ok(())
    }

    pub(super) fn answer_receive(
        &mut self,
        waiter: Waiter<T>,
        outcome: Outcome,
        hub: &mut Hub<T>,
    ) -> Result<(), Fatal> {
        hub.release_claim(&waiter);
        let deliveries = match outcome {
            Outcome::Received { deliveries, is_partial } => {
                if deliveries.is_empty() {
                    hub.wait_on(waiter, is_partial);
                    return Ok(());
                }
                deliveries
            }
            Outcome::Refused(refusal) => {
                hub.out.replies.push((waiter.token, Reply::Refused(refusal)));
                return Ok(());
            }
            Outcome::Done | Outcome::Sent(_) | Outcome::Deleted(_) | Outcome::Handled(_) => Vec::new(),
        };
        let (space, applied) = (self.space(), self.applied().0);
        let bytes: usize = deliveries.iter().map(|delivery| delivery.bytes as usize).sum();
        hub.sizes.saw(waiter.queue, bytes / deliveries.len().max(1));
        if hub.answered_bytes > 0 && hub.answered_bytes + bytes > TURN_ANSWER_BYTES_MAX {
            // Rare, for the fold takes few receives of a queue of large messages. They come back when their lease ends.
            hub.woken.insert(waiter.queue);
            hub.out
                .replies
                .push((waiter.token, Reply::Busy("too many messages are on their way to their receivers")));
            return Ok(());
        }
        hub.answered_bytes += bytes;
        let mut received = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            let is_first = delivery.receive_count == 1;
            let body = hub.bodies.message(space, delivery.body, is_first, applied, &*hub.store)?;
            received.push(Received { shard: self.id, delivery, body });
            if faults::is_active(Fault::BodyDeletedEarly) {
                hub.writes.push(Write::Delete(Tree::Log, space.body(delivery.body)));
                hub.bodies.remove(self.id, delivery.body);
            }
        }
        hub.woken.insert(waiter.queue);
        hub.out.replies.push((waiter.token, Reply::Received(received)));
        Ok(())
    }
}
