//! Bytes of entries and rows: what is written is read again, and no bytes whatever make a reader panic or allocate much.

use cmq_engine::attributes::{
    AttributesPatch, DeadLetterChange, DeadLetterPolicy, DeadLetterRule, DeduplicationScope, QueueAttributes,
    QueueId, QueueKind,
};
use cmq_engine::catalogue::{
    Catalogue, CatalogueCommand, Change, DeletionPolicy, Owner, PutMode, Rewind, RewindKind,
};
use cmq_engine::chunk::{Chunk, ChunkKey, Pages};
use cmq_engine::codec::{Reader, Writer};
use cmq_engine::command::{Command, NewMessage, StaleHandle};
use cmq_engine::limits::{ENTRY_BODIES_MAX, LOG_INDEX_MAX, REWINDS_MAX};
use cmq_engine::message::{BodyRef, DeliveryId, LaneId, QueueEpoch};
use cmq_engine::row::RowKey;
use cmq_engine::shard::Shard;
use proptest::prelude::*;

fn attributes() -> impl Strategy<Value = QueueAttributes> {
    let kind = prop_oneof![
        Just(QueueKind::Standard),
        Just(QueueKind::Fifo { deduplication: DeduplicationScope::Queue }),
        Just(QueueKind::Fifo { deduplication: DeduplicationScope::MessageGroup }),
    ];
    let rule = prop_oneof![
        any::<u32>().prop_map(DeadLetterRule::MaxReceiveCount),
        any::<u32>().prop_map(DeadLetterRule::MaxTimeToLiveSeconds),
    ];
    let dead_letter = prop::option::of((any::<u32>(), rule));
    (kind, any::<[bool; 2]>(), any::<[u32; 8]>(), any::<u64>(), dead_letter).prop_map(
        |(kind, [content_based_deduplication, closed], numbers, max_messages, dead_letter)| QueueAttributes {
            kind,
            content_based_deduplication,
            delay_seconds: numbers[0],
            visibility_timeout_seconds: numbers[1],
            retention_seconds: numbers[2],
            rewind_seconds: numbers[3],
            polling_wait_seconds: numbers[4],
            max_message_bytes: numbers[5],
            max_in_flight: numbers[6],
            max_delayed: numbers[7],
            max_messages,
            dead_letter: dead_letter.map(|(queue, rule)| DeadLetterPolicy { queue: QueueId(queue), rule }),
            closed,
        },
    )
}

fn text() -> impl Strategy<Value = Box<str>> {
    "\\PC{0,12}".prop_map(Into::into)
}

fn message() -> impl Strategy<Value = NewMessage> {
    let parts = (any::<u32>(), any::<Option<u64>>(), prop::option::of(text()), any::<Option<u128>>());
    parts.prop_map(|(bytes, delay_ms, group, deduplication)| NewMessage {
        bytes,
        delay_ms,
        group,
        deduplication,
    })
}

fn delivery() -> impl Strategy<Value = DeliveryId> {
    any::<(u32, u32, u64, u64, u32)>().prop_map(|(queue, epoch, lane, sequence, generation)| DeliveryId {
        queue: QueueEpoch { queue: QueueId(queue), epoch },
        lane: LaneId(lane),
        sequence,
        generation,
    })
}

fn command() -> impl Strategy<Value = Command> {
    let kind = prop_oneof![any::<u64>().prop_map(RewindKind::To), Just(RewindKind::Off)];
    let rewind = (any::<u64>(), kind).prop_map(|(number, kind)| Rewind { number, kind });
    let change = prop_oneof![
        (any::<(u32, u32)>(), prop::collection::vec(rewind, 0..=REWINDS_MAX), attributes()).prop_map(
            |((queue, epoch), rewinds, attributes)| {
                Change::Put { queue: QueueId(queue), epoch, rewinds, attributes }
            }
        ),
        any::<u32>().prop_map(|queue| Change::Remove { queue: QueueId(queue) }),
    ];
    let stale = prop_oneof![Just(StaleHandle::Refuse), Just(StaleHandle::Delete)];
    prop_oneof![
        (any::<u64>(), any::<bool>(), prop::collection::vec(change, 0..5)).prop_map(
            |(revision, is_complete, changes)| Command::Catalogue { revision, is_complete, changes }
        ),
        (any::<u32>(), prop::collection::vec(message(), 0..20))
            .prop_map(|(queue, messages)| Command::Send { queue: QueueId(queue), messages }),
        any::<(u32, u16, Option<u64>)>().prop_map(|(queue, max, visibility_ms)| Command::Receive {
            queue: QueueId(queue),
            max,
            visibility_ms
        }),
        (prop::collection::vec(delivery(), 0..20), stale)
            .prop_map(|(deliveries, stale)| Command::Delete { deliveries, stale }),
        Just(Command::Expire),
        delivery().prop_map(|message| Command::Remove { message }),
        delivery().prop_map(|message| Command::Return { message }),
    ]
}

