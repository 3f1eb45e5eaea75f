//! Our finalizer, put and taken by JSON patches that test what they change: an Update of an old object would fight with
//! whoever else writes it, and could bring back or drop the finalizers of others.

use std::fmt::Debug;

use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::labels::FINALIZER;

/// Whether an object has our finalizer.
pub fn is_set<K: Resource>(object: &K) -> bool {
    object.meta().finalizers.iter().flatten().any(|name| name == FINALIZER)
}

/// Puts our finalizer on an object that does not have it. Nothing may be done that needs cleaning up before this succeeded.
///
/// # Errors
/// As the API server says; a conflict of any form means that the object changed, and is to be looked at again.
pub async fn put<K>(api: &Api<K>, object: &K) -> kube::Result<()>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    if is_set(object) {
        return Ok(());
    }
    let known = object.finalizers();
    let operations = if known.is_empty() {
        json!([
            { "op": "test", "path": "/metadata/uid", "value": object.uid() },
            { "op": "test", "path": "/metadata/finalizers", "value": Value::Null },
            { "op": "add", "path": "/metadata/finalizers", "value": [FINALIZER] },
        ])
    } else {
        json!([
            { "op": "test", "path": "/metadata/uid", "value": object.uid() },
            { "op": "test", "path": "/metadata/finalizers", "value": known },
            { "op": "add", "path": "/metadata/finalizers/-", "value": FINALIZER },
        ])
    };
    patch(api, object, operations).await
}

/// Takes our finalizer from an object; one that is gone already is as good.
///
/// # Errors
/// As the API server says; a conflict of any form means that the object changed, and is to be looked at again.
pub async fn take<K>(api: &Api<K>, object: &K) -> kube::Result<()>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    remove(api, object, FINALIZER).await
}

/// Makes a deletion in the foreground one in the background: the garbage collector takes children first in the former, whatever our
/// finalizer still has to do with them.
///
/// # Errors
/// As [`take`].
pub async fn take_from_foreground<K>(api: &Api<K>, object: &K) -> kube::Result<()>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    remove(api, object, "foregroundDeletion").await
}

async fn remove<K>(api: &Api<K>, object: &K, finalizer: &str) -> kube::Result<()>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let Some(index) = object.finalizers().iter().position(|name| name == finalizer) else { return Ok(()) };
    let path = format!("/metadata/finalizers/{index}");
    let operations = json!([
        { "op": "test", "path": "/metadata/uid", "value": object.uid() },
        { "op": "test", "path": path, "value": finalizer },
        { "op": "remove", "path": path },
    ]);
    match patch(api, object, operations).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        result => result,
    }
}

async fn patch<K>(api: &Api<K>, object: &K, operations: Value) -> kube::Result<()>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let operations: json_patch::Patch =
        serde_json::from_value(operations).map_err(kube::Error::SerdeError)?;
    api.patch_metadata(&object.name_any(), &PatchParams::default(), &Patch::<()>::Json(operations))
        .await
        .map(drop)
}
