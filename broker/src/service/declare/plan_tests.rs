//! The steps, carried out on a real catalogue: whatever was declared before, what is declared now comes true.

use std::collections::BTreeMap;

use cmq_engine::attributes::{DeadLetterRule, QueueAttributes};
use cmq_engine::catalogue::{Catalogue, CatalogueCommand, DeletionPolicy, Owner};
use proptest::prelude::*;

use super::*;

const REALM: Realm = Realm::Manifests;
const SETTINGS: Settings = Settings { recreate_wait_ms: 0, shards: 1 };

fn queue(name: &str, target: Option<&str>, deletion: DeletionPolicy) -> WantedQueue {
    WantedQueue {
        name: name.into(),
        owner: Owner { name: REALM.owner("default", name), deletion },
        attributes: QueueAttributes::default(),
        dead_letter: target
            .map(|target| (REALM.owner("default", target), DeadLetterRule::MaxReceiveCount(3))),
        takeover: Takeover::Realm,
    }
}

fn present(catalogue: &Catalogue) -> Vec<Arc<QueueEntry>> {
    catalogue.queues().cloned().collect()
}

/// Carries out the steps once and gives the refusals.
fn declare(catalogue: &mut Catalogue, wanted: &[WantedQueue]) -> Vec<String> {
    carry_out(catalogue, &steps(REALM, &present(catalogue), wanted, Leaving::Others))
}

fn carry_out(catalogue: &mut Catalogue, steps: &Steps) -> Vec<String> {
    let mut refused: Vec<String> = steps.refused.iter().map(|problem| problem.error.to_string()).collect();
    for step in steps.stages.iter().flatten() {
        for command in step.commands(SETTINGS) {
            if let (Err(refusal), _) = catalogue.apply(&command, 0) {
                refused.push(format!("{}: {refusal:?}", step.queue()));
            }
        }
    }
    refused
}

/// Every queue with its dead-letter queue and whether it is closed.
fn state(catalogue: &Catalogue) -> BTreeMap<String, (Option<String>, bool)> {
    let names: HashMap<QueueId, String> =
        catalogue.queues().map(|entry| (entry.id, entry.name.to_string())).collect();
    let of = |entry: &QueueEntry| {
        let target = entry.attributes.dead_letter.map(|policy| names[&policy.queue].clone());
        (entry.name.to_string(), (target, entry.attributes.closed))
    };
    catalogue.queues().map(|entry| of(entry)).collect()
}

#[test]
fn a_relation_is_turned_round() {
    let mut catalogue = Catalogue::default();
    let keep = DeletionPolicy::Retain;
    assert!(declare(&mut catalogue, &[queue("a", Some("b"), keep), queue("b", None, keep)]).is_empty());
    assert!(declare(&mut catalogue, &[queue("a", None, keep), queue("b", Some("a"), keep)]).is_empty());
    assert_eq!(state(&catalogue)["b"], (Some("a".into()), false));
    assert_eq!(state(&catalogue)["a"], (None, false));
    // A chain of its own direction: what was a source becomes the target of what was not there.
    assert!(declare(&mut catalogue, &[queue("b", None, keep), queue("c", Some("b"), keep)]).is_empty());
    assert_eq!(state(&catalogue)["a"], (None, false));
    assert_eq!(state(&catalogue)["c"], (Some("b".into()), false));
}

/// Two dead-letter queues that serve as many as they may exchange their sources.
#[test]
fn full_dead_letter_queues_exchange_sources() {
    let mut catalogue = Catalogue::default();
    let keep = DeletionPolicy::Retain;
    let declared = |one: &str, other: &str| -> Vec<WantedQueue> {
        let sources = (0..6).flat_map(|n| {
            [queue(&format!("x{n}"), Some(one), keep), queue(&format!("y{n}"), Some(other), keep)]
        });
        [queue("t", None, keep), queue("u", None, keep)].into_iter().chain(sources).collect()
    };
    assert!(declare(&mut catalogue, &declared("t", "u")).is_empty());
    assert!(declare(&mut catalogue, &declared("u", "t")).is_empty());
    assert_eq!(state(&catalogue)["x0"].0.as_deref(), Some("u"));
    assert_eq!(state(&catalogue)["y5"].0.as_deref(), Some("t"));
}

