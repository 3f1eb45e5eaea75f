//! A shard as a tool sees it that works on a volume nobody serves: every message, and giving up those that are lost.

use super::Shard;
use crate::attributes::{QueueAttributes, QueueId};
use crate::chunk::{Chunk, ChunkKey};
use crate::message::{BodyRef, LaneId, QueueEpoch};
use crate::queue::Queue;

/// What a message is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageState {
    /// It can be received.
    Active,
    /// It was deleted; a rewind could bring it back.
    Deleted,
    /// Somebody has it, until this stamp.
    InFlight {
        /// Unix milliseconds.
        until_ms: u64,
    },
    /// It is hidden until this stamp.
    Delayed {
        /// Unix milliseconds.
        due_ms: u64,
    },
}

/// What a shard knows of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageView {
    /// Its queue.
    pub queue: QueueEpoch,
    /// Its lane.
    pub lane: LaneId,
    /// Its place in the lane.
    pub sequence: u64,
    /// Where its body is.
    pub body: BodyRef,
    /// Bytes of the body.
    pub bytes: u32,
    /// Stamp of the send.
    pub sent_ms: u64,
    /// How often it was handed out.
    pub receive_count: u32,
    /// What it is doing.
    pub state: MessageState,
}

/// What a survey meets.
#[derive(Clone, Debug)]
pub enum Seen {
    /// A message that is not finished.
    Message(MessageView),
    /// Messages of which nothing is known but their places, for their chunk cannot be read.
    Unknown {
        /// The chunk.
        chunk: ChunkKey,
        /// The places of those that are not finished.
        sequences: Vec<u64>,
    },
}

impl Shard {
    /// Visits every message that is not finished, queue by queue. `chunk` reads a closed chunk; None: it cannot be read.
    pub fn survey(&self, mut chunk: impl FnMut(&ChunkKey) -> Option<Chunk>, mut visit: impl FnMut(Seen)) {
        for queue in self.queues.values() {
            queue.survey(&mut chunk, &mut visit);
        }
    }

    /// Ends messages that cannot be handed out any more; of deleted ones that a rewind could bring back, all of the same
    /// segment. Only the rows of the shard are right afterwards: restore them into another one.
    pub fn give_up(&mut self, queue: QueueId, lane: LaneId, sequences: &[u64]) {
        if let Some(queue) = self.queues.get_mut(&queue) {
            queue.give_up(lane, sequences);
        }
    }

    /// Takes a queue whose own row is lost. Its lanes are restored after it.
    pub fn restore_without_row(&mut self, epoch: QueueEpoch, attributes: QueueAttributes) {
        self.queues.insert(epoch.queue, Queue::without_row(epoch, attributes));
    }

    /// Gives every queue the lane that it must have; answers which ones had lost it.
    pub fn ensure_default_lanes(&mut self) -> Vec<QueueId> {
        let queues = self.queues.iter_mut();
        queues.filter_map(|(id, queue)| queue.ensure_default_lane().then_some(*id)).collect()
    }

    /// Lets the shard ask for the whole catalogue at its next start.
    pub fn forget_catalogue(&mut self) {
        self.revision = 0;
    }
}