fn catalogue_command() -> impl Strategy<Value = CatalogueCommand> {
    let mode = prop_oneof![Just(PutMode::Create), Just(PutMode::Update), Just(PutMode::Declare)];
    let deletion = prop_oneof![
        Just(DeletionPolicy::Retain),
        Just(DeletionPolicy::Delete),
        Just(DeletionPolicy::DeleteIfEmpty)
    ];
    let owner = prop::option::of((text(), deletion).prop_map(|(name, deletion)| Owner { name, deletion }));
    let put = (text(), mode, attributes(), prop::option::of(text()), owner, any::<u64>());
    prop_oneof![
        any::<(u128, [u8; 32])>()
            .prop_map(|(cluster_id, handle_key)| CatalogueCommand::Found { cluster_id, handle_key }),
        put.prop_map(|(name, mode, attributes, dead_letter_queue, owner, recreate_wait_ms)| {
            CatalogueCommand::Put {
                name,
                mode,
                attributes,
                dead_letter_queue,
                owner,
                recreate_wait_ms,
                shards: 3,
            }
        }),
        (text(), patch()).prop_map(|(name, patch)| CatalogueCommand::Patch { name, patch }),
        (text(), prop::option::of(text())).prop_map(|(name, owner)| CatalogueCommand::Delete { name, owner }),
        (text(), any::<u64>()).prop_map(|(name, wait_ms)| CatalogueCommand::Purge { name, wait_ms }),
        (text(), any::<u64>()).prop_map(|(name, start_ms)| CatalogueCommand::Rewind { name, start_ms }),
        (text(), text()).prop_map(|(name, owner)| CatalogueCommand::Withdraw { name, owner }),
        (text(), any::<u64>()).prop_map(|(name, revision)| CatalogueCommand::DeleteClosed { name, revision }),
    ]
}

fn patch() -> impl Strategy<Value = AttributesPatch> {
    let rule = prop_oneof![
        any::<u32>().prop_map(DeadLetterRule::MaxReceiveCount),
        any::<u32>().prop_map(DeadLetterRule::MaxTimeToLiveSeconds),
    ];
    let dead_letter = prop_oneof![
        Just(DeadLetterChange::Keep),
        Just(DeadLetterChange::Unbind),
        (text(), rule).prop_map(|(queue, rule)| DeadLetterChange::Bind { queue, rule }),
    ];
    (any::<[Option<u32>; 5]>(), any::<Option<u64>>(), dead_letter).prop_map(
        |(values, max_messages, dead_letter)| {
            let [hidden, retention, rewind, wait, bytes] = values;
            AttributesPatch {
                visibility_timeout_seconds: hidden,
                retention_seconds: retention,
                rewind_seconds: rewind,
                polling_wait_seconds: wait,
                max_message_bytes: bytes,
                max_messages,
                dead_letter,
            }
        },
    )
}

fn row_key() -> impl Strategy<Value = RowKey> {
    any::<(u8, u32, u32, u64, u64)>().prop_map(|(kind, queue, epoch, lane, number)| {
        let (queue, lane) = (QueueEpoch { queue: QueueId(queue), epoch }, LaneId(lane));
        match kind % 6 {
            0 => RowKey::Machine,
            1 => RowKey::Queue(queue),
            2 => RowKey::Lane(queue, lane),
            3 => RowKey::Records(queue, lane, number),
            4 => RowKey::Deduplication(queue, u128::from(lane.0) << 64 | u128::from(number)),
            _ => RowKey::Chunk(ChunkKey { queue, lane, number }),
        }
    })
}