#[test]
fn what_is_gone_from_the_declarations_follows_its_policy() {
    use DeletionPolicy::{Delete, DeleteIfEmpty, Retain};
    let mut catalogue = Catalogue::default();
    let all = [
        queue("dlq", None, Delete),
        queue("gone", Some("dlq"), Delete),
        queue("kept", None, Retain),
        queue("waits", None, DeleteIfEmpty),
    ];
    assert!(declare(&mut catalogue, &all).is_empty());
    assert!(declare(&mut catalogue, &[]).is_empty());
    assert_eq!(
        state(&catalogue),
        BTreeMap::from([("kept".to_owned(), (None, false)), ("waits".to_owned(), (None, true))])
    );
    assert_eq!(catalogue.queues().next().unwrap().owner, None);
    // Doing it again changes nothing; declaring the queue again opens it.
    let revision = catalogue.revision();
    assert!(declare(&mut catalogue, &[]).is_empty());
    assert_eq!(catalogue.revision(), revision);
    assert!(declare(&mut catalogue, &all[3..]).is_empty());
    assert_eq!(state(&catalogue)["waits"], (None, false));
}

/// A dead-letter queue that goes waits for a source that stays or is not empty yet.
#[test]
fn a_dead_letter_queue_in_use_waits() {
    let mut catalogue = Catalogue::default();
    let all = [
        queue("dlq", None, DeletionPolicy::Delete),
        queue("source", Some("dlq"), DeletionPolicy::DeleteIfEmpty),
    ];
    assert!(declare(&mut catalogue, &all).is_empty());
    assert_eq!(declare(&mut catalogue, &[]), ["dlq: InUseAsDeadLetterQueue"]);
    let source = present(&catalogue).iter().find(|entry| &*entry.name == "source").unwrap().clone();
    assert!(source.attributes.closed);
    let drained = CatalogueCommand::DeleteClosed { name: source.name.clone(), revision: source.revision };
    catalogue.apply(&drained, 0).0.unwrap();
    assert!(declare(&mut catalogue, &[]).is_empty());
    assert!(state(&catalogue).is_empty());
}

#[test]
fn queues_of_others_are_left_alone() {
    let mut catalogue = Catalogue::default();
    let keep = DeletionPolicy::Delete;
    let theirs = WantedQueue {
        owner: Owner { name: Realm::Cluster.owner("default", "theirs"), deletion: keep },
        ..queue("theirs", None, keep)
    };
    let theirs = [theirs];
    let declared = steps(Realm::Cluster, &[], &theirs, Leaving::Others);
    assert!(carry_out(&mut catalogue, &declared).is_empty());
    let refused = declare(&mut catalogue, &[queue("theirs", None, keep)]);
    assert_eq!(refused, ["queue theirs is declared by Queue default/theirs (cluster); change it there"]);
    assert!(declare(&mut catalogue, &[]).is_empty());
    assert_eq!(state(&catalogue).len(), 1);
}

fn declarations() -> impl Strategy<Value = Vec<WantedQueue>> {
    const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
    let deletion = prop_oneof![Just(DeletionPolicy::Retain), Just(DeletionPolicy::Delete)];
    let each = (0_usize..3, 0_usize..6, 0_u32..3, deletion);
    prop::collection::vec(each, NAMES.len()).prop_map(|each| {
        // 0: not declared, 1: a queue without a dead-letter queue, 2: one with.
        let plain: Vec<&str> =
            NAMES.iter().zip(&each).filter(|(_, (kind, ..))| *kind == 1).map(|(name, _)| *name).collect();
        NAMES
            .iter()
            .zip(&each)
            .filter(|(_, (kind, ..))| *kind > 0)
            .map(|(name, (kind, target, delay_seconds, deletion))| {
                let target = (*kind == 2 && !plain.is_empty()).then(|| plain[*target % plain.len().max(1)]);
                let mut wanted = queue(name, target, *deletion);
                wanted.attributes.delay_seconds = *delay_seconds;
                wanted
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    /// From any declarations to any others, in one go where nothing that is kept stands in the way; and then there is
    /// nothing left to do.
    #[test]
    fn declarations_come_true(all in prop::collection::vec(declarations(), 1..6)) {
        let mut catalogue = Catalogue::default();
        for wanted in &all {
            let refused = declare(&mut catalogue, wanted);
            let wanted_names: HashSet<&str> = wanted.iter().map(|queue| &*queue.name).collect();
            let is_free = catalogue.queues().all(|entry| wanted_names.contains(&*entry.name));
            prop_assert!(refused.is_empty() || !is_free, "{refused:?}");
            if refused.is_empty() {
                for queue in wanted {
                    let entry = catalogue.queues().find(|entry| entry.name == queue.name).unwrap();
                    prop_assert_eq!(entry.attributes.delay_seconds, queue.attributes.delay_seconds);
                    let target = state(&catalogue)[&*queue.name].0.clone();
                    let target = target.map(|target| REALM.owner("default", &target));
                    prop_assert_eq!(target.as_ref(), queue.dead_letter.as_ref().map(|(target, _)| target));
                }
                let steps = steps(REALM, &present(&catalogue), wanted, Leaving::Others);
                prop_assert!(steps.stages.iter().all(Vec::is_empty), "{steps:?}");
            }
        }
    }
}
