use serde_json::json;

use super::super::fixtures::{broker, dead_letters, queue};
use super::*;

fn key(name: &str) -> Key {
    Key::new("shop", name)
}

fn names(found: &[(Key, Facts)]) -> Vec<&str> {
    found.iter().map(|(key, _)| &*key.name).collect()
}

fn woken(concerned: &Concerned) -> Vec<&str> {
    concerned.queues.iter().map(|key| &*key.name).collect()
}

/// What is known after these objects, and the part that they came by.
fn known(queues: &[Queue]) -> (Neighbours, Part) {
    let (neighbours, mut part) = (Neighbours::default(), Part::new(None));
    neighbours.queue_event(&mut part, &Event::Init);
    for queue in queues {
        neighbours.queue_event(&mut part, &Event::InitApply(queue.clone()));
    }
    neighbours.queue_event(&mut part, &Event::InitDone);
    (neighbours, part)
}

#[test]
fn queues_are_found_by_what_they_share() {
    let other = queue("other", 0, json!({ "brokerRef": { "name": "else" }, "queueName": "Orders" }));
    let (neighbours, _) = known(&[
        queue("orders", 0, dead_letters("dead")),
        queue("bills", 1, json!({ "queueName": "Orders" })),
        queue("dead", 2, json!({})),
        other,
    ]);
    assert_eq!(names(&neighbours.on_broker(&key("main"))), ["bills", "dead", "orders"]);
    assert_eq!(names(&neighbours.sources(&key("dead"))), ["orders"]);
    assert_eq!(names(&neighbours.of_wire_name(&key("main"), "Orders")), ["bills"]);
    assert_eq!(neighbours.len(), 4);
    let facts = neighbours.get(&key("orders")).unwrap();
    assert_eq!((facts.dead_letter, facts.own_broker, facts.fifo), (Some(key("dead")), false, false));
}

#[test]
fn a_change_wakes_those_whom_it_concerns() {
    let (neighbours, mut part) = known(&[
        queue("main", 0, json!({ "broker": {} })),
        queue("orders", 1, dead_letters("dead")),
        queue("bystander", 2, json!({})),
    ]);
    let dead = queue("dead", 3, json!({}));
    let concerned = neighbours.queue_event(&mut part, &Event::Apply(dead.clone()));
    assert_eq!(woken(&concerned), ["main", "orders"], "its source, and the Queue whose Broker it is on");
    assert_eq!(concerned.brokers, BTreeSet::from([key("main")]));
    let again = neighbours.queue_event(&mut part, &Event::Apply(dead.clone()));
    assert_eq!(again, Concerned::default(), "nothing changed");
    let concerned = neighbours.queue_event(&mut part, &Event::Apply(queue("orders", 1, json!({}))));
    assert_eq!(woken(&concerned), ["dead", "main"], "the dead-letter queue that is one no more");
    let concerned = neighbours.queue_event(&mut part, &Event::Delete(dead));
    assert_eq!(woken(&concerned), ["main"]);
    assert_eq!(neighbours.get(&key("dead")), None);
    assert!(neighbours.sources(&key("dead")).is_empty());
}

#[test]
fn a_new_list_drops_what_is_not_in_it_and_only_in_its_part() {
    let (neighbours, mut all) = known(&[queue("orders", 0, json!({})), queue("bills", 0, json!({}))]);
    let mut elsewhere = Part::new(Some("elsewhere"));
    for event in [Event::Init, Event::InitDone] {
        neighbours.queue_event(&mut elsewhere, &event);
    }
    assert_eq!(neighbours.len(), 2, "a list of another namespace says nothing about this one");
    neighbours.queue_event(&mut all, &Event::Init);
    neighbours.queue_event(&mut all, &Event::InitApply(queue("bills", 0, json!({}))));
    neighbours.queue_event(&mut all, &Event::InitDone);
    assert_eq!(names(&neighbours.on_broker(&key("main"))), ["bills"]);
}

#[test]
fn a_broker_wakes_its_queues_when_it_matters_to_them() {
    let (neighbours, _) =
        known(&[queue("orders", 0, json!({})), queue("x", 0, json!({ "brokerRef": { "name": "y" } }))]);
    let mut part = Part::new(None);
    let mut main = broker("main");
    let mut tell = |event: Event<Broker>| woken(&neighbours.broker_event(&mut part, &event)).join(",");
    assert_eq!(tell(Event::Apply(main.clone())), "orders", "it is there");
    main.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into());
    assert_eq!(tell(Event::Apply(main.clone())), "", "labels are nothing to them");
    main.status.as_mut().unwrap().ready_replicas = Some(0);
    assert_eq!(tell(Event::Apply(main.clone())), "orders", "it serves no more");
    main.spec.stopped = true;
    assert_eq!(tell(Event::Apply(main.clone())), "orders");
    assert_eq!(tell(Event::Delete(main.clone())), "orders");
    assert_eq!(tell(Event::Apply(main)), "orders", "it is back");
    assert_eq!(tell(Event::Init), "");
    assert_eq!(tell(Event::InitDone), "orders", "gone while nobody watched");
}