fn encoded(key: &RowKey) -> Vec<u8> {
    let mut bytes = Vec::new();
    key.encode(&mut bytes);
    bytes
}

/// The rows of a shard in which every kind of row and record occurs.
fn busy_shard() -> Vec<(RowKey, Vec<u8>)> {
    let mut shard = Shard::default();
    let fifo = QueueKind::Fifo { deduplication: DeduplicationScope::Queue };
    let put = |queue, kind, delay_seconds| Change::Put {
        queue: QueueId(queue),
        epoch: 0,
        rewinds: Vec::new(),
        attributes: QueueAttributes { kind, delay_seconds, ..QueueAttributes::default() },
    };
    // What goes back to it moves behind younger ones in the first.
    let rule = DeadLetterRule::MaxReceiveCount(1);
    let source = Change::Put {
        queue: QueueId(4),
        epoch: 0,
        rewinds: Vec::new(),
        attributes: QueueAttributes {
            dead_letter: Some(DeadLetterPolicy { queue: QueueId(1), rule }),
            ..QueueAttributes::default()
        },
    };
    let changes =
        vec![put(1, QueueKind::Standard, 0), put(2, fifo, 2), put(3, QueueKind::Standard, 0), source];
    let message = |at: u32| NewMessage {
        bytes: at,
        delay_ms: at.is_multiple_of(3).then_some(u64::from(at % 2) * 1_000),
        group: (at % 5 > 1).then(|| format!("group {}", at % 4).into()),
        deduplication: at.is_multiple_of(7).then_some(u128::from(at)),
    };
    let send = |queue| Command::Send { queue: QueueId(queue), messages: (0..900).map(message).collect() };
    let receive = |queue| Command::Receive { queue: QueueId(queue), max: 16, visibility_ms: Some(5_000) };
    let removal = Command::Catalogue {
        revision: 2,
        is_complete: false,
        changes: vec![Change::Remove { queue: QueueId(3) }],
    };
    let steps = [
        (0, Command::Catalogue { revision: 1, is_complete: true, changes }),
        (5, send(4)),
        (6, receive(4)),
        (10, send(1)),
        (20, send(2)),
        (30, send(3)),
        (40, receive(1)),
        (1_500, receive(2)),
        (2_100, receive(2)),
        (8_000, receive(4)),
        (9_000, receive(1)),
        (9_010, removal),
    ];
    let mut chunks = Vec::new();
    for (index, (stamp_ms, command)) in (1..).zip(&steps) {
        let mut pages = Pages::default();
        for key in shard.prefetch(command, *stamp_ms) {
            let found = chunks.iter().find(|(closed, _)| *closed == key);
            let (_, row): &(ChunkKey, Vec<u8>) = found.expect("a chunk that was closed");
            pages.insert(key, Chunk::decode(row).expect("a chunk row that was just made").into());
        }
        let (_, effects) = shard.apply(command, BodyRef { index, position: 0 }, &pages);
        chunks.extend(effects.closed_chunks);
    }
    shard.export()
}

