//! What passes between clients and nodes.

use cmq_broker::replication::{Input, NodeId, Reply};
use cmq_engine::catalogue::{CatalogueRefusal, DeletionPolicy};
use cmq_engine::outcome::Refusal;

use super::request::request;
use super::{Event, Phase, World};
use crate::history::{Action, KnownQueue, Operation, OperationId};
use crate::tally::Sight;

/// Time that a client waits for an answer beside the wait it asked for, microseconds.
const PATIENCE_US: std::ops::Range<u64> = 500_000..4_000_000;
/// Time on the way between a client and a node at most, microseconds.
const CLIENT_DELAY_US: u64 = 400;

impl World {
    /// A client asks for something.
    pub(super) fn client_acts(&mut self, client: usize) {
        if self.silent_until_us > self.now_us {
            let rest_us = self.rng.u64(..=self.plan.rest_us);
            return self.at(self.silent_until_us - self.now_us + rest_us, Event::Client(client));
        }
        let leaders = self.leaders();
        let (node, action) = match self.phase {
            Phase::Founding => {
                let missing = self.history.queues.iter().position(|queue| queue.id.is_none());
                match missing.filter(|_| client == 0) {
                    Some(queue) => self.clients.found(queue, &leaders),
                    None => return self.at(100_000, Event::Client(client)),
                }
            }
            Phase::Clearing => match self.half_removed().filter(|_| client == 0) {
                Some(queue) => self.clients.remove(queue, &self.history, &leaders),
                None => return self.at(100_000, Event::Client(client)),
            },
            Phase::Storm | Phase::Fair => match self.operate() {
                Some(action) => (self.clients.whom(&action, &leaders), action),
                None => self.clients.next(&mut self.history, &leaders, self.now_us),
            },
            Phase::Drain => {
                let stored = self.stores();
                match self.clients.drain(&leaders, &stored) {
                    Some(step) => step,
                    None => return self.at(20_000, Event::Client(client)),
                }
            }
            Phase::Forgetting => match self.keeping().filter(|_| client == 0) {
                Some(queue) => self.clients.turn_off(queue, &self.history, &leaders),
                None => return self.at(100_000, Event::Client(client)),
            },
            Phase::Closing => match self.finish_closing().filter(|_| client == 0) {
                Some(action) => (self.clients.whom(&action, &leaders), action),
                None => return self.at(100_000, Event::Client(client)),
            },
            Phase::Calm => return self.at(500_000, Event::Client(client)),
        };
        self.ask(client, node, action);
    }

    /// A queue whose removal was asked for, and not answered.
    pub(super) fn half_removed(&self) -> Option<usize> {
        let is_half_removed =
            |queue: &KnownQueue| queue.id.is_some() && queue.removal_asked_us.is_some() && !queue.is_removed;
        self.history.queues.iter().position(is_half_removed)
    }

    /// A queue with rewinding that was not turned off.
    pub(super) fn keeping(&self) -> Option<usize> {
        let is_off = |number: usize| {
            let mut operations = self.history.operations.iter().rev();
            let change = operations.find(|operation| {
                matches!(operation.action, Action::Change(queue, _) if queue == number)
                    && matches!(operation.reply, Some(Reply::Catalogue(Ok(_))))
            });
            change.is_some_and(|operation| {
                let is_last = operation.asked_us >= self.history.rest_us.unwrap_or(u64::MAX);
                is_last && matches!(&operation.action, Action::Change(_, to) if to.rewind_seconds == 0)
            })
        };
        let numbered = self.history.queues.iter().enumerate();
        let mut keeping = numbered.filter(|(number, queue)| queue.keeps_deleted() && !is_off(*number));
        keeping.next().map(|(number, _)| number)
    }

