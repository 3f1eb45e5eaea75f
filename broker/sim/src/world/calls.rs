//! What passes between clients and nodes.

use std::collections::BTreeSet;

use cmq_broker::replication::{GroupId, Input, NodeId, Reply, Request};
use cmq_engine::attributes::{QueueId, QueueKind};
use cmq_engine::catalogue::{CatalogueCommand, CatalogueRefusal, PutMode};
use cmq_engine::command::NewMessage;
use cmq_engine::outcome::{Deleted, Refusal};

use super::{Event, Phase, World};
use crate::history::{
    Action, HandleSource, History, KnownQueue, Operation, OperationId, Origin, SentMessage, body,
};
use crate::tally::{Deed, Sight};

/// Time that a client waits for an answer beside the wait it asked for, microseconds.
const PATIENCE_US: std::ops::Range<u64> = 500_000..4_000_000;
/// Time in which a receive that waits must be served when there is something to receive, microseconds.
const WAKING_US: u64 = 500_000;
/// Time in which every shard must know a queue that was created, microseconds.
const KNOWN_US: u64 = 500_000;
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
                Some(queue) => self.clients.remove(queue, &leaders),
                None => return self.at(100_000, Event::Client(client)),
            },
            Phase::Storm | Phase::Fair => self.clients.next(&mut self.history, &leaders),
            Phase::Drain => {
                let stored = self.stores();
                match self.clients.drain(&leaders, &stored) {
                    Some(step) => step,
                    None => return self.at(20_000, Event::Client(client)),
                }
            }
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

    /// While nothing goes wrong, every shard knows a queue soon after it was created.
    fn check_missing(&mut self, id: OperationId) {
        let operation = self.history.operation(id);
        let (Action::Send { queue, .. } | Action::Receive { queue, .. }) = operation.action else { return };
        let known = &self.history.queues[queue];
        let is_old = known.created_us + KNOWN_US < operation.asked_us && known.removal_asked_us.is_none();
        if self.phase == Phase::Fair && is_old {
            let detail = format!("operation {id}, queue {}", known.name);
            self.find("a queue is not known", detail);
        }
    }

    /// While nothing goes wrong, no receive waits for long beside messages that it could have.
    pub(super) fn check_waiters(&mut self, id: NodeId) {
        let now_us = self.now_us;
        let (history, node) = (&self.history, &mut self.nodes[id as usize - 1]);
        let Some(process) = node.process() else { return };
        let waits_for = |operation: &OperationId| match history.operation(*operation).action {
            Action::Receive { queue, wait_ms, .. } if wait_ms > 0 && !history.queues[queue].is_fifo() => {
                history.queues[queue].id
            }
            _ => None,
        };
        let driver = &process.driver;
        let is_ready = |queue: QueueId| driver.counts(queue).is_some_and(|counts| counts.active > 0);
        let could_be_served = |operation: &&OperationId| waits_for(operation).is_some_and(is_ready);
        let waiting: BTreeSet<OperationId> =
            process.pending.iter().filter(could_be_served).copied().collect();
        process.overdue.retain(|operation, _| waiting.contains(operation));
        for operation in waiting {
            let since_us = *process.overdue.entry(operation).or_insert(now_us);
            if since_us + WAKING_US <= now_us {
                let detail = format!("node {id}, operation {operation}");
                return self.find("a receive waits beside messages", detail);
            }
        }
    }

    fn ask(&mut self, client: usize, node: NodeId, action: Action) {
        let id = self.history.operations.len() as OperationId;
        self.count_deed(&action);
        if let Action::Remove(queue) = action {
            self.history.queues[queue].removal_asked_us.get_or_insert(self.now_us);
        }
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
            (Action::Remove(queue), Reply::Catalogue(Ok(_) | Err(CatalogueRefusal::Missing))) => {
                self.history.queues[*queue].is_removed = true;
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

    fn count_deed(&mut self, action: &Action) {
        let mut deeds = Vec::new();
        match action {
            Action::Create(_) => deeds.push(Deed::Create),
            Action::Remove(_) => deeds.push(Deed::Remove),
            Action::Send { queue, messages, .. } => {
                let is_fifo = self.history.queues[*queue].is_fifo();
                deeds.push(match (is_fifo, messages.len()) {
                    (true, _) => Deed::SendFifo,
                    (false, 1) => Deed::Send,
                    (false, _) => Deed::SendBatch,
                });
                if messages.iter().any(|message| message.delay_ms.is_some_and(|delay_ms| delay_ms > 0)) {
                    deeds.push(Deed::SendDelayed);
                }
                if messages.iter().any(|message| message.deduplication.is_some()) {
                    deeds.push(Deed::SendDeduplicated);
                }
            }
            Action::Receive { queue, max, wait_ms, .. } => {
                let queue = &self.history.queues[*queue];
                deeds.push(if *max == 1 { Deed::Receive } else { Deed::ReceiveBatch });
                if *wait_ms > 0 {
                    deeds.push(Deed::ReceiveWaiting);
                }
                if queue.is_fifo() {
                    deeds.push(Deed::ReceiveFifo);
                }
                if queue.name.starts_with("dead") {
                    deeds.push(Deed::ReceiveDead);
                }
            }
            Action::Delete { handles, .. } => {
                deeds.push(match (handles[0].source, handles.len()) {
                    (HandleSource::MadeUp, _) => Deed::DeleteForeign,
                    (HandleSource::Old, _) => Deed::DeleteStale,
                    (HandleSource::Fresh, 1) => Deed::Delete,
                    (HandleSource::Fresh, _) => Deed::DeleteBatch,
                });
            }
            Action::Count(_) => deeds.push(Deed::Count),
        }
        deeds.into_iter().for_each(|deed| self.tally.deed(deed));
    }

    fn see(&mut self, id: OperationId, reply: &Reply) {
        let operation = &self.history.operations[id as usize];
        match (reply, &operation.action) {
            (Reply::Received(received), Action::Receive { queue, .. }) => {
                let is_late = operation.asked_us + 50_000 < self.now_us;
                let is_dead = self.history.queues[*queue].name.starts_with("dead");
                for one in received {
                    if one.delivery.receive_count > 1 {
                        self.tally.sight(Sight::Redelivery);
                    }
                    if is_dead {
                        self.tally.sight(Sight::DeadLetter);
                    }
                }
                if is_late && !received.is_empty() {
                    self.tally.sight(Sight::LongPoll);
                }
            }
            (Reply::Deleted(verdicts), _) => {
                for _ in verdicts.iter().filter(|verdict| **verdict != Deleted::Done) {
                    self.tally.sight(Sight::Refusal);
                }
            }
            _ => {}
        }
    }
}

/// What is put to the node.
fn request(history: &History, shards: u16, id: OperationId) -> Request {
    let number = |queue: usize| history.queues[queue].id.unwrap_or(QueueId(u32::MAX));
    match &history.operation(id).action {
        Action::Create(queue) => {
            let queue = &history.queues[*queue];
            let mode = if queue.name.starts_with("passing") { PutMode::Create } else { PutMode::Declare };
            Request::Catalogue(CatalogueCommand::Put {
                name: queue.name.as_str().into(),
                mode,
                attributes: queue.attributes.clone(),
                dead_letter_queue: queue.dead_letter.map(|dead| history.queues[dead].name.as_str().into()),
                owner: None,
                recreate_wait_ms: 0,
                shards,
            })
        }
        Action::Remove(queue) => Request::Catalogue(CatalogueCommand::Delete {
            name: history.queues[*queue].name.as_str().into(),
            owner: None,
        }),
        Action::Send { queue, messages, home } => {
            let is_fifo = matches!(history.queues[*queue].attributes.kind, QueueKind::Fifo { .. });
            let new = |message: &SentMessage| NewMessage {
                bytes: message.bytes,
                delay_ms: message.delay_ms,
                group: message.group.clone(),
                deduplication: message.deduplication.filter(|_| is_fifo),
            };
            let body_of =
                |(place, message): (u32, &SentMessage)| body(Origin { operation: id, place }, message.bytes);
            Request::Send {
                queue: number(*queue),
                messages: messages.iter().map(new).collect(),
                bodies: (0..).zip(messages).map(body_of).collect(),
                home: home.map(|home| GroupId(1 + (home % u64::from(shards)) as u16)),
            }
        }
        Action::Receive { queue, max, wait_ms, visibility_ms } => Request::Receive {
            queue: number(*queue),
            max: *max,
            wait_ms: *wait_ms,
            visibility_ms: *visibility_ms,
        },
        Action::Delete { shard, handles, stale } => Request::Delete {
            shard: *shard,
            deliveries: handles.iter().map(|handle| handle.id).collect(),
            stale: *stale,
        },
        Action::Count(queue) => Request::Count(number(*queue)),
    }
}
