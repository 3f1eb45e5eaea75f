//! What the operator reads of namespaces: their labels, and whether they go.

use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::{Api, Client};

/// Metadata of a namespace; nothing when it does not exist.
///
/// # Errors
/// When the API server fails or refuses.
pub async fn metadata(client: &Client, name: &str) -> kube::Result<Option<PartialObjectMeta<Namespace>>> {
    Api::<Namespace>::all(client.clone()).get_metadata_opt(name).await
}

/// Whether a namespace is being deleted, or gone. An operator of some namespaces need not see theirs: then it is taken to stay.
///
/// # Errors
/// When the API server fails.
pub async fn ends(client: &Client, name: &str) -> kube::Result<bool> {
    match metadata(client, name).await {
        Ok(found) => Ok(found.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some())),
        Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(false),
        Err(error) => Err(error),
    }
}
