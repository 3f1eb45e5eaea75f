//! What is done to an object, and asked of it, before it is kept.

use cmq_crds::broker::Broker;
use cmq_crds::queue::Queue;
use cmq_crds::validate::{self, FieldError};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::kinds::{self, Kind};
use super::refusal::Refusal;
use super::store::{Store, place};

/// What tests can change about admission.
#[derive(Clone, Debug, Default)]
pub(crate) struct Admission {
    /// Takes Brokers of several pods, which our definitions refuse for now: the one rule that tests switch off, to see the
    /// operator with three pods.
    pub(crate) several_pods: bool,
}

/// Checks an object that is complete.
pub(super) fn admit(store: &Store, kind: &Kind, old: Option<&Value>, new: &Value) -> Result<(), Refusal> {
    let (namespace, name) = place(new);
    if old.is_none() && kind.namespaced {
        in_a_living_namespace(store, &namespace)?;
    }
    let problems = match kind.name {
        "Broker" => ours::<Broker>(store, old, new),
        "Queue" => ours::<Queue>(store, old, new),
        // The status of other kinds is written by the cluster itself, often.
        _ if old.is_some_and(|old| old["spec"] == new["spec"] && !new["spec"].is_null()) => None,
        _ => of_its_type(kind, new),
    };
    if let Some(problems) = problems {
        return Err(Refusal::invalid(kind, &name, problems));
    }
    let Some(old) = old else { return Ok(()) };
    match kind.name {
        "StatefulSet" => only(
            kind,
            old,
            new,
            &[
                "replicas",
                "ordinals",
                "template",
                "updateStrategy",
                "persistentVolumeClaimRetentionPolicy",
                "minReadySeconds",
                "revisionHistoryLimit",
            ],
        ),
        "PersistentVolumeClaim" => claim(store, kind, old, new),
        "Secret" if old["type"] != new["type"] => {
            Err(Refusal::invalid(kind, &name, "type: field is immutable"))
        }
        "Service" if old["spec"]["clusterIP"] != new["spec"]["clusterIP"] => {
            Err(Refusal::invalid(kind, &name, "spec.clusterIP: field is immutable"))
        }
        _ => Ok(()),
    }
}

fn in_a_living_namespace(store: &Store, namespace: &str) -> Result<(), Refusal> {
    let kind = kinds::named("Namespace");
    let found = store.get(kind, "", namespace).ok_or_else(|| Refusal::not_found(kind, namespace))?;
    if found["metadata"]["deletionTimestamp"].is_string() {
        return Err(Refusal::forbidden(format!("namespace {namespace} is being terminated: no new content")));
    }
    Ok(())
}

/// Checks an object of ours by what `cmq-crds` says of it.
fn ours<K: validate::Kind>(store: &Store, old: Option<&Value>, new: &Value) -> Option<String> {
    let excused = |error: &FieldError| {
        store.admission.several_pods && error.allowed.contains("brokers of several pods are not served yet")
    };
    let mut problems = match validate::parse::<K>(new.clone()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors,
    };
    if let (Some(old), Some(new)) = (old.and_then(read::<K>), read::<K>(new)) {
        problems.extend(validate::validate_change(&old, &new));
    }
    problems.retain(|error| !excused(error));
    said(problems.iter().map(ToString::to_string))
}

fn read<K: DeserializeOwned>(value: &Value) -> Option<K> {
    serde_json::from_value(value.clone()).ok()
}

/// Checks that the type of a kind can read an object, and reads all of it.
fn of_its_type(kind: &Kind, new: &Value) -> Option<String> {
    match (kind.typed)(new.clone()) {
        Ok(read) => {
            let mut lost = Vec::new();
            compare("", new, &read, &mut lost);
            said(lost.into_iter())
        }
        Err(error) => Some(error),
    }
}

fn said(problems: impl Iterator<Item = String>) -> Option<String> {
    Some(problems.collect::<Vec<_>>().join("; ")).filter(|text| !text.is_empty())
}

/// The fields that a type does not know.
fn compare(path: &str, whole: &Value, read: &Value, lost: &mut Vec<String>) {
    match (whole, read) {
        (Value::Object(whole), Value::Object(read)) => {
            for (key, value) in whole {
                let empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
                match read.get(key) {
                    Some(read) => compare(&format!("{path}.{key}"), value, read, lost),
                    None if empty => {}
                    None => lost.push(format!("{path}.{key}: field not declared in schema")),
                }
            }
        }
        (Value::Array(whole), Value::Array(read)) => {
            whole.iter().zip(read).for_each(|(whole, read)| compare(path, whole, read, lost));
        }
        _ => {}
    }
}

/// Refuses a change of `spec` beyond these fields.
fn only(kind: &Kind, old: &Value, new: &Value, mutable: &[&str]) -> Result<(), Refusal> {
    let fixed = |object: &Value| {
        let mut spec = object["spec"].as_object().cloned().unwrap_or_default();
        spec.retain(|key, _| !mutable.contains(&key.as_str()));
        spec
    };
    if fixed(old) == fixed(new) {
        return Ok(());
    }
    let text = format!("spec: Forbidden: updates to fields other than {mutable:?} are forbidden");
    Err(Refusal::invalid(kind, &place(new).1, text))
}

/// A bound claim can only ask for more, of a class that can give it; after a failure for as little as it has.
fn claim(store: &Store, kind: &Kind, old: &Value, new: &Value) -> Result<(), Refusal> {
    let request = |object: &Value| bytes(&object["spec"]["resources"]["requests"]["storage"]);
    let rest = |object: &Value| {
        let mut spec = object["spec"].as_object().cloned().unwrap_or_default();
        spec.remove("resources");
        spec
    };
    let name = place(new).1;
    if rest(old) != rest(new) && old["spec"]["volumeName"].is_string() {
        return Err(Refusal::invalid(kind, &name, "spec: Forbidden: spec is immutable after creation"));
    }
    let (before, after, capacity) =
        (request(old), request(new), bytes(&old["status"]["capacity"]["storage"]));
    if after < before && after <= capacity {
        return Err(Refusal::invalid(
            kind,
            &name,
            "spec.resources.requests.storage: can not be less than status.capacity",
        ));
    }
    let class = new["spec"]["storageClassName"].as_str().unwrap_or_default();
    let grows =
        store.get(kinds::named("StorageClass"), "", class).is_some_and(|c| c["allowVolumeExpansion"] == true);
    if after > before && !grows {
        return Err(Refusal::forbidden(format!(
            "persistentvolumeclaims \"{name}\" is forbidden: only dynamically provisioned pvc can be resized and the \
             storageclass that provisions the pvc must support resize"
        )));
    }
    Ok(())
}

/// Bytes of a quantity; nothing is 0.
pub(crate) fn bytes(quantity: &Value) -> u64 {
    quantity.as_str().and_then(cmq_crds::broker::storage::byte_size).unwrap_or_default()
}
