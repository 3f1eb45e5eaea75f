//! Secrets with keys in them: made once with *create*, later changed only on the state that was read. Random bytes are never
//! applied, for two writers would each believe that theirs are the ones in use.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Resource, ResourceExt};
use serde_json::{Value, json};

use crate::apply::{ApplyError, owned, owner_reference};
use crate::labels::{self, FIELD_MANAGER};

/// A Secret as it should be.
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// Its type; cannot be changed.
    pub kind: &'static str,
    /// Its data.
    pub data: BTreeMap<String, String>,
    /// Annotations that it should have; those with no value it should not have.
    pub annotations: BTreeMap<String, Option<String>>,
}

/// The Secret of this name, if it is a child of `owner`.
///
/// # Errors
/// [`ApplyError::NotOurs`] for a Secret of somebody else; else as the API server says.
pub async fn get<O>(api: &Api<Secret>, owner: &O, name: &str) -> Result<Option<Secret>, ApplyError>
where
    O: Resource<DynamicType = ()>,
{
    let secret = api.get_opt(name).await?;
    let reference = owner_reference(owner);
    if let Some(secret) = &secret {
        owned(&secret.metadata, "Secret", &reference)?;
    }
    Ok(secret)
}

/// Writes a Secret: creates it, or changes the one that was read. Says whether anything had to be written.
///
/// # Errors
/// A conflict when somebody else was faster; else as the API server says.
pub async fn write<O>(
    api: &Api<Secret>,
    owner: &O,
    broker: &str,
    read: Option<&Secret>,
    wanted: Wanted,
) -> Result<bool, ApplyError>
where
    O: Resource<DynamicType = ()>,
{
    let Some(read) = read else {
        let annotations =
            wanted.annotations.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(wanted.name),
                labels: Some(labels::of_pods(broker)),
                annotations: Some(annotations),
                owner_references: Some(vec![owner_reference(owner)]),
                ..ObjectMeta::default()
            },
            type_: Some(wanted.kind.into()),
            data: Some(bytes(wanted.data)),
            ..Secret::default()
        };
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
        api.create(&parameters, &secret).await?;
        return Ok(true);
    };
    let Some(patch) = difference(read, broker, &wanted) else { return Ok(false) };
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    api.patch(&wanted.name, &parameters, &Patch::Merge(patch)).await?;
    Ok(true)
}

fn bytes(data: BTreeMap<String, String>) -> BTreeMap<String, ByteString> {
    data.into_iter().map(|(key, text)| (key, ByteString(text.into_bytes()))).collect()
}

/// The merge patch that makes of a Secret what it should be, valid for the version that was read only.
fn difference(read: &Secret, broker: &str, wanted: &Wanted) -> Option<Value> {
    let data = bytes(wanted.data.clone());
    let before = read.data.clone().unwrap_or_default();
    let labels = labels::of_pods(broker);
    let same_labels = labels.iter().all(|(key, value)| read.labels().get(key) == Some(value));
    let same_notes =
        wanted.annotations.iter().all(|(key, value)| read.annotations().get(key) == value.as_ref());
    if before == data && same_labels && same_notes {
        return None;
    }
    let mut changes: BTreeMap<&String, Option<&ByteString>> = before.keys().map(|key| (key, None)).collect();
    changes.extend(data.iter().map(|(key, value)| (key, Some(value))));
    Some(json!({
        "metadata": {
            "resourceVersion": read.resource_version(),
            "labels": labels,
            "annotations": wanted.annotations,
        },
        "data": changes,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_difference_is_written() {
        let wanted = |data: &[(&str, &str)]| Wanted {
            name: "orders-cmq-ca".into(),
            kind: "Opaque",
            data: data.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            annotations: [("note".to_owned(), Some("1".to_owned())), ("gone".to_owned(), None)].into(),
        };
        let mut secret = Secret {
            data: Some(bytes(wanted(&[("a", "1"), ("b", "2")]).data)),
            metadata: ObjectMeta {
                labels: Some(labels::of_pods("orders")),
                annotations: Some([("note".to_owned(), "1".to_owned())].into()),
                resource_version: Some("7".into()),
                ..ObjectMeta::default()
            },
            ..Secret::default()
        };
        assert_eq!(difference(&secret, "orders", &wanted(&[("a", "1"), ("b", "2")])), None);

        let patch = difference(&secret, "orders", &wanted(&[("a", "1"), ("c", "3")])).unwrap();
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        assert_eq!(patch["data"], json!({"a": "MQ==", "b": null, "c": "Mw=="}));

        secret.annotations_mut().insert("gone".into(), "x".into());
        let patch = difference(&secret, "orders", &wanted(&[("a", "1"), ("b", "2")])).unwrap();
        assert_eq!(patch["metadata"]["annotations"], json!({"note": "1", "gone": null}));
    }
}
