//! Commands and rows of the state machines.

use std::collections::BTreeSet;

use cmq_engine::attributes::{
    AttributesPatch, DeadLetterChange, DeadLetterPolicy, DeadLetterRule, DeduplicationScope, QueueAttributes,
    QueueId, QueueKind,
};
use cmq_engine::catalogue::{
    Catalogue, CatalogueCommand, Change, DeletionPolicy, Owner, PutMode, Rewind, RewindKind,
};
use cmq_engine::chunk::{Chunk, Pages};
use cmq_engine::codec::{Reader, Writer};
use cmq_engine::command::{Command, NewMessage, StaleHandle};
use cmq_engine::message::{BodyRef, DeliveryId, LaneId, QueueEpoch};
use cmq_engine::row::RowKey;
use cmq_engine::shard::Shard;

use super::Target;

pub(super) const TARGETS: &[Target] = &[
    Target {
        name: "command",
        run: command,
        seeds: || commands().iter().map(|c| written(|out| c.encode(out))).collect(),
    },
    Target {
        name: "catalogue_command",
        run: catalogue_command,
        seeds: || catalogue_commands().iter().map(|c| written(|out| c.encode(out))).collect(),
    },
    Target { name: "chunk", run: chunk, seeds: || shard_after(&commands()).1 },
    Target {
        name: "shard_rows",
        run: shard_rows,
        seeds: || vec![list(&shard_after(&commands()).0.export())],
    },
    Target { name: "catalogue_rows", run: catalogue_rows, seeds: || vec![list(&catalogue().export())] },
];

fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut out = Writer::default();
    write(&mut out);
    out.bytes
}

/// What is read is what is written from it. The reader takes longer forms of numbers too, so bytes may differ.
fn command(input: &[u8]) {
    if let Ok(command) = Command::decode(&mut Reader::new(input, "a command")) {
        let again = written(|out| command.encode(out));
        assert!(again.len() <= input.len());
        let mut from = Reader::new(&again, "a command");
        assert_eq!(Command::decode(&mut from).as_ref(), Ok(&command));
        assert!(from.is_empty());
    }
}

fn catalogue_command(input: &[u8]) {
    if let Ok(command) = CatalogueCommand::decode(&mut Reader::new(input, "a command")) {
        let again = written(|out| command.encode(out));
        assert!(again.len() <= input.len());
        let mut from = Reader::new(&again, "a command");
        assert_eq!(CatalogueCommand::decode(&mut from).as_ref(), Ok(&command));
        assert!(from.is_empty());
    }
}

fn chunk(input: &[u8]) {
    if let Ok(chunk) = Chunk::decode(input) {
        // A slot takes at least three bytes.
        assert!(chunk.slots().len() * 3 <= input.len());
        assert!(chunk.memory_bytes() < 64 * (input.len() + 8));
    }
}

