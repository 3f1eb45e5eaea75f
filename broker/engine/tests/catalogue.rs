//! The rules of the catalogue as a table, and what shards and restarts make of it.

use std::collections::{BTreeMap, BTreeSet};

use cmq_engine::attributes::{
    AttributesPatch, DEAD_LETTER_SOURCES_MAX, DeadLetterChange, DeadLetterPolicy, DeadLetterRule,
    DeduplicationScope, QueueAttributes, QueueId, QueueKind,
};
use cmq_engine::catalogue::{
    Catalogue, CatalogueCommand, CatalogueEvent, CatalogueOutcome, CatalogueRefusal, Change, DeletionPolicy,
    Owner, PutMode, Rewind, RewindKind,
};
use cmq_engine::limits::{QUEUES_MAX, REMOVALS_MAX, REWINDS_MAX};
use proptest::prelude::*;

const FIFO: QueueKind = QueueKind::Fifo { deduplication: DeduplicationScope::Queue };
const FIFO_BY_GROUP: QueueKind = QueueKind::Fifo { deduplication: DeduplicationScope::MessageGroup };
const COUNT: DeadLetterRule = DeadLetterRule::MaxReceiveCount(3);

/// A put, written as briefly as the table needs it.
#[derive(Clone)]
struct Put {
    name: &'static str,
    mode: PutMode,
    kind: QueueKind,
    delay_seconds: u32,
    rewind_seconds: u32,
    dead_letters: Option<&'static str>,
    owner: Option<&'static str>,
    deletion: DeletionPolicy,
    recreate_wait_ms: u64,
}

const fn create(name: &'static str) -> Put {
    Put {
        name,
        mode: PutMode::Create,
        kind: QueueKind::Standard,
        delay_seconds: 0,
        rewind_seconds: 0,
        dead_letters: None,
        owner: None,
        deletion: DeletionPolicy::Retain,
        recreate_wait_ms: 0,
    }
}

impl From<Put> for CatalogueCommand {
    fn from(put: Put) -> Self {
        let queue = QueueId(u32::MAX);
        Self::Put {
            name: put.name.into(),
            mode: put.mode,
            attributes: QueueAttributes {
                kind: put.kind,
                delay_seconds: put.delay_seconds,
                rewind_seconds: put.rewind_seconds,
                dead_letter: put.dead_letters.map(|_| DeadLetterPolicy { queue, rule: COUNT }),
                ..QueueAttributes::default()
            },
            dead_letter_queue: put.dead_letters.map(Into::into),
            owner: put.owner.map(|name| Owner { name: name.into(), deletion: put.deletion }),
            recreate_wait_ms: put.recreate_wait_ms,
            shards: 1,
        }
    }
}

fn delete(name: &str, owner: Option<&str>) -> CatalogueCommand {
    CatalogueCommand::Delete { name: name.into(), owner: owner.map(Into::into) }
}

fn purge(name: &str, wait_ms: u64) -> CatalogueCommand {
    CatalogueCommand::Purge { name: name.into(), wait_ms }
}

fn rewind(name: &str, start_ms: u64) -> CatalogueCommand {
    CatalogueCommand::Rewind { name: name.into(), start_ms }
}

fn withdraw(name: &str, owner: &str) -> CatalogueCommand {
    CatalogueCommand::Withdraw { name: name.into(), owner: owner.into() }
}

fn delete_closed(name: &str, revision: u64) -> CatalogueCommand {
    CatalogueCommand::DeleteClosed { name: name.into(), revision }
}

fn queue(id: u32) -> CatalogueOutcome {
    Ok(Some(QueueId(id)))
}

