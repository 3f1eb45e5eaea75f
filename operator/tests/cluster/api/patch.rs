//! Calls that write.

use std::sync::Arc;

use json_patch::PatchOperation;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::apply::Applier;
use super::refusal::Refusal;
use super::route::{Call, Patch, Verb};
use super::store::{Deletion, Store};

/// The object that a write leaves, or the last state of one that it takes away.
pub(super) fn execute(store: &mut Store, call: Call) -> Result<Arc<Value>, Refusal> {
    // Who does not say is known by the name of the program.
    let manager =
        if call.parameter("fieldManager").is_empty() { "unnamed" } else { call.parameter("fieldManager") };
    let (kind, status) = (call.kind, call.status);
    match call.verb {
        Verb::Create => store.create(kind, located(&call, read(&call)?)?, manager),
        Verb::Replace => {
            let object = located(&call, read(&call)?)?;
            if object["metadata"]["resourceVersion"].is_null() && kind.group == "cmq.dev" {
                return Err(Refusal::invalid(
                    kind,
                    &call.name,
                    "metadata.resourceVersion: must be specified for an update",
                ));
            }
            store.replace(kind, object, manager, status)
        }
        Verb::Patch(Patch::Apply) => {
            if call.parameter("fieldManager").is_empty() {
                return Err(Refusal::bad_request("fieldManager is required for apply patch"));
            }
            let force = call.parameter("force") == "true";
            store.apply(kind, located(&call, read(&call)?)?, &Applier { manager, status, force })
        }
        Verb::Patch(Patch::Merge) => {
            let patch: Value = read(&call)?;
            store.change(kind, &call.namespace, &call.name, manager, status, |object| {
                json_patch::merge(object, &patch);
                Ok(())
            })
        }
        Verb::Patch(Patch::Json) => {
            let patch: json_patch::Patch = read(&call)?;
            store.change(kind, &call.namespace, &call.name, manager, status, |object| {
                let patched = patch.0.iter().try_for_each(|operation| operate(object, operation));
                patched.map_err(|error| Refusal::invalid(kind, &call.name, error.to_string()))
            })
        }
        Verb::Delete => {
            let options: Value = if call.body.is_empty() { json!({}) } else { read(&call)? };
            let text = |value: &Value| value.as_str().map(str::to_owned);
            let how = Deletion {
                uid: text(&options["preconditions"]["uid"]),
                resource_version: text(&options["preconditions"]["resourceVersion"]),
                orphan: options["propagationPolicy"] == "Orphan",
                foreground: options["propagationPolicy"] == "Foreground",
                at_once: options["gracePeriodSeconds"] == 0,
            };
            store.delete(kind, &call.namespace, &call.name, &how)
        }
        Verb::Get | Verb::List | Verb::Watch => unreachable!("reads are served elsewhere"),
    }
}

/// Does one operation of a JSON patch. Unlike the standard, the real server finds a null where there is nothing.
fn operate(object: &mut Value, operation: &PatchOperation) -> Result<(), json_patch::PatchError> {
    match operation {
        PatchOperation::Test(test) if test.value.is_null() && test.path.resolve(object).is_err() => Ok(()),
        other => json_patch::patch(object, std::slice::from_ref(other)),
    }
}

fn read<T: DeserializeOwned>(call: &Call) -> Result<T, Refusal> {
    serde_json::from_slice(&call.body)
        .map_err(|error| Refusal::bad_request(format!("cannot read the body: {error}")))
}

/// The object of a body, which may not say anything else of itself than the path does.
fn located(call: &Call, mut object: Value) -> Result<Value, Refusal> {
    let kind = call.kind;
    let typed = object["kind"] == kind.name && object["apiVersion"] == kind.api_version();
    // Only an apply must say what it is; a create or a replace may leave it out.
    let untyped = object["kind"].is_null() && !matches!(call.verb, Verb::Patch(_));
    if !typed && !untyped || !object["metadata"].is_object() {
        return Err(Refusal::bad_request(format!(
            "the object is no {} of {}",
            kind.name,
            kind.api_version()
        )));
    }
    for (field, place) in [("namespace", &call.namespace), ("name", &call.name)] {
        let (said, unsaid) = (&object["metadata"][field], place.is_empty());
        if !said.is_null() && !unsaid && said != place.as_str() {
            return Err(Refusal::bad_request(format!(
                "the {field} of the object ({said}) is not that of the path"
            )));
        }
        if said.is_null() && !unsaid {
            object["metadata"][field] = json!(place);
        }
    }
    Ok(object)
}
