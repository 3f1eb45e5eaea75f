//! Objects as sets of fields, and which manager owns which of them.
//!
//! A field is the way to a leaf: a scalar, or what is replaced as a whole. Items of lists that are maps go by their keys, so
//! `.spec.containers[name=broker].image`. The tables below say of the kinds that tests write what OpenAPI says of all.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::kinds::Kind;

/// The fields that one writer owns.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Manager {
    pub(crate) name: String,
    /// Whether it applies; otherwise it updates. The same name may do both, and owns fields twice then.
    pub(crate) applies: bool,
    /// Whether it writes to the status.
    pub(crate) status: bool,
    pub(crate) fields: BTreeSet<String>,
}

/// How a list is merged.
pub(super) enum List {
    Atomic,
    Set,
    /// By these keys, some of which have a default.
    Map(&'static [(&'static str, &'static str)]),
}

/// The way to a list without the items on it, seen from the pod for what is in a pod template.
pub(super) fn list(kind: &Kind, pattern: &str) -> List {
    let pattern = match kind.name {
        "StatefulSet" => pattern.strip_prefix(".spec.template").unwrap_or(pattern),
        _ => pattern,
    };
    let keys: &[_] = match (kind.name, pattern) {
        (_, ".metadata.finalizers") => return List::Set,
        ("Broker" | "Queue", pattern) if pattern.ends_with(".names") => return List::Set,
        (_, ".metadata.ownerReferences") => &[("uid", "")],
        (_, ".status.conditions") => &[("type", "")],
        ("Service", ".spec.ports") => &[("port", ""), ("protocol", "TCP")],
        ("Pod" | "StatefulSet", pattern) => match pattern {
            ".spec.containers" | ".spec.initContainers" | ".spec.volumes" | ".spec.imagePullSecrets" => {
                &[("name", "")]
            }
            ".spec.topologySpreadConstraints" => &[("topologyKey", ""), ("whenUnsatisfiable", "")],
            ".spec.containers.env" | ".spec.initContainers.env" => &[("name", "")],
            ".spec.containers.ports" => &[("containerPort", ""), ("protocol", "TCP")],
            ".spec.containers.volumeMounts" | ".spec.initContainers.volumeMounts" => &[("mountPath", "")],
            _ => return List::Atomic,
        },
        _ => return List::Atomic,
    };
    List::Map(keys)
}

/// Maps that are replaced as a whole.
pub(super) fn atomic_map(kind: &Kind, pattern: &str) -> bool {
    pattern.ends_with(".nodeSelector")
        || pattern.ends_with(".labelSelector")
        || pattern.ends_with("KeyRef")
        || (pattern == ".spec.selector"
            && ["StatefulSet", "Service", "PodDisruptionBudget"].contains(&kind.name))
        || (pattern == ".spec.podSelector" && kind.name == "NetworkPolicy")
}

/// The text by which an item of a list that is a map goes.
pub(super) fn item_key(keys: &[(&str, &str)], item: &Value) -> String {
    let parts = keys.iter().map(|(key, default)| match &item[key] {
        Value::Null => format!("{key}={default}"),
        Value::String(text) => format!("{key}={text}"),
        other => format!("{key}={other}"),
    });
    format!("[{}]", parts.collect::<Vec<_>>().join(","))
}

/// What the server sets itself, and nobody owns.
fn of_the_server(path: &str) -> bool {
    let Some(field) = path.strip_prefix(".metadata.") else {
        return [".apiVersion", ".kind"].contains(&path);
    };
    let whole = ["labels", "annotations", "finalizers", "ownerReferences"];
    !whole.iter().any(|ours| field.starts_with(ours))
}

/// The leaves of an object with their values.
pub(super) fn leaves<'a>(kind: &Kind, object: &'a Value) -> BTreeMap<String, &'a Value> {
    let mut found = BTreeMap::new();
    walk(kind, object, String::new(), String::new(), &mut found);
    found.retain(|path, _| !of_the_server(path));
    found
}

