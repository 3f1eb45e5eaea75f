//! Which kinds the cluster has, by discovery, which everybody may ask for.

use kube::Client;

use crate::apply::is_absent;

/// The plurals of our kinds.
const OURS: [&str; 2] = ["brokers", "queues"];

/// Our kinds that the cluster does not have.
///
/// # Errors
/// When the API server fails.
pub async fn missing(client: &Client) -> kube::Result<Vec<&'static str>> {
    let known = match client.list_api_group_resources("cmq.dev/v1alpha1").await {
        Ok(list) => list.resources,
        Err(error) if is_absent(&error) => Vec::new(),
        Err(error) => return Err(error),
    };
    Ok(OURS.into_iter().filter(|plural| !known.iter().any(|resource| resource.name == *plural)).collect())
}
