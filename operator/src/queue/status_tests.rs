use serde_json::json;

use super::super::fixtures::{broker, queue};
use super::*;
use crate::admin::CallError;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn found<'a>(verdict: &'a Verdict, broker: &'a Broker) -> Found<'a> {
    Found { verdict, failing_for: Duration::ZERO, deleting: false, broker: Some(broker), coarse: None }
}

/// Conditions as `Type=Status/Reason`.
fn conditions(status: &QueueStatus) -> String {
    let one = |c: &Condition| format!("{}={}/{}", c.type_, c.status, c.reason);
    status.conditions.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn unreachable() -> Verdict {
    Verdict::of_call(&CallError::Unreachable { pod: "main-cmq-0".into(), problem: "refused".into() })
}

#[test]
fn a_settled_queue_is_ready_and_the_same_again_is_no_write() {
    let (mut orders, main) = (queue("orders", 0, json!({})), broker("main"));
    let settled = Verdict::settled();
    let first = status(&orders, &found(&settled, &main), at(10));
    assert_eq!(conditions(&first), "Ready=True/Declared InSync=True/Declared BrokerReachable=True/Answering");
    assert_eq!(first.address.as_deref(), Some("http://main-cmq.shop.svc:9324"));
    assert_eq!((first.broker.as_deref(), first.observed_generation), (Some("shop/main"), Some(1)));
    // As it comes back from the API server.
    let stored: QueueStatus = serde_json::from_value(serde_json::to_value(&first).unwrap()).unwrap();
    orders.status = Some(stored.clone());
    assert_eq!(status(&orders, &found(&settled, &main), at(99)), stored);
    assert!(is_on_broker(&orders) && was_in_sync(&orders));
    orders.metadata.generation = Some(2);
    assert!(!was_in_sync(&orders), "another spec is wanted");
}

#[test]
fn a_short_outage_does_not_end_ready_and_a_long_one_makes_it_unknown() {
    let (mut orders, main) = (queue("orders", 0, json!({})), broker("main"));
    let verdict = unreachable();
    let ready = |queue: &Queue, verdict: &Verdict, seconds| {
        let found = Found { failing_for: Duration::from_secs(seconds), ..found(verdict, &main) };
        conditions(&status(queue, &found, at(20)))
    };
    assert!(ready(&orders, &verdict, 0).starts_with("Ready=Unknown/BrokerUnreachable"), "never was ready");
    orders.status = Some(status(&orders, &found(&Verdict::settled(), &main), at(10)));
    let short = ready(&orders, &verdict, 59);
    assert_eq!(
        short,
        "Ready=True/BrokerUnreachable Reconciling=True/BrokerUnreachable InSync=False/BrokerUnreachable \
         BrokerReachable=False/BrokerUnreachable"
    );
    assert!(ready(&orders, &verdict, 60).starts_with("Ready=Unknown/BrokerUnreachable"));
    let starting = Verdict::waiting(Reason::BrokerNotReady, "no pod serves");
    assert!(ready(&orders, &starting, 5).starts_with("Ready=True/BrokerNotReady"));
    assert!(ready(&orders, &starting, 60).starts_with("Ready=False/BrokerNotReady"));
    let stopped = Verdict::resting(Reason::BrokerStopped, "");
    assert_eq!(ready(&orders, &stopped, 0), "Ready=False/BrokerStopped InSync=False/BrokerStopped");
}

#[test]
fn a_user_error_stalls_and_a_queue_that_serves_goes_on() {
    let (mut orders, main) = (queue("orders", 0, json!({})), broker("main"));
    let chain = Verdict::user_error(Reason::DeadLetterChain, "the dead letters of x go to y");
    let fresh = status(&orders, &found(&chain, &main), at(10));
    assert_eq!(
        conditions(&fresh),
        "Ready=False/DeadLetterChain Stalled=True/DeadLetterChain InSync=False/DeadLetterChain"
    );
    let message = &fresh.conditions[0].message;
    assert_eq!(message, "the dead letters of x go to y. Remove spec.deadLetter from one of the two.");
    orders.status = Some(status(&orders, &found(&Verdict::settled(), &main), at(10)));
    let serving = status(&orders, &found(&chain, &main), at(20));
    assert!(conditions(&serving).starts_with("Ready=True/DeadLetterChain Stalled=True/DeadLetterChain"));
    let gone = Verdict::waiting(Reason::BrokerNotFound, "");
    assert!(
        conditions(&status(&orders, &found(&gone, &main), at(20))).starts_with("Ready=False/BrokerNotFound")
    );
}

#[test]
fn a_blocked_deletion_says_why() {
    let (orders, main) = (queue("orders", 0, json!({})), broker("main"));
    let verdict =
        Verdict { reachable: Some(true), ..Verdict::waiting(Reason::NotEmpty, "orders holds messages") };
    let found = Found { deleting: true, ..found(&verdict, &main) };
    assert_eq!(
        conditions(&status(&orders, &found, at(10))),
        "Ready=False/NotEmpty Reconciling=True/NotEmpty BrokerReachable=True/Answering DeletionBlocked=True/NotEmpty"
    );
}

#[test]
fn own_pods_and_tls_show() {
    let (orders, mut own) = (queue("orders", 0, json!({ "broker": {} })), broker("orders"));
    own.spec.tls.client = Some(Default::default());
    let coarse = Coarse { backlog: 1_200, oldest: Some("3h".into()) };
    let settled = Verdict::settled();
    let shown = status(&orders, &Found { coarse: Some(coarse), ..found(&settled, &own) }, at(10));
    assert_eq!((shown.replicas, shown.selector.as_deref()), (Some(1), Some("a=b")));
    assert_eq!(shown.address.as_deref(), Some("https://orders-cmq.shop.svc:9324"));
    assert_eq!((shown.backlog, shown.oldest.as_deref()), (Some(1_200), Some("3h")));
    assert_eq!(shown.queue_name.as_deref(), Some("orders"));
    assert_eq!(shown.attributes, Some(EffectiveAttributes::of(&orders.spec, true)));
    // The address of a Broker that does not consent is nobody's business.
    let denied = Verdict::user_error(Reason::NamespaceNotAllowed, "");
    assert_eq!(status(&orders, &found(&denied, &own), at(10)).address, None);
}

#[test]
fn pausing_keeps_what_is_known() {
    let (mut orders, main) = (queue("orders", 0, json!({})), broker("main"));
    orders.status = Some(status(&orders, &found(&Verdict::settled(), &main), at(10)));
    orders.metadata.generation = Some(2);
    let paused = paused(&orders, at(20));
    assert_eq!(conditions(&paused), "Ready=True/Paused Paused=True/Paused");
    assert_eq!((paused.observed_generation, paused.address.is_some()), (Some(2), true));
}
