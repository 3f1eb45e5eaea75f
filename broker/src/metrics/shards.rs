//! What the driver does and how its groups stand.

use prometheus::proto::{MetricFamily, MetricType};

use super::families::{counter_of, family, gauge, gauge_of, histogram};
use crate::replication::figures::{DriverFigures, GroupFigures};
use crate::replication::runtime::RuntimeFigures;

/// A figure of a group: its name, its help and where it is.
type Figure = (&'static str, &'static str, fn(&GroupFigures) -> u64);

const FIGURES: [Figure; 11] = [
    ("cmq_shard_leader", "Whether this node leads the shard.", |group| u64::from(group.is_serving)),
    ("cmq_shard_term", "Term of the Raft protocol.", |group| group.term),
    ("cmq_shard_applied_index", "Index of the newest applied log entry.", |group| group.applied),
    ("cmq_shard_unapplied_entries", "Log entries behind the newest applied one.", |group| group.unapplied),
    (
        "cmq_shard_log_entries",
        "Log entries since the last checkpoint, which a restart would apply again.",
        |group| group.entries_since_checkpoint,
    ),
    (
        "cmq_shard_log_bytes",
        "Bytes of log entries since the last checkpoint, which a restart would read again.",
        |group| group.bytes_since_checkpoint as u64,
    ),
    ("cmq_shard_waiting_bytes", "Bytes of requests that wait for a log entry.", |group| {
        group.waiting_bytes as u64
    }),
    (
        "cmq_shard_records",
        "Messages with state in memory: in flight, delayed or returned; at most 1,000,000.",
        |group| group.sizes.records as u64,
    ),
    ("cmq_shard_lanes", "Message groups that hold messages, and one a queue; at most 250,000.", |group| {
        group.sizes.lanes as u64
    }),
    ("cmq_shard_deduplication_ids", "Deduplication ids in memory; at most 1,000,000.", |group| {
        group.sizes.deduplication_ids as u64
    }),
    ("cmq_shard_removed_queues", "Deleted queues that are not freed yet.", |group| {
        group.sizes.removed_queues as u64
    }),
];

pub(super) fn families(driver: &DriverFigures, runtime: &RuntimeFigures) -> Vec<MetricFamily> {
    let names: Vec<String> = (0..driver.groups.len())
        .map(|at| if at == 0 { "catalogue".to_owned() } else { at.to_string() })
        .collect();
    let mut families: Vec<MetricFamily> = FIGURES
        .iter()
        .map(|(name, help, of)| {
            let metrics = names
                .iter()
                .zip(&driver.groups)
                .map(|(shard, group)| gauge_of(&[("shard", shard)], of(group) as f64));
            family(name, help, MetricType::GAUGE, metrics.collect())
        })
        .collect();
    let refused =
        runtime.refused.iter().map(|(reason, count)| counter_of(&[("reason", reason)], *count as f64));
    families.extend([
        gauge("cmq_waiting_receives", "Receives that wait for a message.", driver.waiters as f64),
        gauge(
            "cmq_inbox_requests",
            "Requests that wait for the driver's next turn.",
            runtime.inbox_requests as f64,
        ),
        family(
            "cmq_refused_requests_total",
            "Requests that were not done, by reason.",
            MetricType::COUNTER,
            refused.collect(),
        ),
        histogram("cmq_driver_turn_seconds", "Time of a turn of the driver.", &runtime.turn_micros, 1e-6),
        histogram("cmq_log_entry_requests", "Requests in one log entry.", &driver.entry_requests, 1.0),
        histogram("cmq_log_entry_bytes", "Bytes of one log entry.", &driver.entry_bytes, 1.0),
    ]);
    families
}