#[test]
fn rules() {
    use CatalogueRefusal::*;
    use DeletionPolicy::{Delete, DeleteIfEmpty, Retain};
    use PutMode::{Declare, Update};
    let declared = || Declared("default/one".into());
    // Stamp, command, outcome, and whether it makes a new revision.
    let steps: Vec<(u64, CatalogueCommand, CatalogueOutcome, bool)> = vec![
        // Names.
        (0, create("a").into(), queue(0), true),
        (0, create("a").into(), Err(NameTaken), false),
        (0, create("A").into(), Err(NameTaken), false),
        (0, Put { mode: Update, ..create("A") }.into(), Err(Missing), false),
        (0, Put { mode: Declare, ..create("A") }.into(), Err(NameTaken), false),
        (0, Put { mode: Update, ..create("b") }.into(), Err(Missing), false),
        (0, delete("b", None), Err(Missing), false),
        // Attributes change, but not the kind.
        (1, Put { mode: Update, delay_seconds: 5, ..create("a") }.into(), queue(0), true),
        (2, Put { mode: Update, delay_seconds: 5, ..create("a") }.into(), queue(0), false),
        (2, Put { mode: Update, kind: FIFO, ..create("a") }.into(), Err(KindIsFixed), false),
        (2, Put { kind: FIFO, ..create("f") }.into(), queue(1), true),
        (2, Put { mode: Update, kind: FIFO_BY_GROUP, ..create("f") }.into(), Err(KindIsFixed), false),
        // Dead-letter queues.
        (3, Put { dead_letters: Some("dlq"), ..create("s") }.into(), Err(DeadLetterQueueMissing), false),
        (3, Put { dead_letters: Some("s"), ..create("s") }.into(), Err(DeadLetterQueueMissing), false),
        (3, create("dlq").into(), queue(2), true),
        (3, Put { dead_letters: Some("dlq"), ..create("s") }.into(), queue(3), true),
        (3, Put { dead_letters: Some("f"), ..create("t") }.into(), Err(DeadLetterKind), false),
        (3, Put { dead_letters: Some("a"), kind: FIFO, ..create("t") }.into(), Err(DeadLetterKind), false),
        (3, Put { dead_letters: Some("s"), ..create("t") }.into(), Err(DeadLetterNesting), false),
        (
            3,
            Put { mode: Update, dead_letters: Some("a"), ..create("dlq") }.into(),
            Err(DeadLetterNesting),
            false,
        ),
        (
            3,
            Put { mode: Update, dead_letters: Some("s"), ..create("s") }.into(),
            Err(DeadLetterQueueMissing),
            false,
        ),
        (3, delete("dlq", None), Err(InUseAsDeadLetterQueue), false),
        (4, Put { mode: Update, ..create("s") }.into(), queue(3), true),
        (4, delete("dlq", None), queue(2), true),
        // Names that were in use a moment ago, if the caller minds.
        (1_000, delete("a", None), queue(0), true),
        (1_999, Put { recreate_wait_ms: 1_000, ..create("a") }.into(), Err(RecreatedTooSoon), false),
        (2_000, Put { recreate_wait_ms: 1_000, ..create("a") }.into(), queue(4), true),
        (2_000, delete("a", None), queue(4), true),
        (2_000, create("a").into(), queue(5), true),
        (2_000, Put { recreate_wait_ms: u64::MAX, ..create("dlq") }.into(), Err(RecreatedTooSoon), false),
        // Declared queues change only by declarations.
        (3_000, Put { mode: Declare, owner: Some("default/one"), ..create("d") }.into(), queue(6), true),
        (3_000, Put { mode: Declare, owner: Some("default/one"), ..create("d") }.into(), queue(6), false),
        (3_000, Put { mode: Update, delay_seconds: 1, ..create("d") }.into(), Err(declared()), false),
        (3_000, delete("d", None), Err(declared()), false),
        (3_000, create("d").into(), Err(NameTaken), false),
        (3_000, Put { mode: Declare, owner: Some("default/two"), ..create("d") }.into(), queue(6), true),
        (3_000, Put { mode: Declare, owner: Some("default/one"), ..create("a") }.into(), queue(5), true),
        (3_000, delete("a", None), Err(declared()), false),
        (3_000, delete("a", Some("default/one")), queue(5), true),
        // Purges and rewinds are of the messages: they do not mind who declares the queue.
        (3_000, purge("x", 0), Err(Missing), false),
        (3_000, purge("d", 1_000), queue(6), true),
        (3_999, purge("d", 1_000), Err(PurgedTooSoon), false),
        (3_999, purge("d", 0), queue(6), true),
        (4_998, purge("d", 1_000), Err(PurgedTooSoon), false),
        (4_999, purge("d", 1_000), queue(6), true),
        (5_000, rewind("x", 5_000), Err(Missing), false),
        (5_000, rewind("d", 5_000), Err(RewindOff), false),
        (5_000, Put { kind: FIFO, rewind_seconds: 1, ..create("r") }.into(), Err(RewindFifo), false),
        (5_000, Put { rewind_seconds: 1, ..create("r") }.into(), queue(7), true),
        (5_000, rewind("r", 3_999), Err(RewindTime { earliest_ms: 4_000 }), false),
        (5_000, rewind("r", 4_000), queue(7), true),
        (5_000, rewind("r", 5_000), queue(7), true),
        (5_000, rewind("r", 5_001), Err(RewindTime { earliest_ms: 4_000 }), false),
        (5_000, Put { mode: Update, ..create("r") }.into(), queue(7), true),
        (5_000, rewind("r", 5_000), Err(RewindOff), false),
        (5_000, delete("d", Some("default/two")), queue(6), true),
        // Owners that declare a queue no more: it stays, goes, or is closed.
        (
            6_000,
            Put { mode: Declare, owner: Some("one"), deletion: Retain, ..create("k") }.into(),
            queue(8),
            true,
        ),
        (6_000, withdraw("k", "two"), Err(Declared("one".into())), false),
        (6_000, withdraw("k", "one"), queue(8), true),
        (6_000, withdraw("k", "one"), Err(Changed), false),
        (6_000, delete("k", None), queue(8), true),
        (6_000, withdraw("k", "one"), Err(Missing), false),
        (
            7_000,
            Put { mode: Declare, owner: Some("one"), deletion: Delete, ..create("g") }.into(),
            queue(9),
            true,
        ),
        (7_000, withdraw("g", "one"), queue(9), true),
        (
            8_000,
            Put { mode: Declare, owner: Some("one"), deletion: DeleteIfEmpty, ..create("e") }.into(),
            queue(10),
            true,
        ),
        (8_000, withdraw("e", "one"), queue(10), true),
        (8_000, withdraw("e", "one"), queue(10), false),
        (8_000, delete("e", None), Err(Declared("one".into())), false),
        (8_000, Put { mode: Update, ..create("e") }.into(), Err(Declared("one".into())), false),
        // A dead-letter queue goes after its sources.
        (
            9_000,
            Put { mode: Declare, owner: Some("one"), deletion: Delete, ..create("dl") }.into(),
            queue(11),
            true,
        ),
        (
            9_000,
            Put {
                mode: Declare,
                owner: Some("one"),
                deletion: Delete,
                dead_letters: Some("dl"),
                ..create("so")
            }
            .into(),
            queue(12),
            true,
        ),
        (9_000, withdraw("dl", "one"), Err(InUseAsDeadLetterQueue), false),
        (9_000, withdraw("so", "one"), queue(12), true),
        (9_000, withdraw("dl", "one"), queue(11), true),
    ];
    let mut catalogue = Catalogue::default();
    for (at, (stamp_ms, command, expected, is_change)) in steps.into_iter().enumerate() {
        let before = catalogue.revision();
        let (outcome, event) = catalogue.apply(&command, stamp_ms);
        assert_eq!(outcome, expected, "step {at}: {command:?}");
        assert_eq!(catalogue.revision() - before, u64::from(is_change), "step {at}: {command:?}");
        assert_eq!(event.is_some(), is_change, "step {at}: {command:?}");
        if let Some(CatalogueEvent::Put(entry)) = event {
            // Only attributes count as a change.
            let modified_ms = match command {
                CatalogueCommand::Put { .. } | CatalogueCommand::Withdraw { .. } => stamp_ms,
                _ => entry.purged_ms.map_or(5_000, |_| 3_000),
            };
            assert_eq!(entry.modified_ms, modified_ms, "step {at}: {command:?}");
            assert_eq!(entry.revision, catalogue.revision());
        }
    }
    let names: Vec<&str> = catalogue.queues().map(|entry| &*entry.name).collect();
    assert_eq!(names, ["e", "f", "r", "s"]);
    assert_same(&catalogue, &restored(&catalogue));
}

