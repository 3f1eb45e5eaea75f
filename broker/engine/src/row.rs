//! The rows in which a state machine is kept on disk, and the memory of which of them a checkpoint must write.

use std::collections::HashSet;

use crate::attributes::QueueId;
use crate::chunk::ChunkKey;
use crate::codec::DecodeError;
use crate::message::{LaneId, QueueEpoch};

/// Names a row of a state machine. The kinds are numbered in the order in which a restore needs them; numbers never
/// change. Keys are fixed-width and big-endian, so that rows of a queue lie together in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowKey {
    /// The machine itself: stamp, hash, revision. One row.
    Machine,
    /// Attributes and counters of a queue; lives as long as the queue or its remains.
    Queue(QueueEpoch),
    /// A lane; lives while it holds messages (the default lane: as long as its queue).
    Lane(QueueEpoch, LaneId),
    /// The records of one chunk's messages; lives while there are any.
    Records(QueueEpoch, LaneId, u64),
    /// One deduplication id; lives for the window.
    Deduplication(QueueEpoch, u128),
    /// A closed chunk, immutable; lives until all its messages were handed out. Not read by a restore.
    Chunk(ChunkKey),
}

/// First byte of a [`RowKey::Chunk`]. Rows below it are what a restore reads.
pub const CHUNK_KIND: u8 = 6;

impl RowKey {
    /// The key's bytes, to be put behind the prefix of a group.
    pub fn encode(&self, out: &mut Vec<u8>) {
        fn queue(out: &mut Vec<u8>, kind: u8, queue: &QueueEpoch) {
            out.push(kind);
            out.extend_from_slice(&queue.queue.0.to_be_bytes());
            out.extend_from_slice(&queue.epoch.to_be_bytes());
        }
        match self {
            Self::Machine => out.push(1),
            Self::Queue(epoch) => queue(out, 2, epoch),
            Self::Lane(epoch, lane) => {
                queue(out, 3, epoch);
                out.extend_from_slice(&lane.0.to_be_bytes());
            }
            Self::Records(epoch, lane, number) => {
                queue(out, 4, epoch);
                out.extend_from_slice(&lane.0.to_be_bytes());
                out.extend_from_slice(&number.to_be_bytes());
            }
            Self::Deduplication(epoch, hash) => {
                queue(out, 5, epoch);
                out.extend_from_slice(&hash.to_be_bytes());
            }
            Self::Chunk(key) => {
                queue(out, CHUNK_KIND, &key.queue);
                out.extend_from_slice(&key.lane.0.to_be_bytes());
                out.extend_from_slice(&key.number.to_be_bytes());
            }
        }
    }

    /// A number that tells keys apart which are used together.
    fn spread(&self) -> usize {
        let (kind, queue, number) = match self {
            Self::Machine => (0, QueueId(0), 0),
            Self::Queue(epoch) => (1, epoch.queue, 0),
            Self::Lane(epoch, lane) => (2, epoch.queue, lane.0),
            Self::Records(epoch, lane, number) => (3, epoch.queue, lane.0.wrapping_add(*number)),
            Self::Deduplication(epoch, hash) => (4, epoch.queue, *hash as u64),
            Self::Chunk(key) => (5, key.queue.queue, key.lane.0.wrapping_add(key.number)),
        };
        (kind + 5 * u64::from(queue.0)).wrapping_add(number.wrapping_mul(7)) as usize
    }

    /// Reads a key's bytes.
    ///
    /// # Errors
    /// When they are none.
    pub fn decode(key: &[u8]) -> Result<Self, DecodeError> {
        const DAMAGED: DecodeError = DecodeError { what: "a row key" };
        fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], DecodeError> {
            let (taken, left) = rest.split_first_chunk::<N>().ok_or(DAMAGED)?;
            *rest = left;
            Ok(*taken)
        }
        let mut rest = key;
        let [kind] = take::<1>(&mut rest)?;
        if kind == 1 {
            return if rest.is_empty() { Ok(Self::Machine) } else { Err(DAMAGED) };
        }
        let queue = QueueId(u32::from_be_bytes(take(&mut rest)?));
        let queue = QueueEpoch { queue, epoch: u32::from_be_bytes(take(&mut rest)?) };
        let mut number = || take(&mut rest).map(u64::from_be_bytes);
        let decoded = match kind {
            2 => Self::Queue(queue),
            3 => Self::Lane(queue, LaneId(number()?)),
            4 => Self::Records(queue, LaneId(number()?), number()?),
            5 => Self::Deduplication(queue, u128::from(number()?) << 64 | u128::from(number()?)),
            CHUNK_KIND => Self::Chunk(ChunkKey { queue, lane: LaneId(number()?), number: number()? }),
            _ => return Err(DAMAGED),
        };
        if rest.is_empty() { Ok(decoded) } else { Err(DAMAGED) }
    }
}

/// How many marks are remembered before the table of all is asked: operations touch the same few rows again and again.
const RECENT_MARKS: usize = 16;

/// Rows that changed since the last checkpoint.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dirty {
    keys: HashSet<RowKey>,
    recent: [Option<RowKey>; RECENT_MARKS],
}

impl Dirty {
    pub(crate) fn mark(&mut self, key: RowKey) {
        let recent = &mut self.recent[key.spread() % RECENT_MARKS];
        if *recent != Some(key) {
            *recent = Some(key);
            self.keys.insert(key);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// All marked rows in the order of their keys; none is marked afterwards.
    pub(crate) fn take(&mut self) -> Vec<RowKey> {
        self.recent = [None; RECENT_MARKS];
        let mut keys: Vec<RowKey> = std::mem::take(&mut self.keys).into_iter().collect();
        keys.sort_unstable();
        keys
    }
}
