use serde_json::json;

use super::super::fixtures::{broker, dead_letters, queue};
use super::super::verdict::Kind;
use super::*;

fn in_sync(mut queue: Queue) -> Queue {
    queue.status = Some(
        serde_json::from_value(json!({ "conditions": [{
            "type": "InSync", "status": "True", "reason": "Declared", "message": "", "observedGeneration": 1,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }] }))
        .unwrap(),
    );
    queue
}

fn news(queue: &Queue, change: Change) -> Option<Reason> {
    outcome(queue, None, &Declared::Changed(change)).news.map(|(reason, _)| reason)
}

#[test]
fn what_changes_under_a_queue_that_was_in_sync_is_drift() {
    let fresh = queue("orders", 0, json!({}));
    assert_eq!(news(&fresh, Change::Created), Some(Reason::Declared));
    assert_eq!(news(&fresh, Change::Updated), None);
    assert_eq!(news(&fresh, Change::Adopted), Some(Reason::Adopted));
    let mut settled = in_sync(fresh);
    assert_eq!(news(&settled, Change::Created), Some(Reason::DriftCorrected));
    assert_eq!(news(&settled, Change::Updated), Some(Reason::DriftCorrected));
    assert_eq!(outcome(&settled, None, &Declared::Unchanged).news, None);
    settled.metadata.generation = Some(2);
    assert_eq!(news(&settled, Change::Updated), None, "the user changed it");
}

#[test]
fn a_queue_without_its_dead_letter_queue_waits() {
    let orders = queue("orders", 0, dead_letters("dead"));
    assert!(request(&orders, true).spec.dead_letter.is_some());
    assert!(request(&orders, false).spec.dead_letter.is_none());
    let waits =
        outcome(&orders, Some("Queue shop/dead does not exist".into()), &Declared::Changed(Change::Created));
    assert_eq!((waits.verdict.kind, waits.verdict.reason), (Kind::Waiting, Reason::DeadLetterQueueMissing));
    assert_eq!(waits.news.unwrap().0, Reason::Declared);
}

#[test]
fn pods_and_their_templates_are_not_told_to_the_broker() {
    let mut own = queue("orders", 0, json!({ "broker": { "podTemplate": { "spec": { "a": "b" } } } }));
    own.metadata.annotations = Some([(labels::ADOPT.to_owned(), "true".to_owned())].into());
    let request = request(&own, true);
    assert_eq!(request.spec.broker, None);
    assert_eq!(request.spec.broker_ref.as_ref().map(|broker| broker.name.as_str()), Some("orders"));
    assert!(request.adopt);
}

#[test]
fn a_broker_is_asked_only_when_it_can_answer() {
    let (orders, mut main) = (queue("orders", 0, json!({})), broker("main"));
    let reason = |broker: &Broker| gate(&orders, broker).map_err(|verdict| verdict.reason);
    assert_eq!(reason(&main), Ok(()));
    main.status = None;
    assert_eq!(reason(&main), Err(Reason::BrokerNotReady));
    main.spec.stopped = true;
    assert_eq!(reason(&main), Err(Reason::BrokerStopped));
    main.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    assert_eq!(reason(&main), Err(Reason::BrokerDeleting));
}
