//! Changes of the catalogue, as the shards take them.

use crate::attributes::{QueueAttributes, QueueId};
use crate::codec::{DecodeError, Reader, Writer};

/// One change of the catalogue, as shards take it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The queue exists with these attributes.
    Put {
        /// Its number.
        queue: QueueId,
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
            Self::Put { queue, attributes } => {
                out.u8(1).int(u64::from(queue.0));
                attributes.encode(out);
            }
            Self::Remove { queue } => _ = out.u8(2).int(u64::from(queue.0)),
        }
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let tag = from.u8()?;
        let queue = QueueId(from.int32()?);
        match tag {
            1 => Ok(Self::Put { queue, attributes: QueueAttributes::decode(from)? }),
            2 => Ok(Self::Remove { queue }),
            _ => Err(from.error()),
        }
    }
}
