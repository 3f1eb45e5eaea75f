//! The typed operations of the product: names become queues, handles become deliveries, and every wait for the log ends
//! in an outcome that a protocol can put into its own words.

mod directory;
mod handle;
pub mod types;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use cmq_engine::attributes::{QueueAttributes, QueueId, QueueKind};
use cmq_engine::catalogue::{CatalogueCommand, CatalogueEvent, CatalogueRefusal, PutMode, QueueEntry};
use cmq_engine::command::{NewMessage, StaleHandle};
use cmq_engine::message::DeliveryId;
use cmq_engine::outcome::{Deleted, Refusal, Totals};
use cmq_engine::shard::Counts;
use sha2::{Digest, Sha256};

use crate::metrics::node::{NodeFigures, QueueFigures};
use crate::replication::runtime::NodeHandle;
use crate::replication::{GroupId, Received, Reply, Request};
use directory::Directory;
use handle::Handles;
use types::{
    BATCH_MESSAGES_MAX, MessageId, Outgoing, QueueCounts, QueueDescription, QueuePage, ReceivedMessage,
    ServiceError,
};

/// Bits of a message's address in its number; the shard stands above them.
const ADDRESS_BITS: u32 = 54;

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

/// Handle of the running broker; cheap to clone.
#[derive(Clone, Debug)]
pub struct Service {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    node: NodeHandle,
    directory: Directory,
    recreate_wait: Duration,
    shards: u16,
    handles: OnceLock<Handles>,
}

impl Service {
    /// The service of a node of `shards` shards whose catalogue `feed` follows. A deleted name is closed for
    /// `recreate_wait`.
    pub fn new(node: NodeHandle, feed: Feed, shards: u16, recreate_wait: Duration) -> Self {
        let handles = OnceLock::new();
        Self { inner: Arc::new(Inner { node, directory: feed.directory, recreate_wait, shards, handles }) }
    }

    /// Creates a queue. `dead_letter_queue` names the queue that `attributes.dead_letter` means; its id there is ignored.
    ///
    /// # Errors
    /// Name taken, limit reached, dead-letter rules, or the broker cannot take the call now.
    pub async fn create_queue(
        &self,
        name: &str,
        attributes: QueueAttributes,
        dead_letter_queue: Option<&str>,
    ) -> Result<QueueId, ServiceError> {
        self.put(name, PutMode::Create, attributes, dead_letter_queue, None).await
    }

    /// Makes a queue what its owner, a manifest, says that it is.
    ///
    /// # Errors
    /// As [`Service::create_queue`], or the queue is of the other kind.
    pub async fn declare_queue(
        &self,
        name: &str,
        attributes: QueueAttributes,
        dead_letter_queue: Option<&str>,
        owner: &str,
    ) -> Result<QueueId, ServiceError> {
        self.put(name, PutMode::Declare, attributes, dead_letter_queue, Some(owner)).await
    }

