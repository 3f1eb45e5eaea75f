//! Queues, brokers and namespaces go, and what holds messages stays unless a user says otherwise.

use serde_json::{Value, json};

use super::{
    SHOP, annotate, broker, condition, delete, delete_in_foreground, get, messages, orders,
    orders_are_placed, queue, shared,
};
use crate::api::kinds::named;
use crate::api::store::Deletion;
use crate::scenario::Scenario;
use crate::world::World;

fn own(world: &World, deletion: &str, volumes: &str) {
    let broker = json!({ "storage": { "deletionPolicy": volumes } });
    queue(world, "orders", json!({ "deletionPolicy": deletion, "broker": broker }));
}

fn on_bus(world: &World, deletion: &str) {
    broker(world, "bus", json!({}));
    queue(world, "orders", json!({ "deletionPolicy": deletion, "brokerRef": { "name": "bus" } }));
}

fn gone(world: &World, kind: &str, name: &str) {
    let object = get(world, kind, name);
    assert!(object.is_null(), "{kind} {name} should be gone: {object:#}");
}

fn bus_is_gone(world: &World) {
    gone(world, "Broker", "bus");
    gone(world, "StatefulSet", "bus-cmq");
}

fn delete_users_of_bus(world: &World) {
    delete(world, "Queue", "work");
    delete(world, "Queue", "dead");
}

