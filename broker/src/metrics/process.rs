//! The process as the operating system sees it, under the names that every exporter uses.
//!
//! The collector of the `prometheus` crate would bring a second version of rustix.

use std::collections::HashMap;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use rustix::process::{Resource, getrlimit};

use super::families::{counter, gauge};

const START: &str = "process_start_time_seconds";
const START_HELP: &str = "Unix time at which the process started.";

/// Reads `/proc` at each look.
#[derive(Clone, Debug)]
pub(super) struct ProcessMetrics {
    started: SystemTime,
    /// What the registry tells this collector by.
    start: Desc,
}

impl ProcessMetrics {
    /// Made when the process starts.
    pub(super) fn new() -> Self {
        let start = Desc::new(START.to_owned(), START_HELP.to_owned(), Vec::new(), HashMap::new());
        let start = start.expect("the name is well formed");
        Self { started: SystemTime::now(), start }
    }
}

impl Collector for ProcessMetrics {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.start]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let mut families = vec![gauge(START, START_HELP, started)];
        if let Some(limit) = getrlimit(Resource::Nofile).current {
            families.push(gauge("process_max_fds", "File descriptors that may be open.", limit as f64));
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // Reading the directory opened one.
            let count = open.count().saturating_sub(1);
            families.push(gauge("process_open_fds", "File descriptors that are open.", count as f64));
        }
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        if let Some(usage) = Usage::read(&stat) {
            families.extend(usage.families());
        }
        families
    }
}

/// What `/proc/self/stat` says.
#[derive(Debug, PartialEq, Eq)]
struct Usage {
    cpu_ticks: u64,
    threads: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Usage {
    /// Fields are counted behind the name, which may hold blanks.
    fn read(stat: &str) -> Option<Self> {
        let behind_name = &stat[stat.rfind(')')? + 1..];
        let fields: Vec<&str> = behind_name.split_ascii_whitespace().collect();
        // The field that the manual calls 3 comes first.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }

    fn families(&self) -> [MetricFamily; 4] {
        let seconds = self.cpu_ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
        let resident = self.resident_pages * rustix::param::page_size() as u64;
        [
            counter("process_cpu_seconds_total", "User and system time of all threads.", seconds),
            gauge("process_threads", "Threads.", self.threads as f64),
            gauge("process_virtual_memory_bytes", "Virtual memory.", self.virtual_bytes as f64),
            gauge("process_resident_memory_bytes", "Resident memory.", resident as f64),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_any_name() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 1234 5000 60 1";
        let usage = Usage { cpu_ticks: 300, threads: 9, virtual_bytes: 5_000, resident_pages: 60 };
        assert_eq!(Usage::read(stat), Some(usage));
        assert_eq!(Usage::read("42 (cut) S 1"), None);
    }

    #[test]
    fn this_process_shows_everything() {
        let families = ProcessMetrics::new().collect();
        let value = |name: &str| {
            let family = families.iter().find(|family| family.name() == name).expect(name);
            let metric = &family.get_metric()[0];
            metric.get_gauge().get_value() + metric.get_counter().get_value()
        };
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        assert!(value("process_open_fds") >= 1.0 && value("process_open_fds") < value("process_max_fds"));
        assert!(value("process_threads") >= 1.0);
        assert!(value("process_cpu_seconds_total") >= 0.0);
        assert!(value("process_start_time_seconds") > 1.6e9);
    }
}
