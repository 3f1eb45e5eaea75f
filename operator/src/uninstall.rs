//! Before an operator is uninstalled: Brokers and Queues that would be left with a finalizer that nobody takes away.

use std::time::Duration;

use clap::ValueEnum;
use cmq_crds::broker::Broker;
use cmq_crds::queue::Queue;
use k8s_openapi::NamespaceResourceScope;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use crate::apply::is_absent;
use crate::config::Installation;
use crate::watch::{Scope, api};
use crate::{finalizer, lease};

/// Objects of a page.
const PAGE: u32 = 500;
/// Objects that an error names.
const NAMED_MAX: usize = 20;
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What becomes of Brokers and Queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Policy {
    /// While there are any, the operator is not uninstalled.
    Refuse,
    /// They stay with their pods, and lose their finalizers.
    Orphan,
    /// They are deleted, each by its deletion policy, while the operator still works.
    Delete,
}

/// Why the operator must stay.
#[derive(Debug, thiserror::Error)]
pub enum UninstallError {
    /// The API server failed.
    #[error("the API server: {0}")]
    Api(#[from] kube::Error),
    /// There are objects.
    #[error(
        "refused: there are {0}. Delete them, or undo the attempt by helm rollback and set the chart's uninstall.policy by helm \
         upgrade, to Orphan (they stay and serve on, without an operator) or to Delete"
    )]
    InUse(String),
    /// They did not go, or not all of their finalizers.
    #[error("not within {0:?}: {1}. kubectl describe says what holds them up")]
    TooSlow(Duration, String),
}

/// Does what the policy says, within the time; after that the operator may go.
///
/// # Errors
/// When it may not, with the objects that are in the way.
pub async fn prepare(
    client: &Client,
    installation: &Installation,
    namespace: &str,
    policy: Policy,
    time: Duration,
) -> Result<(), UninstallError> {
    let objects = Objects { client, scope: installation.scope() };
    match policy {
        Policy::Refuse => match objects.named().await? {
            Some(named) => Err(UninstallError::InUse(named)),
            None => Ok(()),
        },
        Policy::Orphan => {
            let name = &installation.lease_name;
            // From here on no operator works, so that none puts back what is taken, until well after the time.
            lease::seize(client, namespace, name, "uninstall", time + lease::DURATION).await?;
            until(time, async || objects.orphan().await).await
        }
        Policy::Delete => {
            // Queues first, so that they can be withdrawn; what a Queue owns goes with it.
            until(time, async || objects.delete::<Queue>().await).await?;
            until(time, async || objects.delete::<Broker>().await).await
        }
    }
}

/// Repeats a pass until it leaves nothing.
async fn until(
    time: Duration,
    pass: impl AsyncFn() -> Result<Option<String>, UninstallError>,
) -> Result<(), UninstallError> {
    let end = Instant::now() + time;
    while let Some(left) = pass().await? {
        if Instant::now() >= end {
            return Err(UninstallError::TooSlow(time, left));
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// The Brokers and Queues that the operator looks after.
struct Objects<'a> {
    client: &'a Client,
    scope: Scope,
}

impl Objects<'_> {
    /// What there is, in words; nothing if there is nothing.
    async fn named(&self) -> Result<Option<String>, UninstallError> {
        let mut names = names_of(&self.list::<Broker>().await?);
        names.extend(names_of(&self.list::<Queue>().await?));
        Ok(in_words(&names))
    }

    /// Takes our finalizer from all; what still has one.
    async fn orphan(&self) -> Result<Option<String>, UninstallError> {
        let mut left = self.orphan_kind::<Queue>().await?;
        left.extend(self.orphan_kind::<Broker>().await?);
        Ok(in_words(&left))
    }

    async fn orphan_kind<K: Kind>(&self) -> Result<Vec<String>, UninstallError> {
        let mut left = Vec::new();
        for object in self.list::<K>().await?.iter().filter(|object| finalizer::is_set(*object)) {
            let namespaced =
                Api::<K>::namespaced(self.client.clone(), &object.namespace().unwrap_or_default());
            match finalizer::take(&namespaced, object).await {
                Ok(()) => {}
                // It changed meanwhile; the next pass sees how.
                Err(kube::Error::Api(status)) if status.is_conflict() || status.is_invalid() => {
                    left.push(name_of(object))
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(left)
    }

    /// Asks for the deletion of all; what is still there.
    async fn delete<K: Kind>(&self) -> Result<Option<String>, UninstallError> {
        let objects = self.list::<K>().await?;
        for object in objects.iter().filter(|object| object.meta().deletion_timestamp.is_none()) {
            let namespaced =
                Api::<K>::namespaced(self.client.clone(), &object.namespace().unwrap_or_default());
            match namespaced.delete(&object.name_any(), &DeleteParams::default()).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(in_words(&names_of(&objects)))
    }

    async fn list<K: Kind>(&self) -> Result<Vec<K>, UninstallError> {
        let mut objects = Vec::new();
        for part in self.scope.parts() {
            let api = api::<K>(self.client, part);
            let mut page = ListParams::default().limit(PAGE);
            loop {
                let list = match api.list(&page).await {
                    // A definition that somebody deleted took its objects with it.
                    Err(error) if is_absent(&error) => break,
                    list => list?,
                };
                objects.extend(list.items);
                match list.metadata.continue_.filter(|token| !token.is_empty()) {
                    Some(token) => page = page.continue_token(&token),
                    None => break,
                }
            }
        }
        Ok(objects)
    }
}

/// One of our kinds.
trait Kind:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug
{
}

impl Kind for Broker {}
impl Kind for Queue {}

fn names_of<K: Kind>(objects: &[K]) -> Vec<String> {
    objects.iter().map(name_of).collect()
}

fn name_of<K: Kind>(object: &K) -> String {
    format!("{} {}/{}", K::kind(&()), object.namespace().unwrap_or_default(), object.name_any())
}

fn in_words(names: &[String]) -> Option<String> {
    let named = names[..names.len().min(NAMED_MAX)].join(", ");
    match names.len() {
        0 => None,
        count if count > NAMED_MAX => Some(format!("{named} and {} more", count - NAMED_MAX)),
        _ => Some(named),
    }
}
