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

use cmq_engine::catalogue::{Catalogue, CatalogueEvent, QueueEntry};
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

/// What holds for the calls of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How long the same call is refused.
    pub waits: Waits,
    /// How often queues may be called.
    pub rates: Rates,
    /// Whether calls may create queues.
    pub creates_queues: bool,
}

impl Default for Rules {
    /// Everything is allowed, at once and as often as one likes.
    fn default() -> Self {
        Self { waits: Waits::default(), rates: Rates::default(), creates_queues: true }
    }
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
    rules: Rules,
    shards: u16,
    limiter: Limiter,
    handles: OnceLock<Handles>,
    /// Places for walks over messages.
    walks: Semaphore,
}

impl Service {
    /// The service of a node of `shards` shards whose catalogue `feed` follows.
    pub fn new(node: NodeHandle, feed: Feed, shards: u16, rules: Rules) -> Self {
        let (limiter, handles) = (Limiter::new(rules.rates), OnceLock::new());
        let (directory, walks) = (feed.directory, Semaphore::new(WALKS_MAX));
        Self { inner: Arc::new(Inner { node, directory, rules, shards, limiter, handles, walks }) }
    }

    /// Counts a client's call that is about queues rather than messages.
    ///
    /// # Errors
    /// There are more of them than the broker is meant to take.
    pub fn admit_management(&self) -> Result<(), ServiceError> {
        if self.inner.limiter.manage() { Ok(()) } else { Err(ServiceError::ManageRate) }
    }

    /// Shards of the broker.
    pub fn shards(&self) -> u16 {
        self.inner.shards
    }

    /// How many queues exist.
    pub fn queue_count(&self) -> usize {
        self.inner.directory.len()
    }

    /// Identity of the cluster, which its volumes remember; None: the catalogue of this volume was never founded.
    ///
    /// # Errors
    /// The broker cannot take the call now.
    pub async fn founded(&self) -> Result<Option<u128>, ServiceError> {
        let id = self.inner.node.look(|driver| driver.catalogue().map(Catalogue::cluster_id));
        match id.await {
            None => Err(ServiceError::Stopping),
            Some(None) => Err(ServiceError::Busy("the catalogue is not here")),
            Some(Some(id)) => Ok(Some(id).filter(|id| *id != 0)),
        }
    }

    /// Identity of the cluster.
    ///
    /// # Errors
    /// The broker cannot take the call now.
    pub async fn cluster_id(&self) -> Result<u128, ServiceError> {
        self.founded().await?.ok_or(ServiceError::Busy("the cluster is being founded"))
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
