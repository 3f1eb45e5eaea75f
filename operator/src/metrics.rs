//! What the operator counts about itself.

use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

/// The counters, registered.
pub struct Metrics {
    registry: Registry,
    reconciles: IntCounterVec,
    durations: HistogramVec,
    rollout_steps: IntCounterVec,
    resizes: IntCounterVec,
}

impl Metrics {
    /// Counters that start at zero.
    pub fn new() -> Self {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter =
                IntCounterVec::new(Opts::new(name, help), labels).expect("names are constant and right");
            registry.register(Box::new(counter.clone())).expect("each name is registered once");
            counter
        };
        let durations = HistogramVec::new(
            HistogramOpts::new("cmq_operator_reconcile_duration_seconds", "Time that a reconcile took")
                .buckets(vec![0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0]),
            &["kind"],
        )
        .expect("names are constant and right");
        registry.register(Box::new(durations.clone())).expect("each name is registered once");
        Self {
            reconciles: counter("cmq_operator_reconcile_total", "Reconciles that ended", &["kind", "result"]),
            rollout_steps: counter(
                "cmq_operator_rollout_steps_total",
                "Steps of rolling changes",
                &["result"],
            ),
            resizes: counter("cmq_operator_resize_total", "Volume growths", &["result"]),
            durations,
            registry,
        }
    }

    /// What a scrape reads.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// A reconcile ended.
    pub fn reconciled(&self, kind: &str, result: &str, took: Duration) {
        self.reconciles.with_label_values(&[kind, result]).inc();
        self.durations.with_label_values(&[kind]).observe(took.as_secs_f64());
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
