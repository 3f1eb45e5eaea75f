//! Objects for the tests of this folder.

use cmq_crds::broker::Broker;
use cmq_crds::queue::Queue;
use serde_json::{Value, json};

/// A Queue of namespace `shop` on the Broker `main`, made at this second; `spec` is laid over its spec.
pub(super) fn queue(name: &str, second: i64, spec: Value) -> Queue {
    let mut whole = json!({ "brokerRef": { "name": "main" } });
    for (field, value) in spec.as_object().unwrap() {
        whole[field] = value.clone();
    }
    if whole.get("broker").is_some() {
        whole.as_object_mut().unwrap().remove("brokerRef");
    }
    let made = jiff::Timestamp::from_second(1_800_000_000 + second).unwrap();
    serde_json::from_value(json!({
        "apiVersion": "cmq.dev/v1alpha1",
        "kind": "Queue",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": format!("uid-{name}"),
            "generation": 1,
            "creationTimestamp": made.to_string(),
        },
        "spec": whole,
    }))
    .unwrap()
}

/// A Broker of namespace `shop` with one pod that serves.
pub(super) fn broker(name: &str) -> Broker {
    serde_json::from_value(json!({
        "apiVersion": "cmq.dev/v1alpha1",
        "kind": "Broker",
        "metadata": { "name": name, "namespace": "shop", "uid": format!("uid-broker-{name}") },
        "spec": {},
        "status": { "replicas": 1, "readyReplicas": 1, "selector": "a=b" },
    }))
    .unwrap()
}

/// A dead-letter rule that names this Queue.
pub(super) fn dead_letters(to: &str) -> Value {
    json!({ "deadLetter": { "queueRef": { "name": to }, "maxReceiveCount": 5 } })
}