/// What was found empty is deleted only if nothing of the queue changed since.
#[test]
fn a_closed_queue_goes_as_it_was_seen() {
    let mut catalogue = Catalogue::default();
    let declared = || -> CatalogueCommand {
        let deletion = DeletionPolicy::DeleteIfEmpty;
        Put { mode: PutMode::Declare, owner: Some("one"), deletion, ..create("e") }.into()
    };
    let is_closed = |catalogue: &Catalogue| catalogue.queues().any(|entry| entry.attributes.closed);
    let changed = Err(CatalogueRefusal::Changed);
    assert_eq!(catalogue.apply(&declared(), 0).0, queue(0));
    let open = catalogue.revision();
    assert_eq!(catalogue.apply(&delete_closed("e", open), 0).0, changed);
    assert_eq!(catalogue.apply(&withdraw("e", "one"), 0).0, queue(0));
    let closed = catalogue.revision();
    assert!(is_closed(&catalogue));
    assert_eq!(catalogue.apply(&delete_closed("e", open), 0).0, changed);
    // Declared again, it is open again; closed once more, it is not what was seen.
    assert_eq!(catalogue.apply(&declared(), 0).0, queue(0));
    assert!(!is_closed(&catalogue));
    assert_eq!(catalogue.apply(&delete_closed("e", closed), 0).0, changed);
    assert_eq!(catalogue.apply(&withdraw("e", "one"), 0).0, queue(0));
    assert_eq!(catalogue.apply(&delete_closed("e", closed), 0).0, changed);
    let seen = catalogue.revision();
    assert_same(&catalogue, &restored(&catalogue));
    assert_eq!(catalogue.apply(&delete_closed("e", seen), 0).0, queue(0));
    assert_eq!(catalogue.apply(&delete_closed("e", seen), 0).0, Err(CatalogueRefusal::Missing));
    assert_eq!(catalogue.queues().count(), 0);
}

