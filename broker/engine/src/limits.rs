//! Bounds of the state machines, each with its reason.

/// Messages in one chunk row. A chunk of small messages is about 3 KiB on disk.
pub const CHUNK_MESSAGES: u64 = 512;
/// Bodies in one entry: the position takes 12 bits of a message id.
pub const ENTRY_BODIES_MAX: usize = 1 << 12;
/// Log indexes of a shard: the index takes 42 bits of a message id, enough for 14 years of 10,000 entries a second.
pub const LOG_INDEX_MAX: u64 = (1 << 42) - 1;
/// Messages that a lane ever takes: as many as bodies can be numbered.
pub const SEQUENCE_MAX: u64 = 1 << 54;
/// Bytes after which one receive hands out nothing more: sixteen messages of the largest default size.
pub const RECEIVE_BYTES_MAX: u64 = 1 << 20;
/// Shards of a Broker: the shard takes 9 bits of a message id.
pub const SHARDS_MAX: u16 = (1 << 9) - 1;
/// Messages of one shard that have state of their own (in flight, delayed, returned); about 120 bytes of memory each.
pub const RECORDS_MAX: usize = 1_000_000;
/// Message groups of one shard that hold messages; about 500 bytes of memory each.
pub const LANES_MAX: usize = 250_000;
/// Chunks of one lane of which is known when the oldest message behind younger ones was sent, 8 million messages; about 100
/// bytes of memory and 5 of the lane's row each. For what comes beyond one stamp stands, until all of it was handed out.
pub const DISORDERED_CHUNKS_MAX: usize = 1 << 14;
/// Deduplication ids of one shard that are inside their window; about 100 bytes of memory each.
pub const DEDUPLICATION_IDS_MAX: usize = 1_000_000;
/// Milliseconds for which a deduplication id is remembered.
pub const DEDUPLICATION_WINDOW_MS: u64 = 300_000;
/// Milliseconds for which the first deduplication id waits to be forgotten after its window, so that many go at once.
pub const DEDUPLICATION_SLACK_MS: u64 = 60_000;
/// Timers, dropped messages and dead-letter moves that one operation handles; what is left waits for the next one.
pub const STEPS_MAX: usize = 1_024;
/// Lanes whose chunk pages one operation may touch.
pub const LANES_TOUCHED_MAX: usize = 16;
/// Changes of the catalogue in one command: every queue, and every removal that is remembered.
pub const CHANGES_MAX: usize = QUEUES_MAX + REMOVALS_MAX;
/// Removals of queues that the catalogue remembers for shards that are behind; a shard further behind gets everything.
pub const REMOVALS_MAX: usize = 65_536;
/// Rewinds of a queue that the catalogue remembers for shards that are behind. A shard further behind takes the older ones
/// as one, to the earliest of their starts.
pub const REWINDS_MAX: usize = 16;
/// Parts of the rewind time over which the deleted messages of a queue are spread: a rewind looks at the messages of one
/// part at most that it does not bring back.
pub const KEPT_SPANS: u64 = 32;
/// Lanes of deleted messages that a queue keeps at most; about 3 KiB of memory each.
pub const KEPT_SEGMENTS_MAX: usize = 64;
/// Slots over which the message groups of a FIFO queue spread; each has its shard for good.
pub const HOME_SLOTS: u64 = 1_024;
/// Queues of a Broker.
pub const QUEUES_MAX: usize = 10_000;

const _: () = assert!(STEPS_MAX >= LANES_TOUCHED_MAX);
