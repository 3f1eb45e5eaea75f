//! What the operator made is deleted, changed by hand, or somebody else's.

use serde_json::json;

use super::{
    broker, condition, delete, edit, get, messages, orders, orders_are_placed, ready, remember_pods, same_pod,
};
use crate::scenario::{Act, Scenario};
use crate::world::World;

const WITH_EVERYTHING: &[Act] = &[everything, remember_pods];

/// A Broker with every child that there can be.
fn everything(world: &World) {
    let open = json!({ "clients": { "names": ["shop"] } });
    broker(world, "bus", json!({ "networkPolicy": open, "podMonitor": {} }));
}

/// The children that come back as they were.
const CHILDREN: [(&str, &str); 9] = [
    ("StatefulSet", "bus-cmq"),
    ("Service", "bus-cmq"),
    ("Service", "bus-cmq-pods"),
    ("ConfigMap", "bus-cmq"),
    ("ServiceAccount", "bus-cmq"),
    ("PodDisruptionBudget", "bus-cmq"),
    ("NetworkPolicy", "bus-cmq"),
    ("PodMonitor", "bus-cmq"),
    ("Secret", "bus-cmq-tls"),
];

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "every child is deleted",
        &[|world| CHILDREN.iter().for_each(|(kind, name)| delete(world, kind, name))],
        |world| {
            ready(world, "Broker", &["bus"]);
            for (kind, name) in CHILDREN {
                assert!(get(world, kind, name).is_object(), "{kind} {name} is back");
            }
        },
    )
    .after(WITH_EVERYTHING),
    Scenario::new(
        "children are changed by hand",
        &[|world| {
            edit(world, "Service", "bus-cmq", &mut |service| service["spec"]["ports"][0]["targetPort"] = json!(1));
            edit(world, "PodDisruptionBudget", "bus-cmq", &mut |budget| budget["spec"]["maxUnavailable"] = json!(3));
            edit(world, "StatefulSet", "bus-cmq", &mut |set| set["spec"]["replicas"] = json!(0));
            edit(world, "ConfigMap", "bus-cmq", &mut |map| map["data"]["CMQ_CLIENT_ADDR"] = json!("127.0.0.1:1"));
        }],
        |world| {
            ready(world, "Broker", &["bus"]);
            assert_eq!(get(world, "PodDisruptionBudget", "bus-cmq")["spec"]["maxUnavailable"], 1);
            assert_ne!(get(world, "Service", "bus-cmq")["spec"]["ports"][0]["targetPort"], 1);
        },
    )
    .after(WITH_EVERYTHING),
    Scenario::new(
        "a pod is deleted",
        &[|world| delete(world, "Pod", "orders-cmq-0")],
        |world| {
            ready(world, "Queue", &["orders"]);
            assert!(!same_pod(world, "orders-cmq-0"));
            assert_eq!(messages(world, "orders"), Some(7));
        },
    )
    .after(&[orders, orders_are_placed, remember_pods]),
    Scenario::new(
        "the name of a child is taken",
        &[orders, |world| {
            assert!(condition(world, "Broker", "orders", "Ready").contains("NameConflict"));
            assert!(get(world, "Service", "orders-cmq")["metadata"]["ownerReferences"].is_null());
            delete(world, "Service", "orders-cmq");
            super::annotate(world, "Broker", "orders", "cmq.dev/reconcile-at", json!("now"));
        }],
        |world| {
            ready(world, "Broker", &["orders"]);
            ready(world, "Queue", &["orders"]);
        },
    )
    .after(&[|world| {
        world.server.write(|store| {
            crate::api::created(store, json!({
                "apiVersion": "v1", "kind": "Service", "metadata": { "name": "orders-cmq", "namespace": "shop" },
                "spec": { "selector": { "app": "another" }, "ports": [{ "port": 80 }] },
            }))
        });
    }]),
    Scenario::new(
        "a child is no longer wanted",
        &[|world| {
            edit(world, "Broker", "bus", &mut |broker| {
                if let Some(spec) = broker["spec"].as_object_mut() {
                    spec.retain(|field, _| field != "networkPolicy" && field != "podMonitor");
                }
            });
        }],
        |world| {
            ready(world, "Broker", &["bus"]);
            assert!(get(world, "NetworkPolicy", "bus-cmq").is_null());
            assert!(get(world, "PodMonitor", "bus-cmq").is_null());
        },
    )
    .after(WITH_EVERYTHING),
];