/// While a shard may still move messages to a closed queue, no revision says that none comes any more.
#[test]
fn a_closed_queue_gets_no_new_sources() {
    let mut catalogue = Catalogue::default();
    let deletion = DeletionPolicy::DeleteIfEmpty;
    let source = Put { dead_letters: Some("e"), ..create("s") };
    let declared = Put { mode: PutMode::Declare, owner: Some("one"), deletion, ..create("e") };
    assert_eq!(catalogue.apply(&declared.into(), 0).0, queue(0));
    assert_eq!(catalogue.apply(&source.clone().into(), 0).0, queue(1));
    assert_eq!(catalogue.closing_revision(QueueId(0)), None);
    assert_eq!(catalogue.apply(&withdraw("e", "one"), 0).0, queue(0));
    assert_eq!(catalogue.closing_revision(QueueId(0)), None);
    // The source that it has may change otherwise.
    let bound = Put { mode: PutMode::Update, delay_seconds: 1, ..source.clone() };
    assert_eq!(catalogue.apply(&bound.into(), 0).0, queue(1));
    assert_eq!(catalogue.apply(&Put { mode: PutMode::Update, ..create("s") }.into(), 0).0, queue(1));
    assert_eq!(catalogue.closing_revision(QueueId(0)), Some(catalogue.revision()));
    let missing = Err(CatalogueRefusal::DeadLetterQueueMissing);
    assert_eq!(catalogue.apply(&Put { mode: PutMode::Update, ..source }.into(), 0).0, missing);
    assert_eq!(catalogue.closing_revision(QueueId(1)), None);
    assert_eq!(catalogue.closing_revision(QueueId(2)), None);
}

