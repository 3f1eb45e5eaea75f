//! The end of a run in a form that two runs can be compared by: what hangs on chance or time is left out or replaced by what it
//! stands for.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::kinds::named;
use crate::api::store::place;
use crate::world::World;

/// Objects by kind, namespace and name, and what the brokers hold.
pub(crate) type End = BTreeMap<String, Value>;

/// Describes a cluster at rest.
pub(crate) fn of(world: &World) -> End {
    let store = world.server.read();
    let names: BTreeMap<String, String> = store
        .all()
        .map(|((kind, _, name), object)| (text(&object.value["metadata"]["uid"]), format!("{kind} {name}")))
        .collect();
    let mut end = End::new();
    for ((kind, namespace, name), object) in store.all().filter(|((kind, ..), _)| *kind != "Event") {
        let mut value = Value::clone(&object.value);
        tidy(kind, &mut value, &names);
        end.insert(format!("{kind} {namespace}/{name}"), value);
    }
    let claim = |uid: &str| names.get(uid).cloned().unwrap_or_else(|| format!("a lost claim {uid}"));
    let brokers = world.brokers();
    for (uid, queues) in brokers.contents() {
        for (name, queue) in queues {
            end.insert(format!("queue {name} on {}", claim(uid)), json!(format!("{queue:?}")));
        }
    }
    for (pod, tls, client) in brokers.certificates() {
        for (port, loaded) in [("admin", tls), ("client", client)] {
            let Some(loaded) = loaded else { continue };
            let kept = store
                .list(named("Secret"), Some(&place_of(&pod)))
                .find(|secret| secret["data"] == loaded.source);
            let from = kept.map_or("no Secret that there is".into(), |secret| place(secret).1);
            end.insert(format!("certificate of {pod}, {port}"), json!(from));
        }
    }
    end
}

fn place_of(pod: &str) -> String {
    pod.split('/').next().unwrap_or_default().to_owned()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn tidy(kind: &str, object: &mut Value, names: &BTreeMap<String, String>) {
    let ours = ["Broker", "Queue"].contains(&kind);
    // How often the same was asked for is not the state; that the last of it was seen, is.
    if !ours && object["status"]["observedGeneration"].is_i64() {
        let seen = object["status"]["observedGeneration"] == object["metadata"]["generation"];
        object["status"]["observedGeneration"] = json!(if seen { "present" } else { "old" });
    }
    let metadata = object["metadata"].as_object_mut().expect("an object has metadata");
    for field in ["uid", "resourceVersion", "creationTimestamp"] {
        metadata.remove(field);
    }
    if !ours {
        metadata.remove("generation");
    }
    if let Some(managers) = metadata.get_mut("managedFields").and_then(Value::as_array_mut) {
        managers.sort_by_key(Value::to_string);
        managers.dedup();
    }
    // A list of conditions is a map by their types.
    if let Some(conditions) = object.pointer_mut("/status/conditions").and_then(Value::as_array_mut) {
        conditions.sort_by_key(|condition| text(&condition["type"]));
    }
    if kind == "Secret" {
        for value in object["data"].as_object_mut().into_iter().flat_map(|data| data.values_mut()) {
            *value = json!("(bytes)");
        }
    }
    if kind == "ControllerRevision" {
        object["revision"].take();
    }
    replace(object, names);
}

/// Replaces uids by the objects that have them, and times.
fn replace(value: &mut Value, names: &BTreeMap<String, String>) {
    match value {
        Value::String(text) if text.parse::<Timestamp>().is_ok() => *text = "(time)".into(),
        Value::String(text) => {
            for (uid, name) in names.iter().filter(|(uid, _)| text.contains(uid.as_str())).collect::<Vec<_>>()
            {
                *text = text.replace(uid.as_str(), name);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, names)),
        Value::Object(entries) => {
            entries.remove("lastTransitionTime");
            entries.values_mut().for_each(|value| replace(value, names));
        }
        _ => {}
    }
}

/// What is different between two ends, a line each; nothing for equal ones.
pub(crate) fn differences(expected: &End, found: &End) -> Vec<String> {
    let mut lines = Vec::new();
    for name in expected.keys().chain(found.keys()).collect::<std::collections::BTreeSet<_>>() {
        match (expected.get(name), found.get(name)) {
            (Some(_), None) => lines.push(format!("{name}: is missing")),
            (None, Some(value)) => lines.push(format!("{name}: should not be there: {value}")),
            (Some(expected), Some(found)) => compare(name, expected, found, &mut lines),
            (None, None) => {}
        }
    }
    lines
}

/// What the last changes of objects changed, a line for each field.
pub(crate) fn recent(world: &World, changes: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for (key, before, after) in world.server.read().recent(changes) {
        compare(&format!("{} {}", key.0, key.2), &before, &after, &mut lines);
    }
    lines.retain(|line| !line.contains(".resourceVersion:") && !line.contains(".lastTransitionTime:"));
    lines
}

fn compare(path: &str, expected: &Value, found: &Value, lines: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(left), Value::Object(right)) => {
            for key in left.keys().chain(right.keys()).collect::<std::collections::BTreeSet<_>>() {
                let nothing = &Value::Null;
                let (left, right) = (left.get(key).unwrap_or(nothing), right.get(key).unwrap_or(nothing));
                compare(&format!("{path} .{key}"), left, right, lines);
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (at, (left, right)) in left.iter().zip(right).enumerate() {
                compare(&format!("{path}[{at}]"), left, right, lines);
            }
        }
        _ if expected != found => lines.push(format!("{path}: {found}, expected {expected}")),
        _ => {}
    }
}
