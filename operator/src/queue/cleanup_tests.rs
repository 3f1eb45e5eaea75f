use serde_json::json;

use super::super::fixtures::{broker, queue};
use super::super::verdict::Kind;
use super::*;

fn facts() -> Facts {
    Facts {
        key: Key::new("shop", "orders"),
        broker: Key::new("shop", "main"),
        forced: false,
        policy: DeletionPolicy::DeleteIfEmpty,
        own_broker: false,
        state: BrokerState::There,
        namespace_goes: false,
        sources: Vec::new(),
        guests: Vec::new(),
        leaving: Vec::new(),
        volumes_stay: true,
        waited: Duration::ZERO,
    }
}

fn keys(names: &[&str]) -> Vec<Key> {
    names.iter().map(|name| Key::new("shop", *name)).collect()
}

fn withdrawn(state: WithdrawnState, reason: Option<WaitReason>) -> Withdrawn {
    let text = || "orders".to_owned();
    Withdrawn { namespace: "shop".into(), name: text(), queue_name: Some(text()), state, messages: 3, reason }
}

fn unreachable() -> CallError {
    CallError::Unreachable { pod: "main-cmq-0".into(), problem: "refused".into() }
}

/// `done Reason` or `blocked Reason`.
fn told(cleanup: &Cleanup) -> String {
    match cleanup {
        Cleanup::Done(reason, _) => format!("done {reason}"),
        Cleanup::Blocked(verdict) => format!("blocked {}", verdict.reason),
    }
}

fn planned(facts: &Facts) -> String {
    match plan(facts) {
        Step::Finish(cleanup) => told(&cleanup),
        Step::Withdraw => "withdraw".into(),
    }
}

#[test]
fn what_lets_the_object_go_for_certain_comes_first() {
    // Everything that could block is there at once.
    let blocked = Facts { sources: keys(&["bills"]), guests: keys(&["bills"]), own_broker: true, ..facts() };
    assert_eq!(planned(&Facts { forced: true, ..blocked.clone() }), "done ForceDeleted");
    for state in [BrokerState::Missing, BrokerState::Foreign, BrokerState::Deleting, BrokerState::Stopped] {
        assert_eq!(planned(&Facts { state, ..blocked.clone() }), "done BrokerGone", "{state:?}");
    }
    assert_eq!(planned(&Facts { namespace_goes: true, ..blocked.clone() }), "withdraw");
    assert_eq!(planned(&blocked), "blocked InUse");
    assert_eq!(planned(&Facts { sources: Vec::new(), ..blocked }), "blocked InUse");
    assert_eq!(planned(&facts()), "withdraw");
    assert_eq!(
        planned(&Facts { leaving: keys(&["dead"]), ..facts() }),
        "withdraw",
        "its own queue goes first"
    );
}

#[test]
fn what_the_broker_says_decides() {
    let (orders, facts) = (queue("orders", 0, json!({})), facts());
    let told = |facts: &Facts, state, reason| told(&answered(facts, &orders, &withdrawn(state, reason)));
    assert_eq!(told(&facts, WithdrawnState::Gone, None), "done Withdrawn");
    assert_eq!(told(&facts, WithdrawnState::Kept, None), "done Retained");
    assert_eq!(told(&facts, WithdrawnState::Waiting, Some(WaitReason::NotEmpty)), "blocked NotEmpty");
    assert_eq!(told(&facts, WithdrawnState::Waiting, Some(WaitReason::InUse)), "blocked InUse");
    assert_eq!(told(&facts, WithdrawnState::Waiting, None), "blocked NotEmpty");
    // Its own Broker would take the others with it.
    let own = Facts { own_broker: true, leaving: keys(&["dead"]), ..facts.clone() };
    assert_eq!(told(&own, WithdrawnState::Gone, None), "blocked Deleting");
    let goes = Facts { namespace_goes: true, ..own };
    assert_eq!(told(&goes, WithdrawnState::Gone, None), "done Withdrawn");
    assert_eq!(told(&goes, WithdrawnState::Waiting, Some(WaitReason::NotEmpty)), "done NamespaceGone");
}

#[test]
fn a_broker_that_does_not_answer_is_waited_for_where_messages_hang_on_it() {
    let late = Facts { waited: PATIENCE, ..facts() };
    let policy =
        |policy, facts: &Facts| told(&unanswered(&Facts { policy, ..facts.clone() }, &unreachable()));
    for facts in [facts(), late.clone()] {
        assert_eq!(policy(DeletionPolicy::DeleteIfEmpty, &facts), "blocked BrokerUnreachable");
        assert_eq!(policy(DeletionPolicy::Delete, &facts), "blocked BrokerUnreachable");
    }
    assert_eq!(policy(DeletionPolicy::Retain, &facts()), "blocked BrokerUnreachable");
    assert_eq!(policy(DeletionPolicy::Retain, &late), "done BrokerGone");
    let own = Facts { own_broker: true, ..late.clone() };
    assert_eq!(policy(DeletionPolicy::DeleteIfEmpty, &own), "done BrokerGone", "the volumes stay");
    let volumes_go = Facts { volumes_stay: false, ..own.clone() };
    assert_eq!(policy(DeletionPolicy::DeleteIfEmpty, &volumes_go), "blocked BrokerUnreachable");
    assert_eq!(policy(DeletionPolicy::Delete, &volumes_go), "done BrokerGone");
    let guests = Facts { leaving: keys(&["dead"]), ..own };
    assert_eq!(policy(DeletionPolicy::Delete, &guests), "blocked BrokerUnreachable", "others are on it");
    assert_eq!(
        policy(DeletionPolicy::Delete, &Facts { namespace_goes: true, ..facts() }),
        "done NamespaceGone"
    );
    let Cleanup::Blocked(verdict) = unanswered(&facts(), &unreachable()) else { panic!("it is waited for") };
    assert_eq!((verdict.kind, verdict.reachable), (Kind::Failing, Some(false)));
}

#[test]
fn the_state_of_the_broker() {
    let mut main = broker("main");
    assert_eq!(state(None, None), BrokerState::Missing);
    assert_eq!(state(Some(&main), None), BrokerState::There);
    assert_eq!(state(Some(&main), Some("uid-orders".into())), BrokerState::Foreign);
    let owner =
        json!([{ "apiVersion": "cmq.dev/v1alpha1", "kind": "Queue", "name": "main", "uid": "uid-main" }]);
    main.metadata.owner_references = serde_json::from_value(owner).unwrap();
    assert_eq!(state(Some(&main), Some("uid-main".into())), BrokerState::There);
    main.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    assert_eq!(state(Some(&main), None), BrokerState::Deleting, "nothing holds it");
    main.metadata.finalizers = Some(vec![labels::FINALIZER.into()]);
    assert_eq!(state(Some(&main), None), BrokerState::There, "it waits for its queues");
    assert_eq!(state(Some(&main), Some("uid-main".into())), BrokerState::There);
    main.spec.stopped = true;
    assert_eq!(state(Some(&main), None), BrokerState::Stopped);
}

#[test]
fn messages_name_a_few() {
    assert_eq!(live(&keys(&["a"])), "Queue shop/a is");
    let many = keys(&["a", "b", "c", "d", "e", "f", "g"]);
    assert!(named(&many).ends_with("Queue shop/e, 2 more"), "{}", named(&many));
}
