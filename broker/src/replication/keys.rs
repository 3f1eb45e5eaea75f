//! Keys of the rows that replication keeps: log entries, pages of the state machines, and the state of a group.
//!
//! | tree | key | value |
//! |---|---|---|
//! | log | group, incarnation, index, 0 | header row of an entry |
//! | log | group, incarnation, index, position + 1 | body row |
//! | state | group, incarnation, row key of the engine | row of the engine |
//! | meta | `g`, group, `h` | hard state: term, vote, commit |
//! | meta | `g`, group, `p` | progress: incarnation, applied entry, truncated entry, voters |
//! | meta | `s` | number of shards |
//!
//! Integers are big-endian. An incarnation is one copy of a group's data on this volume: a snapshot is received into the
//! next one, and the switch is one row.

use bytes::{BufMut, Bytes, BytesMut};
use cmq_engine::message::BodyRef;
use cmq_engine::row::{CHUNK_KIND, RowKey};

use super::GroupId;

/// One copy of a group's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Space {
    /// The group.
    pub group: GroupId,
    /// Which copy.
    pub incarnation: u32,
}

/// Key of the number of shards.
pub const SHARDS: &[u8] = b"s";

impl Space {
    fn start(self, capacity: usize) -> BytesMut {
        let mut key = BytesMut::with_capacity(6 + capacity);
        key.put_u16(self.group.0);
        key.put_u32(self.incarnation);
        key
    }

    /// The header row of an entry.
    pub fn header(self, index: u64) -> Bytes {
        let mut key = self.start(10);
        key.put_u64(index);
        key.put_u16(0);
        key.freeze()
    }

    /// The row of a body.
    pub fn body(self, body: BodyRef) -> Bytes {
        let mut key = self.start(10);
        key.put_u64(body.index);
        key.put_u16(body.position + 1);
        key.freeze()
    }

    /// A row of the state machine.
    pub fn row(self, key: &RowKey) -> Bytes {
        let mut bytes = Vec::with_capacity(48);
        bytes.put_u16(self.group.0);
        bytes.put_u32(self.incarnation);
        key.encode(&mut bytes);
        bytes.into()
    }

    /// The first key of this space in either tree.
    pub fn first(self) -> Bytes {
        self.start(0).freeze()
    }

    /// The first key behind this space in either tree.
    pub fn end(self) -> Bytes {
        Self { incarnation: self.incarnation + 1, ..self }.first()
    }

    /// The first key of a chunk row; rows of the state machine below it are what a restore reads.
    pub fn chunks(self) -> Bytes {
        let mut key = self.start(1);
        key.put_u8(CHUNK_KIND);
        key.freeze()
    }

    /// What a key of this space means behind its prefix.
    pub fn strip(key: &[u8]) -> &[u8] {
        &key[6.min(key.len())..]
    }

    /// Index and position of a key of the log tree; position 0 is a header row.
    pub fn log_position(key: &[u8]) -> Option<(u64, u16)> {
        let (index, position) = Self::strip(key).split_first_chunk::<8>()?;
        Some((u64::from_be_bytes(*index), u16::from_be_bytes(position.try_into().ok()?)))
    }
}

/// Key of a group's hard state.
pub fn hard_state(group: GroupId) -> Bytes {
    meta(group, b'h')
}

/// Key of a group's progress.
pub fn progress(group: GroupId) -> Bytes {
    meta(group, b'p')
}

fn meta(group: GroupId, kind: u8) -> Bytes {
    let [high, low] = group.0.to_be_bytes();
    Bytes::copy_from_slice(&[b'g', high, low, kind])
}