    async fn put(
        &self,
        name: &str,
        mode: PutMode,
        attributes: QueueAttributes,
        dead_letter_queue: Option<&str>,
        owner: Option<&str>,
    ) -> Result<QueueId, ServiceError> {
        if attributes.rewind_seconds > 0 {
            return Err(ServiceError::NotServed("rewinding (a rewind time above 0)"));
        }
        let command = CatalogueCommand::Put {
            name: name.into(),
            mode,
            attributes,
            dead_letter_queue: dead_letter_queue.map(Into::into),
            owner: owner.map(Into::into),
            recreate_wait_ms: self.inner.recreate_wait.as_millis() as u64,
            shards: self.inner.shards,
        };
        let id = self.change_catalogue(command, name, dead_letter_queue.unwrap_or_default()).await?;
        tracing::info!(queue = name, owner, "queue is in place");
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

    async fn change_catalogue(
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
                rewindable: 0,
                oldest_ms: counts.oldest_ms,
            },
        })
    }

    /// Stores messages durably; all or none.
    ///
    /// # Errors
    /// Queue missing, a limit of the queue, or the broker cannot take the call now.
    pub async fn send(&self, queue: &str, messages: Outgoing) -> Result<Vec<MessageId>, ServiceError> {
        let entry = self.find(queue)?;
        let limit = entry.attributes.max_message_bytes;
        if let Some(body) = messages.bodies.iter().find(|body| body.len() > limit as usize) {
            return Err(ServiceError::MessageTooLarge { size: body.len(), limit });
        }
        let delay_ms = messages.delay.map(|delay| delay.as_millis() as u64);
        let new_message = |body: &Bytes| NewMessage {
            bytes: body.len() as u32,
            delay_ms,
            group: None,
            deduplication: deduplication_hash(&entry, body),
        };
        let request = Request::Send {
            queue: entry.id,
            messages: messages.bodies.iter().map(new_message).collect(),
            bodies: messages.bodies,
            // Messages without a group are one group: hash 0.
            home: entry.home(0).map(GroupId),
        };
        match self.inner.node.request(request).await {
            Reply::Sent(shard, bodies) => {
                Ok(bodies.into_iter().map(|body| message_id(shard, body.packed())).collect())
            }
            Reply::Refused(refusal) => Err(refused(refusal, queue)),
            other => Err(failure(other)),
        }
    }

    /// Hands out up to `max` messages; waits up to `wait` (None: the queue's own) for the first. Empty: there was none.
    ///
    /// # Errors
    /// Queue missing, too many in flight, or the broker cannot take the call now.
    pub async fn receive(
        &self,
        queue: &str,
        max: usize,
        wait: Option<Duration>,
    ) -> Result<Vec<ReceivedMessage>, ServiceError> {
        let entry = self.find(queue)?;
        let own_wait = Duration::from_secs(u64::from(entry.attributes.polling_wait_seconds));
        let request = Request::Receive {
            queue: entry.id,
            max: max.clamp(1, BATCH_MESSAGES_MAX) as u16,
            wait_ms: wait.unwrap_or(own_wait).as_millis() as u64,
            visibility_ms: None,
        };
        match self.inner.node.request(request).await {
            Reply::Received(messages) if messages.is_empty() => Ok(Vec::new()),
            Reply::Received(messages) => {
                let handles = self.handles().await?;
                Ok(messages.into_iter().map(|received| received_message(handles, received)).collect())
            }
            Reply::Refused(refusal) => Err(refused(refusal, queue)),
            other => Err(failure(other)),
        }
    }

    /// Deletes the messages that the handles name; one outcome a handle, in order.
    ///
    /// # Errors
    /// Queue missing, or the broker cannot take the call now.
    pub async fn delete(
        &self,
        queue: &str,
        handles: &[&str],
    ) -> Result<Vec<Result<(), ServiceError>>, ServiceError> {
        let entry = self.find(queue)?;
        let keyed = self.handles().await?;
        let mut verdicts: Vec<Result<(), ServiceError>> =
            handles.iter().map(|_| Err(ServiceError::HandleInvalid)).collect();
        let mut by_shard: BTreeMap<GroupId, Vec<(usize, DeliveryId)>> = BTreeMap::new();
        for (at, handle) in handles.iter().enumerate() {
            let named = keyed.decode(handle).filter(|(_, delivery)| delivery.queue.queue == entry.id);
            if let Some((shard, delivery)) = named {
                by_shard.entry(shard).or_default().push((at, delivery));
            }
        }
        for (shard, named) in by_shard {
            let deliveries = named.iter().map(|(_, delivery)| *delivery).collect();
            let request = Request::Delete { shard, deliveries, stale: StaleHandle::Refuse };
            let outcomes = match self.inner.node.request(request).await {
                Reply::Deleted(outcomes) => outcomes,
                other => return Err(failure(other)),
            };
            for ((at, _), outcome) in named.into_iter().zip(outcomes) {
                verdicts[at] = match outcome {
                    Deleted::Done => Ok(()),
                    Deleted::Stale => Err(ServiceError::HandleStale),
                    Deleted::Unknown => Err(ServiceError::HandleInvalid),
                };
            }
        }
        Ok(verdicts)
    }

    /// Counts and totals of all queues, for metrics; None when the node is over.
    pub async fn figures(&self) -> Option<NodeFigures> {
        let look = self.inner.node.look(|driver| {
            let groups = 0..=driver.shards();
            let leads = groups.map(|group| driver.serves(GroupId(group))).collect();
            (driver.survey(), driver.waiters(), leads)
        });
        let (survey, waiters, leads): (_, usize, Vec<bool>) = look.await?;
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let figures = |(id, (counts, totals)): (QueueId, (Counts, Totals))| {
            let entry = self.inner.directory.find_id(id)?;
            let age_ms = counts.oldest_ms.map_or(0, |sent_ms| now_ms.saturating_sub(sent_ms));
            Some(QueueFigures {
                name: entry.name.clone(),
                active: counts.active,
                in_flight: counts.in_flight,
                delayed: counts.delayed,
                oldest_age_seconds: age_ms as f64 / 1_000.0,
                totals: [totals.sent, totals.received, totals.deleted, totals.expired, totals.dead_lettered],
            })
        };
        let queues = survey.into_iter().filter_map(figures).collect();
        Some(NodeFigures { queues, waiters, leads, ..NodeFigures::default() })
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

fn deduplication_hash(entry: &QueueEntry, body: &Bytes) -> Option<u128> {
    let is_wanted =
        entry.attributes.content_based_deduplication && entry.attributes.kind != QueueKind::Standard;
    is_wanted.then(|| {
        let hash = Sha256::digest(body);
        let (first, _) = hash.split_first_chunk::<16>().expect("SHA-256 has 32 bytes");
        u128::from_be_bytes(*first)
    })
}

fn message_id(shard: GroupId, address: u64) -> MessageId {
    MessageId(u64::from(shard.0) << ADDRESS_BITS | address)
}

fn received_message(handles: &Handles, received: Received) -> ReceivedMessage {
    let Received { shard, delivery, body } = received;
    ReceivedMessage {
        id: message_id(shard, delivery.body.packed()),
        receipt_handle: handles.encode(shard, &delivery.id),
        body,
        sent_ms: delivery.sent_ms,
        first_received_ms: delivery.first_received_ms,
        visible_again_ms: delivery.visible_again_ms,
        receive_count: delivery.receive_count,
    }
}

fn refused(refusal: Refusal, queue: &str) -> ServiceError {
    match refusal {
        Refusal::QueueMissing => ServiceError::QueueMissing(queue.into()),
        Refusal::HeapFull => ServiceError::HeapFull,
        Refusal::TooManyInFlight | Refusal::TooManyDelayed => ServiceError::TooManyInFlightOrDelayed,
        Refusal::ShardFull => ServiceError::Busy("a shard holds as much state as it may"),
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
        CatalogueRefusal::Declared(owner) => ServiceError::Declared(name, owner.into()),
        CatalogueRefusal::InUseAsDeadLetterQueue => ServiceError::InUseAsDeadLetterQueue(name),
        CatalogueRefusal::DeadLetterQueueMissing => ServiceError::DeadLetterQueueMissing(dead_letter_queue),
        CatalogueRefusal::DeadLetterNesting => ServiceError::DeadLetterNesting(dead_letter_queue),
        CatalogueRefusal::DeadLetterTooManySources => {
            ServiceError::DeadLetterTooManySources(dead_letter_queue)
        }
        CatalogueRefusal::DeadLetterKind => ServiceError::DeadLetterKind(dead_letter_queue),
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
