//! What an operator looks at without consuming it, and does to single messages.

use cmq_engine::attributes::{DEAD_LETTER_SOURCES_MAX, QueueAttributes};
use cmq_engine::browse::{Glimpse, MessageState, Visited};
use cmq_engine::message::BodyRef;
use cmq_engine::outcome::{Handled, Refusal};
use cmq_engine::shard::Counts;

use super::messages::{ADDRESS_BITS, message_id};
use super::reference::{Cursor, MessageRef};
use super::types::{MessageId, ServiceError};
use super::{Service, failure};
use crate::replication::browse::{BrowseError, LookedUp};
use crate::replication::{GroupId, Reply, Request};

mod walk;

/// Messages on one page.
pub const PAGE_MESSAGES_MAX: usize = 100;
/// Queues on one page.
pub const PAGE_QUEUES_MAX: usize = 100;
/// Messages that one call looks at before it answers with what it has and a cursor.
pub const CALL_LOOKS_MAX: usize = 65_536;
/// Bytes of bodies on one page; one message may be larger.
pub const PAGE_BODY_BYTES_MAX: usize = 4 << 20;
/// Messages whose bodies one call searches.
pub const SEARCHED_MESSAGES_MAX: usize = 4_096;
/// Bytes of bodies that one call searches.
pub const SEARCHED_BYTES_MAX: usize = 64 << 20;
/// Walks at once; one more is told to come back.
pub const WALKS_MAX: usize = 4;

/// How much of a body is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyPart {
    /// Nothing.
    None,
    /// So many bytes.
    Prefix(usize),
    /// All of it.
    Whole,
}

/// Which messages are looked at, and how many.
#[derive(Clone, Debug)]
pub struct MessageQuery {
    /// States.
    pub visited: Visited,
    /// 1 to [`PAGE_MESSAGES_MAX`].
    pub limit: usize,
    /// Where to go on; None: at the beginning.
    pub cursor: Option<Cursor>,
    /// Sent at this Unix millisecond or later.
    pub sent_after_ms: Option<u64>,
    /// Sent before this Unix millisecond.
    pub sent_before_ms: Option<u64>,
    /// Received so often, or more.
    pub min_receives: u32,
    /// This message.
    pub id: Option<MessageId>,
    /// Messages of this group.
    pub group: Option<String>,
    /// Messages whose body contains this.
    pub contains: Option<String>,
    /// How much of the bodies is wanted.
    pub body: BodyPart,
}

impl MessageQuery {
    /// Every message.
    pub fn all(limit: usize) -> Self {
        Self {
            visited: Visited { ready: true, in_flight: true, delayed: true },
            limit,
            cursor: None,
            sent_after_ms: None,
            sent_before_ms: None,
            min_receives: 0,
            id: None,
            group: None,
            contains: None,
            body: BodyPart::None,
        }
    }
}

/// A message that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenMessage {
    /// Number of the message.
    pub id: MessageId,
    /// Names it for [`Service::remove_message`] and [`Service::return_message`].
    pub reference: MessageRef,
    /// What the queue knows of it.
    pub glimpse: Glimpse,
    /// What was asked for of its body, [`LookedUp::Found`] or [`LookedUp::Damaged`].
    pub body: Option<LookedUp>,
}

/// One page of a walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessagePage {
    /// Perhaps none, for a bound may have stopped the search.
    pub messages: Vec<SeenMessage>,
    /// Where to go on; None: the walk is over.
    pub cursor: Option<Cursor>,
    /// Messages that were looked at.
    pub looked_at: usize,
}

/// How an operator names a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageName {
    /// By where it stands: found at once.
    Reference(MessageRef),
    /// By its number, which has to be searched for.
    Id(MessageId),
}

/// A queue in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueOverview {
    /// Name on the wire.
    pub name: String,
    /// All attributes.
    pub attributes: QueueAttributes,
    /// The manifest or object that declares it.
    pub owner: Option<String>,
    /// Counts, summed over all shards.
    pub counts: Counts,
}

/// What is known of a queue beside its description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueDetails {
    /// The manifest or object that declares it.
    pub owner: Option<String>,
    /// Counts, summed over all shards.
    pub counts: Counts,
    /// Counts on each shard.
    pub shards: Vec<(GroupId, Counts)>,
    /// Queues whose dead letters it takes.
    pub dead_letter_sources: Vec<String>,
}

/// Why an operator's call was refused.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// For a reason that every call can have.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The cursor is of another queue.
    #[error("the cursor is of another queue")]
    CursorElsewhere,
    /// The queue was purged since the walk began.
    #[error("the queue was purged since this walk began: begin again without a cursor")]
    CursorOutdated,
    /// No such message, any more.
    #[error("the message is deleted, expired or moved, or never was in this queue")]
    MessageMissing,
    /// The message may be there, but was not found.
    #[error(
        "the message is not among the first {CALL_LOOKS_MAX} of the queue: list the messages with id=… and follow the \
         cursor, then use the ref of the message"
    )]
    NotFoundWithinBound,
    /// It is ready already, or was handed out again.
    #[error("the message is ready already, or was handed out again since it was listed: list it again")]
    WrongState,
}

impl From<BrowseError> for OperatorError {
    fn from(error: BrowseError) -> Self {
        Self::Service(match error {
            BrowseError::NotLeader => ServiceError::Busy("the shard has no leader at the moment"),
            BrowseError::Stopping => ServiceError::Stopping,
            BrowseError::Store(error) => {
                tracing::error!(%error, "cannot read messages for a listing");
                ServiceError::Internal(error.to_string())
            }
        })
    }
}

