//! Names that an operator gets with a listing and gives back: of a message, and of the place where a walk goes on. They say
//! where a message stands, so that nothing has to be searched for.
//!
//! ```text
//! kind u8 | shard u16 | queue u32 | epoch u32 | lane u64 | sequence u64 | generation u32
//! ```
//! Big-endian, in base64url without padding: 42 characters, the first of which is a letter. They are not signed: whoever reaches
//! the admin port may name any message, and what names none is answered as such.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cmq_engine::attributes::QueueId;
use cmq_engine::message::{DeliveryId, LaneId, QueueEpoch};

use crate::replication::GroupId;

const BYTES: usize = 31;

/// What a reference is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Message = 1,
    Cursor = 2,
}

/// Names a message, and its latest delivery when it was listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageRef {
    /// The shard that has it.
    pub shard: GroupId,
    /// Where it stands; generation 0 before its first receive.
    pub delivery: DeliveryId,
}

/// Where a walk over a queue goes on; its generation means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The shard.
    pub shard: GroupId,
    /// The place of the next message to look at.
    pub place: DeliveryId,
}

impl MessageRef {
    /// As the API shows it.
    pub fn encode(&self) -> String {
        encode(Kind::Message, self.shard, &self.delivery)
    }

    /// Reads what [`MessageRef::encode`] wrote.
    pub fn decode(text: &str) -> Option<Self> {
        let (shard, delivery) = decode(Kind::Message, text)?;
        Some(Self { shard, delivery })
    }
}

impl Cursor {
    /// As the API shows it.
    pub fn encode(&self) -> String {
        encode(Kind::Cursor, self.shard, &self.place)
    }

    /// Reads what [`Cursor::encode`] wrote.
    pub fn decode(text: &str) -> Option<Self> {
        let (shard, place) = decode(Kind::Cursor, text)?;
        Some(Self { shard, place })
    }
}

fn encode(kind: Kind, shard: GroupId, delivery: &DeliveryId) -> String {
    let mut bytes = Vec::with_capacity(BYTES);
    bytes.push(kind as u8);
    bytes.extend_from_slice(&shard.0.to_be_bytes());
    bytes.extend_from_slice(&delivery.queue.queue.0.to_be_bytes());
    bytes.extend_from_slice(&delivery.queue.epoch.to_be_bytes());
    bytes.extend_from_slice(&delivery.lane.0.to_be_bytes());
    bytes.extend_from_slice(&delivery.sequence.to_be_bytes());
    bytes.extend_from_slice(&delivery.generation.to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(kind: Kind, text: &str) -> Option<(GroupId, DeliveryId)> {
    fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
        let (taken, left) = rest.split_first_chunk::<N>()?;
        *rest = left;
        Some(*taken)
    }
    let mut bytes = [0; BYTES];
    if URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()? != BYTES || bytes[0] != kind as u8 {
        return None;
    }
    let mut rest = &bytes[1..];
    let shard = GroupId(u16::from_be_bytes(take(&mut rest)?));
    let queue = QueueId(u32::from_be_bytes(take(&mut rest)?));
    let queue = QueueEpoch { queue, epoch: u32::from_be_bytes(take(&mut rest)?) };
    let lane = LaneId(u64::from_be_bytes(take(&mut rest)?));
    let sequence = u64::from_be_bytes(take(&mut rest)?);
    let generation = u32::from_be_bytes(take(&mut rest)?);
    Some((shard, DeliveryId { queue, lane, sequence, generation }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_own_kind_is_read() {
        let queue = QueueEpoch { queue: QueueId(3), epoch: 1 };
        let delivery = DeliveryId { queue, lane: LaneId(u64::MAX), sequence: 5_000_000_000, generation: 9 };
        let message = MessageRef { shard: GroupId(2), delivery };
        let cursor = Cursor { shard: GroupId(2), place: delivery };
        assert_eq!(message.encode().len(), 42);
        assert!(message.encode().starts_with(|first: char| first.is_ascii_alphabetic()));
        assert_eq!(MessageRef::decode(&message.encode()), Some(message));
        assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
        assert_eq!(MessageRef::decode(&cursor.encode()), None);
        assert_eq!(Cursor::decode(&message.encode()), None);
        for wrong in ["", "A", "é", &message.encode()[1..], &format!("{}A", message.encode())] {
            assert_eq!(MessageRef::decode(wrong), None, "{wrong}");
        }
    }
}
