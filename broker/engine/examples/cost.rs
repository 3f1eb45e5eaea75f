//! Prints what a message costs the state machine, in nanoseconds of processor time, at several depths and numbers of
//! queues:
//!
//! ```text
//! cargo run --release -p cmq-engine --example cost [LINE]
//! ```
//!
//! A cost that hangs on the depth or on the number of queues by more than the caches of the processor would show here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cmq_engine::attributes::{DeduplicationScope, QueueAttributes, QueueId, QueueKind};
use cmq_engine::catalogue::Change;
use cmq_engine::chunk::{Chunk, ChunkKey, Pages};
use cmq_engine::command::{Command, NewMessage, StaleHandle};
use cmq_engine::limits::CHUNK_MESSAGES;
use cmq_engine::message::{BodyRef, DeliveryId};
use cmq_engine::outcome::{Delivery, Effects, Outcome};
use cmq_engine::row::RowKey;
use cmq_engine::shard::Shard;
use rustix::time::{ClockId, clock_gettime};

/// Messages whose whole life is measured.
const CYCLES: u64 = 200_000;
/// Looks between checkpoints, about what a second under load brings.
const LOOKS_PER_CHECKPOINT: u64 = 50;

/// Messages that are sent, then received, then deleted between two looks at the clock.
const CYCLES_PER_LOOK: u64 = 1_000;

/// Time that this thread ran: what else the machine does is not counted.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// A shard, with chunk rows in memory in place of a disk.
#[derive(Default)]
struct Bench {
    shard: Shard,
    chunks: HashMap<ChunkKey, Arc<Chunk>>,
    index: u64,
    keeps_deleted: bool,
}

impl Bench {
    fn apply(&mut self, command: &Command) -> (Outcome, Effects) {
        self.index += 1;
        // Some thousands of entries a second.
        let stamp_ms = self.index / 8;
        let mut pages = Pages::default();
        for key in self.shard.prefetch(command, stamp_ms) {
            pages.insert(key, self.chunks[&key].clone());
        }
        let applied = self.shard.apply(command, BodyRef { index: self.index, position: 0 }, &pages);
        for (key, row) in &applied.1.closed_chunks {
            self.chunks.insert(*key, Arc::new(Chunk::decode(row).expect("a row that was just made")));
        }
        applied
    }

    fn declare(&mut self, queues: u32, kind: QueueKind, rewind_seconds: u32) {
        let own = QueueAttributes::default();
        let attributes = QueueAttributes { kind, max_in_flight: 120_000, rewind_seconds, ..own };
        self.keeps_deleted = rewind_seconds > 0;
        let put = |queue| Change::Put {
            queue: QueueId(queue),
            epoch: 0,
            rewinds: Vec::new(),
            attributes: attributes.clone(),
        };
        let changes = (0..queues).map(put).collect();
        self.apply(&Command::Catalogue { revision: 1, is_complete: true, changes });
    }

    fn send(&mut self, queue: QueueId, messages: Vec<NewMessage>) {
        let (outcome, _) = self.apply(&Command::Send { queue, messages });
        assert!(matches!(outcome, Outcome::Sent(_)), "{outcome:?}");
    }

    fn receive(&mut self, queue: QueueId, max: u16) -> Vec<Delivery> {
        let (outcome, _) = self.apply(&Command::Receive { queue, max, visibility_ms: None });
        match outcome {
            Outcome::Received { deliveries, .. } => deliveries,
            other => panic!("a receive answered {other:?}"),
        }
    }

    fn delete(&mut self, deliveries: Vec<DeliveryId>) {
        let count = deliveries.len();
        let (_, effects) = self.apply(&Command::Delete { deliveries, stale: StaleHandle::Refuse });
        assert_eq!(effects.dead_bodies.len(), if self.keeps_deleted { 0 } else { count });
    }

    fn checkpoint(&mut self) -> (usize, Duration) {
        let start = thread_time();
        let rows = self.shard.checkpoint();
        let took = thread_time() - start;
        for (key, _) in &rows {
            if let RowKey::Chunk(key) = key {
                self.chunks.remove(key);
            }
        }
        (rows.len(), took)
    }
}

fn message(number: u64, groups: u64) -> NewMessage {
    NewMessage {
        bytes: 100,
        delay_ms: None,
        group: (groups > 0).then(|| format!("group-{}", number % groups).into()),
        deduplication: None,
    }
}

/// What is measured.
struct Case {
    name: &'static str,
    queues: u32,
    /// Messages in all queues together before the measurement.
    depth: u64,
    groups: u64,
    kind: QueueKind,
    /// Messages of each send, receive and delete.
    batch: u64,
    /// Messages in flight beside those that are measured.
    in_flight: u64,
    /// Whether deleted messages are kept for a rewind.
    rewinds: bool,
}

