//! Commands: what a log entry asks of a shard, and how it is written. Time comes in with the entry.

use crate::attributes::QueueId;
use crate::catalogue::Change;
use crate::codec::{DecodeError, Reader, Writer};
use crate::limits::{CHANGES_MAX, ENTRY_BODIES_MAX};
use crate::message::{DeliveryId, LaneId, QueueEpoch};

/// The meaning of commands. Raised by a log entry once every member supports the next one.
pub const ENGINE_VERSION: u32 = 1;

/// What a stale receipt handle does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleHandle {
    /// It is refused (CMQ, SQS FIFO).
    Refuse,
    /// It deletes, as long as the message was not handed out again (SQS standard).
    Delete,
}

/// One message of a send. Its body is the next one of the entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// Bytes of the body, as the limits of the queue count them.
    pub bytes: u32,
    /// Hidden for so long; None means the queue's own delay.
    pub delay_ms: Option<u64>,
    /// Message group, 1 to 128 characters.
    pub group: Option<Box<str>>,
    /// Hash of the deduplication id.
    pub deduplication: Option<u128>,
}

/// One operation on a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Brings the shard's copy of the catalogue to `revision`.
    Catalogue {
        /// Revision of the catalogue that the shard has afterwards.
        revision: u64,
        /// Whether the changes are the whole catalogue: queues that they do not name are gone.
        is_complete: bool,
        /// In the order of their revisions.
        changes: Vec<Change>,
    },
    /// Stores messages, all or none.
    Send {
        /// Where to.
        queue: QueueId,
        /// 1 to [`ENTRY_BODIES_MAX`].
        messages: Vec<NewMessage>,
    },
    /// Hands out up to `max` messages.
    Receive {
        /// Where from.
        queue: QueueId,
        /// 1 to 16.
        max: u16,
        /// Length of the leases; None means the queue's own visibility timeout.
        visibility_ms: Option<u64>,
    },
    /// Finishes messages that were handed out.
    Delete {
        /// Which deliveries, up to [`ENTRY_BODIES_MAX`].
        deliveries: Vec<DeliveryId>,
        /// What a handle does whose lease has ended.
        stale: StaleHandle,
    },
    /// Does what is due: delays, leases and ages that end.
    Expire,
    /// Finishes a message whatever its state, as an operator asks. The generation does not matter.
    Remove {
        /// Which message.
        message: DeliveryId,
    },
    /// Makes a message ready that is in flight or delayed, as an operator asks.
    Return {
        /// Which delivery of which message; generation 0 of one that is delayed.
        message: DeliveryId,
    },
}

impl Command {
    /// How many bodies of the entry belong to this command.
    pub fn bodies(&self) -> usize {
        match self {
            Self::Send { messages, .. } => messages.len(),
            _ => 0,
        }
    }

    /// The queue that it is for; None: for none, or for whatever is due.
    pub fn queue(&self) -> Option<QueueId> {
        match self {
            Self::Send { queue, .. } | Self::Receive { queue, .. } => Some(*queue),
            Self::Delete { deliveries, .. } => deliveries.first().map(|first| first.queue.queue),
            Self::Remove { message } | Self::Return { message } => Some(message.queue.queue),
            Self::Catalogue { .. } | Self::Expire => None,
        }
    }

    /// Appends the command to an entry.
    pub fn encode(&self, out: &mut Writer) {
        match self {
            Self::Catalogue { revision, is_complete, changes } => {
                out.u8(1).int(*revision).u8(u8::from(*is_complete)).int(changes.len() as u64);
                for change in changes {
                    change.encode(out);
                }
            }
            Self::Send { queue, messages } => {
                out.u8(2).int(u64::from(queue.0)).int(messages.len() as u64);
                for message in messages {
                    message.encode(out);
                }
            }
            Self::Receive { queue, max, visibility_ms } => {
                out.u8(3).int(u64::from(queue.0)).int(u64::from(*max)).int_option(*visibility_ms);
            }
            Self::Delete { deliveries, stale } => {
                out.u8(4).u8(u8::from(*stale == StaleHandle::Delete)).int(deliveries.len() as u64);
                for delivery in deliveries {
                    delivery.encode(out);
                }
            }
            Self::Expire => _ = out.u8(5),
            Self::Remove { message } => message.encode(out.u8(8)),
            Self::Return { message } => message.encode(out.u8(9)),
        }
    }

    /// Takes a command from an entry.
    ///
    /// # Errors
    /// When the bytes are damaged or from a newer version.
    pub fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match from.u8()? {
            1 => {
                let revision = from.int()?;
                let is_complete = from.flag()?;
                Self::Catalogue { revision, is_complete, changes: from.list(CHANGES_MAX, Change::decode)? }
            }
            2 => Self::Send {
                queue: QueueId(from.int32()?),
                messages: from.list(ENTRY_BODIES_MAX, NewMessage::decode)?,
            },
            3 => Self::Receive {
                queue: QueueId(from.int32()?),
                max: u16::try_from(from.int()?).map_err(|_| from.error())?,
                visibility_ms: from.int_option()?,
            },
            4 => {
                let stale = if from.flag()? { StaleHandle::Delete } else { StaleHandle::Refuse };
                Self::Delete { deliveries: from.list(ENTRY_BODIES_MAX, DeliveryId::decode)?, stale }
            }
            5 => Self::Expire,
            8 => Self::Remove { message: DeliveryId::decode(from)? },
            9 => Self::Return { message: DeliveryId::decode(from)? },
            _ => return Err(from.error()),
        })
    }
}

impl NewMessage {
    fn encode(&self, out: &mut Writer) {
        let flags = u8::from(self.delay_ms.is_some())
            | u8::from(self.group.is_some()) << 1
            | u8::from(self.deduplication.is_some()) << 2;
        out.u8(flags).int(u64::from(self.bytes));
        if let Some(delay_ms) = self.delay_ms {
            out.int(delay_ms);
        }
        if let Some(group) = &self.group {
            out.blob(group.as_bytes());
        }
        if let Some(hash) = self.deduplication {
            out.bytes.extend_from_slice(&hash.to_be_bytes());
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let flags = from.u8()?;
        if flags > 0b111 {
            return Err(from.error());
        }
        let bytes = from.int32()?;
        let delay_ms = if flags & 1 != 0 { Some(from.int()?) } else { None };
        let group = if flags & 2 != 0 { Some(from.text()?.into()) } else { None };
        let deduplication = if flags & 4 != 0 { Some(u128::from_be_bytes(from.array()?)) } else { None };
        Ok(Self { bytes, delay_ms, group, deduplication })
    }
}

impl DeliveryId {
    fn encode(&self, out: &mut Writer) {
        out.int(u64::from(self.queue.queue.0))
            .int(u64::from(self.queue.epoch))
            .int(self.lane.0)
            .int(self.sequence)
            .int(u64::from(self.generation));
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            queue: QueueEpoch { queue: QueueId(from.int32()?), epoch: from.int32()? },
            lane: LaneId(from.int()?),
            sequence: from.int()?,
            generation: from.int32()?,
        })
    }
}