/// Rows one after the other: the lengths of key and row, key, row.
fn list(rows: &[(RowKey, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, row) in rows {
        let mut bytes = Vec::new();
        key.encode(&mut bytes);
        out.push(bytes.len() as u8);
        out.extend((row.len() as u16).to_le_bytes());
        out.extend(bytes);
        out.extend(row);
    }
    out
}

/// The rows of an input; a store has each key once.
fn listed(input: &[u8]) -> Vec<(RowKey, &[u8])> {
    let (mut rows, mut known) = (Vec::new(), BTreeSet::new());
    let mut rest = input;
    while let [key, low, high, left @ ..] = rest {
        let Some((key, left)) = left.split_at_checked(usize::from(*key)) else { break };
        let Some((row, left)) = left.split_at_checked(usize::from(u16::from_le_bytes([*low, *high]))) else {
            break;
        };
        rest = left;
        if let Ok(read) = RowKey::decode(key) {
            let mut again = Vec::new();
            read.encode(&mut again);
            assert_eq!(again, key);
            if known.insert(read) {
                rows.push((read, row));
            }
        }
    }
    rows
}

/// Whatever rows a shard takes, it gives rows that make the same shard.
fn shard_rows(input: &[u8]) {
    let mut shard = Shard::default();
    for (key, row) in listed(input) {
        if shard.restore(&key, row).is_err() {
            return;
        }
    }
    shard.finish_restore();
    let rows = shard.export();
    let mut again = Shard::default();
    for (key, row) in &rows {
        again.restore(key, row).expect("a shard takes what a shard gives");
    }
    again.finish_restore();
    assert_eq!(again.export(), rows);
}

fn catalogue_rows(input: &[u8]) {
    let mut catalogue = Catalogue::default();
    // A catalogue writes one row a queue, whatever the queue's epoch.
    let is_one = |key: &RowKey| !matches!(key, RowKey::Queue(QueueEpoch { epoch: 1.., .. }));
    for (key, row) in listed(input).into_iter().filter(|(key, _)| is_one(key)) {
        if catalogue.restore(&key, row).is_err() {
            return;
        }
    }
    let rows = catalogue.export();
    let mut again = Catalogue::default();
    for (key, row) in &rows {
        again.restore(key, row).expect("a catalogue takes what a catalogue gives");
    }
    assert_eq!(again.export(), rows);
}

/// Commands that leave every kind of row and record behind.
fn commands() -> Vec<Command> {
    let put = |queue, kind, epoch, rewinds| Change::Put {
        queue: QueueId(queue),
        epoch,
        rewinds,
        attributes: QueueAttributes { kind, rewind_seconds: 3_600, ..QueueAttributes::default() },
    };
    let fifo = QueueKind::Fifo { deduplication: DeduplicationScope::Queue };
    let message = |at: u32| NewMessage {
        bytes: at,
        delay_ms: at.is_multiple_of(3).then_some(60_000),
        group: (at % 5 > 1).then(|| format!("group {}", at % 4).into()),
        deduplication: at.is_multiple_of(7).then_some(u128::from(at) << 80),
    };
    let undelayed = |at| NewMessage { delay_ms: None, ..message(at) };
    let plain = |at| NewMessage { group: None, deduplication: None, ..undelayed(at) };
    let delivery = |sequence| DeliveryId {
        queue: QueueEpoch { queue: QueueId(1), epoch: 0 },
        lane: LaneId(0),
        sequence,
        generation: 1,
    };
    vec![
        Command::Catalogue {
            revision: 1,
            is_complete: true,
            changes: vec![
                put(1, QueueKind::Standard, 0, vec![]),
                put(2, fifo, 0, vec![]),
                put(3, QueueKind::Standard, 0, vec![]),
            ],
        },
        Command::Send { queue: QueueId(1), messages: (0..80).map(message).collect() },
        Command::Send { queue: QueueId(1), messages: (0..1_100).map(plain).collect() },
        Command::Send { queue: QueueId(2), messages: (0..40).map(undelayed).collect() },
        Command::Send { queue: QueueId(3), messages: (0..5).map(message).collect() },
        Command::Receive { queue: QueueId(1), max: 16, visibility_ms: Some(5_000) },
        Command::Receive { queue: QueueId(2), max: 16, visibility_ms: None },
        Command::Delete { deliveries: (0..3).map(delivery).collect(), stale: StaleHandle::Refuse },
        Command::Catalogue {
            revision: 2,
            is_complete: false,
            changes: vec![
                put(1, QueueKind::Standard, 0, vec![Rewind { number: 1, kind: RewindKind::To(2_000) }]),
                put(2, fifo, 1, vec![Rewind { number: 1, kind: RewindKind::Off }]),
                Change::Remove { queue: QueueId(3) },
            ],
        },
        Command::Expire,
    ]
}

/// Commands that bring so many bodies together.
pub(crate) fn sends(bodies: u32) -> Vec<Command> {
    let message = |bytes| NewMessage { bytes, delay_ms: None, group: None, deduplication: None };
    vec![Command::Send { queue: QueueId(1), messages: (0..bodies).map(message).collect() }, Command::Expire]
}

/// A shard that applied the commands, a second apart, and the chunk rows that it closed.
fn shard_after(commands: &[Command]) -> (Shard, Vec<Vec<u8>>) {
    let mut shard = Shard::default();
    let mut rows = Vec::new();
    for (index, command) in (1..).zip(commands) {
        // No command touches a closed chunk: at most a part of the first one is received.
        let mut pages = Pages::default();
        for key in shard.prefetch(command, index * 1_000) {
            let found = rows.iter().find(|(closed, _)| *closed == key);
            let (_, row): &(_, Vec<u8>) = found.expect("a chunk that was closed");
            pages.insert(key, Chunk::decode(row).expect("a chunk row that was just made").into());
        }
        let (_, effects) = shard.apply(command, BodyRef { index, position: 0 }, &pages);
        rows.extend(effects.closed_chunks);
    }
    (shard, rows.into_iter().map(|(_, row)| row).collect())
}

pub(crate) fn catalogue_commands() -> Vec<CatalogueCommand> {
    let put = |name: &str, dead_letter_queue: Option<&str>| CatalogueCommand::Put {
        name: name.into(),
        mode: PutMode::Create,
        attributes: QueueAttributes {
            rewind_seconds: 60,
            dead_letter: dead_letter_queue
                .map(|_| DeadLetterPolicy { queue: QueueId(0), rule: DeadLetterRule::MaxReceiveCount(3) }),
            ..QueueAttributes::default()
        },
        dead_letter_queue: dead_letter_queue.map(Into::into),
        owner: Some(Owner { name: "queues.yaml".into(), deletion: DeletionPolicy::DeleteIfEmpty }),
        recreate_wait_ms: 0,
        shards: 1,
    };
    vec![
        CatalogueCommand::Found { cluster_id: 7 << 90, handle_key: [9; 32] },
        put("dead", None),
        put("orders", Some("dead")),
        put("brief", None),
        CatalogueCommand::Patch {
            name: "declared by nobody".into(),
            patch: AttributesPatch {
                retention_seconds: Some(120),
                dead_letter: DeadLetterChange::Bind {
                    queue: "dead".into(),
                    rule: DeadLetterRule::MaxTimeToLiveSeconds(300),
                },
                ..AttributesPatch::default()
            },
        },
        CatalogueCommand::Purge { name: "orders".into(), wait_ms: 30_000 },
        CatalogueCommand::Rewind { name: "orders".into(), start_ms: 1 },
        CatalogueCommand::Withdraw { name: "orders".into(), owner: "queues.yaml".into() },
        CatalogueCommand::Delete { name: "brief".into(), owner: Some("queues.yaml".into()) },
    ]
}

fn catalogue() -> Catalogue {
    let mut catalogue = Catalogue::default();
    for (stamp, command) in (1..).zip(catalogue_commands()) {
        _ = catalogue.apply(&command, stamp);
    }
    catalogue
}
