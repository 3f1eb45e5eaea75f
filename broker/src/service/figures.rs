//! What the metrics show of the node.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use cmq_engine::attributes::QueueId;
use cmq_engine::outcome::Totals;
use cmq_engine::shard::Counts;

use super::Service;
use crate::metrics::node::NodeFigures;
use crate::metrics::queues::{QueueFigures, QueuesFigures, deepest};
use crate::replication::figures::SurveyCursor;

impl Service {
    /// One look at the node, for metrics, with at most `queues_max` queues by themselves; None when the node is over. The
    /// driver's thread is asked for a page of queues at a time and goes on with its work between them.
    pub async fn figures(&self, queues_max: usize) -> Option<NodeFigures> {
        let node = &self.inner.node;
        let driver = node.look(|driver| driver.figures()).await?;
        let mut queues: HashMap<QueueId, (Counts, Totals)> = HashMap::new();
        let mut all = QueueFigures { totals: driver.totals, ..QueueFigures::default() };
        let mut next = Some(SurveyCursor::default());
        while let Some(cursor) = next {
            let page = node.look(move |driver| driver.survey(cursor)).await?;
            for (id, counts, totals) in page.queues {
                all.counts = all.counts.plus(&counts);
                let (held, happened) = queues.entry(id).or_default();
                *held = held.plus(&counts);
                *happened += totals;
            }
            next = page.next;
        }
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let age_seconds = |counts: &Counts| {
            counts.oldest_ms.map_or(0.0, |sent_ms| now_ms.saturating_sub(sent_ms) as f64 / 1_000.0)
        };
        all.oldest_age_seconds = age_seconds(&all.counts);
        let count = self.inner.directory.len();
        let queues = queues.into_iter().map(|(id, (counts, totals))| (id, counts, totals)).collect();
        let figures = |(id, counts, totals): (QueueId, Counts, Totals)| {
            let name = self.inner.directory.find_id(id)?.name.clone();
            Some(QueueFigures { name, oldest_age_seconds: age_seconds(&counts), counts, totals })
        };
        let shown = deepest(queues, queues_max).into_iter().filter_map(figures).collect();
        let queues = QueuesFigures { count, shown, all };
        Some(NodeFigures { queues, driver, runtime: node.figures(), ..NodeFigures::default() })
    }
}
