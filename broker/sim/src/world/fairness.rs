//! While nothing goes wrong, what is asked must be done at once.

use std::collections::BTreeSet;

use cmq_broker::replication::NodeId;
use cmq_engine::attributes::QueueId;

use super::{Phase, World};
use crate::history::{Action, OperationId};

/// Time in which a receive that waits must be served when there is something to receive, microseconds.
const WAKING_US: u64 = 500_000;
/// Time in which every shard must know a queue that was created, microseconds.
const KNOWN_US: u64 = 500_000;

impl World {
    /// While nothing goes wrong, every shard knows a queue soon after it was created.
    pub(super) fn check_missing(&mut self, id: OperationId) {
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
}