impl Service {
    /// Lists queues whose name contains `search` and comes behind `after`, in the order of names; answers also whether
    /// there are more.
    ///
    /// # Errors
    /// When the broker cannot take the call now.
    pub async fn overview(
        &self,
        search: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<QueueOverview>, bool), OperatorError> {
        let (entries, has_more) = self.inner.directory.page_after(search, after, limit.min(PAGE_QUEUES_MAX));
        let ids: Vec<_> = entries.iter().map(|entry| entry.id).collect();
        let counts = self
            .inner
            .node
            .look(move |driver| ids.into_iter().map(|id| driver.counts(id)).collect::<Option<Vec<Counts>>>());
        let counts = counts.await.ok_or(BrowseError::Stopping)?.ok_or(BrowseError::NotLeader)?;
        let queues = entries.iter().zip(counts).map(|(entry, counts)| QueueOverview {
            name: entry.name.to_string(),
            attributes: entry.attributes.clone(),
            owner: entry.owner.as_ref().map(|owner| owner.name.to_string()),
            counts,
        });
        Ok((queues.collect(), has_more))
    }

    /// What is known of a queue beside [`Service::describe_queue`].
    ///
    /// # Errors
    /// Queue missing, or the broker cannot take the call now.
    pub async fn details(&self, queue: &str) -> Result<QueueDetails, OperatorError> {
        let entry = self.find(queue)?;
        let id = entry.id;
        let counts =
            self.inner.node.look(move |driver| Some((driver.counts(id)?, driver.counts_by_shard(id))));
        let (counts, shards) = counts.await.ok_or(BrowseError::Stopping)?.ok_or(BrowseError::NotLeader)?;
        let sources = self.inner.directory.list_sources(id, "", 0, DEAD_LETTER_SOURCES_MAX);
        Ok(QueueDetails {
            owner: entry.owner.as_ref().map(|owner| owner.name.to_string()),
            counts,
            shards,
            dead_letter_sources: sources.queues.into_iter().map(|queue| queue.name).collect(),
        })
    }

    /// Deletes a message whatever its state. A handle of it is stale afterwards.
    ///
    /// # Errors
    /// Queue or message missing, or the broker cannot take the call now.
    pub async fn remove_message(&self, queue: &str, name: MessageName) -> Result<MessageRef, OperatorError> {
        let found = self.locate(queue, name).await?;
        self.operate(queue, Request::Remove { shard: found.shard, message: found.delivery }).await?;
        tracing::info!(queue, message = %found.encode(), "message deleted by an operator");
        Ok(found)
    }

    /// Makes a message ready that is in flight or delayed. The handle of that delivery is stale afterwards.
    ///
    /// # Errors
    /// Queue or message missing, the message is in another state, or the broker cannot take the call now.
    pub async fn return_message(&self, queue: &str, name: MessageName) -> Result<MessageRef, OperatorError> {
        let found = self.locate(queue, name).await?;
        self.operate(queue, Request::Return { shard: found.shard, message: found.delivery }).await?;
        tracing::info!(queue, message = %found.encode(), "message returned by an operator");
        Ok(found)
    }

    async fn operate(&self, queue: &str, request: Request) -> Result<(), OperatorError> {
        match self.inner.node.request(request).await {
            Reply::Handled(Handled::Done) => Ok(()),
            Reply::Handled(Handled::Missing) => Err(OperatorError::MessageMissing),
            Reply::Handled(Handled::Unsuited) => Err(OperatorError::WrongState),
            Reply::Refused(Refusal::QueueMissing) => Err(ServiceError::QueueMissing(queue.into()).into()),
            Reply::Refused(_) => Err(ServiceError::Busy("a shard holds as much state as it may").into()),
            other => Err(failure(other).into()),
        }
    }

    /// Finds out where a message stands.
    async fn locate(&self, queue: &str, name: MessageName) -> Result<MessageRef, OperatorError> {
        let entry = self.find(queue)?;
        match name {
            MessageName::Reference(found) if found.delivery.queue.queue == entry.id => Ok(found),
            MessageName::Reference(_) => Err(OperatorError::MessageMissing),
            MessageName::Id(id) => {
                let query = MessageQuery { id: Some(id), ..MessageQuery::all(1) };
                let page = self.messages(queue, query).await?;
                match (page.messages.first(), page.cursor) {
                    (Some(seen), _) => Ok(seen.reference),
                    (None, None) => Err(OperatorError::MessageMissing),
                    (None, Some(_)) => Err(OperatorError::NotFoundWithinBound),
                }
            }
        }
    }
}

/// The shard and the address that a message's number names.
fn address(id: MessageId) -> (GroupId, BodyRef) {
    let shard = GroupId(u16::try_from(id.0 >> ADDRESS_BITS).unwrap_or(u16::MAX));
    (shard, BodyRef::unpacked(id.0 & ((1 << ADDRESS_BITS) - 1)))
}

impl SeenMessage {
    fn new(shard: GroupId, glimpse: Glimpse, body: Option<LookedUp>) -> Self {
        Self {
            id: message_id(shard, glimpse.slot.body.packed()),
            reference: MessageRef { shard, delivery: glimpse.id },
            glimpse,
            body,
        }
    }

    /// `ready`, `in_flight` or `delayed`.
    pub fn state(&self) -> &'static str {
        match self.glimpse.state {
            MessageState::Ready => "ready",
            MessageState::InFlight { .. } => "in_flight",
            MessageState::Delayed { .. } => "delayed",
        }
    }
}
