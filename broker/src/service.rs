//! The typed operations of the product: names become queues, handles become deliveries, and every wait for the log ends
//! in an outcome that a protocol can put into its own words.

pub mod declare;
mod directory;
#[cfg(test)]
mod epoch_tests;
mod figures;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod handle;
mod messages;
pub mod operator;
mod queues;
mod rates;
pub mod reference;
pub mod types;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cmq_engine::catalogue::{CatalogueEvent, QueueEntry};
use tokio::sync::Semaphore;

use crate::replication::Reply;
use crate::replication::runtime::NodeHandle;
use directory::Directory;
use handle::Handles;
use operator::WALKS_MAX;
use rates::Limiter;
use types::ServiceError;

pub use rates::Rates;

/// What the service is told about the catalogue, before it can serve: hand [`Feed::apply`] to the driver.
#[derive(Clone, Debug, Default)]
pub struct Feed {
    directory: Directory,
}

impl Feed {
    /// Takes a change of the catalogue.
    pub fn apply(&self, event: CatalogueEvent) {
        self.directory.apply(event);
    }
}

/// How long the same call is refused after one that takes a while elsewhere (the hosted services: 10 to 60 seconds).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// For so long after its deletion a name cannot be used again.
    pub recreate: Duration,
    /// For so long after a purge a queue cannot be purged again.
    pub purge: Duration,
}

/// Handle of the running broker; cheap to clone.
#[derive(Clone, Debug)]
pub struct Service {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    node: NodeHandle,
    directory: Directory,
    waits: Waits,
    shards: u16,
    limiter: Limiter,
    handles: OnceLock<Handles>,
    /// Places for walks over messages.
    walks: Semaphore,
}

impl Service {
    /// The service of a node of `shards` shards whose catalogue `feed` follows. Calls beyond `rates` are refused.
    pub fn new(node: NodeHandle, feed: Feed, shards: u16, waits: Waits, rates: Rates) -> Self {
        let (limiter, handles, walks) = (Limiter::new(rates), OnceLock::new(), Semaphore::new(WALKS_MAX));
        let directory = feed.directory;
        Self { inner: Arc::new(Inner { node, directory, waits, shards, limiter, handles, walks }) }
    }

    /// Counts a client's call that is about queues rather than messages.
    ///
    /// # Errors
    /// There are more of them than the broker is meant to take.
    pub fn admit_management(&self) -> Result<(), ServiceError> {
        if self.inner.limiter.manage() { Ok(()) } else { Err(ServiceError::ManageRate) }
    }

    fn find(&self, name: &str) -> Result<Arc<QueueEntry>, ServiceError> {
        self.inner.directory.find(name).ok_or_else(|| ServiceError::QueueMissing(name.into()))
    }

    /// The key of handles is part of the catalogue; it is asked for once.
    async fn handles(&self) -> Result<&Handles, ServiceError> {
        if let Some(handles) = self.inner.handles.get() {
            return Ok(handles);
        }
        let key = self.inner.node.look(|driver| {
            driver
                .catalogue()
                .filter(|catalogue| catalogue.is_founded())
                .map(|catalogue| *catalogue.handle_key())
        });
        match key.await {
            None => Err(ServiceError::Stopping),
            Some(None) => Err(ServiceError::Busy("the cluster is being founded")),
            Some(Some(key)) => Ok(self.inner.handles.get_or_init(|| Handles::new(&key))),
        }
    }
}

/// What an answer means that fits every request.
fn failure(reply: Reply) -> ServiceError {
    match reply {
        Reply::DiskFull => ServiceError::DiskFull,
        Reply::NotLeader => ServiceError::Busy("the shard has no leader at the moment"),
        Reply::Busy(bound) => ServiceError::Busy(bound),
        Reply::Stopping => ServiceError::Stopping,
        other => ServiceError::Internal(format!("unexpected answer {other:?}")),
    }
}