#[test]
fn a_dead_letter_queue_serves_so_many_sources() {
    let mut catalogue = Catalogue::default();
    let mut put = |put: Put| catalogue.apply(&put.into(), 0).0;
    const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
    put(create("dlq")).unwrap();
    for name in &NAMES[..DEAD_LETTER_SOURCES_MAX] {
        put(Put { dead_letters: Some("dlq"), ..create(name) }).unwrap();
    }
    let refused = put(Put { dead_letters: Some("dlq"), ..create("g") });
    assert_eq!(refused, Err(CatalogueRefusal::DeadLetterTooManySources));
    // One that is bound already may change, and makes room when it lets go.
    let update = Put { mode: PutMode::Update, ..create("a") };
    put(Put { dead_letters: Some("dlq"), delay_seconds: 1, ..update.clone() }).unwrap();
    put(update).unwrap();
    put(Put { dead_letters: Some("dlq"), ..create("g") }).unwrap();
}

fn patch(name: &str, patch: AttributesPatch) -> CatalogueCommand {
    CatalogueCommand::Patch { name: name.into(), patch }
}

fn bind(queue: &str, rule: DeadLetterRule) -> AttributesPatch {
    AttributesPatch { dead_letter: DeadLetterChange::Bind { queue: queue.into(), rule }, ..no_change() }
}

fn no_change() -> AttributesPatch {
    AttributesPatch::default()
}

/// Each patch finds what the ones before it left.
#[test]
fn patches() {
    use CatalogueRefusal::*;
    const AGE: DeadLetterRule = DeadLetterRule::MaxTimeToLiveSeconds(600);
    let unbind = || AttributesPatch { dead_letter: DeadLetterChange::Unbind, ..no_change() };
    let retention = |seconds| AttributesPatch { retention_seconds: Some(seconds), ..no_change() };
    let rewind = |seconds| AttributesPatch { rewind_seconds: Some(seconds), ..no_change() };
    let hidden = |seconds| AttributesPatch { visibility_timeout_seconds: Some(seconds), ..no_change() };
    let mut catalogue = Catalogue::default();
    for put in [
        create("a"),
        create("dlq"),
        Put { kind: FIFO, ..create("f") },
        Put { mode: PutMode::Declare, owner: Some("default/d"), ..create("d") },
    ] {
        catalogue.apply(&put.into(), 0).0.unwrap();
    }
    let steps: Vec<(CatalogueCommand, CatalogueOutcome, bool)> = vec![
        (patch("none", hidden(1)), Err(Missing), false),
        (patch("A", hidden(1)), Err(Missing), false),
        (patch("d", hidden(1)), Err(Declared("default/d".into())), false),
        (patch("a", no_change()), queue(0), false),
        (patch("a", hidden(1)), queue(0), true),
        (patch("a", hidden(1)), queue(0), false),
        (patch("a", rewind(60)), queue(0), true),
        (patch("a", retention(60)), queue(0), true),
        (patch("a", rewind(61)), Err(RewindAboveRetention), false),
        (patch("a", retention(59)), Err(RewindAboveRetention), false),
        (patch("a", bind("dlq", AGE)), Err(TimeToLiveNotBelowRetention), false),
        (patch("a", retention(600)), queue(0), true),
        (patch("a", bind("dlq", AGE)), Err(TimeToLiveNotBelowRetention), false),
        (patch("a", AttributesPatch { retention_seconds: Some(601), ..bind("dlq", AGE) }), queue(0), true),
        (patch("a", retention(600)), Err(TimeToLiveNotBelowRetention), false),
        (patch("a", hidden(2)), queue(0), true),
        (delete("dlq", None), Err(InUseAsDeadLetterQueue), false),
        (patch("dlq", bind("d", COUNT)), Err(DeadLetterNesting), false),
        (patch("a", bind("none", COUNT)), Err(DeadLetterQueueMissing), false),
        (patch("a", bind("a", COUNT)), Err(DeadLetterQueueMissing), false),
        (patch("a", bind("f", COUNT)), Err(DeadLetterKind), false),
        (patch("a", unbind()), queue(0), true),
        (patch("a", unbind()), queue(0), false),
        (patch("a", retention(60)), queue(0), true),
        (delete("dlq", None), queue(1), true),
    ];
    for (at, (command, expected, is_change)) in steps.into_iter().enumerate() {
        let before = catalogue.revision();
        let (outcome, event) = catalogue.apply(&command, 7);
        assert_eq!(outcome, expected, "step {at}: {command:?}");
        assert_eq!(
            (catalogue.revision() - before, event.is_some()),
            (u64::from(is_change), is_change),
            "step {at}"
        );
    }
    let entry = catalogue.queues().find(|entry| &*entry.name == "a").expect("it was never deleted");
    let due = QueueAttributes {
        visibility_timeout_seconds: 2,
        retention_seconds: 60,
        rewind_seconds: 60,
        ..QueueAttributes::default()
    };
    assert_eq!((&entry.attributes, entry.modified_ms), (&due, 7));
    assert_same(&catalogue, &restored(&catalogue));
}

