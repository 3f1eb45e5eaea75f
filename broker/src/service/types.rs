//! What the wire protocols ask of the service and what it answers, free of any protocol.

use std::time::Duration;

use bytes::Bytes;
use cmq_engine::attributes::{QueueAttributes, QueueId};

/// Messages of one send, receive or delete at most.
pub const BATCH_MESSAGES_MAX: usize = 16;
/// Queues that one page of a listing holds at most.
pub const LIST_PAGE_MAX: usize = 50;

/// Number of a message: shard, log index and position in the entry, in 63 bits. Kept over a dead-letter move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u64);

/// One row of a queue listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSummary {
    /// Number of the queue.
    pub id: QueueId,
    /// Name on the wire.
    pub name: String,
}

/// One page of a queue listing, in the order of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuePage {
    /// How many queues match, on all pages.
    pub total: usize,
    /// The queues of this page.
    pub queues: Vec<QueueSummary>,
}

/// Everything that is known of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueDescription {
    /// Number of the queue.
    pub id: QueueId,
    /// Name on the wire.
    pub name: String,
    /// The settable attributes.
    pub attributes: QueueAttributes,
    /// Name of the dead-letter queue, where one is set.
    pub dead_letter_queue: Option<String>,
    /// Unix milliseconds of the creation.
    pub created_ms: u64,
    /// Unix milliseconds of the last change of an attribute.
    pub modified_ms: u64,
    /// Counts, summed over all shards.
    pub counts: QueueCounts,
}

/// How many messages of a queue are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// Ready to be received.
    pub active: u64,
    /// Out under a lease.
    pub in_flight: u64,
    /// Hidden by a delay.
    pub delayed: u64,
    /// Deleted, and still within reach of a rewind.
    pub rewindable: u64,
    /// Unix milliseconds at which the oldest message not yet deleted was sent.
    pub oldest_ms: Option<u64>,
}

/// A message that was handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedMessage {
    /// Number of the message.
    pub id: MessageId,
    /// Names this delivery; matches `^[A-Za-z0-9_-]{1,256}$`.
    pub receipt_handle: String,
    /// The body as it was sent.
    pub body: Bytes,
    /// Unix milliseconds of the send.
    pub sent_ms: u64,
    /// Unix milliseconds of the first receive.
    pub first_received_ms: u64,
    /// Unix milliseconds at which this delivery's lease ends.
    pub visible_again_ms: u64,
    /// How often the message was received, this time included.
    pub receive_count: u32,
}

/// Messages to send, with what holds for all of them.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// 1 to [`BATCH_MESSAGES_MAX`] bodies, none empty.
    pub bodies: Vec<Bytes>,
    /// None: the queue's own delay.
    pub delay: Option<Duration>,
}

/// Why a call was refused. Every protocol maps each of these to its own code and text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// No queue of this name.
    #[error("queue {0} does not exist")]
    QueueMissing(String),
    /// A queue of this name, or of one that differs only in case, exists.
    #[error("queue {0} exists already")]
    QueueExists(String),
    /// As many queues as the Broker takes.
    #[error("the limit of {0} queues is reached")]
    TooManyQueues(usize),
    /// Calls may not create queues (`--api-queues deny`).
    #[error("queue {0} does not exist, and this broker takes only declared queues (--api-queues deny)")]
    QueuesAreDeclared(String),
    /// The name was in use until a moment ago (`--recreate-wait`).
    #[error("queue {0} was deleted a moment ago")]
    RecreatedTooSoon(String),
    /// The queue serves others as dead-letter queue.
    #[error("queue {0} is the dead-letter queue of another queue")]
    InUseAsDeadLetterQueue(String),
    /// The named dead-letter queue does not exist, or is closed.
    #[error("dead-letter queue {0} does not exist, or goes when it is empty")]
    DeadLetterQueueMissing(String),
    /// A dead-letter queue may not have one itself.
    #[error("dead-letter queue {0} has a dead-letter queue itself")]
    DeadLetterNesting(String),
    /// The dead-letter queue serves as many sources as it may.
    #[error("dead-letter queue {0} serves as many sources as it may")]
    DeadLetterTooManySources(String),
    /// The queue was purged a moment ago (`--purge-wait`).
    #[error("queue {0} was purged a moment ago")]
    PurgedTooSoon(String),
    /// The queue keeps no deleted messages.
    #[error("queue {0} cannot be rewound: its rewind time is 0")]
    RewindOff(String),
    /// The start lies before the reach of rewinding, or in the future.
    #[error("the start of a rewind must be between {earliest} and now, in Unix seconds")]
    RewindTime {
        /// Unix seconds of the earliest start that would do.
        earliest: u64,
    },
    /// A FIFO queue cannot keep deleted messages.
    #[error("queue {0} is FIFO, so its rewind time must be 0")]
    RewindFifo(String),
    /// A FIFO queue needs a FIFO dead-letter queue, a standard queue a standard one.
    #[error("dead-letter queue {0} is FIFO and the queue is not, or the other way round")]
    DeadLetterKind(String),
    /// Whether a queue is FIFO is fixed when it is created.
    #[error("queue {0} exists, and FIFO or not cannot be changed")]
    KindIsFixed(String),
    /// Deleted messages would be kept longer than messages live.
    #[error("queue {0} would keep deleted messages for longer than its messages live")]
    RewindAboveRetention(String),
    /// Messages would expire before they are old enough for the dead-letter queue.
    #[error("messages of queue {0} would expire before they are old enough for the dead-letter queue")]
    TimeToLiveNotBelowRetention(String),
    /// The queue is declared by a manifest or a cluster object, which owns it.
    #[error("queue {0} is declared by {1}; change it there")]
    Declared(String, String),
    /// The queue changed while the call was on its way.
    #[error("queue {0} changed meanwhile; look at it again")]
    QueueChanged(String),
    /// Nobody declares the queue any more: it takes no messages, and goes when it is empty.
    #[error("queue {0} takes no more messages: it is deleted once it is empty")]
    QueueClosed(String),
    /// A body is larger than the queue allows.
    #[error("the message has {size} bytes, the queue allows {limit}")]
    MessageTooLarge {
        /// Bytes of the body.
        size: usize,
        /// What the queue allows.
        limit: u32,
    },
    /// The queue holds as many messages as it may.
    #[error("the queue holds as many messages as it may")]
    HeapFull,
    /// As many messages are out or delayed as the queue allows.
    #[error("too many messages are in flight or delayed")]
    TooManyInFlightOrDelayed,
    /// The queue is called more often than it may be (`--queue-rate`).
    #[error("the queue is called more often than it may be")]
    QueueRate,
    /// Calls about queues come more often than they may (`--manage-rate`).
    #[error("management calls come more often than they may")]
    ManageRate,
    /// The handle was not made here, or names no message of this queue.
    #[error("the receipt handle is invalid")]
    HandleInvalid,
    /// The lease of this handle has ended, or a later receive replaced it, or the message is deleted.
    #[error("the receipt handle is no longer valid")]
    HandleStale,
    /// A bound of the broker is reached; the same call may succeed in a moment.
    #[error("the broker is busy: {0}; retry")]
    Busy(&'static str),
    /// The disk has no room for more messages; receives and deletes go on.
    #[error("the disk is full; retry when messages have been deleted")]
    DiskFull,
    /// The broker is stopping; another one, or this one after its start, takes the call.
    #[error("the broker is stopping; retry")]
    Stopping,
    /// The broker met damage or a bug; its log has the details.
    #[error("internal error: {0}")]
    Internal(String),
}
