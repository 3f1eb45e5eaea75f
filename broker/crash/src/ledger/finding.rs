//! What a correct queue never does.

use std::time::Duration;

use super::{Counts, Expected, MessageNumber};

/// One thing that the broker did and should not have done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// Acknowledged, never deleted, and gone.
    #[error(
        "lost: {number:?} of queue {queue}, acknowledged at {sent:?}, delivered {deliveries} times, is gone"
    )]
    Lost {
        /// The message.
        number: MessageNumber,
        /// Its queue.
        queue: String,
        /// When the acknowledgement was there.
        sent: Duration,
        /// How often it was handed out before.
        deliveries: usize,
    },
    /// Fewer messages than were acknowledged and not deleted.
    #[error("missing: queue {queue} holds {counts}; at least {} are acknowledged", expected.total.start())]
    Missing {
        /// The queue.
        queue: String,
        /// What the broker says.
        counts: Counts,
        /// What it may be.
        expected: Expected,
    },
    /// A queue that was made is not there.
    #[error("queue lost: {queue}: {answer}")]
    QueueLost {
        /// The queue.
        queue: String,
        /// What the broker said.
        answer: String,
    },
    /// The broker did not come up again, or ended by itself.
    #[error("not serving: {reason}")]
    NotServing {
        /// What happened, with the last lines of its log.
        reason: String,
    },
    /// A body that nobody sent, or in another queue, or one whose send was refused.
    #[error("invented: {what}")]
    Invented {
        /// What came.
        what: String,
    },
    /// A body that is not what was sent.
    #[error("corrupt: {number:?} came back changed, {bytes} bytes, it begins {beginning:?}")]
    Corrupt {
        /// The message, by what is left of its head.
        number: MessageNumber,
        /// Size of what came.
        bytes: usize,
        /// Its beginning.
        beginning: String,
    },
    /// Handed out after a delete was acknowledged.
    #[error("resurrected: {number:?} was handed out at {at:?} though its delete is acknowledged")]
    Resurrected {
        /// The message.
        number: MessageNumber,
        /// When the answer was there.
        at: Duration,
    },
    /// Two deletes of one message were acknowledged.
    #[error("deleted twice: {number:?}")]
    DeletedTwice {
        /// The message.
        number: MessageNumber,
    },
    /// Handed out while an earlier lease was running.
    #[error("double lease: {number:?} was handed out twice within {apart:?}; its lease lasts {visibility:?}")]
    DoubleLease {
        /// The message.
        number: MessageNumber,
        /// Most time there can be between the two.
        apart: Duration,
        /// How long a lease lasts.
        visibility: Duration,
    },
    /// Handed out before its delay had ended.
    #[error("early: {number:?} was handed out {early:?} before its delay ended")]
    Early {
        /// The message.
        number: MessageNumber,
        /// Least time that was missing.
        early: Duration,
    },
    /// The latest handle of a running lease does not delete.
    #[error("handle refused: {number:?}, {age:?} after the receive; its lease lasts {visibility:?}")]
    HandleRefused {
        /// The message.
        number: MessageNumber,
        /// Most time since the receive.
        age: Duration,
        /// How long a lease lasts.
        visibility: Duration,
    },
    /// The receive count did not rise.
    #[error("receive count fell: {number:?} from {before} to {after}")]
    CountFell {
        /// The message.
        number: MessageNumber,
        /// Count of an earlier delivery.
        before: u64,
        /// Count of a later one.
        after: u64,
    },
    /// The number that a message got at its send is not that of its delivery.
    #[error("number changed: {number:?} from {before} to {after}")]
    IdChanged {
        /// The message.
        number: MessageNumber,
        /// The number first told.
        before: String,
        /// Another one.
        after: String,
    },
    /// Counts at rest that cannot be.
    #[error("wrong counts: queue {queue} holds {counts}, expected are {expected:?}")]
    WrongCounts {
        /// The queue.
        queue: String,
        /// What the broker says.
        counts: Counts,
        /// What it may be.
        expected: Expected,
    },
    /// An error that no load should bring about.
    #[error("unexpected answer: {answer}")]
    Unexpected {
        /// Call and answer.
        answer: String,
    },
}

impl Finding {
    /// Short name of the kind, for tables.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Lost { .. } => "lost",
            Self::Missing { .. } => "missing",
            Self::QueueLost { .. } => "queue lost",
            Self::NotServing { .. } => "not serving",
            Self::Invented { .. } => "invented",
            Self::Corrupt { .. } => "corrupt",
            Self::Resurrected { .. } => "resurrected",
            Self::DeletedTwice { .. } => "deleted twice",
            Self::DoubleLease { .. } => "double lease",
            Self::Early { .. } => "early",
            Self::HandleRefused { .. } => "handle refused",
            Self::CountFell { .. } => "receive count fell",
            Self::IdChanged { .. } => "number changed",
            Self::WrongCounts { .. } => "wrong counts",
            Self::Unexpected { .. } => "unexpected answer",
        }
    }

    /// Whether it says that something acknowledged is gone.
    pub fn is_loss(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Missing { .. } | Self::QueueLost { .. })
    }
}