#[test]
fn a_broker_takes_so_many_queues() {
    let mut catalogue = Catalogue::default();
    let put = |name: String| CatalogueCommand::Put {
        name: name.into(),
        mode: PutMode::Declare,
        attributes: QueueAttributes::default(),
        dead_letter_queue: None,
        owner: None,
        recreate_wait_ms: 0,
        shards: 1,
    };
    for at in 0..QUEUES_MAX {
        catalogue.apply(&put(format!("queue-{at}")), 0).0.unwrap();
    }
    assert_eq!(catalogue.apply(&put("more".into()), 0).0, Err(CatalogueRefusal::TooManyQueues));
    catalogue.apply(&delete("queue-7", None), 0).0.unwrap();
    assert_eq!(catalogue.apply(&put("more".into()), 0).0, queue(QUEUES_MAX as u32));
}

#[test]
fn only_the_latest_removals_are_remembered() {
    let mut catalogue = Catalogue::default();
    catalogue.apply(&create("stays").into(), 0).0.unwrap();
    for _ in 0..REMOVALS_MAX + 10 {
        catalogue.apply(&create("goes").into(), 0).0.unwrap();
        catalogue.apply(&delete("goes", None), 0).0.unwrap();
    }
    // Machine, one queue, and the removals.
    assert_eq!(catalogue.export().len(), 2 + REMOVALS_MAX);
    let (revision, is_complete, changes) = catalogue.changes_since(19, 100);
    assert_eq!((revision, is_complete, changes.len()), (catalogue.revision(), true, 1));
    let (_, is_complete, changes) = catalogue.changes_since(21, 100);
    assert_eq!((is_complete, changes.len()), (false, 100));
    assert_same(&catalogue, &restored(&catalogue));
}

#[test]
fn what_must_be_on_one_shard_stays_there() {
    let mut catalogue = Catalogue::default();
    for (name, kind) in [("standard", QueueKind::Standard), ("one", FIFO), ("by-group", FIFO_BY_GROUP)] {
        let attributes = QueueAttributes { kind, ..QueueAttributes::default() };
        let put = |shards, delay_seconds| CatalogueCommand::Put {
            name: name.into(),
            mode: PutMode::Declare,
            attributes: QueueAttributes { delay_seconds, ..attributes.clone() },
            dead_letter_queue: None,
            owner: None,
            recreate_wait_ms: 0,
            shards,
        };
        let homes = |catalogue: &Catalogue| -> Vec<Option<u16>> {
            let entry = catalogue.queues().find(|entry| &*entry.name == name).expect("it was just put");
            (0..5_000).map(|group| entry.home(group)).collect()
        };
        catalogue.apply(&put(3, 0), 0).0.unwrap();
        let before = homes(&catalogue);
        catalogue.apply(&put(7, 1), 0).0.unwrap();
        assert_eq!(homes(&restored(&catalogue)), before);
        let used: BTreeSet<Option<u16>> = before.into_iter().collect();
        match kind {
            QueueKind::Standard => assert_eq!(used, BTreeSet::from([None])),
            FIFO => assert_eq!(used.len(), 1),
            _ => assert_eq!(used, BTreeSet::from([Some(1), Some(2), Some(3)])),
        }
    }
}

