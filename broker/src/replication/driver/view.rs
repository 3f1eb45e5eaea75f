//! What can be seen of a driver from outside, between two turns.

use std::collections::BTreeMap;

use cmq_engine::attributes::QueueId;
use cmq_engine::catalogue::Catalogue;
use cmq_engine::outcome::Totals;
use cmq_engine::shard::Counts;

use super::{Driver, GroupState};
use crate::replication::group::Group;
use crate::replication::{GroupId, NodeId, Token};

impl<T: Token> Driver<T> {
    /// Whether every group has a leader that answers; on a single replica that is the end of the recovery.
    pub fn is_ready(&self) -> bool {
        self.groups.iter().all(|group| {
            group.is_serving() || group.leader().is_some_and(|leader| leader != self.hub.config.node)
        })
    }

    /// Whether all requests are answered and everything is on disk.
    pub fn is_quiet(&self) -> bool {
        !self.outstanding
            && self.hub.epochs_waiting.is_empty()
            && self.hub.writes.is_empty()
            && self.groups.iter().all(|group| group.is_quiet() && !group.is_dirty())
    }

    /// How many messages of a queue are in which state on the shards that this node leads; None when it leads none.
    pub fn counts(&self, queue: QueueId) -> Option<Counts> {
        let mut led = self.led().peekable();
        led.peek()?;
        let shards = led.filter_map(|at| self.groups[at].machine.shard()?.counts(queue));
        Some(shards.fold(Counts::default(), |sum, counts| Counts {
            active: sum.active + counts.active,
            in_flight: sum.in_flight + counts.in_flight,
            delayed: sum.delayed + counts.delayed,
            rewindable: sum.rewindable + counts.rewindable,
            oldest_ms: [sum.oldest_ms, counts.oldest_ms].into_iter().flatten().min(),
        }))
    }

    /// Counts and running totals of every queue on the shards that this node leads.
    pub fn survey(&self) -> BTreeMap<QueueId, (Counts, Totals)> {
        let mut queues: BTreeMap<QueueId, (Counts, Totals)> = BTreeMap::new();
        for at in self.led() {
            let Some(shard) = self.groups[at].machine.shard() else { continue };
            for queue in shard.queues() {
                let (counts, totals) = queues.entry(queue).or_default();
                let (Some(more), Some(happened)) = (shard.counts(queue), shard.totals(queue)) else {
                    continue;
                };
                counts.active += more.active;
                counts.in_flight += more.in_flight;
                counts.delayed += more.delayed;
                counts.rewindable += more.rewindable;
                counts.oldest_ms = [counts.oldest_ms, more.oldest_ms].into_iter().flatten().min();
                totals.sent += happened.sent;
                totals.received += happened.received;
                totals.deleted += happened.deleted;
                totals.expired += happened.expired;
                totals.dead_lettered += happened.dead_lettered;
                totals.deduplicated += happened.deduplicated;
            }
        }
        queues
    }

    /// Shards of the Broker.
    pub fn shards(&self) -> u16 {
        self.hub.config.shards
    }

    /// Receives that wait.
    pub fn waiters(&self) -> usize {
        self.hub.waiters.len()
    }

    /// The state machine of the catalogue on this node.
    pub fn catalogue(&self) -> Option<&Catalogue> {
        self.groups[0].machine.catalogue()
    }

    /// Who leads each group, as far as this node knows.
    pub fn leaders(&self) -> Vec<Option<NodeId>> {
        self.groups.iter().map(Group::leader).collect()
    }

    /// Whether this node leads a group and answers for it.
    pub fn serves(&self, group: GroupId) -> bool {
        self.groups.get(usize::from(group.0)).is_some_and(Group::is_serving)
    }

    /// Applied index, state hash and all rows but closed chunks of a group, for comparing replicas.
    pub fn state(&self, group: GroupId) -> Option<GroupState> {
        let group = self.groups.get(usize::from(group.0))?;
        Some((group.applied().0, group.machine.hash(), group.machine.export()))
    }
}
