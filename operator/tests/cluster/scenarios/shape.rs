//! The pods of a broker change.

use serde_json::json;

use super::{
    annotate, broker, condition, get, messages, orders, orders_are_placed, pod, ready, remember_pods,
    same_pod, set, shared,
};
use crate::operator::IMAGE;
use crate::scenario::{Act, Scenario};
use crate::world::World;

const WITH_ORDERS: &[Act] = &[orders, orders_are_placed, remember_pods];

/// Definitions refuse a second pod for now; the operator must be ready for it.
fn three(world: &World) {
    world.server.write(|store| store.admission.several_pods = true);
    broker(world, "bus", json!({ "replicas": 3 }));
}

fn all_new(world: &World) {
    for name in ["bus-cmq-0", "bus-cmq-1", "bus-cmq-2"] {
        assert!(!same_pod(world, name), "{name} should be new");
    }
}

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("create three pods", &[three], |world| {
        ready(world, "Broker", &["bus"]);
        assert_eq!(get(world, "StatefulSet", "bus-cmq")["status"]["readyReplicas"], 3);
    }),
    Scenario::new(
        "change the template",
        &[|world| {
            set(world, "Queue", "orders", "/spec/broker/resources", json!({ "requests": { "cpu": "2" } }))
        }],
        |world| {
            ready(world, "Queue", &["orders"]);
            ready(world, "Broker", &["orders"]);
            assert!(!same_pod(world, "orders-cmq-0"));
            assert_eq!(messages(world, "orders"), Some(7));
        },
    )
    .after(WITH_ORDERS),
    Scenario::new(
        "roll three pods",
        &[|world| set(world, "Broker", "bus", "/spec/image", json!("registry.test/cmq-broker:2"))],
        |world| {
            ready(world, "Broker", &["bus"]);
            all_new(world);
        },
    )
    .after(&[three, remember_pods]),
    Scenario::new(
        "a bad image and back",
        &[
            |world| set(world, "Broker", "bus", "/spec/image", json!("registry.test/cmq-broker:bad")),
            |world| {
                set(world, "Broker", "bus", "/spec/image", json!(IMAGE));
            },
        ],
        |world| {
            ready(world, "Broker", &["bus"]);
            assert!(
                same_pod(world, "bus-cmq-0") && same_pod(world, "bus-cmq-1"),
                "the roll stopped at the first pod"
            );
        },
    )
    .after(&[three, remember_pods]),
    Scenario::new(
        "a bad image stays",
        &[|world| set(world, "Queue", "orders", "/spec/broker/image", json!("registry.test/cmq-broker:bad"))],
        |world| {
            assert_eq!(
                get(world, "Pod", "orders-cmq-0")["status"]["phase"],
                "Running",
                "the last good one serves"
            );
            assert!(condition(world, "Broker", "orders", "Ready").starts_with("True"));
            assert_eq!(condition(world, "Broker", "orders", "Reconciling"), "True RolloutStuck");
        },
    )
    .after(WITH_ORDERS),
    Scenario::new(
        "restart on order",
        &[|world| annotate(world, "Broker", "bus", "cmq.dev/restart-at", json!("now"))],
        |world| {
            ready(world, "Broker", &["bus"]);
            all_new(world);
        },
    )
    .after(&[three, remember_pods]),
    Scenario::new(
        "stop and start",
        &[
            |world| set(world, "Queue", "orders", "/spec/broker/stopped", json!(true)),
            |world| {
                assert_eq!(pod(world, "orders-cmq-0"), "", "no pod runs");
                set(world, "Queue", "orders", "/spec/broker/stopped", json!(false));
            },
        ],
        |world| {
            ready(world, "Queue", &["orders"]);
            assert_eq!(messages(world, "orders"), Some(7));
        },
    )
    .after(&[orders, orders_are_placed]),
    Scenario::new(
        "pause, change, go on",
        &[
            |world| {
                annotate(world, "Broker", "bus", "cmq.dev/paused", json!("true"));
                set(world, "Broker", "bus", "/spec/image", json!("registry.test/cmq-broker:2"));
            },
            |world| {
                assert!(same_pod(world, "bus-cmq-0"), "nothing is written while it is paused");
                annotate(world, "Broker", "bus", "cmq.dev/paused", json!(null));
            },
        ],
        |world| {
            ready(world, "Broker", &["bus"]);
            assert!(!same_pod(world, "bus-cmq-0"));
        },
    )
    .after(&[shared, remember_pods]),
];
