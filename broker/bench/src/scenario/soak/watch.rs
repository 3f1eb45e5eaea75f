//! Looks at the broker every few seconds, from outside and at its metrics page, and writes a line for each look.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::world::{Kind, World};
use crate::error::{Error, Result};
use crate::http::{self, Connection};
use crate::process::Server;

/// Time between two looks.
pub(super) const INTERVAL: Duration = Duration::from_secs(5);

/// Columns before the depths of the queues.
const FIXED: [&str; 10] = [
    "seconds",
    "disk_bytes",
    "journal_bytes",
    "resident_bytes",
    "handles",
    "threads",
    "cpu_percent",
    "probe_ms",
    "failed_calls",
    "messages",
];

/// The watcher with its file.
pub(super) struct Watch {
    out: File,
    path: PathBuf,
    data: PathBuf,
    probe: File,
    cpu_seconds: f64,
    last: Instant,
    /// Names of the columns.
    pub(super) columns: Vec<String>,
    /// One for each look, as long as `columns`.
    pub(super) rows: Vec<Vec<f64>>,
}

impl Watch {
    /// Begins a file.
    pub(super) fn begin(path: &Path, data: &Path, world: &World, broker: &Server) -> Result<Watch> {
        let mut columns: Vec<String> = FIXED.map(str::to_owned).into();
        columns.extend(queues(world).iter().map(|queue| format!("messages_{queue}")));
        for kind in Kind::ALL {
            columns.extend(["calls", "p50_ms", "p99_ms"].map(|part| format!("{}_{part}", kind.name())));
        }
        let create =
            |path: &Path| File::create(path).map_err(Error::io(format!("cannot write {}", path.display())));
        let mut watch = Watch {
            out: create(path)?,
            path: path.to_owned(),
            data: data.to_owned(),
            probe: create(&data.with_extension("probe"))?,
            cpu_seconds: broker.usage()?.cpu_seconds,
            last: Instant::now(),
            rows: Vec::new(),
            columns,
        };
        let head = watch.columns.join(",");
        watch.write(&head)?;
        world.take_timings();
        Ok(watch)
    }

    /// Takes one look.
    ///
    /// # Errors
    /// The broker is gone, its metrics page lacks something, or the file cannot be written.
    pub(super) async fn look(&mut self, world: &World, broker: &Server) -> Result<()> {
        let page = metrics(broker).await?;
        let probe_ms = self.probe().map_err(Error::io("cannot probe the disk"))?;
        let elapsed = self.last.elapsed().as_secs_f64();
        self.last = Instant::now();
        let cpu_seconds = broker.usage()?.cpu_seconds;
        let depths: Vec<f64> = queues(world).iter().map(|queue| depth(&page, queue)).collect();
        let mut row = vec![
            world.now().as_secs_f64(),
            bytes_below(&self.data) as f64,
            sum(&page, "cmq_storage_journal_bytes", "").ok_or_else(|| lacks("cmq_storage_journal_bytes"))?,
            broker.memory()?.resident_bytes as f64,
            broker.handles()? as f64,
            broker.threads()? as f64,
            100.0 * (cpu_seconds - self.cpu_seconds) / elapsed,
            probe_ms,
            world.failed() as f64,
            sum(&page, "cmq_queue_messages", "").unwrap_or_default(),
        ];
        self.cpu_seconds = cpu_seconds;
        row.extend(depths);
        for timings in &mut world.take_timings() {
            row.extend([timings.count() as f64, timings.per_mille(500), timings.per_mille(990)]);
        }
        let line: Vec<String> = row.iter().map(|value| number(*value)).collect();
        self.write(&line.join(","))?;
        self.rows.push(row);
        Ok(())
    }

    /// How long the disk takes for one synced block: what the machine itself adds to latencies.
    fn probe(&self) -> std::io::Result<f64> {
        let begin = Instant::now();
        self.probe.write_all_at(&[b'x'; 1024], 0)?;
        self.probe.sync_data()?;
        Ok(begin.elapsed().as_secs_f64() * 1e3)
    }

    fn write(&mut self, line: &str) -> Result<()> {
        writeln!(self.out, "{line}").map_err(Error::io(format!("cannot write {}", self.path.display())))
    }
}

/// Gets the metrics page.
pub(super) async fn metrics(broker: &Server) -> Result<String> {
    let admin = broker.admin.ok_or_else(|| Error::Server("the broker named no admin port".into()))?;
    let mut connection = Connection::open(admin).await?;
    let page = connection.call(&http::get("/metrics")).await?;
    Ok(String::from_utf8_lossy(page).into_owned())
}

/// All queues whose depth is watched.
fn queues(world: &World) -> Vec<&'static str> {
    world.lanes.iter().flat_map(|lane| [Some(lane.name), lane.dead_letter_queue]).flatten().collect()
}

/// Messages of a queue, whatever their state.
fn depth(page: &str, queue: &str) -> f64 {
    sum(page, "cmq_queue_messages", &format!("queue=\"{queue}\"")).unwrap_or_default()
}

/// The sum of a metric's lines that have the label; none when there is no such line.
pub(super) fn sum(page: &str, metric: &str, label: &str) -> Option<f64> {
    let values: Vec<f64> = page
        .lines()
        .filter_map(|line| {
            let rest = line.strip_prefix(metric)?;
            let (labels, value) = rest.rsplit_once(' ')?;
            let is_metric = labels.is_empty() || labels.starts_with('{');
            if is_metric && labels.contains(label) { value.parse::<f64>().ok() } else { None }
        })
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

fn lacks(metric: &str) -> Error {
    Error::Server(format!("the broker's metrics page has no {metric}"))
}

/// Bytes that the files below `dir` take on the disk. Files that go away meanwhile do not count.
fn bytes_below(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            let below = if metadata.is_dir() { bytes_below(&entry.path()) } else { 0 };
            Some(below + metadata.blocks() * 512)
        })
        .sum()
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP cmq_queue_messages Messages.\n\
        cmq_queue_messages{queue=\"a\",state=\"active\"} 3\n\
        cmq_queue_messages{queue=\"a\",state=\"in_flight\"} 4\n\
        cmq_queue_messages{queue=\"b\",state=\"active\"} 5\n\
        cmq_queue_messages_total{queue=\"a\"} 100\n\
        cmq_storage_journal_bytes 64\n";

    #[test]
    fn metrics_are_summed_by_label() {
        assert_eq!(depth(PAGE, "a"), 7.0);
        assert_eq!(depth(PAGE, "c"), 0.0);
        assert_eq!(sum(PAGE, "cmq_queue_messages", ""), Some(12.0));
        assert_eq!(sum(PAGE, "cmq_storage_journal_bytes", ""), Some(64.0));
        assert_eq!(sum(PAGE, "cmq_storage_journal", ""), None);
    }

    #[test]
    fn files_count_with_what_they_take() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("tables")).unwrap();
        let empty = bytes_below(dir.path());
        fs::write(dir.path().join("tables/one"), vec![b'x'; 100_000]).unwrap();
        let grown = bytes_below(dir.path()) - empty;
        assert!((100_000..=200_000).contains(&grown), "{grown}");
        assert_eq!(bytes_below(&dir.path().join("nothing")), 0);
    }
}
