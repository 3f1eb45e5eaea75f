//! Addresses of messages: where the body is in the log, and what a delivery is called.

use crate::attributes::QueueId;
use crate::codec::{DecodeError, Reader, Writer};
use crate::limits::{ENTRY_BODIES_MAX, LOG_INDEX_MAX};

const POSITION_BITS: u32 = ENTRY_BODIES_MAX.trailing_zeros();

/// Address of a body in its shard's log, and so the number of the message in its shard. Grows with every send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BodyRef {
    /// Index of the log entry.
    pub index: u64,
    /// Position among the bodies of the entry.
    pub position: u16,
}

impl BodyRef {
    /// Both in 54 bits, in the order of addresses.
    pub fn packed(self) -> u64 {
        debug_assert!(self.index <= LOG_INDEX_MAX && usize::from(self.position) < ENTRY_BODIES_MAX);
        self.index << POSITION_BITS | u64::from(self.position)
    }

    /// The body that comes `offset` later in the same entry.
    ///
    /// # Panics
    /// When no entry has that many bodies.
    pub fn later(self, offset: usize) -> Self {
        let position = usize::from(self.position) + offset;
        assert!(position < ENTRY_BODIES_MAX, "an entry has at most {ENTRY_BODIES_MAX} bodies");
        Self { index: self.index, position: position as u16 }
    }

    /// The reverse of [`BodyRef::packed`].
    pub fn unpacked(packed: u64) -> Self {
        let position = (packed & (ENTRY_BODIES_MAX as u64 - 1)) as u16;
        Self { index: packed >> POSITION_BITS, position }
    }

    /// As [`BodyRef::unpacked`], for a number read from disk; None when it is out of range.
    pub(crate) fn checked(packed: u64) -> Option<Self> {
        let body = Self::unpacked(packed);
        (body.index <= LOG_INDEX_MAX).then_some(body)
    }
}

/// What a queue knows of a message whether or not it was ever touched: one slot of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Where the body is.
    pub body: BodyRef,
    /// Bytes of the body.
    pub bytes: u32,
    /// Stamp of the send, which starts the retention clock; kept over a dead-letter move.
    pub sent_ms: u64,
}

impl Slot {
    pub(crate) fn encode(&self, base: &Slot, out: &mut Writer) {
        out.delta(self.body.packed(), base.body.packed())
            .delta(u64::from(self.bytes), u64::from(base.bytes))
            .delta(self.sent_ms, base.sent_ms);
    }

    pub(crate) fn decode(base: &Slot, from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let body = BodyRef::checked(from.delta(base.body.packed())?).ok_or_else(|| from.error())?;
        let bytes = u32::try_from(from.delta(u64::from(base.bytes))?).map_err(|_| from.error())?;
        Ok(Self { body, bytes, sent_ms: from.delta(base.sent_ms)? })
    }

    /// What the first slot of a list is encoded against.
    pub(crate) const ZERO: Slot = Slot { body: BodyRef { index: 0, position: 0 }, bytes: 0, sent_ms: 0 };
}

/// One life of a queue: purging starts the next one, so that nothing of the old is ever taken for the new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueEpoch {
    /// The queue.
    pub queue: QueueId,
    /// 0 after its creation, one more after each purge.
    pub epoch: u32,
}

/// Number of a lane, one message group of a queue; never used again in an epoch. Messages without a group are in lane 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(pub u64);

/// The lane of messages without a group.
pub const DEFAULT_LANE: LaneId = LaneId(0);

/// Names one delivery of one message: what a receipt handle holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeliveryId {
    /// The queue and its epoch.
    pub queue: QueueEpoch,
    /// The lane.
    pub lane: LaneId,
    /// Sequence of the message in its lane.
    pub sequence: u64,
    /// One more with every delivery.
    pub generation: u32,
}
