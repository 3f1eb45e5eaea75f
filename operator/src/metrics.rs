//! What the operator counts about itself. `docs/metrics.md` lists every name.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::core::Collector;
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use tokio::time::Instant;

/// Begins every name.
const PREFIX: &str = "cmq_operator";

/// The counters, registered.
pub struct Metrics {
    registry: Registry,
    reconciles: IntCounterVec,
    errors: IntCounterVec,
    durations: HistogramVec,
    in_flight: IntGaugeVec,
    watch_last_success: GaugeVec,
    watch_errors: IntCounterVec,
    objects: IntGaugeVec,
    leader: IntGauge,
    broker_calls: IntCounterVec,
    rollout_steps: IntCounterVec,
    resizes: IntCounterVec,
}

impl Metrics {
    /// Counters that start at zero.
    pub fn new() -> Self {
        let registry = Registry::new();
        let info = gauges(&registry, "build_info", "1, with the version as a label.", &["version"]);
        info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let buckets = vec![0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
        let durations = options("reconcile_duration_seconds", "Time that a look at an object took.");
        let last =
            options("watch_last_success_timestamp_seconds", "Unix time at which a watch was opened last.");
        let leader = options("leader", "1 while this process leads.");
        Self {
            reconciles: counters(
                &registry,
                "reconcile_total",
                "Looks at objects that ended.",
                &["kind", "result"],
            ),
            errors: counters(&registry, "reconcile_errors_total", "Looks that failed.", &["kind", "reason"]),
            durations: register(
                &registry,
                HistogramVec::new(HistogramOpts::from(durations).buckets(buckets), &["kind"]),
            ),
            in_flight: gauges(&registry, "reconcile_inflight", "Looks at objects under way.", &["kind"]),
            watch_last_success: register(&registry, GaugeVec::new(last, &["kind"])),
            watch_errors: counters(
                &registry,
                "watch_errors_total",
                "Watches that could not be opened.",
                &["kind"],
            ),
            objects: gauges(&registry, "store_objects", "Objects that are known.", &["kind"]),
            leader: register(&registry, IntGauge::with_opts(leader)),
            broker_calls: counters(
                &registry,
                "broker_calls_total",
                "Calls of the brokers' admin API.",
                &["operation", "result"],
            ),
            rollout_steps: counters(
                &registry,
                "rollout_steps_total",
                "Steps of rolling changes.",
                &["result"],
            ),
            resizes: counters(&registry, "resize_total", "Growths of volumes.", &["result"]),
            registry,
        }
    }

    /// What a scrape reads.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// A look at an object of a kind (`broker`, `queue`) begins. Dropped without a word, it was cut off.
    pub fn reconcile(self: &Arc<Self>, kind: &'static str) -> Reconcile {
        self.in_flight.with_label_values(&[kind]).inc();
        Reconcile { metrics: self.clone(), kind, begun: Instant::now(), result: "cut_off" }
    }

    /// A watch of this resource (`queues`) was opened.
    pub fn watch_opened(&self, resource: &str) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.watch_last_success.with_label_values(&[resource]).set(now.as_secs_f64());
    }

    /// A watch of this resource could not be opened.
    pub fn watch_failed(&self, resource: &str) {
        self.watch_errors.with_label_values(&[resource]).inc();
    }

    /// So many objects of a kind are known.
    pub fn set_objects(&self, kind: &str, objects: usize) {
        self.objects.with_label_values(&[kind]).set(i64::try_from(objects).unwrap_or(i64::MAX));
    }

    /// Whether this process leads.
    pub fn set_leader(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// A call of a broker's admin API ended: `ok`, `refused`, `unreachable`.
    pub fn broker_called(&self, operation: &str, result: &str) {
        self.broker_calls.with_label_values(&[operation, result]).inc();
    }

    /// A step of a rolling change: `step`, `done`, `stuck`.
    pub fn rollout(&self, result: &str) {
        self.rollout_steps.with_label_values(&[result]).inc();
    }

    /// A growth of volumes: `begun`, `done`, `refused`.
    pub fn resize(&self, result: &str) {
        self.resizes.with_label_values(&[result]).inc();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// A look at an object that is under way.
pub struct Reconcile {
    metrics: Arc<Metrics>,
    kind: &'static str,
    begun: Instant,
    result: &'static str,
}

impl Reconcile {
    /// It did what could be done.
    pub fn done(mut self) {
        self.result = "ok";
    }

    /// It failed: `api`, `forbidden`, `timeout`.
    pub fn failed(mut self, reason: &str) {
        self.metrics.errors.with_label_values(&[self.kind, reason]).inc();
        self.result = "error";
    }

    fn took(&self) -> Duration {
        self.begun.elapsed()
    }
}

impl Drop for Reconcile {
    fn drop(&mut self) {
        self.metrics.in_flight.with_label_values(&[self.kind]).dec();
        self.metrics.reconciles.with_label_values(&[self.kind, self.result]).inc();
        self.metrics.durations.with_label_values(&[self.kind]).observe(self.took().as_secs_f64());
    }
}

fn options(name: &str, help: &str) -> Opts {
    Opts::new(format!("{PREFIX}_{name}"), help)
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(registry, IntCounterVec::new(options(name, help), labels))
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    register(registry, IntGaugeVec::new(options(name, help), labels))
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: prometheus::Result<C>) -> C {
    let collector = collector.expect("names are constant and right");
    registry.register(Box::new(collector.clone())).expect("each name is registered once");
    collector
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
