//! Which queues there are, and what they are.

use cmq_engine::attributes::{AttributesPatch, DeadLetterChange, QueueAttributes, QueueId};
use cmq_engine::catalogue::{CatalogueCommand, CatalogueRefusal, PutMode};

use super::types::{QueueCounts, QueueDescription, QueuePage, ServiceError};
use super::{Service, failure};
use crate::replication::{Reply, Request};

impl Service {
    /// Creates a queue. `dead_letter_queue` names the queue that `attributes.dead_letter` means; its id there is ignored.
    ///
    /// # Errors
    /// Name taken, limit reached, dead-letter rules, calls may create none, or the broker cannot take the call now.
    pub async fn create_queue(
        &self,
        name: &str,
        attributes: QueueAttributes,
        dead_letter_queue: Option<&str>,
    ) -> Result<QueueId, ServiceError> {
        if !self.inner.rules.creates_queues && !self.inner.directory.has_folded(name) {
            return Err(ServiceError::QueuesAreDeclared(name.into()));
        }
        let command = CatalogueCommand::Put {
            name: name.into(),
            mode: PutMode::Create,
            attributes,
            dead_letter_queue: dead_letter_queue.map(Into::into),
            owner: None,
            recreate_wait_ms: self.inner.rules.waits.recreate.as_millis() as u64,
            shards: self.inner.shards,
        };
        let id = self.change_catalogue(command, name, dead_letter_queue.unwrap_or_default()).await?;
        tracing::info!(queue = name, "queue created");
        id.ok_or_else(|| ServiceError::Internal("a queue without a number".into()))
    }

    /// Changes single attributes of a queue; what the patch does not name stays, also what somebody else changes at the
    /// same time.
    ///
    /// # Errors
    /// Queue missing or declared, attributes that do not go together, dead-letter rules, or the broker cannot take the
    /// call now.
    pub async fn change_queue(&self, name: &str, patch: AttributesPatch) -> Result<QueueId, ServiceError> {
        let dead_letter_queue = match &patch.dead_letter {
            DeadLetterChange::Bind { queue, .. } => queue.clone(),
            DeadLetterChange::Keep | DeadLetterChange::Unbind => Box::default(),
        };
        let command = CatalogueCommand::Patch { name: name.into(), patch };
        let id = self.change_catalogue(command, name, &dead_letter_queue).await?;
        tracing::info!(queue = name, "queue changed");
        id.ok_or_else(|| ServiceError::Internal("a queue without a number".into()))
    }

    /// Deletes a queue with everything in it.
    ///
    /// # Errors
    /// Queue missing, in use as dead-letter queue, declared elsewhere, or the broker cannot take the call now.
    pub async fn delete_queue(&self, name: &str) -> Result<(), ServiceError> {
        let command = CatalogueCommand::Delete { name: name.into(), owner: None };
        self.change_catalogue(command, name, "").await?;
        tracing::info!(queue = name, "queue deleted");
        Ok(())
    }

    /// Drops every message of a queue, in whatever state; also of a declared one. Handles of before are stale. Messages
    /// sent after the answer stay, but on shards that another node leads, which purge a moment later.
    ///
    /// # Errors
    /// Queue missing, purged a moment ago (`--purge-wait`), or the broker cannot take the call now.
    pub async fn purge_queue(&self, name: &str) -> Result<(), ServiceError> {
        let wait_ms = self.inner.rules.waits.purge.as_millis() as u64;
        self.change_catalogue(CatalogueCommand::Purge { name: name.into(), wait_ms }, name, "").await?;
        tracing::info!(queue = name, "queue purged");
        Ok(())
    }

    /// Brings back the deleted messages of a queue that were sent at `start` (Unix seconds) or later, for all consumers;
    /// also of a declared one.
    ///
    /// # Errors
    /// Queue missing, rewinding off, a start before the reach of rewinding or in the future, or the broker cannot take
    /// the call now.
    pub async fn rewind_queue(&self, name: &str, start: u64) -> Result<(), ServiceError> {
        let start_ms = start.saturating_mul(1_000);
        self.change_catalogue(CatalogueCommand::Rewind { name: name.into(), start_ms }, name, "").await?;
        tracing::info!(queue = name, start, "queue rewound");
        Ok(())
    }

