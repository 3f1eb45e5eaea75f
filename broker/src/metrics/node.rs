//! What the node under the protocols looks like: its queues, its shards, its storage. Asked for at each look at the page,
//! so that a quiet broker does nothing.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::queues::QueuesFigures;
use super::{queues, shards, storage};
use crate::replication::figures::DriverFigures;
use crate::replication::runtime::RuntimeFigures;
use crate::storage::budget::MemoryBudget;
use crate::storage::pressure::StorePressure;

/// One look at the node.
#[derive(Clone, Debug, Default)]
pub struct NodeFigures {
    /// Its queues.
    pub queues: QueuesFigures,
    /// Its driver and groups.
    pub driver: DriverFigures,
    /// What runs the driver.
    pub runtime: RuntimeFigures,
    /// Its storage.
    pub pressure: StorePressure,
    /// Whether the volume has room for more messages.
    pub takes_sends: bool,
    /// How its memory is split.
    pub memory: Option<MemoryBudget>,
}

/// Asks for the figures; None when the node is not there (yet, or any more).
pub type Source = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Option<NodeFigures>> + Send>> + Send + Sync>;

/// The metrics of the node; clones show the same.
#[derive(Clone, Default)]
pub struct NodeMetrics {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    source: OnceLock<Source>,
    /// One look at a time, however many ask.
    looking: tokio::sync::Mutex<()>,
    /// None shows nothing: a queue that holds no message is something else than a queue that cannot be seen.
    latest: Mutex<Option<Arc<NodeFigures>>>,
}

impl fmt::Debug for NodeMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeMetrics").finish_non_exhaustive()
    }
}

impl NodeMetrics {
    /// Says where figures come from. The first one stays.
    pub fn set_source(&self, source: Source) {
        // A process has one node.
        let _ = self.shared.source.set(source);
    }

    /// Gets new figures for the look that follows.
    pub async fn refresh(&self) {
        let Some(source) = self.shared.source.get() else { return };
        let _looking = self.shared.looking.lock().await;
        let figures = source().await.map(Arc::new);
        *self.shared.latest.lock().unwrap_or_else(PoisonError::into_inner) = figures;
    }
}

impl Collector for NodeMetrics {
    /// The families are made at each look and registered under no name of their own.
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let latest = self.shared.latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(figures) = latest else { return Vec::new() };
        let families = [
            queues::families(&figures.queues),
            shards::families(&figures.driver, &figures.runtime),
            storage::families(&figures),
            storage::memory(&figures),
        ];
        families.into_iter().flatten().filter(|family| !family.get_metric().is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use cmq_engine::outcome::Totals;
    use cmq_engine::shard::Counts;
    use prometheus::TextEncoder;

    use super::super::queues::QueueFigures;
    use super::*;
    use crate::replication::figures::GroupFigures;
    use crate::storage::pressure::HistogramFigures;

    fn figures() -> NodeFigures {
        let orders = QueueFigures {
            name: "orders".into(),
            counts: Counts { active: 3, ..Counts::default() },
            oldest_age_seconds: 4.5,
            totals: Totals { deleted: 7, empty_receives: 2, ..Totals::default() },
        };
        let all = QueueFigures { totals: Totals { deleted: 8, ..orders.totals }, ..orders.clone() };
        let commit_micros = HistogramFigures { bounds: &[100, 1_000], counts: vec![2, 3, 1], sum: 6_000 };
        let leads = GroupFigures { is_serving: true, applied: 12, ..GroupFigures::default() };
        let groups = vec![leads, GroupFigures::default()];
        NodeFigures {
            queues: QueuesFigures { count: 2, shown: vec![orders], all },
            driver: DriverFigures { groups, waiters: 2, ..DriverFigures::default() },
            pressure: StorePressure { commit_micros, memtable_bytes: 99, ..StorePressure::default() },
            memory: Some(MemoryBudget::split(64 << 20).unwrap()),
            ..NodeFigures::default()
        }
    }

    fn page(metrics: &crate::metrics::Metrics) -> String {
        TextEncoder::new().encode_to_string(&metrics.registry().gather()).unwrap()
    }

    #[tokio::test]
    async fn shows_what_the_source_says() {
        let metrics = crate::metrics::Metrics::new();
        metrics.node.set_source(Box::new(|| Box::pin(async { Some(figures()) })));
        metrics.node.refresh().await;
        let page = page(&metrics);
        for line in [
            "cmq_queue_messages{queue=\"orders\",state=\"active\"} 3",
            "cmq_queue_deleted_messages_total{queue=\"orders\"} 7",
            "cmq_queue_empty_receives_total{queue=\"orders\"} 2",
            "cmq_queue_oldest_message_age_seconds{queue=\"orders\"} 4.5",
            "cmq_deleted_messages_total 8",
            "cmq_messages{state=\"active\"} 3",
            "cmq_queues 2",
            "cmq_queues_shown 1",
            "cmq_shard_leader{shard=\"catalogue\"} 1",
            "cmq_shard_leader{shard=\"1\"} 0",
            "cmq_shard_applied_index{shard=\"catalogue\"} 12",
            "cmq_waiting_receives 2",
            "cmq_memory_used_bytes{part=\"memtables\"} 99",
            "cmq_storage_commit_seconds_bucket{le=\"0.001\"} 5",
            "cmq_storage_commit_seconds_bucket{le=\"+Inf\"} 6",
            "cmq_storage_commit_seconds_sum 0.006",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
    }

    #[tokio::test]
    async fn a_node_that_is_over_shows_nothing() {
        let metrics = crate::metrics::Metrics::new();
        let source = Arc::new(Mutex::new(Some(figures())));
        let asked = source.clone();
        metrics.node.set_source(Box::new(move || {
            let figures = asked.lock().unwrap().clone();
            Box::pin(async { figures })
        }));
        metrics.node.refresh().await;
        assert!(page(&metrics).contains("cmq_queue_messages"));
        *source.lock().unwrap() = None;
        metrics.node.refresh().await;
        assert!(!page(&metrics).contains("cmq_queue_messages"));
    }
}
