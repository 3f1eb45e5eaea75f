//! Prints figures of the store: commits a second, memory under a large backlog, the time of an open, space won back.
//!
//! `store_figures commit DIR`, `store_figures mixed DIR` (a steady queue on four shards), `store_figures backlog DIR ROWS [hold]` (`hold` waits to be killed), `store_figures open
//! DIR` and `store_figures drain DIR ROWS`, each on a directory of its own or on what the one before left.

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cmq_broker::storage::budget::MemoryBudget;
use cmq_broker::storage::committer::{CommitEvent, Committer, SyncMode};
use cmq_broker::storage::fjall_store::FjallStore;
use cmq_broker::storage::options::{Options, ReclaimPolicy};
use cmq_broker::storage::{Batch, ScanLimit, Store, Tree, Write};

const BACKLOG_VALUE_BYTES: usize = 140;
const BACKLOG_BATCH_ROWS: u64 = 64;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["commit", dir] => commit(Path::new(dir)),
        ["mixed", dir] => mixed(Path::new(dir)),
        ["backlog", dir, rows] => backlog(Path::new(dir), rows.parse()?, false),
        ["backlog", dir, rows, "hold"] => backlog(Path::new(dir), rows.parse()?, true),
        ["open", dir] => open(Path::new(dir)),
        ["drain", dir, rows] => drain(Path::new(dir), rows.parse()?),
        _ => Err("say commit, backlog, open or drain, and a directory".into()),
    }
}

struct Running {
    store: FjallStore,
    committer: Committer,
    events: Receiver<CommitEvent>,
    next: u64,
    answered: u64,
}

impl Running {
    fn open(dir: &Path, reclaim: ReclaimPolicy) -> Result<Self, Failure> {
        let started = Instant::now();
        let options = Options { reclaim, ..Options::new(dir, MemoryBudget::of_this_machine()) };
        let store = FjallStore::open(&options)?;
        println!("opened in {:.2} s, last batch {}", started.elapsed().as_secs_f64(), store.last_batch());
        let (sender, events) = channel();
        let committer = Committer::start(
            store.clone(),
            Box::new(move |event| {
                // Nobody listens any more once the figures are taken.
                let _ = sender.send(event);
            }),
        )?;
        Ok(Self { next: store.last_batch() + 1, answered: store.last_batch(), store, committer, events })
    }

    fn submit(&mut self, writes: Vec<Write>) {
        self.committer.submit(Batch { number: self.next, writes }, SyncMode::Sync);
        self.next += 1;
    }