fn delete_orders(world: &World) {
    delete(world, "Queue", "orders");
}

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("delete an empty queue with own pods", &[delete_orders], |world| {
        gone(world, "Queue", "orders");
        gone(world, "Broker", "orders");
        gone(world, "StatefulSet", "orders-cmq");
        gone(world, "Pod", "orders-cmq-0");
    })
    .after(&[orders]),
    Scenario::new(
        "delete a queue that holds messages",
        &[delete_orders, |world| {
            assert!(condition(world, "Queue", "orders", "DeletionBlocked").starts_with("True"));
            assert_eq!(messages(world, "orders"), Some(7));
            world.brokers().put_messages("orders", 0);
        }],
        |world| gone(world, "Queue", "orders"),
    )
    .after(&[|world| on_bus(world, "DeleteIfEmpty"), orders_are_placed]),
    Scenario::new("delete with messages", &[delete_orders], |world| {
        gone(world, "Queue", "orders");
        assert_eq!(messages(world, "orders"), None);
    })
    .after(&[|world| on_bus(world, "Delete"), orders_are_placed])
    .losing(),
    Scenario::new("delete with pods, volume and messages", &[delete_orders], |world| {
        gone(world, "Queue", "orders");
        gone(world, "Broker", "orders");
        gone(world, "PersistentVolumeClaim", "data-orders-cmq-0");
    })
    .after(&[|world| own(world, "Delete", "Delete"), orders_are_placed])
    .losing(),
    Scenario::new("retain on a shared broker", &[delete_orders], |world| {
        gone(world, "Queue", "orders");
        assert_eq!(messages(world, "orders"), Some(7));
    })
    .after(&[|world| on_bus(world, "Retain"), orders_are_placed]),
    Scenario::new("retain with own pods", &[delete_orders], |world| {
        gone(world, "Queue", "orders");
        gone(world, "StatefulSet", "orders-cmq");
        assert!(get(world, "PersistentVolumeClaim", "data-orders-cmq-0").is_object());
        assert_eq!(messages(world, "orders"), Some(7));
    })
    .after(&[|world| own(world, "Retain", "Retain"), orders_are_placed]),
    Scenario::new(
        "a queue that others need",
        &[
            |world| delete(world, "Queue", "dead"),
            |world| {
                assert!(condition(world, "Queue", "dead", "DeletionBlocked").starts_with("True"));
                delete(world, "Queue", "work");
            },
        ],
        |world| {
            gone(world, "Queue", "work");
            gone(world, "Queue", "dead");
        },
    )
    .after(&[shared]),
    Scenario::new(
        "a broker that queues need",
        &[
            |world| delete(world, "Broker", "bus"),
            |world| {
                assert!(get(world, "StatefulSet", "bus-cmq").is_object(), "it serves on");
                delete_users_of_bus(world);
            },
        ],
        bus_is_gone,
    )
    .after(&[shared]),
    Scenario::new(
        "a broker that queues need, in the foreground",
        &[
            |world| delete_in_foreground(world, "Broker", "bus"),
            |world| {
                assert!(get(world, "StatefulSet", "bus-cmq").is_object(), "it serves again");
                assert_eq!(condition(world, "Broker", "bus", "Ready"), "True Serving");
                delete_users_of_bus(world);
            },
        ],
        bus_is_gone,
    )
    .after(&[shared])
    .robbing(),
    Scenario::new(
        "a queue that holds messages, with pods and volume, in the foreground",
        &[
            |world| delete_in_foreground(world, "Queue", "orders"),
            |world| {
                assert!(condition(world, "Queue", "orders", "DeletionBlocked").starts_with("True"));
                assert_eq!(messages(world, "orders"), Some(7));
                world.brokers().put_messages("orders", 0);
            },
        ],
        |world| {
            gone(world, "Queue", "orders");
            gone(world, "Broker", "orders");
            gone(world, "PersistentVolumeClaim", "data-orders-cmq-0");
        },
    )
    .after(&[|world| own(world, "DeleteIfEmpty", "Delete"), orders_are_placed])
    .robbing(),
    Scenario::new(
        "a broker that a leaving queue needs",
        &[
            |world| delete(world, "Broker", "bus"),
            delete_orders,
            |world| {
                assert!(condition(world, "Queue", "orders", "DeletionBlocked").starts_with("True"));
                assert!(condition(world, "Broker", "bus", "DeletionBlocked").starts_with("True"));
                assert_eq!(messages(world, "orders"), Some(7));
                world.brokers().put_messages("orders", 0);
            },
        ],
        |world| {
            gone(world, "Queue", "orders");
            bus_is_gone(world);
        },
    )
    .after(&[|world| on_bus(world, "DeleteIfEmpty"), orders_are_placed]),
    Scenario::new(
        "the broker goes first, by force",
        &[
            |world| {
                annotate(world, "Broker", "bus", "cmq.dev/force-delete", json!("true"));
                delete(world, "Broker", "bus");
            },
            delete_users_of_bus,
        ],
        |world| {
            gone(world, "Broker", "bus");
            gone(world, "Queue", "work");
            gone(world, "Queue", "dead");
        },
    )
    .after(&[shared]),
    Scenario::new(
        "a queue of a broker that cannot be reached",
        &[
            |world| {
                world.brokers().unreachable.insert("shop/bus-cmq-0".into());
                delete_orders(world);
            },
            |world| {
                assert!(get(world, "Queue", "orders").is_object(), "it waits for the broker");
                annotate(world, "Queue", "orders", "cmq.dev/force-delete", json!("true"));
            },
        ],
        |world| gone(world, "Queue", "orders"),
    )
    .after(&[|world| on_bus(world, "DeleteIfEmpty"), orders_are_placed]),
    Scenario::new(
        "delete a stopped queue",
        &[|world| super::set(world, "Queue", "orders", "/spec/broker/stopped", json!(true)), delete_orders],
        |world| {
            gone(world, "Queue", "orders");
            gone(world, "StatefulSet", "orders-cmq");
            assert!(get(world, "PersistentVolumeClaim", "data-orders-cmq-0").is_object());
        },
    )
    .after(&[orders, orders_are_placed]),
    Scenario::new(
        "delete the namespace",
        &[|world| {
            world
                .server
                .write(|store| store.delete(named("Namespace"), "", SHOP, &Deletion::default()))
                .expect("it is there");
        }],
        |world| {
            let store = world.server.read();
            let left: Vec<&Value> =
                store.all().filter(|(key, _)| key.1 == SHOP).map(|(_, object)| &*object.value).collect();
            assert!(left.is_empty(), "{left:#?}");
        },
    )
    .after(&[shared, orders, orders_are_placed])
    .losing(),
];
