//! The bounds of a shard: what is beyond them is refused, what does not add to them goes on, and room comes back.

use cmq_engine::attributes::{DeduplicationScope, QueueAttributes, QueueId, QueueKind};
use cmq_engine::catalogue::Change;
use cmq_engine::chunk::Pages;
use cmq_engine::command::{Command, NewMessage};
use cmq_engine::limits::{DEDUPLICATION_IDS_MAX, LANES_MAX, RECEIVE_BYTES_MAX, RECORDS_MAX, STEPS_MAX};
use cmq_engine::message::BodyRef;
use cmq_engine::outcome::{Effects, Outcome, Refusal};
use cmq_engine::shard::Shard;

const STANDARD: QueueId = QueueId(1);
const FIFO: QueueId = QueueId(2);
/// Queues of the test.
const QUEUES: usize = 2;
/// Messages of one send.
const BATCH: usize = 1_000;
const RETENTION_MS: u64 = 3_600_000;

const PLAIN: NewMessage = NewMessage { bytes: 0, delay_ms: None, group: None, deduplication: None };

#[derive(Default)]
struct Bench {
    shard: Shard,
    index: u64,
    now_ms: u64,
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self::default();
        let fifo = QueueKind::Fifo { deduplication: DeduplicationScope::Queue };
        let put = |queue, kind| Change::Put {
            queue,
            epoch: 0,
            rewinds: Vec::new(),
            attributes: QueueAttributes {
                kind,
                retention_seconds: (RETENTION_MS / 1_000) as u32,
                max_delayed: u32::MAX,
                ..QueueAttributes::default()
            },
        };
        let changes = vec![put(STANDARD, QueueKind::Standard), put(FIFO, fifo)];
        bench.apply(&Command::Catalogue { revision: 1, is_complete: true, changes });
        bench
    }

    fn apply(&mut self, command: &Command) -> (Outcome, Effects) {
        self.index += 1;
        assert!(self.shard.prefetch(command, self.now_ms).is_empty(), "no lane here is so long");
        self.shard.apply(command, BodyRef { index: self.index, position: 0 }, &Pages::default())
    }

    fn send(&mut self, queue: QueueId, messages: Vec<NewMessage>) -> Outcome {
        let count = messages.len();
        let refusal = self.shard.refusal(queue, &messages);
        let (outcome, effects) = self.apply(&Command::Send { queue, messages });
        match outcome {
            Outcome::Refused(refused) => {
                assert_eq!(refusal, Some(refused));
                assert_eq!(effects.dead_bodies.len(), count, "the bodies of a refused send are let go");
            }
            _ => assert_eq!(refusal, None),
        }
        outcome
    }

    /// Sends `max` messages of one kind, the last ones alone, and asserts that one more is refused.
    fn fill(&mut self, queue: QueueId, max: usize, message: impl Fn(usize) -> NewMessage) {
        for from in (0..max).step_by(BATCH) {
            let messages = (from..max.min(from + BATCH)).map(&message).collect();
            assert!(matches!(self.send(queue, messages), Outcome::Sent(_)), "{from}");
        }
        assert_eq!(self.send(queue, vec![message(max)]), Outcome::Refused(Refusal::ShardFull));
        assert_eq!(self.send(queue, vec![PLAIN, message(max)]), Outcome::Refused(Refusal::ShardFull));
    }

    fn expire(&mut self) {
        let mut expiries = 0;
        while self.shard.next_due_ms().is_some_and(|due_ms| due_ms <= self.now_ms) {
            let (_, effects) = self.apply(&Command::Expire);
            assert!(effects.dead_bodies.len() <= STEPS_MAX);
            expiries += 1;
            assert!(expiries < 1_000_000, "it gets on");
        }
    }
}

#[test]
fn message_groups() {
    let group = |number: usize| NewMessage { group: Some(format!("{number}").into()), ..PLAIN };
    let mut bench = Bench::new();
    bench.fill(FIFO, LANES_MAX - QUEUES, group);
    assert!(matches!(bench.send(FIFO, vec![PLAIN]), Outcome::Sent(_)));
    assert!(matches!(bench.send(STANDARD, vec![PLAIN]), Outcome::Sent(_)));
    // A group that is empty takes no room.
    bench.now_ms = RETENTION_MS;
    bench.expire();
    bench.fill(STANDARD, LANES_MAX - QUEUES, group);
}