    /// Waits until at most `outstanding` batches are unanswered.
    fn wait(&mut self, outstanding: u64) -> Result<(), Failure> {
        while self.next - 1 - self.answered > outstanding {
            match self.events.recv()? {
                CommitEvent::Committed { last, .. } => self.answered = last,
                CommitEvent::Failed(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn key(number: u64) -> Bytes {
    Bytes::copy_from_slice(&[&b"shard-000001"[..], &number.to_be_bytes()].concat())
}

fn put(number: u64, bytes: usize) -> Write {
    // Not compressible, and different for each row.
    let seed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let value: Vec<u8> = (0..bytes).map(|at| (seed.rotate_left(at as u32) >> 7) as u8).collect();
    Write::Put(Tree::Log, key(number), value.into())
}

fn commit(dir: &Path) -> Result<(), Failure> {
    const TIME: Duration = Duration::from_secs(5);
    let mut running = Running::open(dir, ReclaimPolicy::default())?;
    for (name, rows, outstanding) in [
        ("64 outstanding batches of one 1 KiB row", 1, 64),
        ("one batch of 64 such rows at a time", 64, 1),
        ("one batch of one row at a time", 1, 1),
    ] {
        for _ in 0..3 {
            let (started, first) = (Instant::now(), running.next);
            let mut row = first * 1000;
            let before = running.store.pressure()?;
            while started.elapsed() < TIME {
                running.submit((0..rows).map(|at| put(row + at, 1024)).collect());
                row += rows;
                running.wait(outstanding - 1)?;
            }
            running.wait(0)?;
            let batches = running.next - first;
            let after = running.store.pressure()?;
            let commits = after.commit_batches.count() - before.commit_batches.count();
            println!(
                "{name}: {:.0} rows/s, {:.1} batches a commit, {:.0} us a commit, held back {}",
                (batches * rows) as f64 / started.elapsed().as_secs_f64(),
                batches as f64 / commits as f64,
                (after.commit_micros.sum - before.commit_micros.sum) as f64 / commits as f64,
                after.commits_held_back - before.commits_held_back,
            );
        }
    }
    Ok(())
}

/// Four shards in one batch a turn: messages come and go at a depth of 10,000 each, pages are overwritten.
fn mixed(dir: &Path) -> Result<(), Failure> {
    const SHARDS: u64 = 4;
    const ROWS: u64 = 16;
    const DEPTH: u64 = 10_000;
    const PAGES: u64 = 200;
    let mut running = Running::open(dir, ReclaimPolicy::default())?;
    let row_key =
        |shard: u64, row: u64| Bytes::copy_from_slice(&[shard.to_be_bytes(), row.to_be_bytes()].concat());
    let (mut row, mut slowest) = (DEPTH, Duration::ZERO);
    for round in 0..6 {
        let (started, first, before) = (Instant::now(), row, running.store.pressure()?);
        while started.elapsed() < Duration::from_secs(5) {
            let mut writes = Vec::new();
            for shard in 1..=SHARDS {
                for row in row..row + ROWS {
                    let Write::Put(tree, _, value) = put(row, 1024) else { continue };
                    writes.push(Write::Put(tree, row_key(shard, row), value));
                    writes.push(Write::Delete(Tree::Log, row_key(shard, row - DEPTH)));
                }
                writes.push(Write::Put(Tree::State, row_key(shard, row % PAGES), vec![7; 2048].into()));
                writes.push(Write::Put(Tree::Meta, row_key(shard, 1), vec![7; 16].into()));
            }
            let submitted = Instant::now();
            running.submit(writes);
            running.wait(1)?;
            slowest = slowest.max(submitted.elapsed());
            row += ROWS;
        }
        running.wait(0)?;
        let after = running.store.pressure()?;
        println!(
            "round {round}: {:.0} messages/s in and out, slowest turn {} ms, held back {}, {}",
            ((row - first) * SHARDS) as f64 / started.elapsed().as_secs_f64(),
            slowest.as_millis(),
            after.commits_held_back - before.commits_held_back,
            memory()?
        );
        report(&running.store)?;
        slowest = Duration::ZERO;
    }
    Ok(())
}

fn backlog(dir: &Path, rows: u64, hold: bool) -> Result<(), Failure> {
    let mut running = Running::open(dir, ReclaimPolicy::default())?;
    println!("empty: {}", memory()?);
    let started = Instant::now();
    for first in (0..rows).step_by(BACKLOG_BATCH_ROWS as usize) {
        running
            .submit((first..first + BACKLOG_BATCH_ROWS).map(|row| put(row, BACKLOG_VALUE_BYTES)).collect());
        running.wait(8)?;
    }
    running.wait(0)?;
    println!("{rows} rows in {:.1} s: {}", started.elapsed().as_secs_f64(), memory()?);
    report(&running.store)?;
    std::thread::sleep(Duration::from_secs(20));
    println!("20 s later: {}", memory()?);
    let started = Instant::now();
    let limit = ScanLimit { rows: 256, bytes: 1 << 20 };
    for first in (0..rows).step_by((rows / 1000).max(1) as usize) {
        running.store.scan(Tree::Log, &key(first), &key(u64::MAX), limit)?;
    }
    println!("1000 scans of 256 rows in {:.2} s: {}", started.elapsed().as_secs_f64(), memory()?);
    if hold {
        println!("ready to be killed");
        loop {
            running.submit(vec![put(running.next, 100)]);
            running.wait(0)?;
        }
    }
    let started = Instant::now();
    running.committer.close()?;
    println!("closed in {:.2} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn open(dir: &Path) -> Result<(), Failure> {
    let running = Running::open(dir, ReclaimPolicy::default())?;
    println!("{}", memory()?);
    report(&running.store)
}

fn drain(dir: &Path, rows: u64) -> Result<(), Failure> {
    let reclaim = ReclaimPolicy { interval: Duration::from_secs(10), ..ReclaimPolicy::default() };
    let mut running = Running::open(dir, reclaim)?;
    report(&running.store)?;
    let started = Instant::now();
    for first in (0..rows).step_by(BACKLOG_BATCH_ROWS as usize) {
        let writes = (first..first + BACKLOG_BATCH_ROWS).map(|row| Write::Delete(Tree::Log, key(row)));
        running.submit(writes.collect());
        running.wait(8)?;
    }
    running.wait(0)?;
    println!("drained in {:.1} s: {}", started.elapsed().as_secs_f64(), memory()?);
    for _ in 0..8 {
        report(&running.store)?;
        std::thread::sleep(Duration::from_secs(5));
    }
    println!("at rest: {}", memory()?);
    Ok(())
}

fn report(store: &FjallStore) -> Result<(), Failure> {
    let pressure = store.pressure()?;
    println!(
        "disk {} MB (journals {} MB in {}), memtables {} MB, cache {} MB, L0 runs {:?}, sealed {:?}, held back {}, \
         forced compactions {}",
        pressure.disk_bytes / 1_000_000,
        pressure.journal_bytes / 1_000_000,
        pressure.journals,
        pressure.memtable_bytes / 1_000_000,
        pressure.block_cache_bytes / 1_000_000,
        pressure.l0_runs,
        pressure.sealed_memtables,
        pressure.commits_held_back,
        pressure.forced_compactions,
    );
    Ok(())
}

fn memory() -> Result<String, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let lines: Vec<_> =
        status.lines().filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM")).collect();
    Ok(lines.join(", ").replace('\t', " "))
}
