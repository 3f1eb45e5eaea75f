//! What clients asked and what the broker answered: all that the checker goes by.

use bytes::Bytes;
use cmq_broker::replication::{GroupId, NodeId, Reply};
use cmq_engine::attributes::{DeadLetterRule, QueueAttributes, QueueId, QueueKind};
use cmq_engine::catalogue::DeletionPolicy;
use cmq_engine::command::StaleHandle;
use cmq_engine::message::{BodyRef, DeliveryId};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Name of the queue whose attributes change.
pub const CHANGING: &str = "changing";
/// Name of the queue that is purged.
pub const PURGED: &str = "purged";
/// Seconds of rewinding that no run outlasts.
pub const LONG_REWIND_SECONDS: u32 = 100_000;
/// Unix milliseconds at which virtual time begins.
pub const EPOCH_MS: u64 = 1_700_000_000_000;

/// Number of an operation, its place in the history.
pub type OperationId = u64;

/// Place of a queue in [`History::queues`].
pub type QueueNumber = usize;

/// A queue as clients know it.
#[derive(Clone, Debug)]
pub struct KnownQueue {
    /// Its name.
    pub name: String,
    /// Its attributes; the dead-letter queue is named by `dead_letter`. Where they change, what they allow at most.
    pub attributes: QueueAttributes,
    /// Its dead-letter queue.
    pub dead_letter: Option<QueueNumber>,
    /// Its number in the broker, once the creation was answered.
    pub id: Option<QueueId>,
    /// When its creation was answered.
    pub created_us: u64,
    /// When somebody first asked for its removal.
    pub removal_asked_us: Option<u64>,
    /// Whether the removal was answered.
    pub is_removed: bool,
    /// What becomes of it when its owner withdraws; None: nobody declares it.
    pub deletion: Option<DeletionPolicy>,
    /// When the withdrawal of its owner was answered first.
    pub withdrawn_us: Option<u64>,
    /// From when on no shard takes a message for it any more.
    pub closed_us: Option<u64>,
}

impl KnownQueue {
    /// Whether it keeps the order of its message groups.
    pub fn is_fifo(&self) -> bool {
        matches!(self.attributes.kind, QueueKind::Fifo { .. })
    }

    /// Whether it was closed, and not deleted yet.
    pub fn is_closing(&self) -> bool {
        self.goes_empty() && self.withdrawn_us.is_some() && !self.is_removed
    }

    /// Whether it only goes when it is empty.
    pub fn goes_empty(&self) -> bool {
        self.deletion == Some(DeletionPolicy::DeleteIfEmpty)
    }

    /// Whether its attributes change all the time.
    pub fn is_changing(&self) -> bool {
        self.name == CHANGING
    }

    /// Whether it can be rewound.
    pub fn keeps_deleted(&self) -> bool {
        self.attributes.rewind_seconds > 0
    }

    /// Whether no message that was deleted in a run gets out of the reach of a rewind in it.
    pub fn keeps_all(&self) -> bool {
        self.attributes.rewind_seconds >= LONG_REWIND_SECONDS && !self.is_changing()
    }

    /// Receives after which a message moves away.
    pub fn max_receive_count(&self) -> Option<u32> {
        match self.attributes.dead_letter?.rule {
            DeadLetterRule::MaxReceiveCount(count) => Some(count),
            DeadLetterRule::MaxTimeToLiveSeconds(_) => None,
        }
    }
}

/// Names a message by where it came from: the operation and the place in its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The send.
    pub operation: OperationId,
    /// The place in its batch.
    pub place: u32,
}

/// A message that a client sent.
#[derive(Clone, Debug)]
pub struct SentMessage {
    /// Message group.
    pub group: Option<Box<str>>,
    /// Hash of the deduplication id with its scope.
    pub deduplication: Option<u128>,
    /// Delay of its own.
    pub delay_ms: Option<u64>,
    /// Bytes of the body.
    pub bytes: u32,
}

/// A handle that a client uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle {
    /// What it names.
    pub id: DeliveryId,
    /// Where the client has it from.
    pub source: HandleSource,
}

/// Where a client has a handle from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandleSource {
    /// A receive a moment ago.
    Fresh,
    /// A receive whose lease may have ended, or which was used already.
    Old,
    /// Nowhere: it is made up.
    MadeUp,
}

