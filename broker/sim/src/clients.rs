//! Clients that use the broker at random: what they ask next, and what they remember of the answers.

mod handles;
mod orders;
mod queues;
mod sends;

use std::collections::BTreeMap;

use cmq_broker::replication::{GroupId, NodeId, Received};
use cmq_engine::attributes::{QueueAttributes, QueueKind};
use fastrand::Rng;

use crate::history::{Action, History, KnownQueue, QueueNumber};
use crate::plan::{Plan, pick};
use handles::Handles;

pub(crate) use queues::population;

/// Who leads what, as a client would find out by asking around. A leader that was cut off may still think that it leads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leaders {
    /// The nodes that serve each group, by the number of the group.
    pub(crate) of_group: Vec<Vec<NodeId>>,
}

impl Leaders {
    fn of(&self, group: GroupId, rng: &mut Rng) -> Option<NodeId> {
        let leaders = self.of_group.get(usize::from(group.0)).filter(|leaders| !leaders.is_empty())?;
        Some(*pick(rng, leaders))
    }

    fn of_any_shard(&self, rng: &mut Rng) -> Option<NodeId> {
        let leaders: Vec<NodeId> = self.of_group.iter().skip(1).flatten().copied().collect();
        if leaders.is_empty() { None } else { Some(*pick(rng, &leaders)) }
    }

    /// Whether every group has one.
    pub(crate) fn are_complete(&self) -> bool {
        self.of_group.iter().all(|leaders| !leaders.is_empty())
    }
}

/// A deduplication id that was used: the message group and the hash.
type UsedId = (Option<Box<str>>, u128);

/// All clients of a broker. They share what they know, as clients of one application do.
#[derive(Debug)]
pub(crate) struct Clients {
    rng: Rng,
    nodes: u64,
    shards: u16,
    handles: Handles,
    /// Deduplication ids that were used lately.
    deduplication_ids: BTreeMap<QueueNumber, Vec<UsedId>>,
    next_deduplication_id: u64,
    drain_cursor: usize,
    has_bulk: bool,
}

impl Clients {
    /// Clients of a planned broker.
    pub(crate) fn new(rng: Rng, plan: &Plan) -> Self {
        Self {
            rng,
            nodes: plan.replicas,
            shards: plan.shards,
            handles: Handles::default(),
            deduplication_ids: BTreeMap::new(),
            next_deduplication_id: 0,
            drain_cursor: 0,
            has_bulk: plan.has_bulk,
        }
    }

    /// What a client does next, and whom it asks.
    pub(crate) fn next(&mut self, history: &mut History, leaders: &Leaders, now_us: u64) -> (NodeId, Action) {
        let action = match self.rng.u32(..1_000) {
            0..420 => self.send(history),
            420..760 => self.receive(history),
            760..970 => self.delete(),
            970..978 => {
                let queue = self.live_queue(history, |_| true);
                queue.map(Action::Count)
            }
            978..985 => self.change_all(history, now_us),
            _ => Some(self.create_or_remove(history)),
        };
        let action = action.unwrap_or(Action::Count(0));
        (self.whom(&action, leaders), action)
    }

    /// The next step of emptying all queues: handles that were received are used, then more is received from one of the
    /// queues that `stored` says hold something, from the node that has it.
    pub(crate) fn drain(
        &mut self,
        leaders: &Leaders,
        stored: &[(NodeId, QueueNumber)],
    ) -> Option<(NodeId, Action)> {
        if let Some(action) = self.handles.next_delete(&mut self.rng, true) {
            let node = self.known(&action, leaders)?;
            return Some((node, action));
        }
        self.drain_cursor += 1;
        let (node, queue) = *stored.get(self.drain_cursor % stored.len().max(1))?;
        Some((node, Action::Receive { queue, max: 16, wait_ms: 0, visibility_ms: Some(20_000) }))
    }

    /// Whether all handles that were received are used.
    pub(crate) fn has_no_handles(&self) -> bool {
        self.handles.is_empty()
    }

    /// Forgets all handles.
    pub(crate) fn forget_handles(&mut self) {
        self.handles = Handles::default();
    }

    /// Creation of a queue, for the start.
    pub(crate) fn found(&mut self, queue: QueueNumber, leaders: &Leaders) -> (NodeId, Action) {
        let action = Action::Create(queue);
        (self.whom(&action, leaders), action)
    }

    /// Removal of a queue that was asked for before, for the end.
    pub(crate) fn remove(
        &mut self,
        queue: QueueNumber,
        history: &History,
        leaders: &Leaders,
    ) -> (NodeId, Action) {
        let is_removal = |action: &Action| match action {
            Action::Remove(of) | Action::Withdraw(of) | Action::DeleteClosed { queue: of, .. } => {
                *of == queue
            }
            _ => false,
        };
        let mut asked = history.operations.iter().rev().map(|operation| &operation.action);
        let action = asked.find(|action| is_removal(action)).cloned().unwrap_or(Action::Remove(queue));
        (self.whom(&action, leaders), action)
    }

