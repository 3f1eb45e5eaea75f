//! Queues come, change, and find each other.

use serde_json::json;

use super::{broker, condition, get, messages, orders, queue, ready, remember_pods, same_pod, set, shared};
use crate::scenario::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("create with own pods", &[orders], |world| {
        ready(world, "Queue", &["orders"]);
        ready(world, "Broker", &["orders"]);
        assert_eq!(messages(world, "orders"), Some(0));
        assert_eq!(get(world, "Pod", "orders-cmq-0")["status"]["phase"], "Running");
    }),
    Scenario::new("create on a shared broker", &[shared], |world| {
        ready(world, "Queue", &["work", "dead"]);
        ready(world, "Broker", &["bus"]);
        assert_eq!(messages(world, "work"), Some(0));
        let brokers = world.brokers();
        assert_eq!(brokers.contents()[0].1["work"].dead_letter.as_deref(), Some("dead"));
    }),
    Scenario::new(
        "the dead-letter queue comes later",
        &[
            |world| {
                let dead_letter = json!({ "queueRef": { "name": "dead" }, "maxReceiveCount": 3 });
                queue(world, "work", json!({ "brokerRef": { "name": "bus" }, "deadLetter": dead_letter }));
            },
            |world| queue(world, "dead", json!({ "brokerRef": { "name": "bus" } })),
        ],
        |world| {
            ready(world, "Queue", &["work", "dead"]);
            assert_eq!(world.brokers().contents()[0].1["work"].dead_letter.as_deref(), Some("dead"));
        },
    )
    .after(&[|world| broker(world, "bus", json!({}))]),
    Scenario::new(
        "the broker comes later",
        &[
            |world| queue(world, "work", json!({ "brokerRef": { "name": "bus" } })),
            |world| {
                broker(world, "bus", json!({}));
            },
        ],
        |world| ready(world, "Queue", &["work"]),
    ),
    Scenario::new(
        "change attributes",
        &[|world| set(world, "Queue", "orders", "/spec/visibilityTimeoutSeconds", json!(60))],
        |world| {
            ready(world, "Queue", &["orders"]);
            assert_eq!(world.brokers().contents()[0].1["orders"].spec.visibility_timeout_seconds, 60);
            assert!(same_pod(world, "orders-cmq-0"), "attributes need no new pod");
        },
    )
    .after(&[orders, super::orders_are_placed, remember_pods]),
    Scenario::new(
        "adopt a queue that a call made",
        &[
            |world| queue(world, "found", json!({ "brokerRef": { "name": "bus" } })),
            |world| {
                super::annotate(world, "Queue", "found", "cmq.dev/adopt", json!("true"));
            },
        ],
        |world| {
            ready(world, "Queue", &["found"]);
            assert_eq!(messages(world, "found"), Some(3));
        },
    )
    .after(&[|world| broker(world, "bus", json!({})), |world| world.brokers().make_queue("found", 3)]),
    Scenario::new(
        "a broker is unreachable for some time",
        &[
            |world| {
                world.brokers().unreachable.insert("shop/bus-cmq-0".into());
                queue(world, "late", json!({ "brokerRef": { "name": "bus" } }));
            },
            |world| {
                let _ = world.brokers().unreachable.remove("shop/bus-cmq-0");
            },
            // Nothing tells the operator; it asks again within some minutes.
            |_| {},
        ],
        |world| ready(world, "Queue", &["late"]),
    )
    .after(&[|world| broker(world, "bus", json!({}))]),
    Scenario::new(
        "two objects want one name",
        &[|world| queue(world, "second", json!({ "brokerRef": { "name": "bus" }, "queueName": "work" }))],
        |world| {
            ready(world, "Queue", &["work"]);
            assert!(condition(world, "Queue", "second", "Ready").starts_with("False"));
        },
    )
    .after(&[shared]),
];
