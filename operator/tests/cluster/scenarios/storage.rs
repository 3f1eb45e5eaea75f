//! Volumes grow, cannot grow, and are lost.

use serde_json::json;

use super::{
    annotate, broker, condition, delete, get, messages, orders, orders_are_placed, ready, remember_pods,
    same_pod, set,
};
use crate::scenario::Scenario;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "grow the volume",
        &[|world| set(world, "Queue", "orders", "/spec/broker/storage/size", json!("20Gi"))],
        |world| {
            ready(world, "Queue", &["orders"]);
            ready(world, "Broker", &["orders"]);
            assert_eq!(get(world, "PersistentVolumeClaim", "data-orders-cmq-0")["status"]["capacity"]["storage"], "20Gi");
            let template = &get(world, "StatefulSet", "orders-cmq")["spec"]["volumeClaimTemplates"][0];
            assert_eq!(template["spec"]["resources"]["requests"]["storage"], "20Gi");
            assert!(same_pod(world, "orders-cmq-0"), "growing needs no new pod");
            assert_eq!(messages(world, "orders"), Some(7));
        },
    )
    .after(&[orders, orders_are_placed, remember_pods]),
    Scenario::new(
        "grow three volumes and change the image at once",
        &[|world| {
            let spec = json!({ "replicas": 3, "storage": { "size": "20Gi" }, "image": "registry.test/cmq-broker:2" });
            broker(world, "bus", spec);
        }],
        |world| {
            ready(world, "Broker", &["bus"]);
            for pod in 0..3 {
                let claim = get(world, "PersistentVolumeClaim", &format!("data-bus-cmq-{pod}"));
                assert_eq!(claim["status"]["capacity"]["storage"], "20Gi");
                assert!(!same_pod(world, &format!("bus-cmq-{pod}")));
            }
        },
    )
    .after(&[
        |world| {
            world.server.write(|store| store.admission.several_pods = true);
            broker(world, "bus", json!({ "replicas": 3 }));
        },
        remember_pods,
    ]),
    Scenario::new(
        "a volume that cannot grow",
        &[
            |world| set(world, "Broker", "bus", "/spec/storage/size", json!("20Gi")),
            |world| {
                assert!(condition(world, "Broker", "bus", "StorageReady").starts_with("False"));
                set(world, "Broker", "bus", "/spec/storage/size", json!("10Gi"));
            },
        ],
        |world| {
            ready(world, "Broker", &["bus"]);
            assert!(same_pod(world, "bus-cmq-0"));
        },
    )
    .after(&[|world| broker(world, "bus", json!({ "storage": { "storageClassName": "fixed" } })), remember_pods]),
    Scenario::new(
        "a lost volume is replaced on order",
        &[
            |world| {
                delete(world, "PersistentVolumeClaim", "data-orders-cmq-0");
                delete(world, "Pod", "orders-cmq-0");
            },
            |world| {
                assert!(condition(world, "Broker", "orders", "Ready").contains("VolumeLost"));
                annotate(world, "Broker", "orders", "cmq.dev/replace-volume", json!("0"));
            },
        ],
        |world| {
            ready(world, "Broker", &["orders"]);
            ready(world, "Queue", &["orders"]);
            assert_eq!(messages(world, "orders"), Some(0));
        },
    )
    .after(&[orders, orders_are_placed])
    .losing(),
    Scenario::new(
        "a broker comes back to its volumes",
        &[
            |world| delete(world, "Broker", "bus"),
            |world| broker(world, "bus", json!({})),
            |world| {
                assert!(condition(world, "Broker", "bus", "Ready").contains("VolumesRetained"));
                annotate(world, "Broker", "bus", "cmq.dev/adopt", json!("true"));
            },
        ],
        |world| {
            ready(world, "Broker", &["bus"]);
            assert_eq!(messages(world, "found"), Some(3));
        },
    )
    .after(&[|world| broker(world, "bus", json!({})), |world| world.brokers().make_queue("found", 3)]),
];
