//! A group read from a volume that nobody serves: its state at the checkpoint, the log behind it as far as it goes, and
//! what of both cannot be read.

mod anew;
mod show;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use cmq_engine::attributes::{QueueAttributes, QueueId};
use cmq_engine::chunk::{Chunk, ChunkKey, Pages};
use cmq_engine::command::{Command, StaleHandle};
use cmq_engine::limits::SHARDS_MAX;
use cmq_engine::message::{BodyRef, QueueEpoch};
use cmq_engine::row::RowKey;

use super::GroupId;
use super::entry::{self, Commands};
use super::keys::{self, Space};
use super::log::{Progress, decode_hard_state};
use super::machine::Machine;
use crate::storage::offline::{Gap, Image};
use crate::storage::{ScanLimit, Store, StoreError, Tree};

pub use anew::shards_row;
pub use show::EntryRead;

/// Rows that are looked at for an entry behind the end of the log.
const BEYOND: ScanLimit = ScanLimit { rows: 1, bytes: 1 };

/// A row or a range of rows that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The row, or the rows between which it is.
    pub place: String,
    /// What is wrong.
    pub detail: String,
}

/// One group of a volume.
#[derive(Debug)]
pub struct GroupImage {
    /// The group.
    pub id: GroupId,
    /// Which copy of its data is valid.
    pub incarnation: u32,
    /// Members that vote.
    pub voters: Vec<u64>,
    /// Term, vote and commit index; None: the row cannot be read.
    pub hard_state: Option<(u64, u64, u64)>,
    /// Index and term of the checkpoint.
    pub checkpoint: (u64, u64),
    /// Index and term of the newest entry that was replayed.
    pub last: (u64, u64),
    /// Bytes of header rows and bodies behind the checkpoint.
    pub tail_bytes: u64,
    /// What cannot be used.
    pub faults: Vec<Fault>,
    pub(crate) machine: Machine,
    closed: HashMap<ChunkKey, Bytes>,
}

/// The number of shards; if its row cannot be read, the newest that has rows.
///
/// # Errors
/// When the storage fails.
pub fn shards(image: &Image) -> (u16, Option<Fault>) {
    let row = image.get(Tree::Meta, keys::SHARDS);
    if let Ok(Some(row)) = &row
        && let Ok(bytes) = row[..].try_into()
    {
        return (u16::from_be_bytes(bytes), None);
    }
    let has_rows = |group: &u16| {
        let space = Space { group: GroupId(*group), incarnation: 0 };
        let end = Space { group: GroupId(group + 1), incarnation: 0 }.first();
        // What cannot be read is there.
        let has_rows =
            |tree| image.scan(tree, &space.first(), &end, BEYOND).map_or(true, |rows| !rows.is_empty());
        has_rows(Tree::State) || has_rows(Tree::Log)
    };
    let newest = (1..=SHARDS_MAX).rev().find(has_rows).unwrap_or(0);
    let detail = row.map_or_else(|error| error.to_string(), |_| "the row is missing".to_owned());
    (newest, Some(Fault { place: "the number of shards".to_owned(), detail }))
}

impl GroupImage {
    /// Reads a group. `attributes` knows those of a queue whose row is lost. `has_log` says whether the log fits the
    /// state, so that the entries behind the checkpoint may be replayed.
    pub fn read(
        image: &Image,
        id: GroupId,
        attributes: &BTreeMap<QueueId, QueueAttributes>,
        has_log: bool,
    ) -> Self {
        let mut faults = Vec::new();
        let progress = match image.get(Tree::Meta, &keys::progress(id)) {
            Ok(Some(row)) => Progress::decode(&row).map_err(|error| error.to_string()).map(Some),
            Ok(None) => Ok(None),
            Err(error) => Err(error.to_string()),
        };
        let place = |what: &str| format!("{what} of group {}", id.0);
        let progress = progress.unwrap_or_else(|detail| {
            faults.push(Fault { place: place("progress"), detail });
            None
        });
        let is_new = progress.is_none() && faults.is_empty();
        let progress = progress.unwrap_or(Progress {
            incarnation: 0,
            clean_from: 0,
            applied: (0, 0),
            truncated: (0, 0),
            voters: vec![1],
        });
        let hard_state = match image.get(Tree::Meta, &keys::hard_state(id)) {
            Ok(Some(row)) => decode_hard_state(&row).map_err(|error| error.to_string()).map(Some),
            Ok(None) => Ok(None),
            Err(error) => Err(error.to_string()),
        };
        let hard_state = hard_state.unwrap_or_else(|detail| {
            faults.push(Fault { place: place("hard state"), detail });
            None
        });
        let mut group = Self {
            id,
            incarnation: progress.incarnation,
            voters: progress.voters,
            hard_state: hard_state.map(|state| (state.term, state.vote, state.commit)),
            checkpoint: progress.applied,
            last: progress.applied,
            tail_bytes: 0,
            faults,
            machine: Machine::new(id),
            closed: HashMap::new(),
        };
        group.restore(image, attributes);
        if !has_log {
            group.faults.push(Fault {
                place: place("state"),
                detail: "it is newer than the row that says which entry it is at: entries behind it are lost"
                    .to_owned(),
            });
            return group;
        }
        let is_certain = is_new || group.faults.is_empty();
        if is_certain && let Err(error) = group.replay(image) {
            group.faults.push(Fault {
                place: format!("log of group {}, entry {}", id.0, group.last.0 + 1),
                detail: error.to_string(),
            });
        }
        if let Some((_, _, commit)) = group.hard_state
            && commit > group.last.0
            && is_certain
        {
            let detail =
                format!("entry {commit} was committed, entry {} is the last that can be used", group.last.0);
            group.faults.push(Fault { place: place("log"), detail });
        }
        group
    }

