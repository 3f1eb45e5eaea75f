//! The open chunk of a lane: slots in memory, in the bytes in which they go to disk. A slot takes about 6 bytes in place
//! of 32, and a lane with one message nothing on the heap.

use crate::codec::{DecodeError, Reader, Writer};
use crate::message::Slot;

/// A queue of slots, each encoded against the one before it.
#[derive(Clone, Debug)]
pub(super) struct OpenChunk {
    len: usize,
    front: Slot,
    back: Slot,
    /// The slots after `front`, from byte `start` on. What lies before it is given back when the chunk ends.
    bytes: Writer,
    start: usize,
}

impl Default for OpenChunk {
    fn default() -> Self {
        Self { len: 0, front: Slot::ZERO, back: Slot::ZERO, bytes: Writer::default(), start: 0 }
    }
}

impl OpenChunk {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn front(&self) -> Option<Slot> {
        (self.len > 0).then_some(self.front)
    }

    pub(super) fn back(&self) -> Option<Slot> {
        (self.len > 0).then_some(self.back)
    }

    /// Puts the slots in the order of the sends.
    pub(super) fn sort(&mut self) {
        let mut slots = Vec::from_iter(std::iter::from_fn(|| self.pop_front()));
        slots.sort_unstable_by_key(|slot| (slot.sent_ms, slot.body));
        slots.into_iter().for_each(|slot| self.push(slot));
    }

    pub(super) fn push(&mut self, slot: Slot) {
        if self.len == 0 {
            self.front = slot;
        } else {
            slot.encode(&self.back, &mut self.bytes);
        }
        self.back = slot;
        self.len += 1;
    }

    pub(super) fn pop_front(&mut self) -> Option<Slot> {
        let popped = self.front()?;
        if self.len == 1 {
            // A drained lane keeps no buffer.
            *self = Self::default();
            return Some(popped);
        }
        let rest = &self.bytes.bytes[self.start..];
        let mut from = Reader::new(rest, "the open chunk");
        self.front = Slot::decode(&popped, &mut from).expect("these bytes were written by `push`");
        self.start += rest.len() - from.rest().len();
        self.len -= 1;
        Some(popped)
    }

    /// The slots, in order.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        let mut rest = self.clone();
        std::iter::from_fn(move || rest.pop_front())
    }

    /// Appends the slots, the first of which has the sequence `first`, as [`crate::chunk::Chunk`] reads them.
    pub(super) fn encode(&self, first: u64, out: &mut Writer) {
        out.int(first).int(self.len as u64);
        if self.len > 0 {
            self.front.encode(&Slot::ZERO, out);
            out.bytes.extend_from_slice(&self.bytes.bytes[self.start..]);
        }
    }

    /// Takes what [`OpenChunk::encode`] appended: the first sequence and the slots.
    pub(super) fn decode(from: &mut Reader<'_>) -> Result<(u64, Self), DecodeError> {
        let (first, slots) = crate::chunk::decode_slots(from)?;
        let mut open = Self::default();
        slots.into_iter().for_each(|slot| open.push(slot));
        Ok((first, open))
    }
}
