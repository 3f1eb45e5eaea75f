//! Certificates change without a failed call.

use serde_json::json;

use super::{annotate, orders, orders_are_placed, ready, remember_pods, same_pod, shared};
use crate::scenario::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "rotate certificates",
        &[|world| annotate(world, "Broker", "orders", "cmq.dev/rotate-certificates", json!("1"))],
        |world| {
            ready(world, "Broker", &["orders"]);
            ready(world, "Queue", &["orders"]);
            assert!(same_pod(world, "orders-cmq-0"), "certificates need no new pod");
        },
    )
    .after(&[orders, orders_are_placed, remember_pods]),
    Scenario::new(
        "rotate certificates twice",
        &[
            |world| annotate(world, "Broker", "bus", "cmq.dev/rotate-certificates", json!("1")),
            |world| annotate(world, "Broker", "bus", "cmq.dev/rotate-certificates", json!("2")),
        ],
        |world| {
            ready(world, "Broker", &["bus"]);
            ready(world, "Queue", &["work", "dead"]);
        },
    )
    .after(&[shared]),
];