#[test]
fn the_first_founding_counts() {
    let mut catalogue = Catalogue::default();
    assert!(!catalogue.is_founded());
    for cluster_id in [7, 8] {
        let found = CatalogueCommand::Found { cluster_id, handle_key: [cluster_id as u8; 32] };
        assert_eq!(catalogue.apply(&found, 0), (Ok(None), Some(CatalogueEvent::Founded)));
    }
    assert_eq!((catalogue.cluster_id(), catalogue.handle_key()), (7, &[7; 32]));
    assert_eq!(restored(&catalogue).cluster_id(), 7);
}

fn restored(catalogue: &Catalogue) -> Catalogue {
    let mut restored = Catalogue::default();
    for (key, row) in catalogue.export().iter().rev() {
        restored.restore(key, row).expect("a row that was just exported");
    }
    restored
}

fn assert_same(one: &Catalogue, other: &Catalogue) {
    assert_eq!(one.export(), other.export());
    assert!(one.queues().eq(other.queues()));
    for since in [0, one.revision().saturating_sub(3), one.revision()] {
        assert_eq!(one.changes_since(since, 50), other.changes_since(since, 50));
    }
}

/// What a shard knows of the catalogue.
#[derive(Default)]
struct Follower {
    revision: u64,
    queues: BTreeMap<QueueId, Change>,
}

impl Follower {
    fn follow(&mut self, catalogue: &Catalogue, limit: usize) {
        let (revision, is_complete, changes) = catalogue.changes_since(self.revision, limit);
        assert!(revision > self.revision || self.revision == catalogue.revision());
        assert!(is_complete || changes.len() <= limit);
        self.revision = revision;
        if is_complete {
            self.queues.clear();
        }
        for change in changes {
            match change {
                Change::Put { queue, .. } => _ = self.queues.insert(queue, change),
                Change::Remove { queue } => _ = self.queues.remove(&queue),
            }
        }
    }
}

