//! What the metrics show of the node.

use std::time::{SystemTime, UNIX_EPOCH};

use cmq_engine::attributes::QueueId;
use cmq_engine::outcome::Totals;
use cmq_engine::shard::Counts;

use super::Service;
use crate::metrics::node::{NodeFigures, QueueFigures};
use crate::replication::GroupId;

impl Service {
    /// Counts and totals of all queues, for metrics; None when the node is over.
    pub async fn figures(&self) -> Option<NodeFigures> {
        let look = self.inner.node.look(|driver| {
            let groups = 0..=driver.shards();
            let leads = groups.map(|group| driver.serves(GroupId(group))).collect();
            (driver.survey(), driver.waiters(), leads)
        });
        let (survey, waiters, leads): (_, usize, Vec<bool>) = look.await?;
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let figures = |(id, (counts, totals)): (QueueId, (Counts, Totals))| {
            let entry = self.inner.directory.find_id(id)?;
            let age_ms = counts.oldest_ms.map_or(0, |sent_ms| now_ms.saturating_sub(sent_ms));
            Some(QueueFigures {
                name: entry.name.clone(),
                active: counts.active,
                in_flight: counts.in_flight,
                delayed: counts.delayed,
                oldest_age_seconds: age_ms as f64 / 1_000.0,
                totals: [totals.sent, totals.received, totals.deleted, totals.expired, totals.dead_lettered],
            })
        };
        let queues = survey.into_iter().filter_map(figures).collect();
        Some(NodeFigures { queues, waiters, leads, ..NodeFigures::default() })
    }
}
