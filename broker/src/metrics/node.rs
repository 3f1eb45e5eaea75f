//! What the node under the protocols looks like: its queues, its shards, its storage. Asked for at each look at the page,
//! so that a quiet broker does nothing.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use crate::storage::pressure::{HistogramFigures, StorePressure};

/// One queue, summed over the shards that this node leads.
#[derive(Clone, Debug, Default)]
pub struct QueueFigures {
    /// Name on the wire.
    pub name: Box<str>,
    /// Ready to be received.
    pub active: u64,
    /// Out under a lease.
    pub in_flight: u64,
    /// Hidden by a delay.
    pub delayed: u64,
    /// Seconds since the oldest message that is not finished was sent; 0 when there is none.
    pub oldest_age_seconds: f64,
    /// Since the start of the process: stored, handed out, deleted, expired, dead-lettered.
    pub totals: [u64; 5],
}

/// One look at the node.
#[derive(Clone, Debug, Default)]
pub struct NodeFigures {
    /// All queues.
    pub queues: Vec<QueueFigures>,
    /// Receives that wait for a message.
    pub waiters: usize,
    /// For each group, the catalogue first: whether this node leads it.
    pub leads: Vec<bool>,
    /// The storage.
    pub pressure: StorePressure,
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
    latest: Mutex<NodeFigures>,
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
        let figures = source().await.unwrap_or_default();
        *self.shared.latest.lock().unwrap_or_else(PoisonError::into_inner) = figures;
    }
}

impl Collector for NodeMetrics {
    /// The families are made at each look and registered under no name of their own.
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let figures = self.shared.latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let families = [queues(&figures.queues), shards(&figures), storage(&figures.pressure)];
        families.into_iter().flatten().filter(|family| !family.get_metric().is_empty()).collect()
    }
}

fn queues(queues: &[QueueFigures]) -> Vec<MetricFamily> {
    let states = |queue: &QueueFigures| {
        [("active", queue.active), ("in_flight", queue.in_flight), ("delayed", queue.delayed)]
    };
    let messages = queues.iter().flat_map(|queue| {
        states(queue).map(|(state, count)| gauge(&[("queue", &queue.name), ("state", state)], count as f64))
    });
    let ages = queues.iter().map(|queue| gauge(&[("queue", &queue.name)], queue.oldest_age_seconds));
    let mut families = vec![
        family("cmq_queue_messages", "Messages of a queue by state.", MetricType::GAUGE, messages.collect()),
        family(
            "cmq_queue_oldest_message_age_seconds",
            "Age of the oldest message that is not finished.",
            MetricType::GAUGE,
            ages.collect(),
        ),
    ];
    let totals = [
        ("cmq_queue_sent_messages_total", "Messages stored."),
        ("cmq_queue_received_messages_total", "Messages handed out, each time."),
        ("cmq_queue_deleted_messages_total", "Messages deleted by a receipt handle."),
        ("cmq_queue_expired_messages_total", "Messages dropped at the end of their retention."),
        ("cmq_queue_dead_lettered_messages_total", "Messages moved to the dead-letter queue."),
    ];
    for (at, (name, help)) in totals.into_iter().enumerate() {
        let metrics = queues.iter().map(|queue| counter(&[("queue", &queue.name)], queue.totals[at] as f64));
        families.push(family(name, help, MetricType::COUNTER, metrics.collect()));
    }
    families
}

fn shards(figures: &NodeFigures) -> Vec<MetricFamily> {
    let leads = figures.leads.iter().enumerate().map(|(at, leads)| {
        let shard = if at == 0 { "catalogue".to_owned() } else { at.to_string() };
        gauge(&[("shard", &shard)], f64::from(u8::from(*leads)))
    });
    vec![
        family("cmq_shard_leader", "Whether this node leads the shard.", MetricType::GAUGE, leads.collect()),
        family(
            "cmq_waiting_receives",
            "Receives that wait for a message.",
            MetricType::GAUGE,
            vec![gauge(&[], figures.waiters as f64)],
        ),
    ]
}