    /// The prefix of all its keys.
    pub fn space(&self) -> Space {
        Space { group: self.id, incarnation: self.incarnation }
    }

    fn restore(&mut self, image: &Image, attributes: &BTreeMap<QueueId, QueueAttributes>) {
        let space = self.space();
        let (machine, faults) = (&mut self.machine, &mut self.faults);
        let gaps = image.salvage(Tree::State, &space.first(), &space.chunks(), |key, row| {
            let decoded = RowKey::decode(Space::strip(&key));
            let restored = decoded.clone().and_then(|key| machine.restore(&key, &row));
            let Err(error) = restored else { return };
            let place = match &decoded {
                Ok(key) => format!("state of group {}, {}", space.group.0, row_name(key)),
                Err(_) => format!("state of group {}, a row without a proper key", space.group.0),
            };
            faults.push(Fault { place, detail: error.to_string() });
            if let Ok(RowKey::Queue(epoch)) = decoded
                && let Machine::Shard(shard) = &mut *machine
                && let Some(attributes) = attributes.get(&epoch.queue)
            {
                shard.restore_without_row(epoch, attributes.clone());
            }
        });
        self.faults.extend(gaps.iter().map(|gap| gap_fault(gap, self.id)));
        if let Machine::Shard(shard) = &mut self.machine {
            for queue in shard.ensure_default_lanes() {
                self.faults.push(Fault {
                    place: format!("state of group {}, lane 0 of queue {}", self.id.0, queue.0),
                    detail: "the row is missing: its messages without a group are lost".to_owned(),
                });
            }
        }
        self.machine.finish_restore();
    }

    /// Replays the entries behind the checkpoint, up to the first that cannot be.
    fn replay(&mut self, image: &Image) -> Result<(), StoreError> {
        let space = self.space();
        let is_catalogue = self.id == GroupId::CATALOGUE;
        loop {
            let index = self.last.0 + 1;
            let Some(row) = image.get(Tree::Log, &space.header(index))? else { break };
            let mut failure = None;
            let mut bytes = row.len() as u64;
            let read = entry::from_rows(&row, index, is_catalogue, |position| {
                let body = image.get(Tree::Log, &space.body(BodyRef { index, position }));
                let body = body.unwrap_or_else(|error| {
                    failure = Some(error);
                    None
                });
                bytes += body.as_ref().map_or(0, |body| body.len() as u64);
                body
            })?;
            // The bodies are looked at by themselves: one that is lost is no reason to lose the entry.
            drop(failure);
            if !read.data.is_empty() {
                let (decoded, _) = entry::decode(&read.data, is_catalogue, index)?;
                // An entry that ends half-way has bodies too.
                self.last = (index, read.term);
                self.apply(&decoded, index, image)?;
            }
            self.last = (index, read.term);
            self.tail_bytes += bytes;
        }
        let next = image.scan(Tree::Log, &space.header(self.last.0 + 1), &space.end(), BEYOND)?;
        match next.first().and_then(|(key, _)| Space::log_position(key)) {
            Some((index, _)) => Err(StoreError::Damaged {
                place: format!("log of group {}", self.id.0),
                detail: format!("entry {} is missing, rows of entry {index} are there", self.last.0 + 1),
            }),
            None => Ok(()),
        }
    }

