//! The scenarios that the sweep goes through.

use serde_json::{Value, json};

use crate::api::kinds::named;
use crate::api::store::Deletion;
use crate::scenario::Scenario;
use crate::world::World;

mod children;
mod deletion;
mod queues;
mod shape;
mod storage;
mod trust;

/// All of them.
pub(crate) fn all() -> Vec<Scenario> {
    [
        queues::SCENARIOS,
        shape::SCENARIOS,
        storage::SCENARIOS,
        trust::SCENARIOS,
        children::SCENARIOS,
        deletion::SCENARIOS,
    ]
    .concat()
}

/// The namespace that users work in.
pub(crate) const SHOP: &str = "shop";

/// Applies a Queue.
pub(crate) fn queue(world: &World, name: &str, spec: Value) {
    apply(world, "Queue", name, spec);
}

/// Applies a Broker.
pub(crate) fn broker(world: &World, name: &str, spec: Value) {
    apply(world, "Broker", name, spec);
}

/// A Queue with pods of its own.
pub(crate) fn orders(world: &World) {
    queue(world, "orders", json!({ "broker": {} }));
}

/// A Broker, and two Queues on it, the first with the second for its dead letters.
pub(crate) fn shared(world: &World) {
    broker(world, "bus", json!({}));
    let dead_letter = json!({ "queueRef": { "name": "dead" }, "maxReceiveCount": 3 });
    queue(world, "work", json!({ "brokerRef": { "name": "bus" }, "deadLetter": dead_letter }));
    queue(world, "dead", json!({ "brokerRef": { "name": "bus" } }));
}

/// Messages in the queue `orders`.
pub(crate) fn orders_are_placed(world: &World) {
    world.brokers().put_messages("orders", 7);
}

/// Applies what a user wrote, as `kubectl apply --server-side` does.
pub(crate) fn apply(world: &World, kind: &str, name: &str, spec: Value) {
    let kind = named(kind);
    let object = json!({
        "apiVersion": kind.api_version(), "kind": kind.name, "metadata": { "name": name, "namespace": SHOP }, "spec": spec,
    });
    let by = crate::api::Applier { manager: "kubectl", status: false, force: true };
    world.server.write(|store| store.apply(kind, object, &by)).expect("a user applies what is right");
}

/// Sets a field of an object to a value, or takes it away, as `kubectl edit` does.
pub(crate) fn set(world: &World, kind: &str, name: &str, pointer: &str, value: Value) {
    edit(world, kind, name, &mut |object| {
        let steps: Vec<String> =
            pointer.trim_start_matches('/').split('/').map(|step| step.replace("~1", "/")).collect();
        let (last, way) = steps.split_last().expect("a pointer has a step");
        let place = way.iter().fold(&mut *object, |object, step| match step.parse::<usize>() {
            Ok(index) => &mut object[index],
            Err(_) => &mut object[step],
        });
        match value.is_null() {
            true => drop(place.as_object_mut().and_then(|entries| entries.remove(last))),
            false => place[last] = value.clone(),
        }
    });
}

/// Changes an object as a user.
pub(crate) fn edit(world: &World, kind: &str, name: &str, change: &mut dyn FnMut(&mut Value)) {
    let result = world.server.write(|store| {
        store.change(named(kind), SHOP, name, "kubectl-edit", false, |object| {
            change(object);
            Ok(())
        })
    });
    result.expect("a user edits what is there");
}

/// Annotates an object, or takes an annotation away.
pub(crate) fn annotate(world: &World, kind: &str, name: &str, annotation: &str, value: Value) {
    set(world, kind, name, &format!("/metadata/annotations/{}", annotation.replace('/', "~1")), value);
}

/// Deletes an object as a user, if it is there.
pub(crate) fn delete(world: &World, kind: &str, name: &str) {
    world
        .server
        .write(|store| store.delete(named(kind), SHOP, name, &Deletion::default()))
        .expect("it is there");
}

/// Deletes as `kubectl delete --cascade=foreground` does.
pub(crate) fn delete_in_foreground(world: &World, kind: &str, name: &str) {
    let how = Deletion { foreground: true, ..Deletion::default() };
    world.server.write(|store| store.delete(named(kind), SHOP, name, &how)).expect("it is there");
}

/// An object; null if it is not there.
pub(crate) fn get(world: &World, kind: &str, name: &str) -> Value {
    world.server.read().get(named(kind), SHOP, name).map_or(Value::Null, |object| Value::clone(object))
}

/// The status and the reason of a condition, such as `True Ready`.
pub(crate) fn condition(world: &World, kind: &str, name: &str, condition: &str) -> String {
    let object = get(world, kind, name);
    let conditions = object["status"]["conditions"].as_array();
    let found = conditions.into_iter().flatten().find(|found| found["type"] == condition);
    found.map_or_else(String::new, |found| format!("{} {}", text(&found["status"]), text(&found["reason"])))
}

/// Sees that objects are ready, and nothing is under way or stuck.
pub(crate) fn ready(world: &World, kind: &str, names: &[&str]) {
    for name in names {
        let object = get(world, kind, name);
        assert!(
            condition(world, kind, name, "Ready").starts_with("True"),
            "{kind} {name}: {:#}",
            object["status"]
        );
        for bad in ["Reconciling", "Stalled"] {
            assert!(
                !condition(world, kind, name, bad).starts_with("True"),
                "{kind} {name}: {:#}",
                object["status"]
            );
        }
        assert_eq!(object["status"]["observedGeneration"], object["metadata"]["generation"], "{kind} {name}");
    }
}

/// The number of messages in a queue, by its name on the wire; nothing where no volume has it.
pub(crate) fn messages(world: &World, wire_name: &str) -> Option<u64> {
    let brokers = world.brokers();
    brokers
        .contents()
        .iter()
        .filter_map(|(_, queues)| queues.get(wire_name))
        .map(|queue| queue.messages)
        .max()
}

/// The uid of a pod, which a restart changes.
pub(crate) fn pod(world: &World, name: &str) -> String {
    text(&get(world, "Pod", name)["metadata"]["uid"])
}

/// Notes the uids of the pods, to ask later which are new.
pub(crate) fn remember_pods(world: &World) {
    let pods: Vec<Value> =
        world.server.read().list(named("Pod"), Some(SHOP)).map(|pod| Value::clone(pod)).collect();
    for pod in pods {
        let (name, uid) = (text(&pod["metadata"]["name"]), text(&pod["metadata"]["uid"]));
        world.server.write(|store| {
            crate::api::created(store, json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": format!("seen-{name}"), "namespace": SHOP },
                "data": { "uid": uid },
            }))
        });
    }
}

/// Whether a pod is the one that was remembered.
pub(crate) fn same_pod(world: &World, name: &str) -> bool {
    let seen = get(world, "ConfigMap", &format!("seen-{name}"));
    let uid = pod(world, name);
    assert!(seen["data"]["uid"].is_string() && !uid.is_empty(), "{name} was not seen before, or is gone");
    seen["data"]["uid"] == uid.as_str()
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