fn storage(pressure: &StorePressure) -> Vec<MetricFamily> {
    let trees = ["log", "state", "meta"];
    let by_tree = |counts: [usize; 3]| {
        trees.iter().zip(counts).map(|(tree, count)| gauge(&[("tree", tree)], count as f64)).collect()
    };
    let one = |name, help, value: u64| family(name, help, MetricType::GAUGE, vec![gauge(&[], value as f64)]);
    vec![
        one("cmq_storage_disk_bytes", "Bytes of tables and journals.", pressure.disk_bytes),
        one("cmq_storage_free_bytes", "Free bytes of the volume.", pressure.free_bytes),
        one("cmq_storage_journal_bytes", "Bytes of journals.", pressure.journal_bytes),
        one("cmq_storage_memtable_bytes", "Bytes in memtables.", pressure.memtable_bytes),
        one(
            "cmq_storage_outstanding_flushes",
            "Memtables that wait to be written.",
            pressure.outstanding_flushes as u64,
        ),
        one(
            "cmq_storage_active_compactions",
            "Compactions that run now.",
            pressure.active_compactions as u64,
        ),
        one("cmq_storage_durable_batch", "Number of the newest durable batch.", pressure.durable_batch),
        family(
            "cmq_storage_l0_runs",
            "Runs of tables in the first level; at 20 writes slow down, at 30 they stop.",
            MetricType::GAUGE,
            by_tree(pressure.l0_runs),
        ),
        family(
            "cmq_storage_sealed_memtables",
            "Memtables that are full; at 3 commits wait.",
            MetricType::GAUGE,
            by_tree(pressure.sealed_memtables),
        ),
        histogram(
            "cmq_storage_commit_seconds",
            "Time of a commit with its sync.",
            &pressure.commit_micros,
            1e-6,
        ),
        histogram("cmq_storage_commit_bytes", "Bytes of rows a commit.", &pressure.commit_bytes, 1.0),
    ]
}

fn labels(pairs: &[(&str, &str)]) -> Vec<LabelPair> {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    pairs.iter().map(pair).collect()
}

fn gauge(pairs: &[(&str, &str)], value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::from_label(labels(pairs));
    metric.set_gauge(gauge);
    metric
}

fn counter(pairs: &[(&str, &str)], value: f64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value);
    let mut metric = Metric::from_label(labels(pairs));
    metric.set_counter(counter);
    metric
}

fn histogram(name: &str, help: &str, figures: &HistogramFigures, unit: f64) -> MetricFamily {
    let mut histogram = Histogram::default();
    histogram.set_sample_count(figures.count());
    histogram.set_sample_sum(figures.sum as f64 * unit);
    let mut below = 0;
    let buckets = figures.bounds.iter().zip(&figures.counts).map(|(bound, count)| {
        below += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound as f64 * unit);
        bucket.set_cumulative_count(below);
        bucket
    });
    histogram.set_bucket(buckets.collect());
    let mut metric = Metric::default();
    metric.set_histogram(histogram);
    family(name, help, MetricType::HISTOGRAM, vec![metric])
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    #[tokio::test]
    async fn shows_what_the_source_says() {
        let metrics = crate::metrics::Metrics::new();
        let source = || -> Pin<Box<dyn Future<Output = Option<NodeFigures>> + Send>> {
            let queue = QueueFigures {
                name: "orders".into(),
                active: 3,
                totals: [9, 8, 7, 6, 5],
                ..Default::default()
            };
            let pressure = StorePressure {
                commit_micros: HistogramFigures { bounds: &[100, 1_000], counts: vec![2, 3, 1], sum: 6_000 },
                ..StorePressure::default()
            };
            Box::pin(async move {
                Some(NodeFigures { queues: vec![queue], waiters: 2, leads: vec![true, false], pressure })
            })
        };
        metrics.node.set_source(Box::new(source));
        metrics.node.refresh().await;
        let page = TextEncoder::new().encode_to_string(&metrics.registry().gather()).unwrap();
        for line in [
            "cmq_queue_messages{queue=\"orders\",state=\"active\"} 3",
            "cmq_queue_deleted_messages_total{queue=\"orders\"} 7",
            "cmq_shard_leader{shard=\"catalogue\"} 1",
            "cmq_shard_leader{shard=\"1\"} 0",
            "cmq_waiting_receives 2",
            "cmq_storage_commit_seconds_bucket{le=\"0.001\"} 5",
            "cmq_storage_commit_seconds_bucket{le=\"+Inf\"} 6",
            "cmq_storage_commit_seconds_sum 0.006",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
    }
}