    pub(super) async fn change_catalogue(
        &self,
        command: CatalogueCommand,
        name: &str,
        dead_letter_queue: &str,
    ) -> Result<Option<QueueId>, ServiceError> {
        match self.inner.node.request(Request::Catalogue(command)).await {
            Reply::Catalogue(Ok(id)) => Ok(id),
            Reply::Catalogue(Err(refusal)) => Err(catalogue_error(refusal, name, dead_letter_queue)),
            other => Err(failure(other)),
        }
    }

    /// Lists queues whose name contains `search`, in the order of names.
    pub fn list_queues(&self, search: &str, offset: usize, limit: usize) -> QueuePage {
        self.inner.directory.list(search, offset, limit)
    }

    /// Lists the queues whose name contains `search` and whose dead-letter queue is `name`, in the order of names.
    ///
    /// # Errors
    /// Queue missing.
    pub fn list_sources(
        &self,
        name: &str,
        search: &str,
        offset: usize,
        limit: usize,
    ) -> Result<QueuePage, ServiceError> {
        let target = self.find(name)?.id;
        Ok(self.inner.directory.list_sources(target, search, offset, limit))
    }

    /// Says whether there is a queue of this name.
    ///
    /// # Errors
    /// Queue missing.
    pub fn check_queue(&self, name: &str) -> Result<(), ServiceError> {
        self.find(name).map(drop)
    }

    /// Says everything about one queue.
    ///
    /// # Errors
    /// Queue missing, or the broker cannot take the call now.
    pub async fn describe_queue(&self, name: &str) -> Result<QueueDescription, ServiceError> {
        let entry = self.find(name)?;
        let counts = match self.inner.node.request(Request::Count(entry.id)).await {
            Reply::Counted(counts) => counts,
            other => return Err(failure(other)),
        };
        let dead_letter = entry.attributes.dead_letter;
        let dead_letter_queue = dead_letter.and_then(|policy| self.inner.directory.find_id(policy.queue));
        Ok(QueueDescription {
            id: entry.id,
            name: entry.name.to_string(),
            attributes: entry.attributes.clone(),
            dead_letter_queue: dead_letter_queue.map(|queue| queue.name.to_string()),
            created_ms: entry.created_ms,
            modified_ms: entry.modified_ms,
            counts: QueueCounts {
                active: counts.active,
                in_flight: counts.in_flight,
                delayed: counts.delayed,
                rewindable: counts.rewindable,
                oldest_ms: counts.oldest_ms,
            },
        })
    }
}

fn catalogue_error(refusal: CatalogueRefusal, name: &str, dead_letter_queue: &str) -> ServiceError {
    let (name, dead_letter_queue) = (name.to_owned(), dead_letter_queue.to_owned());
    match refusal {
        CatalogueRefusal::NameTaken => ServiceError::QueueExists(name),
        CatalogueRefusal::TooManyQueues => ServiceError::TooManyQueues(cmq_engine::limits::QUEUES_MAX),
        CatalogueRefusal::Missing => ServiceError::QueueMissing(name),
        CatalogueRefusal::RecreatedTooSoon => ServiceError::RecreatedTooSoon(name),
        CatalogueRefusal::KindIsFixed => ServiceError::KindIsFixed(name),
        CatalogueRefusal::RewindAboveRetention => ServiceError::RewindAboveRetention(name),
        CatalogueRefusal::TimeToLiveNotBelowRetention => ServiceError::TimeToLiveNotBelowRetention(name),
        CatalogueRefusal::Declared(owner) => ServiceError::Declared(name, owner.into()),
        CatalogueRefusal::InUseAsDeadLetterQueue => ServiceError::InUseAsDeadLetterQueue(name),
        CatalogueRefusal::DeadLetterQueueMissing => ServiceError::DeadLetterQueueMissing(dead_letter_queue),
        CatalogueRefusal::DeadLetterNesting => ServiceError::DeadLetterNesting(dead_letter_queue),
        CatalogueRefusal::DeadLetterTooManySources => {
            ServiceError::DeadLetterTooManySources(dead_letter_queue)
        }
        CatalogueRefusal::DeadLetterKind => ServiceError::DeadLetterKind(dead_letter_queue),
        CatalogueRefusal::PurgedTooSoon => ServiceError::PurgedTooSoon(name),
        CatalogueRefusal::RewindOff => ServiceError::RewindOff(name),
        CatalogueRefusal::RewindTime { earliest_ms } => {
            ServiceError::RewindTime { earliest: earliest_ms / 1_000 }
        }
        CatalogueRefusal::RewindFifo => ServiceError::RewindFifo(name),
        CatalogueRefusal::Changed => ServiceError::QueueChanged(name),
    }
}
