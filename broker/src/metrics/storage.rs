//! How the storage stands: commits, disk space, memory, and how close fjall is to slowing writes down.

use prometheus::proto::{MetricFamily, MetricType};

use super::families::{counter, family, gauge, gauge_of, histogram};
use super::node::NodeFigures;
use crate::storage::options::RESERVE_BYTES;

pub(super) fn families(figures: &NodeFigures) -> Vec<MetricFamily> {
    let pressure = &figures.pressure;
    let by_tree = |counts: [usize; 3]| {
        let trees = ["log", "state", "meta"].iter().zip(counts);
        trees.map(|(tree, count)| gauge_of(&[("tree", tree)], count as f64)).collect()
    };
    vec![
        gauge("cmq_storage_disk_bytes", "Bytes of tables and journals.", pressure.disk_bytes as f64),
        gauge("cmq_storage_free_bytes", "Free bytes of the volume.", pressure.free_bytes as f64),
        gauge(
            "cmq_storage_reserve_bytes",
            "Free bytes below which sends are refused, so that receives and deletes go on.",
            RESERVE_BYTES as f64,
        ),
        gauge(
            "cmq_storage_takes_sends",
            "Whether the volume has room for more messages.",
            f64::from(u8::from(figures.takes_sends)),
        ),
        gauge("cmq_storage_journals", "Journals on disk.", pressure.journals as f64),
        gauge("cmq_storage_journal_bytes", "Bytes of journals.", pressure.journal_bytes as f64),
        gauge(
            "cmq_storage_outstanding_flushes",
            "Memtables that wait to be written.",
            pressure.outstanding_flushes as f64,
        ),
        gauge(
            "cmq_storage_active_compactions",
            "Compactions that run now.",
            pressure.active_compactions as f64,
        ),
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
        counter(
            "cmq_storage_commits_held_back_total",
            "Commits that waited for memtables to be written.",
            pressure.commits_held_back as f64,
        ),
        counter(
            "cmq_storage_forced_compactions_total",
            "Compactions that were forced to win space back.",
            pressure.forced_compactions as f64,
        ),
        counter(
            "cmq_storage_durable_batches_total",
            "Batches that are on disk, since the volume was made.",
            pressure.durable_batch as f64,
        ),
        histogram(
            "cmq_storage_commit_seconds",
            "Time of a commit with its sync.",
            &pressure.commit_micros,
            1e-6,
        ),
        histogram("cmq_storage_commit_batches", "Batches in one commit.", &pressure.commit_batches, 1.0),
        histogram("cmq_storage_commit_bytes", "Bytes of rows in one commit.", &pressure.commit_bytes, 1.0),
    ]
}

/// The parts of the memory budget, and what is used of each.
pub(super) fn memory(figures: &NodeFigures) -> Vec<MetricFamily> {
    let Some(budget) = &figures.memory else { return Vec::new() };
    let (pressure, driver) = (&figures.pressure, &figures.driver);
    let pages: usize = driver.groups.iter().map(|group| group.page_bytes).sum();
    let parts = [
        ("memtables", budget.memtables_max(), pressure.memtable_bytes),
        ("block_cache", budget.block_cache, pressure.block_cache_bytes),
        ("head_cache", budget.head_cache, driver.body_bytes as u64),
        ("pages", budget.pages, pages as u64),
        ("inbound", budget.inbound, figures.runtime.inbox_bytes as u64),
    ];
    let by_part = |of: fn(&(&str, u64, u64)) -> u64| {
        parts.iter().map(|part| gauge_of(&[("part", part.0)], of(part) as f64)).collect()
    };
    vec![
        family(
            "cmq_memory_budget_bytes",
            "What a part of --memory may take.",
            MetricType::GAUGE,
            by_part(|part| part.1),
        ),
        family(
            "cmq_memory_used_bytes",
            "What a part of --memory takes.",
            MetricType::GAUGE,
            by_part(|part| part.2),
        ),
    ]
}