fn walk<'a>(
    kind: &Kind,
    value: &'a Value,
    path: String,
    pattern: String,
    found: &mut BTreeMap<String, &'a Value>,
) {
    match value {
        Value::Object(entries) if !entries.is_empty() && !atomic_map(kind, &pattern) => {
            for (key, value) in entries {
                walk(kind, value, format!("{path}.{key}"), format!("{pattern}.{key}"), found);
            }
        }
        Value::Array(items) if !items.is_empty() => match list(kind, &pattern) {
            List::Atomic => drop(found.insert(path, value)),
            List::Set => found.extend(items.iter().map(|item| (format!("{path}[{item}]"), item))),
            List::Map(keys) => {
                for item in items {
                    let path = format!("{path}{}", item_key(keys, item));
                    found.insert(path.clone(), &Value::Null);
                    walk(kind, item, path, pattern.clone(), found);
                }
            }
        },
        _ => drop(found.insert(path, value)),
    }
}

/// Takes the leaves that `gone` names out of an object, and what is empty without them.
pub(super) fn without(kind: &Kind, object: &mut Value, gone: &dyn Fn(&str) -> bool) {
    prune(kind, object, String::new(), String::new(), gone);
}

/// Whether anything of the value is left.
fn prune(kind: &Kind, value: &mut Value, path: String, pattern: String, gone: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::Object(entries) if !entries.is_empty() && !atomic_map(kind, &pattern) => {
            entries.retain(|key, value| {
                prune(kind, value, format!("{path}.{key}"), format!("{pattern}.{key}"), gone)
            });
            !entries.is_empty()
        }
        Value::Array(items) if !items.is_empty() => match list(kind, &pattern) {
            List::Atomic => !gone(&path),
            List::Set => {
                items.retain(|item| !gone(&format!("{path}[{item}]")));
                !items.is_empty()
            }
            List::Map(keys) => {
                items.retain_mut(|item| {
                    let path = format!("{path}{}", item_key(keys, item));
                    !gone(&path) && prune(kind, item, path, pattern.clone(), gone)
                });
                !items.is_empty()
            }
        },
        _ => !gone(&path),
    }
}

/// What an update from `old` to `new` does to the owners: what it changes is its own, what it removes is nobody's.
pub(super) fn updated(
    kind: &Kind,
    old: &Value,
    new: &Value,
    owners: &mut Vec<Manager>,
    manager: &str,
    status: bool,
) {
    let (before, after) = (leaves(kind, old), leaves(kind, new));
    let changed: BTreeSet<String> = after
        .iter()
        .filter(|(path, value)| before.get(*path) != Some(value))
        .map(|(path, _)| path.clone())
        .collect();
    let ours = |owner: &Manager| owner.name == manager && !owner.applies && owner.status == status;
    for owner in owners.iter_mut() {
        let ours = ours(owner);
        owner.fields.retain(|path| after.contains_key(path) && (ours || !changed.contains(path)));
    }
    match owners.iter_mut().find(|owner| ours(owner)) {
        Some(owner) => owner.fields.extend(changed),
        None => owners.push(Manager { name: manager.into(), applies: false, status, fields: changed }),
    }
    owners.retain(|owner| !owner.fields.is_empty());
    owners.sort_by_key(|owner| (owner.name.clone(), owner.applies, owner.status));
}

/// Lays a configuration over an object: maps and lists by their types, everything else is replaced.
pub(super) fn merge(kind: &Kind, object: &mut Value, configuration: &Value) {
    merge_at(kind, object, configuration, String::new());
}

fn merge_at(kind: &Kind, live: &mut Value, wanted: &Value, pattern: String) {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) if !atomic_map(kind, &pattern) => {
            for (key, value) in wanted {
                let entry = live.entry(key.clone()).or_insert(Value::Null);
                merge_at(kind, entry, value, format!("{pattern}.{key}"));
            }
        }
        (Value::Array(live), Value::Array(wanted)) => match list(kind, &pattern) {
            List::Atomic => live.clone_from(wanted),
            List::Set => {
                let missing: Vec<_> = wanted.iter().filter(|item| !live.contains(item)).cloned().collect();
                live.extend(missing);
            }
            List::Map(keys) => {
                for item in wanted {
                    let key = item_key(keys, item);
                    match live.iter_mut().find(|live| item_key(keys, live) == key) {
                        Some(live) => merge_at(kind, live, item, pattern.clone()),
                        None => live.push(item.clone()),
                    }
                }
            }
        },
        // A part that was not there goes the same way, so that nulls inside are no values.
        (live @ Value::Null, Value::Object(_)) => {
            *live = Value::Object(Map::new());
            merge_at(kind, live, wanted, pattern);
        }
        (live, wanted) => live.clone_from(wanted),
    }
}