    fn apply(&mut self, entry: &entry::Entry, index: u64, image: &Image) -> Result<(), StoreError> {
        let space = self.space();
        let mut first = BodyRef { index, position: 0 };
        match (&entry.commands, &mut self.machine) {
            (Commands::Catalogue(commands), Machine::Catalogue(catalogue)) => {
                for command in commands {
                    _ = catalogue.apply(command, entry.stamp_ms);
                }
            }
            (Commands::Shard(commands), Machine::Shard(shard)) => {
                for command in commands {
                    let mut pages = Pages::default();
                    for key in shard.prefetch(command, entry.stamp_ms) {
                        let Some(chunk) = read_chunk(image, &self.closed, space, &key) else {
                            // Ends what the first phase has begun; what comes behind is lost.
                            let nothing =
                                Command::Delete { deliveries: Vec::new(), stale: StaleHandle::Refuse };
                            shard.apply(&nothing, first, &Pages::default());
                            return Err(StoreError::Damaged {
                                place: chunk_name(&key),
                                detail: "the entry needs it, and it cannot be read".to_owned(),
                            });
                        };
                        pages.insert(key, Arc::new(chunk));
                    }
                    let (_, effects) = shard.apply(command, first, &pages);
                    let closed = effects.closed_chunks.into_iter();
                    self.closed.extend(closed.map(|(key, row)| (key, Bytes::from(row))));
                    first.position += command.bodies() as u16;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A closed chunk; None when it cannot be read.
    pub fn chunk(&self, image: &Image, key: &ChunkKey) -> Option<Chunk> {
        read_chunk(image, &self.closed, self.space(), key)
    }

    fn chunk_row(&self, image: &Image, key: &ChunkKey) -> Option<Bytes> {
        chunk_row(image, &self.closed, self.space(), key)
    }

    /// The bytes of a message.
    ///
    /// # Errors
    /// When its row is missing or damaged.
    pub fn body(&self, image: &Image, body: BodyRef) -> Result<Bytes, StoreError> {
        let place = || format!("body {} of entry {} of group {}", body.position, body.index, self.id.0);
        let row = image
            .get(Tree::Log, &self.space().body(body))?
            .ok_or_else(|| StoreError::Damaged { place: place(), detail: "the row is missing".to_owned() })?;
        entry::message_of(&row, &place)
    }
}

fn read_chunk(
    image: &Image,
    closed: &HashMap<ChunkKey, Bytes>,
    space: Space,
    key: &ChunkKey,
) -> Option<Chunk> {
    Chunk::decode(&chunk_row(image, closed, space, key)?).ok()
}

fn chunk_row(
    image: &Image,
    closed: &HashMap<ChunkKey, Bytes>,
    space: Space,
    key: &ChunkKey,
) -> Option<Bytes> {
    if let Some(row) = closed.get(key) {
        return Some(row.clone());
    }
    image.get(Tree::State, &space.row(&RowKey::Chunk(*key))).ok()?
}

/// What a row of a state machine is called in reports.
pub fn row_name(key: &RowKey) -> String {
    let queue = |epoch: &QueueEpoch| format!("queue {}", epoch.queue.0);
    match key {
        RowKey::Machine => "the row of the machine itself".to_owned(),
        RowKey::Queue(epoch) => format!("the row of {}", queue(epoch)),
        RowKey::Lane(epoch, lane) => format!("lane {} of {}", lane.0, queue(epoch)),
        RowKey::Records(epoch, lane, number) => {
            format!("records of chunk {number} of lane {} of {}", lane.0, queue(epoch))
        }
        RowKey::Deduplication(epoch, _) => format!("a deduplication id of {}", queue(epoch)),
        RowKey::Chunk(key) => chunk_name(key),
    }
}

fn chunk_name(key: &ChunkKey) -> String {
    format!("chunk {} of lane {} of queue {}", key.number, key.lane.0, key.queue.queue.0)
}

fn gap_fault(gap: &Gap, group: GroupId) -> Fault {
    let name = |key: &Bytes| match RowKey::decode(Space::strip(key)) {
        Ok(key) => row_name(&key),
        Err(_) => "the start".to_owned(),
    };
    let before = gap.before.as_ref().map_or_else(|| "the end".to_owned(), name);
    Fault {
        place: format!("state of group {}, between {} and {before}", group.0, name(&gap.after)),
        detail: "a block of a table cannot be read".to_owned(),
    }
}
