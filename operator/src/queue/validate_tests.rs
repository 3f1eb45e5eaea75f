use std::sync::Arc;

use kube::runtime::watcher::Event;
use serde_json::{Value, json};

use super::super::fixtures::{broker, dead_letters, queue};
use super::super::neighbours::{Neighbours, Part};
use super::*;

/// What the first of these Queues finds when all of them and the Broker `main` are there.
fn check(queues: &[Queue]) -> Result<DeadLetters, Verdict> {
    let world = world(queues);
    validate(&queues[0], &world)
}

fn world(queues: &[Queue]) -> World {
    let (neighbours, mut part) = (Neighbours::default(), Part::new(None));
    for queue in queues {
        neighbours.queue_event(&mut part, &Event::Apply(queue.clone()));
    }
    let (first, key) = (&queues[0], key_of(&queues[0]));
    let target = first.spec.dead_letter.as_ref().map(|rule| Key::new("shop", rule.queue_ref.name.clone()));
    let others = |found: Vec<(Key, Facts)>| found.into_iter().filter(|(other, _)| *other != key).collect();
    World {
        broker: Some(Arc::new(broker("main"))),
        broker_in_scope: true,
        consent: true,
        target: target.as_ref().and_then(|target| neighbours.get(target)),
        fellows: target.map(|target| others(neighbours.sources(&target))).unwrap_or_default(),
        rivals: others(neighbours.of_wire_name(&broker_of(first), first.wire_name())),
    }
}

fn reason(result: Result<DeadLetters, Verdict>) -> &'static str {
    result.map_or_else(|verdict| verdict.reason.as_str(), |_| "fine")
}

fn declared(mut queue: Queue) -> Queue {
    queue.status = Some(
        serde_json::from_value(json!({ "conditions": [{
            "type": "Ready", "status": "True", "reason": "Declared", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
        }] }))
        .unwrap(),
    );
    queue
}

fn fifo(name: &str, mut spec: Value) -> Queue {
    spec["fifo"] = json!({});
    spec["queueName"] = json!(format!("{name}.fifo"));
    queue(name, 0, spec)
}

#[test]
fn dead_letter_queues() {
    let orders = || queue("orders", 0, dead_letters("dead"));
    assert_eq!(check(&[orders()]), Ok(DeadLetters::Missing(Key::new("shop", "dead"))));
    assert_eq!(check(&[orders(), queue("dead", 1, json!({}))]), Ok(DeadLetters::AsDeclared));
    let elsewhere = queue("dead", 1, json!({ "brokerRef": { "name": "else" } }));
    assert_eq!(reason(check(&[orders(), elsewhere])), "DeadLetterOnOtherBroker");
    assert_eq!(reason(check(&[orders(), queue("dead", 1, dead_letters("further"))])), "DeadLetterChain");
    assert_eq!(reason(check(&[orders(), queue("dead", 1, dead_letters("orders"))])), "DeadLetterCycle");
    assert_eq!(reason(check(&[orders(), fifo("dead", json!({}))])), "DeadLetterTypeMismatch");
    assert_eq!(reason(check(&[fifo("orders", dead_letters("dead")), fifo("dead", json!({}))])), "fine");
}

#[test]
fn a_dead_letter_queue_serves_the_first_six() {
    let source = |number: i64| queue(&format!("source-{number}"), number, dead_letters("dead"));
    let all = |mine: i64, count: i64| {
        let mut queues = vec![source(mine)];
        queues.extend((0..count).filter(|number| *number != mine).map(source));
        queues.push(queue("dead", 100, json!({})));
        queues
    };
    assert_eq!(reason(check(&all(5, 6))), "fine");
    assert_eq!(reason(check(&all(5, 7))), "fine", "the sixth by age");
    assert_eq!(reason(check(&all(6, 7))), "DeadLetterSources", "the seventh");
    let mut queues = all(6, 7);
    queues[0] = declared(queues[0].clone());
    assert_eq!(reason(check(&queues)), "fine", "it has its place already");
    let mut queues = all(6, 7);
    queues[1].metadata.deletion_timestamp = queues[1].metadata.creation_timestamp.clone();
    assert_eq!(reason(check(&queues)), "fine", "one of the others goes");
}

#[test]
fn of_two_objects_with_one_name_the_older_has_it_unless_the_other_has_it_already() {
    let named = |name: &str, second| queue(name, second, json!({ "queueName": "Orders" }));
    assert_eq!(reason(check(&[named("a", 1), named("b", 2)])), "fine");
    let refused = check(&[named("b", 2), named("a", 1)]).unwrap_err();
    assert_eq!(
        (refused.reason, refused.kind),
        (Reason::NameConflict, super::super::verdict::Kind::UserError)
    );
    assert!(refused.detail.contains("shop/a"), "{}", refused.detail);
    assert_eq!(reason(check(&[named("a", 1), declared(named("b", 2))])), "NameConflict");
    assert_eq!(reason(check(&[declared(named("b", 2)), named("a", 1)])), "fine");
    let mut going = named("a", 1);
    going.metadata.deletion_timestamp = going.metadata.creation_timestamp.clone();
    assert_eq!(reason(check(&[named("b", 2), going])), "fine");
}

#[test]
fn brokers_that_are_not_there_or_do_not_consent() {
    let queues = [queue("orders", 0, json!({}))];
    let mut world = world(&queues);
    world.consent = false;
    assert_eq!(reason(validate(&queues[0], &world)), "NamespaceNotAllowed");
    world.broker = None;
    let missing = validate(&queues[0], &world).unwrap_err();
    assert_eq!(
        (missing.reason, missing.kind),
        (Reason::BrokerNotFound, super::super::verdict::Kind::Waiting)
    );
    world.broker_in_scope = false;
    assert!(validate(&queues[0], &world).unwrap_err().detail.contains("does not look after"));
}
