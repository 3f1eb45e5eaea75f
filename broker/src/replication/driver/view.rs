//! What can be seen of a driver from outside, between two turns.

use cmq_engine::attributes::QueueId;
use cmq_engine::catalogue::Catalogue;
use cmq_engine::faults::{self, Fault};
use cmq_engine::shard::Counts;

use super::{Driver, GroupState};
use crate::replication::figures::{DriverFigures, SURVEY_QUEUES, SurveyCursor, SurveyPage};
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
        Some(shards.fold(Counts::default(), |sum, counts| sum.plus(&counts)))
    }

    /// Whether a queue is closed, and empty for good: every shard knows that nothing comes any more, and holds no message of it.
    /// False too when this node does not lead them all, and so cannot tell.
    pub fn is_drained(&self, queue: QueueId) -> bool {
        let closing = self.catalogue().and_then(|catalogue| catalogue.closing_revision(queue));
        closing.is_some_and(|revision| {
            self.groups[1..].iter().all(|group| self.has_drained(group.id, queue, revision))
        })
    }

    /// Whether this node leads a shard that has the catalogue's `revision` and holds no message of the queue.
    pub fn has_drained(&self, shard: GroupId, queue: QueueId, revision: u64) -> bool {
        let group = self.groups.get(usize::from(shard.0)).filter(|group| group.is_serving());
        group.and_then(|group| group.machine.shard()).is_some_and(|shard| {
            let counts = shard.counts(queue).unwrap_or_default();
            let is_level = shard.revision() >= revision || faults::is_active(Fault::ClosingUnfenced);
            is_level && counts.active + counts.in_flight + counts.delayed == 0
        })
    }

    /// One look at the driver and its groups.
    pub fn figures(&self) -> DriverFigures {
        let mut figures = DriverFigures {
            groups: self.groups.iter().map(Group::figures).collect(),
            waiters: self.hub.waiters.len(),
            body_bytes: self.hub.bodies.bytes(),
            ..DriverFigures::default()
        };
        for shard in self.groups.iter().filter_map(|group| group.machine.shard()) {
            figures.totals += shard.all_totals();
        }
        self.hub.counters.fill(&mut figures);
        figures
    }

    /// What up to [`SURVEY_QUEUES`] queues hold and what happened on them. A queue comes once for each shard.
    pub fn survey(&self, from: SurveyCursor) -> SurveyPage {
        let SurveyCursor { group: at, after } = from;
        let Some(shard) = self.groups.get(at).and_then(|group| group.machine.shard()) else {
            return SurveyPage::default();
        };
        let is_serving = self.groups[at].is_serving();
        let figures = |queue: QueueId| {
            // What a follower holds is shown by the leader; what a leader counted stays.
            let counts = if is_serving { shard.counts(queue)? } else { Counts::default() };
            Some((queue, counts, shard.totals(queue)?))
        };
        let queues: Vec<_> = shard.queues_after(after).take(SURVEY_QUEUES).filter_map(figures).collect();
        let next = match queues.last() {
            Some((last, ..)) => Some(SurveyCursor { group: at, after: Some(*last) }),
            None if at + 1 < self.groups.len() => Some(SurveyCursor { group: at + 1, after: None }),
            None => None,
        };
        SurveyPage { queues, next }
    }

    /// Shards of the Broker.
    pub fn shards(&self) -> u16 {
        self.hub.config.shards
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
