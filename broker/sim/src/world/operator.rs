//! What operators do: they look at messages and remove or return single ones, and declare queues no more.

use cmq_broker::replication::browse::{Filter, Walk};
use cmq_broker::replication::{GroupId, NodeId, Reply};
use cmq_engine::browse::{BrowseBounds, Glimpse, MessageState, Place, Visited};
use cmq_engine::catalogue::DeletionPolicy;
use cmq_engine::chunk::Pages;
use cmq_engine::message::DeliveryId;
use cmq_engine::outcome::Handled;

use super::World;
use super::node::Node;
use crate::history::{Action, KnownQueue, Meant, OperationId, QueueNumber};
use crate::plan::pick;

const ALL: Visited = Visited { ready: true, in_flight: true, delayed: true };
/// Time for which a queue that was closed is looked at all the time, microseconds.
const SOON_US: u64 = 200_000;
/// Messages that one look shows.
const LOOK_MAX: usize = 200;

impl World {
    /// What an operator does next, if one is there.
    pub(super) fn operate(&mut self) -> Option<Action> {
        let is_new = |queue: &KnownQueue| {
            queue.is_closing() && queue.withdrawn_us.is_some_and(|at_us| at_us + SOON_US > self.now_us)
        };
        if self.history.queues.iter().any(is_new)
            && let Some(action) = self.finish_closing()
        {
            return Some(action);
        }
        match self.rng.u32(..1_000) {
            0..10 => self.mean().map(Action::RemoveOne),
            10..20 => self.mean().map(Action::ReturnOne),
            20..28 => {
                let declared = |queue: &KnownQueue| {
                    queue.id.is_some() && queue.deletion.is_some() && queue.removal_asked_us.is_none()
                };
                let queues = self.numbers(declared);
                // The latest may be empty yet.
                let latest = queues.last().copied().filter(|_| self.rng.bool());
                let queue = latest.or_else(|| (!queues.is_empty()).then(|| *pick(&mut self.rng, &queues)));
                queue.map(Action::Withdraw)
            }
            28..100 => self.finish_closing(),
            _ => None,
        }
    }

    fn numbers(&self, suits: impl Fn(&KnownQueue) -> bool) -> Vec<QueueNumber> {
        let numbered = self.history.queues.iter().enumerate();
        numbered.filter(|(_, queue)| suits(queue)).map(|(number, _)| number).collect()
    }

    /// One of the messages of a queue, as a look shows it, or one that an operator meant before.
    fn mean(&mut self) -> Option<Meant> {
        if self.rng.u8(..8) == 0 {
            let meant = self.history.operations.iter().rev().filter_map(|operation| match operation.action {
                Action::RemoveOne(meant) | Action::ReturnOne(meant) => Some(meant),
                _ => None,
            });
            return meant.take(5).last();
        }
        let queues = self.numbers(|queue| queue.id.is_some() && queue.removal_asked_us.is_none());
        let queue = *pick(&mut self.rng, &queues);
        let shard = GroupId(self.rng.u16(1..=self.plan.shards));
        let walk = Walk {
            shard,
            queue: self.history.queues[queue].id?,
            from: Place::FIRST,
            visited: ALL,
            filter: Filter::default(),
        };
        let node = self.nodes.iter().find(|node| node.serves(shard))?;
        let seen = look(node, &walk, LOOK_MAX);
        if seen.is_empty() {
            return None;
        }
        let one = &seen[self.rng.usize(..seen.len())];
        Some(Meant { queue, shard, message: one.id, body: one.slot.body })
    }

    /// Deletion of a closed queue, where one is empty on every shard.
    pub(super) fn finish_closing(&mut self) -> Option<Action> {
        let closing = self.numbers(KnownQueue::is_closing);
        closing.into_iter().find_map(|queue| {
            let revision = self.drained_revision(queue)?;
            Some(Action::DeleteClosed { queue, revision })
        })
    }

    /// The revision of a closed queue that is empty for good, by the word of the leaders.
    fn drained_revision(&self, queue: QueueNumber) -> Option<u64> {
        let id = self.history.queues[queue].id?;
        let drivers = || self.nodes.iter().filter_map(Node::driver);
        let catalogue = drivers().find(|driver| driver.serves(GroupId::CATALOGUE))?.catalogue()?;
        let closing = catalogue.closing_revision(id)?;
        let has_drained =
            |shard: u16| drivers().any(|driver| driver.has_drained(GroupId(shard), id, closing));
        (1..=self.plan.shards).all(has_drained).then_some(())?;
        catalogue.queues().find(|entry| entry.id == id).map(|entry| entry.revision)
    }

    /// Remembers that a queue may be gone from now on, or takes no more messages.
    pub(super) fn note_removal(&mut self, action: &Action) {
        let now_us = self.now_us;
        match action {
            Action::Remove(queue) => _ = self.history.queues[*queue].removal_asked_us.get_or_insert(now_us),
            Action::Withdraw(queue) => {
                let queue = &mut self.history.queues[*queue];
                if queue.deletion == Some(DeletionPolicy::Delete) {
                    queue.removal_asked_us.get_or_insert(now_us);
                }
            }
            Action::DeleteClosed { queue, .. } => {
                let queue = &mut self.history.queues[*queue];
                queue.removal_asked_us.get_or_insert(now_us);
                queue.closed_us.get_or_insert(now_us);
            }
            _ => {}
        }
    }

    /// All replicas are level: every shard knows what is closed.
    pub(super) fn note_closed(&mut self) {
        let now_us = self.now_us;
        for queue in self.history.queues.iter_mut().filter(|queue| queue.is_closing()) {
            queue.closed_us.get_or_insert(now_us);
        }
    }

    /// A message that was returned is ready when that is answered, or was handed out again.
    pub(super) fn check_returned(&mut self, node: NodeId, id: OperationId, reply: &Reply) {
        let Action::ReturnOne(meant) = self.history.operation(id).action else { return };
        if *reply != Reply::Handled(Handled::Done) {
            return;
        }
        let DeliveryId { queue, lane, sequence, .. } = meant.message;
        let from = Place { lane, sequence };
        let walk =
            Walk { shard: meant.shard, queue: queue.queue, from, visited: ALL, filter: Filter::default() };
        let seen = look(self.node(node), &walk, 1);
        let hidden = seen.first().filter(|one| one.id == meant.message && one.state != MessageState::Ready);
        if let Some(hidden) = hidden {
            let detail = format!("operation {id} returned {meant:?}: {hidden:?}");
            self.find("a returned message is ready at once", detail);
        }
    }
}

/// What the leader of a shard shows of a queue without its disk.
fn look(node: &Node, walk: &Walk, found_max: usize) -> Vec<Glimpse> {
    let bounds = BrowseBounds { found_max, looks_max: 10 * LOOK_MAX, pages_max: 0, lane: None };
    let step = node.driver().and_then(|driver| driver.browse(walk, bounds, &Pages::default()));
    step.flatten().map(|step| step.browsed.found).unwrap_or_default()
}
