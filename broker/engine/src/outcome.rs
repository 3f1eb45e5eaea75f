//! What applying a command answers, and what has to be written because of it.

use std::ops::AddAssign;

use crate::attributes::QueueId;
use crate::chunk::ChunkKey;
use crate::message::{BodyRef, DeliveryId};

/// Why a command changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The shard knows no such queue.
    QueueMissing,
    /// The queue holds as many messages as it may.
    HeapFull,
    /// As many messages are out as the queue allows.
    TooManyInFlight,
    /// As many messages are delayed as the queue allows.
    TooManyDelayed,
    /// A bound of the shard (`limits`) is reached.
    ShardFull,
    /// The queue takes no messages any more: it goes when it is empty.
    QueueClosed,
}

/// One message that was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Names the delivery.
    pub id: DeliveryId,
    /// Where the body is.
    pub body: BodyRef,
    /// Bytes of the body.
    pub bytes: u32,
    /// Stamp of the send.
    pub sent_ms: u64,
    /// Stamp of the first receive.
    pub first_received_ms: u64,
    /// Stamp at which the lease ends.
    pub visible_again_ms: u64,
    /// Receives so far, with this one.
    pub receive_count: u32,
}

/// What became of one handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// The message is finished.
    Done,
    /// The lease had ended, or the message was handed out again or is finished.
    Stale,
    /// The queue or the message never existed.
    Unknown,
}

/// What became of the message that an operator meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// It is removed, or ready.
    Done,
    /// It is finished, or never existed.
    Missing,
    /// It is ready already, or was handed out again in the meantime.
    Unsuited,
}

/// What a command answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing to say.
    Done,
    /// Nothing was changed.
    Refused(Refusal),
    /// Addresses of the messages, in order. A duplicate has the address of the first.
    Sent(Vec<BodyRef>),
    /// What was handed out.
    Received {
        /// The messages, perhaps none.
        deliveries: Vec<Delivery>,
        /// Whether asking again at once may find more: a bound stopped the search.
        is_partial: bool,
    },
    /// One verdict a handle, in order.
    Deleted(Vec<Deleted>),
    /// What became of the message that an operator meant.
    Handled(Handled),
}

/// A message that moved to a dead-letter queue of the same shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The queue that gave it up.
    pub from: QueueId,
    /// The dead-letter queue.
    pub to: QueueId,
    /// Where the body is, and stays.
    pub body: BodyRef,
}

/// What has to be written, and who may want to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Bodies that nothing refers to any more. May be deleted with the next batch.
    pub dead_bodies: Vec<BodyRef>,
    /// Rows of chunks that were closed. The next command may name them already; must be written with, or before, the
    /// next checkpoint, and before the rows that it deletes.
    pub closed_chunks: Vec<(ChunkKey, Vec<u8>)>,
    /// Messages that moved to a dead-letter queue.
    pub moved: Vec<Moved>,
    /// Queues in which messages may have become ready, or of which receivers must hear otherwise.
    pub woken: Vec<QueueId>,
}

impl Effects {
    /// Says that messages of a queue may have become ready. One operation says so again and again.
    pub(crate) fn wake(&mut self, queue: QueueId) {
        if self.woken.last() != Some(&queue) {
            self.woken.push(queue);
        }
    }
}

/// Running totals of a queue, for metrics; not part of the replicated state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages stored.
    pub sent: u64,
    /// Messages handed out.
    pub received: u64,
    /// Messages deleted, by a handle or by an operator.
    pub deleted: u64,
    /// Messages that reached the end of their retention.
    pub expired: u64,
    /// Messages moved to the dead-letter queue.
    pub dead_lettered: u64,
    /// Sends that were duplicates.
    pub deduplicated: u64,
    /// Receives that were answered without a message.
    pub empty_receives: u64,
    /// Bytes of the bodies of messages stored.
    pub sent_bytes: u64,
    /// Bytes of the bodies of messages handed out, each time.
    pub received_bytes: u64,
}

impl Totals {
    fn with(self, other: Self, each: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            sent: each(self.sent, other.sent),
            received: each(self.received, other.received),
            deleted: each(self.deleted, other.deleted),
            expired: each(self.expired, other.expired),
            dead_lettered: each(self.dead_lettered, other.dead_lettered),
            deduplicated: each(self.deduplicated, other.deduplicated),
            empty_receives: each(self.empty_receives, other.empty_receives),
            sent_bytes: each(self.sent_bytes, other.sent_bytes),
            received_bytes: each(self.received_bytes, other.received_bytes),
        }
    }

    /// What happened after `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        self.with(earlier, |now, before| now - before)
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        *self = self.with(other, |one, other| one + other);
    }
}

/// Mixes values into the rolling hash by which replicas compare their states.
#[derive(Clone, Debug)]
pub(crate) struct Digest(pub(crate) u64);

impl Digest {
    pub(crate) fn add(&mut self, value: u64) -> &mut Self {
        // The finalizer of SplitMix64 over the running value: cheap, and every bit matters.
        let mut mixed = (self.0 ^ value).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.0 = mixed ^ (mixed >> 31);
        self
    }

    pub(crate) fn outcome(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Done => _ = self.add(1),
            Outcome::Refused(refusal) => _ = self.add(2).add(*refusal as u64),
            Outcome::Sent(bodies) => {
                self.add(3);
                for body in bodies {
                    self.add(body.packed());
                }
            }
            Outcome::Received { deliveries, is_partial } => {
                self.add(4).add(u64::from(*is_partial));
                for delivery in deliveries {
                    self.add(delivery.body.packed())
                        .add(delivery.id.lane.0)
                        .add(delivery.id.sequence)
                        .add(u64::from(delivery.id.generation))
                        .add(delivery.visible_again_ms);
                }
            }
            Outcome::Deleted(verdicts) => {
                self.add(5);
                for verdict in verdicts {
                    self.add(*verdict as u64);
                }
            }
            Outcome::Handled(handled) => _ = self.add(8).add(*handled as u64),
        }
    }
}