    fn ask(&mut self, client: usize, node: NodeId, action: Action) {
        let id = self.history.operations.len() as OperationId;
        self.count_deed(&action);
        self.note_removal(&action);
        let wait_us = if let Action::Receive { wait_ms, .. } = action { wait_ms * 1_000 } else { 0 };
        self.trace.mix(&[self.now_us, 6, id, node]);
        self.trace.note(self.now_us, || format!("operation {id} to node {node}: {action:?}"));
        self.history.operations.push(Operation {
            node,
            action,
            asked_us: self.now_us,
            answered_us: 0,
            reply: None,
        });
        self.waiting.insert(id, client);
        // A call may get lost on its way; a connection of clients is good otherwise.
        if self.phase == Phase::Drain || self.rng.u16(..500) > 0 {
            let delay_us = self.rng.u64(50..=CLIENT_DELAY_US);
            self.at(delay_us, Event::Request(node, id));
        }
        let patience_us = self.rng.u64(PATIENCE_US);
        self.at(patience_us + wait_us, Event::Over(id));
    }

    pub(super) fn request_arrives(&mut self, node: NodeId, id: OperationId) {
        let request = request(&self.history, self.plan.shards, id);
        if self.input(node, Input::Request(id, request)) {
            if let Some(process) = self.node(node).process() {
                process.pending.insert(id);
            }
        } else {
            // The connection is refused.
            self.at(CLIENT_DELAY_US, Event::Over(id));
        }
    }

    /// A node answers.
    pub(super) fn answered(&mut self, node: NodeId, id: OperationId, reply: Reply) {
        self.trace.mix(&[self.now_us, 7, id, node]);
        self.trace.mix_bytes(format!("{reply:?}").as_bytes());
        self.trace.note(self.now_us, || format!("operation {id} answered: {reply:?}"));
        let delay_us = self.rng.u64(50..=CLIENT_DELAY_US);
        // Answers get lost too; what the broker said counts nevertheless.
        let is_heard = self.phase == Phase::Drain || self.rng.u16(..500) > 0;
        if is_heard {
            self.at(delay_us, Event::Over(id));
        }
        self.see(id, &reply);
        if reply == Reply::Refused(Refusal::QueueMissing) {
            self.check_missing(id);
        }
        self.check_returned(node, id, &reply);
        if is_heard && let Reply::Received(received) = &reply {
            self.at(delay_us, Event::Heard(received.clone()));
        }
        let operation = &mut self.history.operations[id as usize];
        operation.answered_us = self.now_us;
        match (&operation.action, &reply) {
            (_, Reply::NotLeader | Reply::Stopping | Reply::Busy(_)) => {
                return self.tally.sight(Sight::Doubt);
            }
            (Action::Create(queue), Reply::Catalogue(outcome)) => {
                let queue = &mut self.history.queues[*queue];
                match outcome {
                    Ok(Some(id)) => (queue.id, queue.created_us) = (Some(*id), self.now_us),
                    _ => queue.removal_asked_us = Some(self.now_us),
                }
            }
            (
                Action::Remove(queue) | Action::DeleteClosed { queue, .. },
                Reply::Catalogue(Ok(_) | Err(CatalogueRefusal::Missing)),
            ) => {
                self.history.queues[*queue].is_removed = true;
            }
            (Action::Withdraw(queue), Reply::Catalogue(outcome)) => {
                let queue = &mut self.history.queues[*queue];
                let is_gone = *outcome == Err(CatalogueRefusal::Missing) || outcome.is_ok();
                queue.is_removed |= is_gone && queue.deletion == Some(DeletionPolicy::Delete);
                queue.withdrawn_us.get_or_insert(self.now_us);
            }
            _ => {}
        }
        operation.reply = Some(reply);
        self.tally.operations += 1;
        if self.silence_at.is_some_and(|at| self.tally.operations >= at) {
            self.silence_at = None;
            self.silent_until_us = self.now_us + self.plan.silence_ms.unwrap_or(0) * 1_000;
        }
    }

    /// The client of an operation goes on.
    pub(super) fn operation_is_over(&mut self, id: OperationId) {
        let Some(client) = self.waiting.remove(&id) else { return };
        let operation = &self.history.operations[id as usize];
        if let Action::Create(queue) = operation.action
            && operation.reply.is_none()
            && self.phase != Phase::Founding
        {
            // Nobody knows whether it exists: it is not used.
            self.history.queues[queue].removal_asked_us.get_or_insert(self.now_us);
        }
        let rest_us = match self.phase {
            Phase::Drain => 2_000,
            _ => self.rng.u64(..=self.plan.rest_us),
        };
        self.at(rest_us, Event::Client(client));
    }
}
