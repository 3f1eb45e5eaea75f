//! What a store is opened with, and the limits that are not for choice.

use std::path::PathBuf;
use std::time::Duration;

use super::budget::MemoryBudget;

const MIB: u64 = 1024 * 1024;

/// What a store is opened with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directory of the volume; made if it is missing. One process at a time.
    pub dir: PathBuf,
    /// Memtables and block cache are the storage's share of it.
    pub memory: MemoryBudget,
    /// When space is won back while the process runs.
    pub reclaim: ReclaimPolicy,
}

impl Options {
    /// Options with the usual rules for winning back space.
    pub fn new(dir: impl Into<PathBuf>, memory: MemoryBudget) -> Self {
        Self { dir: dir.into(), memory, reclaim: ReclaimPolicy::default() }
    }
}

/// When a tree is compacted as a whole. fjall compacts only after a flush, so a backlog that was drained before the
/// process went quiet would keep its space.
#[derive(Clone, Copy, Debug)]
pub struct ReclaimPolicy {
    /// The least time between two looks at the trees, and so between two forced compactions.
    pub interval: Duration,
    /// The same while the disk is short of room.
    pub short_interval: Duration,
    /// Trees that take less disk than this are left alone, in bytes.
    pub tree_bytes_min: u64,
    /// Of a hundred rows on disk, how many must be dead: a deleted row or the mark that deletes it.
    pub dead_percent_min: u64,
    /// It waits for a time in which no more than this was written, in bytes an interval, for a busy tree compacts by
    /// itself; unless the disk is short of room.
    pub quiet_bytes_max: u64,
}

impl Default for ReclaimPolicy {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(120),
            short_interval: Duration::from_secs(15),
            tree_bytes_min: 32 * MIB,
            dead_percent_min: 50,
            quiet_bytes_max: 64 * MIB,
        }
    }
}

/// The longest key, in bytes. fjall stores lengths in 16 bits.
pub const KEY_BYTES_MAX: usize = 4096;
/// What one commit takes at most from the queue, in bytes of keys and values. A single larger batch goes alone.
pub const COMMIT_BYTES_MAX: usize = 4 * MIB as usize;
/// What may wait for the committer, in bytes: `submit` blocks above it.
pub const COMMIT_QUEUE_BYTES_MAX: usize = 16 * MIB as usize;

/// What all journals together may hold, in bytes. It bounds how long the next open takes.
pub const JOURNAL_BYTES_MAX: u64 = 256 * MIB;
/// Length that fjall gives a journal before anything is in it, in bytes: what is not written yet takes no room on disk, but counts
/// as length of the journals.
#[cfg(test)]
pub(super) const JOURNAL_BYTES_AHEAD: u64 = 64 * MIB;
/// From this much on, sealed journals make fjall flush the trees that hold the oldest one back, in bytes. The least that
/// fjall takes. The active journal is rotated at the first flush after 64 MB.
pub(super) const JOURNAL_BYTES_SEALED: u64 = 64 * MIB;
/// From this much on, all trees are flushed whatever their size, in bytes: small trees must not hold journals back.
pub(super) const JOURNAL_BYTES_FLUSH_ALL: u64 = 96 * MIB;

/// From this much on, commits wait for flushes, in bytes: what is written until the journals are looked at again still fits.
pub(super) const JOURNAL_BYTES_HOLD: u64 =
    JOURNAL_BYTES_MAX - 2 * (ROOM_CHECK_BYTES + COMMIT_BYTES_MAX as u64);

/// Size of a table on disk, in bytes. Small tables keep compactions small.
pub(super) const TABLE_BYTES: u64 = 16 * MIB;
/// What the largest ordinary compaction writes before it can free its inputs, in bytes: one table with what it overlaps
/// of the next level, which is ten times as large, and one of slack.
pub const COMPACTION_BYTES_MAX: u64 = 12 * TABLE_BYTES;

/// Below this much free space sends are refused, in bytes: journals may grow to their limit, and the largest compaction
/// must find room, so that receives and deletes go on and win space back.
pub const RESERVE_BYTES: u64 = JOURNAL_BYTES_MAX + COMPACTION_BYTES_MAX;
/// Sends come back when this much more than the reserve is free, in bytes, so that they do not flap.
pub const RESERVE_HYSTERESIS_BYTES: u64 = 32 * MIB;
/// Size of the file that gives way when a volume is too full to open, in bytes.
pub const BALLAST_BYTES: u64 = 64 * MIB;
/// The smallest volume, in bytes as the file system counts them: a claim of 1 GiB with any usual file system on it.
pub const VOLUME_BYTES_MIN: u64 = 900 * MIB;
const _: () =
    assert!(VOLUME_BYTES_MIN > RESERVE_BYTES + RESERVE_HYSTERESIS_BYTES + BALLAST_BYTES + 256 * MIB);

/// How often the number of the last durable batch goes to its side file.
pub const SIDE_FILE_INTERVAL: Duration = Duration::from_secs(1);
/// How often free space, journals and the health of the database are looked at.
pub(super) const KEEPER_INTERVAL: Duration = Duration::from_millis(250);
/// Free space and journals are also looked at after this many written bytes.
pub(super) const ROOM_CHECK_BYTES: u64 = 16 * MIB;

/// Threads of fjall that flush and compact. With more than one, the first hands compactions back to the queue for as long
/// as the others are busy, and so spins: a quarter of the broker's CPU under a load of sends. With one, a flush may wait for
/// a compaction; memtables up to the bound of sealed ones bridge that.
pub(super) const FJALL_WORKERS: usize = 1;
/// Table files that fjall keeps open.
pub(super) const OPEN_FILES_MAX: usize = 512;

/// Values below this many bytes are copied together into one buffer a commit, and copied out when read; others are
/// shared. Without it a row of 100 bytes would keep the request it came with, or a whole block, in memory.
pub(super) const SHARED_VALUE_BYTES_MIN: usize = 4096;