fn command() -> impl Strategy<Value = CatalogueCommand> {
    const NAMES: [&str; 6] = ["a", "b", "B", "c", "dlq", "fifo"];
    let name = (0..NAMES.len()).prop_map(|at| NAMES[at]);
    let mode = prop_oneof![Just(PutMode::Create), Just(PutMode::Update), Just(PutMode::Declare)];
    let kind = prop_oneof![5 => Just(QueueKind::Standard), 1 => Just(FIFO)];
    let owner = || prop_oneof![4 => Just(None), 1 => Just(Some("one"))];
    let deletion = prop_oneof![
        Just(DeletionPolicy::Retain),
        Just(DeletionPolicy::Delete),
        Just(DeletionPolicy::DeleteIfEmpty)
    ];
    let target = prop::option::of((0..NAMES.len()).prop_map(|at| NAMES[at]));
    let put = (name.clone(), mode, kind, (0_u32..3, 0_u32..2), target, (owner(), deletion), 0_u64..200)
        .prop_map(
            |(
                name,
                mode,
                kind,
                (delay_seconds, rewind_seconds),
                dead_letters,
                (owner, deletion),
                recreate_wait_ms,
            )| {
                Put {
                    name,
                    mode,
                    kind,
                    delay_seconds,
                    rewind_seconds,
                    dead_letters,
                    owner,
                    deletion,
                    recreate_wait_ms,
                }
                .into()
            },
        );
    let change = (name.clone(), 0_u32..3, (0..NAMES.len()).prop_map(|at| NAMES[at]), 0..3).prop_map(
        |(name, seconds, target, kind)| {
            let dead_letter = match kind {
                0 => DeadLetterChange::Keep,
                1 => DeadLetterChange::Unbind,
                _ => bind(target, COUNT).dead_letter,
            };
            patch(name, AttributesPatch { polling_wait_seconds: Some(seconds), dead_letter, ..no_change() })
        },
    );
    prop_oneof![
        6 => put,
        2 => change,
        2 => (name.clone(), owner()).prop_map(|(name, owner)| delete(name, owner)),
        1 => (name.clone(), 0_u64..200).prop_map(|(name, wait_ms)| purge(name, wait_ms)),
        2 => (name.clone(), 0_u64..1_500).prop_map(|(name, start_ms)| rewind(name, start_ms)),
        1 => name.clone().prop_map(|name| withdraw(name, "one")),
        1 => (name, 0_u64..40).prop_map(|(name, revision)| delete_closed(name, revision)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// Followers that ask now and then, for a few changes at a time, get where the catalogue is; and a catalogue that
    /// comes back from its rows goes on as if it had never stopped.
    #[test]
    fn shards_and_restarts_follow(commands in prop::collection::vec((command(), any::<u8>()), 1..120)) {
        let mut catalogue = Catalogue::default();
        let mut rows = BTreeMap::new();
        let mut followers: Vec<(usize, Follower)> =
            [1, 2, 50].map(|limit| (limit, Follower::default())).into();
        for (at, (command, dice)) in commands.iter().enumerate() {
            _ = catalogue.apply(command, at as u64 * 10);
            if dice.is_multiple_of(8) {
                for (key, row) in catalogue.checkpoint() {
                    match row {
                        Some(row) => _ = rows.insert(key, row),
                        None => _ = rows.remove(&key),
                    }
                }
                prop_assert!(rows.iter().map(|(key, row)| (*key, row.clone())).eq(catalogue.export()));
                let restored = restored(&catalogue);
                assert_same(&catalogue, &restored);
                catalogue = restored;
            }
            for (limit, follower) in &mut followers {
                if usize::from(*dice).is_multiple_of(*limit + 1) {
                    follower.follow(&catalogue, *limit);
                }
            }
        }
        let whole = catalogue.queues().map(|entry| {
            let (epoch, rewinds) = (entry.epoch, entry.rewinds.clone());
            let attributes = entry.attributes.clone();
            (entry.id, Change::Put { queue: entry.id, epoch, rewinds, attributes })
        });
        let expected: BTreeMap<QueueId, Change> = whole.collect();
        for (limit, mut follower) in followers {
            while follower.revision < catalogue.revision() {
                follower.follow(&catalogue, limit);
            }
            prop_assert_eq!(&follower.queues, &expected);
        }
    }
}

#[test]
fn rewinds_are_remembered_in_order_and_the_oldest_as_one() {
    let mut catalogue = Catalogue::default();
    catalogue.apply(&Put { rewind_seconds: 60, ..create("r") }.into(), 0).0.unwrap();
    let rewinds = |catalogue: &Catalogue| {
        let (_, _, changes) = catalogue.changes_since(0, 10);
        let [Change::Put { rewinds, .. }] = &changes[..] else { panic!("one queue: {changes:?}") };
        rewinds.clone()
    };
    let starts = [7_000, 3_000].into_iter().chain(10_000..10_000 + REWINDS_MAX as u64);
    for start_ms in starts {
        catalogue.apply(&rewind("r", start_ms), 20_000).0.unwrap();
    }
    let kept = rewinds(&restored(&catalogue));
    assert_eq!(kept.len(), REWINDS_MAX);
    assert_eq!(kept[0], Rewind { number: 3, kind: RewindKind::To(3_000) });
    assert_eq!(kept[1], Rewind { number: 4, kind: RewindKind::To(10_001) });
    // Turning rewinding off is one of them; a purge leaves the numbers as they are.
    let off = Put { mode: PutMode::Update, ..create("r") };
    catalogue.apply(&off.into(), 20_000).0.unwrap();
    catalogue.apply(&purge("r", 0), 20_000).0.unwrap();
    let last = rewinds(&restored(&catalogue)).pop().unwrap();
    assert_eq!(last, Rewind { number: REWINDS_MAX as u64 + 3, kind: RewindKind::Off });
}
