//! What a queue is: its attributes, in the widest range that any protocol or manifest allows.

mod patch;

use std::ops::RangeInclusive;

use crate::codec::{DecodeError, Reader, Writer};

pub use patch::{AttributesPatch, DeadLetterChange};

/// Seconds that a message sent without a delay of its own stays hidden.
pub const DELAY_SECONDS: RangeInclusive<u32> = 0..=3_600;
/// Seconds that a received message stays hidden from other receivers.
pub const VISIBILITY_TIMEOUT_SECONDS: RangeInclusive<u32> = 0..=43_200;
/// Seconds after which a message is dropped, received or not.
pub const RETENTION_SECONDS: RangeInclusive<u32> = 60..=1_296_000;
/// Seconds for which a deleted message can be brought back.
pub const REWIND_SECONDS: RangeInclusive<u32> = 0..=1_296_000;
/// Seconds that a receive waits for a message when the call does not say.
pub const POLLING_WAIT_SECONDS: RangeInclusive<u32> = 0..=30;
/// Bytes of one message.
pub const MAX_MESSAGE_BYTES: RangeInclusive<u32> = 1_024..=1_048_576;
/// Messages that a queue holds before sends are refused.
pub const MAX_MESSAGES: RangeInclusive<u64> = 1_000_000..=1_000_000_000;
/// Messages that are out under a lease at once.
pub const MAX_IN_FLIGHT: RangeInclusive<u32> = 1..=120_000;
/// Messages that are hidden by a delay at once.
pub const MAX_DELAYED: RangeInclusive<u32> = 1..=120_000;
/// Receives after which a message moves to the dead-letter queue.
pub const MAX_RECEIVE_COUNT: RangeInclusive<u32> = 1..=1_000;
/// Seconds of age at which an undeleted message moves to the dead-letter queue.
pub const MAX_TIME_TO_LIVE_SECONDS: RangeInclusive<u32> = 300..=43_200;
/// Sources that one dead-letter queue serves at most (CMQ 10780).
pub const DEAD_LETTER_SOURCES_MAX: usize = 6;

/// Number of a queue, unique in its Broker and never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(pub u32);

/// How a queue orders and deduplicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueKind {
    /// Best-effort order; message groups share the queue fairly.
    Standard,
    /// Strict order inside a message group; deduplication inside a window of five minutes.
    Fifo {
        /// Where a deduplication id is unique.
        deduplication: DeduplicationScope,
    },
}

/// Where a deduplication id is unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeduplicationScope {
    /// In the whole queue.
    Queue,
    /// In each message group.
    MessageGroup,
}

/// When a message moves to the dead-letter queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadLetterRule {
    /// At the receive that would be one more than this many (CMQ `policy` 0, SQS `maxReceiveCount`).
    MaxReceiveCount(u32),
    /// At this age in seconds (CMQ `policy` 1).
    MaxTimeToLiveSeconds(u32),
}

impl DeadLetterRule {
    fn encode(self, out: &mut Writer) {
        let (tag, value) = match self {
            Self::MaxReceiveCount(count) => (1, count),
            Self::MaxTimeToLiveSeconds(seconds) => (2, seconds),
        };
        out.u8(tag).int(u64::from(value));
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match from.u8()? {
            1 => Ok(Self::MaxReceiveCount(from.int32()?)),
            2 => Ok(Self::MaxTimeToLiveSeconds(from.int32()?)),
            _ => Err(from.error()),
        }
    }
}

/// Where undeliverable messages of a queue go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadLetterPolicy {
    /// The dead-letter queue.
    pub queue: QueueId,
    /// When a message moves.
    pub rule: DeadLetterRule,
}

