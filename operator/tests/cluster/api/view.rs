//! What readers get to see: objects, their metadata alone, lists in pages.

use serde_json::{Value, json};

use super::refusal::Refusal;
use super::route::Call;
use super::store::{Store, place};

/// An object, or what the real server makes of it for who asks only for metadata.
pub(super) fn object(object: &Value, metadata_only: bool) -> Value {
    if !metadata_only {
        return object.clone();
    }
    json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": object["metadata"],
    })
}

/// A list, or a page of it. A page after the first may show newer objects than the first did; its revision stays that of the
/// first, so that a watch from there makes up for it.
pub(super) fn list(store: &Store, call: &Call) -> Result<Value, Refusal> {
    let limit = call.parameter("limit").parse().ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let (revision, after) = match call.parameter("continue").split_once(':') {
        Some((revision, after)) => (revision.parse().map_err(|_| Refusal::bad_request("continue"))?, after),
        None => (store.revision(), ""),
    };
    if store.since(revision).is_none() {
        return Err(Refusal::expired());
    }
    let namespace = Some(call.namespace.as_str()).filter(|namespace| !namespace.is_empty());
    let position = |object: &Value| {
        let (namespace, name) = place(object);
        format!("{namespace}/{name}")
    };
    let mut found: Vec<_> = store.list(call.kind, namespace).filter(|object| call.shows(object)).collect();
    if !after.is_empty() {
        let shown = found.iter().position(|object| position(object).as_str() == after);
        found = found.split_off(shown.ok_or_else(Refusal::expired)? + 1);
    }
    let more = found.len() > limit;
    found.truncate(limit);
    let mut metadata = json!({ "resourceVersion": revision.to_string() });
    if let Some(last) = found.last().filter(|_| more) {
        metadata["continue"] = json!(format!("{revision}:{}", position(last)));
    }
    let (version, kind) = match call.metadata_only {
        true => ("meta.k8s.io/v1".into(), "PartialObjectMetadataList".into()),
        false => (call.kind.api_version(), format!("{}List", call.kind.name)),
    };
    let items: Vec<Value> = found.into_iter().map(|found| object(found, call.metadata_only)).collect();
    Ok(json!({ "apiVersion": version, "kind": kind, "metadata": metadata, "items": items }))
}
