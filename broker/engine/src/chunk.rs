//! Chunks: dense runs of slots, which map the sequence of a lane to bodies. A closed chunk never changes.

use std::sync::Arc;

use crate::codec::{DecodeError, Reader, Writer};
use crate::limits::CHUNK_MESSAGES;
use crate::message::{LaneId, QueueEpoch, Slot};

const FORMAT: u8 = 1;

/// Names a chunk row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkKey {
    /// The queue and its epoch.
    pub queue: QueueEpoch,
    /// The lane.
    pub lane: LaneId,
    /// Sequence of the chunk's first message divided by [`CHUNK_MESSAGES`].
    pub number: u64,
}

/// A closed chunk: the slots of `first..first + slots.len()`. It may begin after its first sequence, for what was handed
/// out before it closed is not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    first: u64,
    slots: Box<[Slot]>,
}

impl Chunk {
    /// The row of a chunk that holds nothing any more; its first sequence is `first`.
    pub fn empty_row(first: u64) -> Vec<u8> {
        Self::encode(|out| _ = out.int(first).int(0))
    }

    /// The slot of a sequence.
    pub fn slot(&self, sequence: u64) -> Option<&Slot> {
        self.slots.get(usize::try_from(sequence.checked_sub(self.first)?).ok()?)
    }

    /// All slots, in the order of their sequences.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Bytes in memory, for the page budget.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + size_of_val::<[Slot]>(&self.slots)
    }

    /// The row of the slots that `encode` appends.
    pub(crate) fn encode(encode: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut out = Writer::with_format(FORMAT);
        encode(&mut out);
        out.bytes
    }

    /// Reads a chunk row.
    ///
    /// # Errors
    /// When the bytes are damaged.
    pub fn decode(row: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader::with_format(row, FORMAT, "a chunk row")?;
        let (first, slots) = decode_slots(&mut from)?;
        from.end()?;
        Ok(Self { first, slots: slots.into() })
    }
}

/// Takes the first sequence, and slots that are each encoded against the one before.
pub(crate) fn decode_slots(from: &mut Reader<'_>) -> Result<(u64, Vec<Slot>), DecodeError> {
    let first = from.int()?;
    let count = from.int()?;
    if count > CHUNK_MESSAGES {
        return Err(from.error());
    }
    let mut slots = Vec::with_capacity(count as usize);
    let mut base = Slot::ZERO;
    for _ in 0..count {
        base = Slot::decode(&base, from)?;
        slots.push(base);
    }
    Ok((first, slots))
}

/// The chunk pages that one operation may touch, as its prefetch named them: so few that a list is the quickest table.
#[derive(Clone, Debug, Default)]
pub struct Pages {
    chunks: Vec<(ChunkKey, Arc<Chunk>)>,
}

impl Pages {
    /// Adds a page.
    pub fn insert(&mut self, key: ChunkKey, chunk: Arc<Chunk>) {
        match self.chunks.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => *known = chunk,
            None => self.chunks.push((key, chunk)),
        }
    }

    /// A page that was named by the prefetch.
    pub fn get(&self, key: &ChunkKey) -> Option<&Arc<Chunk>> {
        self.chunks.iter().find(|(known, _)| known == key).map(|(_, chunk)| chunk)
    }

    /// Forgets all pages, for the next operation.
    pub fn clear(&mut self) {
        self.chunks.clear();
    }
}

/// The pages that the prefetch of the running operation named: the only ones that it may see, so that an outcome never
/// hangs on what else is at hand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NamedPages<'a> {
    pub(crate) named: &'a [ChunkKey],
    pub(crate) pages: &'a Pages,
}

impl<'a> NamedPages<'a> {
    /// A page; None when the prefetch did not name it.
    pub(crate) fn get(&self, key: &ChunkKey) -> Option<&'a Chunk> {
        self.named.contains(key).then(|| {
            self.pages.get(key).expect("the caller hands over every page that the prefetch named").as_ref()
        })
    }
}