/// Restores what it can, and looks at all of it.
fn restore_and_look<'a>(rows: impl Iterator<Item = (&'a RowKey, &'a [u8])>) {
    let mut shard = Shard::default();
    for (key, row) in rows {
        _ = shard.restore(key, row);
    }
    shard.finish_restore();
    for queue in Vec::from_iter(shard.queues()) {
        assert!(shard.counts(queue).is_some());
    }
    assert!(!shard.export().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn commands_come_back(command in command()) {
        let mut out = Writer::default();
        command.encode(&mut out);
        let mut from = Reader::new(&out.bytes, "a command");
        prop_assert_eq!(Command::decode(&mut from).unwrap(), command);
        prop_assert!(from.is_empty());
        // No beginning of it is taken for the whole.
        for end in 0..out.bytes.len() {
            prop_assert!(Command::decode(&mut Reader::new(&out.bytes[..end], "a command")).is_err());
        }
    }

    #[test]
    fn catalogue_commands_come_back(command in catalogue_command()) {
        let mut out = Writer::default();
        command.encode(&mut out);
        let mut from = Reader::new(&out.bytes, "a command");
        prop_assert_eq!(CatalogueCommand::decode(&mut from).unwrap(), command);
        prop_assert!(from.is_empty());
        for end in 0..out.bytes.len() {
            prop_assert!(CatalogueCommand::decode(&mut Reader::new(&out.bytes[..end], "a command")).is_err());
        }
    }

    #[test]
    fn row_keys_come_back_in_their_order(one in row_key(), other in row_key()) {
        prop_assert_eq!(RowKey::decode(&encoded(&one)).unwrap(), one);
        prop_assert_eq!(encoded(&one).cmp(&encoded(&other)), one.cmp(&other));
        prop_assert!(RowKey::decode(&encoded(&one)[1..]).is_err());
        prop_assert!(RowKey::decode(&[encoded(&one), vec![0]].concat()).is_err());
    }

    #[test]
    fn body_numbers_keep_the_order(one in (0..=LOG_INDEX_MAX, 0..ENTRY_BODIES_MAX as u16), other in (0..=LOG_INDEX_MAX, 0..ENTRY_BODIES_MAX as u16)) {
        let [one, other] = [one, other].map(|(index, position)| BodyRef { index, position });
        prop_assert_eq!(BodyRef::unpacked(one.packed()), one);
        prop_assert_eq!(one.packed().cmp(&other.packed()), one.cmp(&other));
        prop_assert!(one.packed() < 1 << 54);
    }

    #[test]
    fn integers_come_back(value: u64, base: u64, number: Option<u64>) {
        let mut out = Writer::default();
        out.int(value).delta(value, base).int_option(number);
        let mut from = Reader::new(&out.bytes, "integers");
        prop_assert_eq!(from.int().unwrap(), value);
        prop_assert_eq!(from.delta(base).unwrap(), value);
        prop_assert_eq!(from.int_option().unwrap(), number);
        prop_assert!(from.end().is_ok());
    }

    #[test]
    fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..200), key in row_key()) {
        _ = Command::decode(&mut Reader::new(&bytes, "a command"));
        _ = CatalogueCommand::decode(&mut Reader::new(&bytes, "a command"));
        _ = RowKey::decode(&bytes);
        // Behind the format byte that all rows have in common, so that more than that byte is read.
        let row = [&[1], bytes.as_slice()].concat();
        _ = Chunk::decode(&row);
        _ = Catalogue::default().restore(&key, &row);
        restore_and_look([(&RowKey::Machine, row.as_slice()), (&key, row.as_slice())].into_iter());
    }
}

#[test]
fn damaged_rows_are_refused_or_read() {
    let rows = busy_shard();
    let kinds: std::collections::BTreeSet<u8> = rows.iter().map(|(key, _)| encoded(key)[0]).collect();
    assert_eq!(Vec::from_iter(kinds), [1, 2, 3, 4, 5], "every kind of row that a restore reads");
    let mut random = 1_u64;
    for _ in 0..1_000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut damaged = rows.clone();
        let at = (random >> 33) as usize % damaged.len();
        let row = &mut damaged[at].1;
        let byte = (random >> 20) as usize % row.len();
        match random >> 62 {
            0 => row.truncate(byte),
            1 => row[byte] = 0xff,
            2 => row[byte] ^= 1 << (random >> 50 & 7),
            _ => row.insert(byte, (random >> 40) as u8),
        }
        restore_and_look(damaged.iter().map(|(key, row)| (key, row.as_slice())));
    }
}

#[test]
fn counts_are_not_trusted_with_memory() {
    // A send, a delete and a catalogue command that claim 2^60 items.
    for head in [&[2, 1][..], &[4, 0], &[1, 1, 1]] {
        let mut out = Writer::default();
        out.bytes.extend_from_slice(head);
        out.int(1 << 60);
        assert!(Command::decode(&mut Reader::new(&out.bytes, "a command")).is_err());
    }
    let mut out = Writer::with_format(1);
    out.int(0).int(1 << 60);
    assert!(Chunk::decode(&out.bytes).is_err());
    let message = NewMessage { bytes: 0, delay_ms: None, group: None, deduplication: None };
    for (count, is_taken) in [(ENTRY_BODIES_MAX, true), (ENTRY_BODIES_MAX + 1, false)] {
        let mut out = Writer::default();
        Command::Send { queue: QueueId(1), messages: vec![message.clone(); count] }.encode(&mut out);
        assert_eq!(Command::decode(&mut Reader::new(&out.bytes, "a command")).is_ok(), is_taken);
    }
}