/// The settable attributes of a queue. Units are in the names; ranges are the constants of this module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueAttributes {
    /// Standard or FIFO; fixed when the queue is created.
    pub kind: QueueKind,
    /// FIFO queues: a message sent without a deduplication id gets the hash of its body as one.
    pub content_based_deduplication: bool,
    /// See [`DELAY_SECONDS`].
    pub delay_seconds: u32,
    /// See [`VISIBILITY_TIMEOUT_SECONDS`].
    pub visibility_timeout_seconds: u32,
    /// See [`RETENTION_SECONDS`].
    pub retention_seconds: u32,
    /// See [`REWIND_SECONDS`]; 0 turns rewinding off.
    pub rewind_seconds: u32,
    /// See [`POLLING_WAIT_SECONDS`].
    pub polling_wait_seconds: u32,
    /// See [`MAX_MESSAGE_BYTES`].
    pub max_message_bytes: u32,
    /// See [`MAX_MESSAGES`].
    pub max_messages: u64,
    /// See [`MAX_IN_FLIGHT`].
    pub max_in_flight: u32,
    /// See [`MAX_DELAYED`].
    pub max_delayed: u32,
    /// None: a message is delivered until it is deleted or expires.
    pub dead_letter: Option<DeadLetterPolicy>,
    /// Sends are refused: nobody declares the queue any more, and it goes when it is empty. Set by the catalogue alone.
    pub closed: bool,
}

impl Default for QueueAttributes {
    /// The defaults of CMQ with the larger message size of manifests.
    fn default() -> Self {
        Self {
            kind: QueueKind::Standard,
            content_based_deduplication: false,
            delay_seconds: 0,
            visibility_timeout_seconds: 30,
            retention_seconds: 345_600,
            rewind_seconds: 0,
            polling_wait_seconds: 0,
            max_message_bytes: 1_048_576,
            max_messages: 100_000_000,
            max_in_flight: 120_000,
            max_delayed: 20_000,
            dead_letter: None,
            closed: false,
        }
    }
}

impl QueueAttributes {
    pub(crate) fn encode(&self, out: &mut Writer) {
        let kind = match self.kind {
            QueueKind::Standard => 0,
            QueueKind::Fifo { deduplication: DeduplicationScope::Queue } => 1,
            QueueKind::Fifo { deduplication: DeduplicationScope::MessageGroup } => 2,
        };
        out.u8(kind).u8(u8::from(self.content_based_deduplication)).u8(u8::from(self.closed));
        for value in [
            self.delay_seconds,
            self.visibility_timeout_seconds,
            self.retention_seconds,
            self.rewind_seconds,
            self.polling_wait_seconds,
            self.max_message_bytes,
        ] {
            out.int(u64::from(value));
        }
        out.int(self.max_messages).int(u64::from(self.max_in_flight)).int(u64::from(self.max_delayed));
        match self.dead_letter {
            None => _ = out.u8(0),
            Some(DeadLetterPolicy { queue, rule }) => rule.encode(out.u8(1).int(u64::from(queue.0))),
        }
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = match from.u8()? {
            0 => QueueKind::Standard,
            1 => QueueKind::Fifo { deduplication: DeduplicationScope::Queue },
            2 => QueueKind::Fifo { deduplication: DeduplicationScope::MessageGroup },
            _ => return Err(from.error()),
        };
        let (content_based_deduplication, closed) = (from.flag()?, from.flag()?);
        Ok(Self {
            kind,
            content_based_deduplication,
            closed,
            delay_seconds: from.int32()?,
            visibility_timeout_seconds: from.int32()?,
            retention_seconds: from.int32()?,
            rewind_seconds: from.int32()?,
            polling_wait_seconds: from.int32()?,
            max_message_bytes: from.int32()?,
            max_messages: from.int()?,
            max_in_flight: from.int32()?,
            max_delayed: from.int32()?,
            dead_letter: match from.u8()? {
                0 => None,
                1 => {
                    let queue = QueueId(from.int32()?);
                    Some(DeadLetterPolicy { queue, rule: DeadLetterRule::decode(from)? })
                }
                _ => return Err(from.error()),
            },
        })
    }
}