/// What a client asks.
#[derive(Clone, Debug)]
pub enum Action {
    /// Create a queue.
    Create(QueueNumber),
    /// Delete a queue.
    Remove(QueueNumber),
    /// Send messages.
    Send {
        /// Where to.
        queue: QueueNumber,
        /// The batch.
        messages: Vec<SentMessage>,
        /// Decides the shard.
        home: Option<u64>,
    },
    /// Receive messages.
    Receive {
        /// Where from.
        queue: QueueNumber,
        /// At most so many.
        max: u16,
        /// How long to wait.
        wait_ms: u64,
        /// Length of the lease; None: the queue's.
        visibility_ms: Option<u64>,
    },
    /// Delete messages.
    Delete {
        /// The shard that handed them out.
        shard: GroupId,
        /// The handles.
        handles: Vec<Handle>,
        /// What stale ones do.
        stale: StaleHandle,
    },
    /// Count messages.
    Count(QueueNumber),
    /// Change the attributes of a queue.
    Change(QueueNumber, QueueAttributes),
    /// Drop all messages of a queue.
    Purge(QueueNumber),
    /// Bring deleted messages back that were sent at `start_ms` (Unix milliseconds) or later.
    Rewind {
        /// Of which queue.
        queue: QueueNumber,
        /// From when on.
        start_ms: u64,
    },
    /// An operator removes a message, whatever its state.
    RemoveOne(Meant),
    /// An operator makes a message ready that is in flight or delayed.
    ReturnOne(Meant),
    /// The owner of a queue declares it no more.
    Withdraw(QueueNumber),
    /// Delete a closed queue that was found empty.
    DeleteClosed {
        /// Which one.
        queue: QueueNumber,
        /// The revision at which it was closed.
        revision: u64,
    },
}

/// A message that an operator means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meant {
    /// Its queue.
    pub queue: QueueNumber,
    /// Its shard.
    pub shard: GroupId,
    /// The message and its latest delivery, as the operator saw it.
    pub message: DeliveryId,
    /// Its body.
    pub body: BodyRef,
}

/// An operation with its answer.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The node that was asked.
    pub node: NodeId,
    /// What was asked.
    pub action: Action,
    /// When.
    pub asked_us: u64,
    /// When the node answered.
    pub answered_us: u64,
    /// What it answered, whether or not the client heard it; None: the outcome is in doubt.
    pub reply: Option<Reply>,
}

/// All operations of a run.
#[derive(Debug, Default)]
pub struct History {
    /// Operations in the order in which they were asked.
    pub operations: Vec<Operation>,
    /// Queues in the order in which clients made them up.
    pub queues: Vec<KnownQueue>,
    /// When the broker was at rest, before it was emptied.
    pub rest_us: Option<u64>,
    /// Deleted messages in reach that were counted then, by queue.
    pub rewindable: Vec<(QueueNumber, u64)>,
}

impl History {
    /// An operation.
    pub fn operation(&self, id: OperationId) -> &Operation {
        &self.operations[id as usize]
    }

    /// The queue of a number in the broker.
    pub fn queue_of(&self, id: QueueId) -> Option<QueueNumber> {
        self.queues.iter().position(|queue| queue.id == Some(id))
    }

    /// The message that has this body.
    pub fn sent(&self, origin: Origin) -> Option<&SentMessage> {
        match &self.operations.get(origin.operation as usize)?.action {
            Action::Send { messages, .. } => messages.get(origin.place as usize),
            _ => None,
        }
    }
}

const NAME_BYTES: usize = 12;

/// The body of a message: its origin, and bytes that follow from it. At least as long as the origin takes.
pub fn body(origin: Origin, bytes: u32) -> Bytes {
    let mut body = Vec::with_capacity(bytes as usize + 8);
    body.extend_from_slice(&origin.operation.to_be_bytes());
    body.extend_from_slice(&origin.place.to_be_bytes());
    let mut word = xxh3_64_with_seed(&body, 1);
    while body.len() < bytes as usize {
        body.extend_from_slice(&word.to_le_bytes());
        word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17);
    }
    body.truncate((bytes as usize).max(NAME_BYTES));
    body.into()
}

/// The origin that a body names.
pub fn origin_of(body: &[u8]) -> Option<Origin> {
    let (operation, rest) = body.split_first_chunk::<8>()?;
    let (place, _) = rest.split_first_chunk::<4>()?;
    Some(Origin { operation: u64::from_be_bytes(*operation), place: u32::from_be_bytes(*place) })
}

/// Least bytes of a body.
pub const BODY_BYTES_MIN: u32 = NAME_BYTES as u32;