fn measure(case: &Case) {
    let mut bench = Bench::default();
    bench.declare(case.queues, case.kind, if case.rewinds { 3_600 } else { 0 });
    let queue = |number: u64| QueueId((number % u64::from(case.queues)) as u32);
    let per_queue = case.depth / u64::from(case.queues);
    for number in 0..u64::from(case.queues) {
        let mut left = per_queue;
        while left > 0 {
            let count = left.min(CHUNK_MESSAGES);
            bench.send(queue(number), (0..count).map(|at| message(left - at, case.groups)).collect());
            left -= count;
        }
    }
    for number in 0..case.in_flight / 16 {
        bench.receive(queue(number), 16);
    }
    bench.checkpoint();
    let mut spent = [Duration::ZERO; 3];
    let mut checkpoints = (0, Duration::ZERO);
    for look in 0..CYCLES / CYCLES_PER_LOOK {
        let first = look * CYCLES_PER_LOOK / case.batch;
        let operations = first..first + CYCLES_PER_LOOK / case.batch;
        let mut sends = Vec::new();
        for operation in operations.clone() {
            let numbers = operation * case.batch..(operation + 1) * case.batch;
            sends.push(numbers.map(|number| message(number, case.groups)).collect());
        }
        let mut receipts = Vec::new();
        let start = thread_time();
        for (operation, messages) in operations.clone().zip(sends) {
            bench.send(queue(operation * 7_919), messages);
        }
        let sent = thread_time();
        for operation in operations.clone() {
            receipts.push(bench.receive(queue(operation * 7_919), case.batch as u16));
        }
        let received = thread_time();
        for deliveries in receipts {
            assert_eq!(deliveries.len() as u64, case.batch);
            bench.delete(deliveries.iter().map(|delivery| delivery.id).collect());
        }
        let deleted = thread_time();
        for (total, part) in spent.iter_mut().zip([sent - start, received - sent, deleted - received]) {
            *total += part;
        }
        if (look + 1).is_multiple_of(LOOKS_PER_CHECKPOINT) {
            let (rows, took) = bench.checkpoint();
            checkpoints = (checkpoints.0 + rows, checkpoints.1 + took);
        }
    }
    let [send, receive, delete] = spent.map(|spent| spent.as_nanos() as u64 / CYCLES);
    let (rows, took) = checkpoints;
    println!(
        "{:<38} {:>9} {:>8} {:>6} | {send:>6} {receive:>8} {delete:>7} {:>6} | {rows:>6} in {took:.1?}",
        case.name,
        case.depth,
        case.queues,
        case.batch,
        send + receive + delete,
    );
}

fn main() {
    println!(
        "{:<38} {:>9} {:>8} {:>6} | {:>6} {:>8} {:>7} {:>6} | rows of checkpoints",
        "ns per message", "depth", "queues", "batch", "send", "receive", "delete", "sum"
    );
    let fifo = QueueKind::Fifo { deduplication: DeduplicationScope::Queue };
    let plain = Case {
        name: "standard",
        queues: 1,
        depth: 1_000,
        groups: 0,
        kind: QueueKind::Standard,
        batch: 1,
        in_flight: 0,
        rewinds: false,
    };
    let cases = [
        Case { depth: 0, ..plain },
        Case { ..plain },
        Case { name: "standard, rewinding on", rewinds: true, ..plain },
        Case { name: "standard, rewinding on", rewinds: true, depth: 1_000_000, batch: 10, ..plain },
        Case { depth: 1_000_000, ..plain },
        Case { name: "standard, 100,000 in flight", depth: 1_000_000, in_flight: 100_000, ..plain },
        Case { batch: 10, ..plain },
        Case { depth: 1_000_000, batch: 10, ..plain },
        Case { queues: 10_000, depth: 10_000, ..plain },
        Case { queues: 10_000, depth: 1_000_000, ..plain },
        Case { queues: 10_000, depth: 1_000_000, batch: 10, ..plain },
        Case { name: "standard, 1,000 groups", depth: 1_000_000, groups: 1_000, ..plain },
        Case { name: "fifo, 1,000 groups", depth: 1_000_000, groups: 1_000, kind: fifo, ..plain },
        Case { name: "fifo, 100,000 groups", depth: 1_000_000, groups: 100_000, kind: fifo, ..plain },
    ];
    let line: Option<usize> = std::env::args().nth(1).and_then(|line| line.parse().ok());
    let cases = cases.iter().zip(1..).filter(|(_, at)| line.is_none_or(|line| line == *at));
    cases.for_each(|(case, _)| measure(case));
}