#[test]
fn deduplication_ids() {
    let id = |number: usize| NewMessage { deduplication: Some(number as u128), ..PLAIN };
    let mut bench = Bench::new();
    bench.fill(FIFO, DEDUPLICATION_IDS_MAX, id);
    assert!(matches!(bench.send(FIFO, vec![PLAIN]), Outcome::Sent(_)));
    // They are forgotten without any traffic.
    bench.now_ms = bench.shard.next_due_ms().expect("ids are forgotten by and by");
    assert!(bench.now_ms < RETENTION_MS);
    bench.expire();
    assert!(matches!(bench.send(FIFO, (0..BATCH).map(id).collect()), Outcome::Sent(_)));
}

#[test]
fn records() {
    let delayed = |_| NewMessage { delay_ms: Some(60_000), ..PLAIN };
    let mut bench = Bench::new();
    bench.fill(STANDARD, RECORDS_MAX, delayed);
    let receive = Command::Receive { queue: FIFO, max: 1, visibility_ms: None };
    assert!(matches!(bench.send(FIFO, vec![PLAIN]), Outcome::Sent(_)));
    assert_eq!(bench.apply(&receive).0, Outcome::Refused(Refusal::ShardFull));
    bench.now_ms = RETENTION_MS;
    bench.expire();
    assert!(matches!(bench.send(STANDARD, vec![delayed(0)]), Outcome::Sent(_)));
    assert!(matches!(bench.send(FIFO, vec![PLAIN]), Outcome::Sent(_)));
    assert!(matches!(bench.apply(&receive).0, Outcome::Received { deliveries, .. } if deliveries.len() == 1));
}

#[test]
fn messages_of_a_queue() {
    let mut bench = Bench::new();
    let attributes =
        QueueAttributes { max_messages: 3, max_in_flight: 2, max_delayed: 1, ..QueueAttributes::default() };
    let changes = vec![Change::Put { queue: STANDARD, epoch: 0, attributes, rewinds: Vec::new() }];
    bench.apply(&Command::Catalogue { revision: 2, is_complete: false, changes });
    let delayed = NewMessage { delay_ms: Some(60_000), ..PLAIN };
    assert!(matches!(bench.send(STANDARD, vec![delayed.clone()]), Outcome::Sent(_)));
    assert_eq!(bench.send(STANDARD, vec![delayed]), Outcome::Refused(Refusal::TooManyDelayed));
    assert_eq!(bench.send(STANDARD, vec![PLAIN; 3]), Outcome::Refused(Refusal::HeapFull));
    assert!(matches!(bench.send(STANDARD, vec![PLAIN; 2]), Outcome::Sent(_)));
    assert_eq!(bench.send(STANDARD, vec![PLAIN]), Outcome::Refused(Refusal::HeapFull));
    let receive = Command::Receive { queue: STANDARD, max: 16, visibility_ms: None };
    assert!(matches!(bench.apply(&receive).0, Outcome::Received { deliveries, .. } if deliveries.len() == 2));
    assert_eq!(bench.apply(&receive).0, Outcome::Refused(Refusal::TooManyInFlight));
}

#[test]
fn bytes_of_a_receive() {
    let mut bench = Bench::new();
    let part = NewMessage { bytes: (RECEIVE_BYTES_MAX / 4) as u32, ..PLAIN };
    let whole = NewMessage { bytes: RECEIVE_BYTES_MAX as u32, ..PLAIN };
    bench.send(STANDARD, [vec![part; 6], vec![whole; 2]].concat());
    let receive = Command::Receive { queue: STANDARD, max: 16, visibility_ms: None };
    let mut receives = Vec::new();
    while let Outcome::Received { deliveries, .. } = bench.apply(&receive).0
        && !deliveries.is_empty()
    {
        receives.push(deliveries.len());
    }
    assert_eq!(receives, [4, 3, 1]);
}
