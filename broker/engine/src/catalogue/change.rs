//! Changes of the catalogue, as the shards take them.

use crate::attributes::{QueueAttributes, QueueId};
use crate::codec::{DecodeError, Reader, Writer};
use crate::limits::REWINDS_MAX;

/// Something that happened to the deleted messages of a queue which rewinding can reach. Each shard takes each once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewind {
    /// Counts from 1 in the life of a queue.
    pub number: u64,
    /// What happened.
    pub kind: RewindKind,
}

/// What happened to the deleted messages of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RewindKind {
    /// Those that were sent at this stamp or later came back.
    To(u64),
    /// Rewinding was turned off, which drops them all.
    Off,
}

impl Rewind {
    pub(crate) fn encode(&self, out: &mut Writer) {
        out.int(self.number);
        match self.kind {
            RewindKind::To(start_ms) => out.u8(1).int(start_ms),
            RewindKind::Off => out.u8(2),
        };
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let number = from.int()?;
        let kind = match from.u8()? {
            1 => RewindKind::To(from.int()?),
            2 => RewindKind::Off,
            _ => return Err(from.error()),
        };
        Ok(Self { number, kind })
    }
}

/// One change of the catalogue, as shards take it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The queue exists with these attributes.
    Put {
        /// Its number.
        queue: QueueId,
        /// One more after each purge. What an older epoch holds is gone.
        epoch: u32,
        /// The latest rewinds, oldest first, up to [`REWINDS_MAX`].
        rewinds: Vec<Rewind>,
        /// All attributes.
        attributes: QueueAttributes,
    },
    /// The queue is deleted.
    Remove {
        /// Its number.
        queue: QueueId,
    },
}

impl Change {
    /// The queue that changes.
    pub fn queue(&self) -> QueueId {
        match self {
            Self::Put { queue, .. } | Self::Remove { queue } => *queue,
        }
    }

    pub(crate) fn encode(&self, out: &mut Writer) {
        match self {
            Self::Put { queue, epoch, rewinds, attributes } => {
                out.u8(1).int(u64::from(queue.0)).int(u64::from(*epoch)).int(rewinds.len() as u64);
                rewinds.iter().for_each(|rewind| rewind.encode(out));
                attributes.encode(out);
            }
            Self::Remove { queue } => _ = out.u8(2).int(u64::from(queue.0)),
        }
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let tag = from.u8()?;
        let queue = QueueId(from.int32()?);
        match tag {
            1 => Ok(Self::Put {
                queue,
                epoch: from.int32()?,
                rewinds: from.list(REWINDS_MAX, Rewind::decode)?,
                attributes: QueueAttributes::decode(from)?,
            }),
            2 => Ok(Self::Remove { queue }),
            _ => Err(from.error()),
        }
    }
}
