//! What a leader does: its clock, its entries, and what it owes to those who wait when it loses the lead.

use std::mem;

use cmq_engine::catalogue::CatalogueCommand;
use cmq_engine::command::Command;
use cmq_engine::limits::LOG_INDEX_MAX;
use raft::StateRole;

use super::{Group, Proposal, raft_failure};
use crate::replication::entry::{self, Commands};
use crate::replication::fold::{Allowance, Operation};
use crate::replication::hub::Hub;
use crate::replication::machine::Machine;
use crate::replication::{Fatal, GroupId, Reply};

/// Milliseconds between two proposals to do what is due: the resolution of delays when nobody receives.
pub(super) const EXPIRE_INTERVAL_MS: u64 = 50;

impl<T> Group<T> {
    /// The leader's stamp for now: moves with the monotonic clock during its term.
    pub(crate) fn stamp_ms(&mut self, hub: &Hub<T>) -> u64 {
        let now_ms = hub.world.monotonic_ms;
        let floor_ms = self.machine.stamp_ms().max(self.last_stamp_ms);
        let (started_ms, base_ms) =
            *self.clock.get_or_insert_with(|| (now_ms, hub.world.wall_ms.max(floor_ms)));
        floor_ms.max(base_ms + (now_ms - started_ms))
    }

    /// Answers requests whose entry may or may not come through under another leader.
    pub(super) fn fail(&mut self, proposal: Proposal<T>, hub: &mut Hub<T>) {
        match proposal {
            Proposal::Shard { askers, .. } => {
                askers.into_iter().for_each(|asker| hub.fail(asker));
            }
            Proposal::Catalogue { tokens, .. } => {
                let lost = tokens.into_iter().flatten().map(|token| (token, Reply::NotLeader));
                hub.out.replies.extend(lost);
            }
        }
    }

    pub(super) fn notice_leadership(&mut self, hub: &mut Hub<T>) {
        let raft = &self.raw.raft;
        let term = (raft.state == StateRole::Leader).then_some(raft.term);
        if term == self.led_term {
            return;
        }
        self.led_term = term;
        self.clock = None;
        self.last_stamp_ms = 0;
        self.forget_own();
        for proposal in mem::take(&mut self.proposals) {
            self.fail(proposal, hub);
        }
        let (operations, tokens) = self.fold.drain();
        operations.into_iter().for_each(|operation| hub.fail(operation.asker));
        hub.out.replies.extend(tokens.into_iter().map(|token| (token, Reply::NotLeader)));
        if term.is_none() {
            self.sending.clear();
        }
        hub.leadership_changed = true;
    }

    /// The leader's own operations may not come through: they are proposed again. Each does nothing the second time.
    fn forget_own(&mut self) {
        self.proposed_revision = 0;
        self.founding = false;
        self.expire_in_flight = false;
    }

    /// Makes entries of the requests that wait, and of what the leader itself has to do.
    pub(crate) fn propose(&mut self, hub: &mut Hub<T>) -> Result<(), Fatal> {
        if !self.is_serving() {
            return Ok(());
        }
        self.propose_own(hub);
        if hub.changes_wanted.is_some() {
            // What waits may be for a queue that this shard learns of only now.
            return Ok(());
        }
        let mut allowance = Allowance::default();
        while self.fold.has_more(&allowance) {
            let index = self.raw.raft.raft_log.last_index() + 1;
            if index > LOG_INDEX_MAX {
                return Err(Fatal::Raft { group: self.id.0, detail: "the log has no index left".into() });
            }
            let term = self.raw.raft.term;
            let stamp_ms = self.stamp_ms(hub);
            let (data, proposal) = if self.id == GroupId::CATALOGUE {
                let (tokens, commands) = self.fold.take_catalogue().into_iter().unzip();
                let data = entry::encode(stamp_ms, &Commands::Catalogue(commands), &[]);
                (data, Proposal::Catalogue { index, term, tokens })
            } else {
                let mut askers = Vec::new();
                let mut commands = Vec::new();
                let mut bodies = Vec::new();
                for Operation { asker, command, bodies: own, .. } in self.fold.take(&mut allowance) {
                    askers.push(asker);
                    commands.push(command);
                    bodies.extend(own);
                }
                let data = entry::encode(stamp_ms, &Commands::Shard(commands), &bodies);
                (data, Proposal::Shard { index, term, askers })
            };
            hub.counters.proposed(proposal.requests(), data.len());
            match self.with_raft(hub, |raw| raw.propose(Vec::new(), data)) {
                Ok(()) => {
                    self.last_stamp_ms = stamp_ms;
                    self.proposals.push_back(proposal);
                }
                Err(raft::Error::ProposalDropped) => {
                    self.fail(proposal, hub);
                    self.forget_own();
                    break;
                }
                Err(error) => return Err(raft_failure(self.id, &error)),
            }
        }
        Ok(())
    }

    pub(super) fn propose_own(&mut self, hub: &mut Hub<T>) {
        let stamp_ms = self.stamp_ms(hub);
        match &self.machine {
            Machine::Catalogue(catalogue) => {
                if !catalogue.is_founded() && !self.founding && hub.config.founds {
                    let (cluster_id, handle_key) = hub.config.entropy;
                    // Nothing else of the catalogue waits before it is founded.
                    let found = CatalogueCommand::Found { cluster_id, handle_key };
                    self.founding = self.fold.push_catalogue(None, found).is_ok();
                }
            }
            Machine::Shard(shard) => {
                let known = shard.revision().max(self.proposed_revision);
                if known < hub.catalogue_revision {
                    let wanted = hub.catalogue_changes.take();
                    let (revision, is_complete, changes) = match wanted {
                        Some((since, changes)) if since == known => changes,
                        other => {
                            // The driver reads them from the catalogue's group for the next pass.
                            hub.catalogue_changes = other;
                            hub.changes_wanted = Some(known);
                            return;
                        }
                    };
                    self.proposed_revision = revision;
                    self.fold.push_own(Command::Catalogue { revision, is_complete, changes });
                }
                let is_due = shard.next_due_ms().is_some_and(|due_ms| due_ms <= stamp_ms);
                let now_ms = hub.world.monotonic_ms;
                if is_due && !self.expire_in_flight && self.last_expire_ms + EXPIRE_INTERVAL_MS <= now_ms {
                    self.expire_in_flight = true;
                    self.last_expire_ms = now_ms;
                    self.fold.push_own(Command::Expire);
                }
            }
        }
    }

    /// Hands the lead to the peer that is furthest.
    pub(crate) fn hand_over(&mut self, hub: &mut Hub<T>) {
        if self.raw.raft.state != StateRole::Leader {
            return;
        }
        let own = hub.config.node;
        let best = self
            .raw
            .raft
            .prs()
            .iter()
            .filter(|(id, _)| **id != own)
            .max_by_key(|(_, progress)| progress.matched);
        if let Some(peer) = best.map(|(id, _)| *id) {
            self.with_raft(hub, |raw| raw.transfer_leader(peer));
        }
    }
}
