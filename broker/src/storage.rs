//! Rows on disk behind a small trait: apply a batch, read, scan. What the rows mean is the business of the layers above.
//!
//! Invariant: whoever reads a row is the one thread that also builds the batches, and it never reads a row that a batch in
//! flight touches. So a read needs no view of its own, and never sees half of a batch.

pub mod budget;
pub mod committer;
#[cfg(any(test, feature = "test-support"))]
pub mod conformance;
mod files;
pub mod fjall_store;
mod format;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod journal;
mod keeper;
mod manifest;
pub mod offline;
pub mod options;
pub mod pressure;
mod side_file;
mod space;

pub use format::RESERVED_PREFIX;
pub use journal::SEARCH_BYTES_MAX;
pub use space::Room;

use bytes::Bytes;

/// What to do about damage; part of the errors that report it.
const REPAIR_ADVICE: &str = "A replica with peers is rebuilt from them. Alone: `cmq-broker inspect --data-dir DIR` shows what \
                             is there, `cmq-broker repair --data-dir DIR` what can be saved; both change nothing";

/// The three trees of a node. Groups and queues are told apart by key prefixes, for a tree costs memory and fsyncs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tree {
    /// Log entries: header rows and body rows. The bodies of messages live here, once.
    Log,
    /// Pages of the state machines.
    State,
    /// Small rows of the node and its groups: format, hard states, applied indexes, the batch number. Keys that start
    /// with [`RESERVED_PREFIX`] belong to the storage.
    Meta,
}

/// One change of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Inserts or overwrites.
    Put(Tree, Bytes, Bytes),
    /// Removes the row, if it is there.
    Delete(Tree, Bytes),
}

impl Write {
    /// The row that is changed.
    pub fn key(&self) -> &Bytes {
        match self {
            Self::Put(_, key, _) | Self::Delete(_, key) => key,
        }
    }
}

/// Changes that become visible, and durable, together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Consecutive, from 1 on for a new volume. The storage stores it with the batch and finds lost ones by it at the
    /// next open.
    pub number: u64,
    /// In order: a later write of the same row wins.
    pub writes: Vec<Write>,
}

impl Batch {
    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        let of_write = |write: &Write| match write {
            Write::Put(_, key, value) => key.len() + value.len(),
            Write::Delete(_, key) => key.len(),
        };
        self.writes.iter().map(of_write).sum()
    }
}

/// Where a scan stops, whichever comes first. At least one row is returned if there is one.
#[derive(Clone, Copy, Debug)]
pub struct ScanLimit {
    /// Rows.
    pub rows: usize,
    /// Bytes of keys and values.
    pub bytes: usize,
}

/// Why the storage could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A row or file is damaged: its checksum does not fit, or the database refuses to open.
    #[error("damaged data in {place}: {detail}. {REPAIR_ADVICE}")]
    Damaged {
        /// File or row.
        place: String,
        /// What was found.
        detail: String,
    },
    /// The volume lost batches that had been synced.
    #[error(
        "the volume lost data that had been synced: it holds batch {found}, batch {expected} had been durable. \
         {REPAIR_ADVICE}"
    )]
    LostTail {
        /// Number of the newest batch that is there.
        found: u64,
        /// Number that was known to be durable.
        expected: u64,
    },
    /// A newer program wrote the volume, in a way that this one does not understand.
    #[error(
        "the data was written by version {written_by} (format {format}, this program knows {known}): use version \
         {written_by} or later"
    )]
    TooNew {
        /// Format of the volume.
        format: u32,
        /// Format of this program.
        known: u32,
        /// Version of the program that wrote it.
        written_by: String,
    },
    /// The directory holds something else.
    #[error("{place} is no database of a broker, and {missing} is missing: choose another data directory")]
    Foreign {
        /// What stands where the database would be.
        place: String,
        /// The file of ours that is not there.
        missing: String,
    },
    /// Another process has the directory open.
    #[error("another process uses the data directory {0}: stop it, or choose another directory")]
    InUse(String),
    /// The volume could never hold what the store needs.
    #[error("the volume of {dir} has {total} bytes; at least {minimum} are needed (a claim of 1 GiB)")]
    VolumeTooSmall {
        /// The data directory.
        dir: String,
        /// Bytes of the volume.
        total: u64,
        /// Bytes that are needed.
        minimum: u64,
    },
    /// The operating system refused: no room, no permission, a broken disk. The process cannot go on with this volume.
    #[error("storage failed while it tried to {0}: {1}")]
    Io(&'static str, String),
}

/// Rows on disk, or in the simulator's memory.
pub trait Store {
    /// Reads one row.
    ///
    /// # Errors
    /// When the row is damaged or the disk fails; a missing row is `None`.
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Reads rows with `from <= key < to` in ascending order.
    ///
    /// # Errors
    /// When a row is damaged or the disk fails.
    fn scan(
        &self,
        tree: Tree,
        from: &[u8],
        to: &[u8],
        limit: ScanLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError>;
}