    /// Turns rewinding off, for the end.
    pub(crate) fn turn_off(
        &mut self,
        queue: QueueNumber,
        history: &History,
        leaders: &Leaders,
    ) -> (NodeId, Action) {
        let attributes = history.queues[queue].attributes.clone();
        let action = Action::Change(queue, QueueAttributes { rewind_seconds: 0, ..attributes });
        (self.whom(&action, leaders), action)
    }

    /// Whom to ask.
    pub(crate) fn whom(&mut self, action: &Action, leaders: &Leaders) -> NodeId {
        match self.known(action, leaders) {
            Some(node) if self.rng.u8(..20) > 0 => node,
            _ => self.rng.u64(1..=self.nodes),
        }
    }

    /// The node that does it, if there is one now.
    fn known(&mut self, action: &Action, leaders: &Leaders) -> Option<NodeId> {
        match action {
            Action::Create(_)
            | Action::Remove(_)
            | Action::Change(..)
            | Action::Purge(_)
            | Action::Withdraw(_)
            | Action::DeleteClosed { .. }
            | Action::Rewind { .. } => leaders.of(GroupId::CATALOGUE, &mut self.rng),
            Action::Send { home: Some(home), .. } => {
                leaders.of(GroupId(1 + (home % u64::from(self.shards)) as u16), &mut self.rng)
            }
            Action::Delete { shard, .. } => leaders.of(*shard, &mut self.rng),
            Action::RemoveOne(meant) | Action::ReturnOne(meant) => leaders.of(meant.shard, &mut self.rng),
            Action::Send { .. } | Action::Receive { .. } | Action::Count(_) => {
                leaders.of_any_shard(&mut self.rng)
            }
        }
    }

    fn live_queue(&mut self, history: &History, suits: impl Fn(&KnownQueue) -> bool) -> Option<QueueNumber> {
        let live = live_queues(history, suits);
        if live.is_empty() { None } else { Some(*pick(&mut self.rng, &live)) }
    }

    /// A queue that suits, or now and then one that is closed, to see that it empties and stays empty.
    fn used_queue(&mut self, history: &History, suits: impl Fn(&KnownQueue) -> bool) -> Option<QueueNumber> {
        let closing = (self.rng.u8(..6) == 0).then(|| self.live_queue(history, KnownQueue::is_closing));
        closing.flatten().or_else(|| self.live_queue(history, suits))
    }

    fn receive(&mut self, history: &History) -> Option<Action> {
        let queue = self.used_queue(history, |_| true)?;
        let max = if self.rng.bool() { 1 } else { self.rng.u16(2..=16) };
        let wait_ms = if self.rng.bool() { 0 } else { self.rng.u64(100..5_000) };
        let visibility_ms = match self.rng.u8(..20) {
            0 => Some(0),
            1 => Some(self.rng.u64(5_000..15_000)),
            2..10 => Some(self.rng.u64(100..5_000)),
            // The stamp of a receive is told from its lease.
            _ if history.queues[queue].is_changing() => Some(self.rng.u64(100..5_000)),
            _ => None,
        };
        Some(Action::Receive { queue, max, wait_ms, visibility_ms })
    }

    fn delete(&mut self) -> Option<Action> {
        self.handles.next_delete(&mut self.rng, false)
    }

    /// Remembers what was received.
    pub(crate) fn heard(&mut self, received: &[Received], is_drain: bool) {
        for one in received {
            self.handles.take(one, is_drain, &mut self.rng);
        }
    }
}

fn live_queues(history: &History, suits: impl Fn(&KnownQueue) -> bool) -> Vec<QueueNumber> {
    let is_live = |queue: &KnownQueue| queue.id.is_some() && queue.removal_asked_us.is_none();
    let numbered = history.queues.iter().enumerate();
    numbered.filter(|(_, queue)| is_live(queue) && suits(queue)).map(|(number, _)| number).collect()
}

/// What decides the shard of a message: the queue, or its message group.
fn home_of(queue: QueueNumber, kind: QueueKind, group: Option<&str>) -> Option<u64> {
    use cmq_engine::attributes::DeduplicationScope::{MessageGroup, Queue};
    let key = match kind {
        QueueKind::Standard => return None,
        QueueKind::Fifo { deduplication: Queue } => format!("{queue}"),
        QueueKind::Fifo { deduplication: MessageGroup } => format!("{queue} {}", group.unwrap_or_default()),
    };
    Some(xxhash_rust::xxh3::xxh3_64(key.as_bytes()))
}
