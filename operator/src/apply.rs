//! One child: who owns it, and server-side apply. Nothing is ever written over, or deleted from, an object that is not ours.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::labels::{FIELD_MANAGER, STATUS_MANAGER};

/// Why a child was not applied or removed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// An object of that name belongs to somebody else.
    #[error("{kind} {name} exists and {owner}")]
    NotOurs {
        /// Kind of the child.
        kind: String,
        /// Name of the child.
        name: String,
        /// What is known of its owner, as the end of a sentence.
        owner: String,
    },
    /// The object of that name belongs to a former owner of the same name and is about to go.
    #[error("{kind} {name} of a former object of this name is still being removed")]
    Leaving {
        /// Kind of the child.
        kind: String,
        /// Name of the child.
        name: String,
    },
    /// The API server refused or failed.
    #[error(transparent)]
    Api(#[from] kube::Error),
}

/// Makes `object` a child of `owner`, whose controller it becomes, and gives it as it is then.
///
/// # Errors
/// [`ApplyError::NotOurs`] for an object of somebody else, which is not touched; else as the API server says.
pub async fn child<O, K>(client: &Client, owner: &O, object: K) -> Result<K, ApplyError>
where
    O: Resource<DynamicType = ()>,
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    K: Clone + Debug + DeserializeOwned + Serialize,
{
    let api = Api::namespaced(client.clone(), &owner.namespace().unwrap_or_default());
    child_at(&api, &K::kind(&()), owner, object).await
}

/// [`child`] by an API at hand, for kinds that are known only while running.
///
/// # Errors
/// As [`child`].
pub async fn child_at<O, K>(api: &Api<K>, kind: &str, owner: &O, mut object: K) -> Result<K, ApplyError>
where
    O: Resource<DynamicType = ()>,
    K: Resource + Clone + Debug + DeserializeOwned + Serialize,
{
    let name = object.name_any();
    let reference = owner_reference(owner);
    let existing = metadata(api, &name).await?;
    // An object of ours that vanished meanwhile must not come back under a new UID with half of what it was.
    let uid = match &existing {
        Some(existing) => Some(owned(existing.meta(), kind, &reference)?),
        None => None,
    };
    let meta = object.meta_mut();
    meta.uid = uid;
    meta.owner_references = Some(vec![reference]);
    let parameters = PatchParams::apply(FIELD_MANAGER);
    let parameters = if existing.is_some() { parameters.force() } else { parameters };
    Ok(api.patch(&name, &parameters, &Patch::Apply(&object)).await?)
}

/// Writes the status of an object. One that is gone has no need of it.
///
/// # Errors
/// As the API server says; a conflict when the object was made anew under its name.
pub async fn status<K>(client: &Client, object: &K, status: &impl Serialize) -> kube::Result<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    K: Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    let body = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": { "name": object.name_any(), "uid": object.uid() },
        "status": status,
    });
    let parameters = PatchParams::apply(STATUS_MANAGER).force();
    match api.patch_status(&object.name_any(), &parameters, &Patch::Apply(body)).await {
        Err(error) if is_absent(&error) => Ok(()),
        result => result.map(drop),
    }
}

/// What says that an object is this one's child.
///
/// # Panics
/// For an owner without a name or a UID, which none has that was read from the API server.
pub fn owner_reference<O: Resource<DynamicType = ()>>(owner: &O) -> OwnerReference {
    owner.controller_owner_ref(&()).expect("an object read from the API server has a name and a UID")
}

/// Deletes a child that is no longer wanted. One that is not there, or is not ours, is left as it is.
///
/// # Errors
/// As the API server says.
pub async fn remove<O, K>(api: &Api<K>, owner: &O, name: &str) -> kube::Result<()>
where
    O: Resource<DynamicType = ()>,
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let Some(existing) = metadata(api, name).await? else { return Ok(()) };
    let reference = owner_reference(owner);
    let Ok(uid) = owned(existing.meta(), "", &reference) else { return Ok(()) };
    if existing.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    delete(api, name, &uid, PropagationPolicy::Background).await
}

/// Metadata of an object; nothing where it, or its whole kind, does not exist.
async fn metadata<K>(api: &Api<K>, name: &str) -> kube::Result<Option<PartialObjectMeta<K>>>
where
    K: Clone + Debug + DeserializeOwned,
{
    match api.get_metadata(name).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an error says that there is no such object or no such kind. For a kind the API server answers without a reason.
pub fn is_absent(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Deletes exactly the object of this UID. One that is gone already is as good.
///
/// # Errors
/// As the API server says.
pub async fn delete<K>(
    api: &Api<K>,
    name: &str,
    uid: &str,
    propagation: PropagationPolicy,
) -> kube::Result<()>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let parameters = DeleteParams {
        preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
        propagation_policy: Some(propagation),
        ..DeleteParams::default()
    };
    match api.delete(name, &parameters).await {
        Ok(_) => Ok(()),
        Err(error) if is_absent(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The UID of an object whose controller is `reference`.
///
/// # Errors
/// When the controller is somebody else, or nobody.
pub fn owned(meta: &ObjectMeta, kind: &str, reference: &OwnerReference) -> Result<String, ApplyError> {
    let controller = meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    let (kind, name) = (kind.to_owned(), meta.name.clone().unwrap_or_default());
    match controller {
        Some(owner) if owner.uid == reference.uid => Ok(meta.uid.clone().unwrap_or_default()),
        Some(owner) if (&owner.kind, &owner.name) == (&reference.kind, &reference.name) => {
            Err(ApplyError::Leaving { kind, name })
        }
        Some(owner) => {
            let owner = format!("belongs to {} {}", owner.kind, owner.name);
            Err(ApplyError::NotOurs { kind, name, owner })
        }
        None => Err(ApplyError::NotOurs { kind, name, owner: "was not made by the operator".into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(kind: &str, name: &str, uid: &str) -> OwnerReference {
        let (kind, name, uid) = (kind.into(), name.into(), uid.into());
        OwnerReference { kind, name, uid, controller: Some(true), ..OwnerReference::default() }
    }

    #[test]
    fn only_what_the_owner_made_is_its_own() {
        let ours = reference("Broker", "orders", "1");
        let meta = |owners: Vec<OwnerReference>| ObjectMeta {
            uid: Some("child".into()),
            owner_references: Some(owners),
            ..ObjectMeta::default()
        };
        let mut not_controller = ours.clone();
        not_controller.controller = None;

        assert_eq!(owned(&meta(vec![ours.clone()]), "Service", &ours).unwrap(), "child");
        assert!(matches!(
            owned(&meta(vec![reference("Broker", "orders", "0")]), "Service", &ours),
            Err(ApplyError::Leaving { .. })
        ));
        for foreign in [vec![], vec![reference("Broker", "other", "2")], vec![not_controller]] {
            assert!(matches!(owned(&meta(foreign), "Service", &ours), Err(ApplyError::NotOurs { .. })));
        }
    }
}
