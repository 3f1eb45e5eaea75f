//! Looking at messages without taking them: a walk over the lanes of a queue, a bounded step at a time.
//!
//! Where a message stands in its queue, lane and sequence, never changes for as long as it lives. So a walk in that order,
//! which goes on where it stopped, sees every message that is there from its beginning to its end exactly once, whatever
//! happens to the messages meanwhile.

use crate::chunk::ChunkKey;
use crate::message::{DEFAULT_LANE, DeliveryId, LaneId, QueueEpoch, Slot};

/// A place in a queue: a message stands there, or stood, or will.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The lane.
    pub lane: LaneId,
    /// Sequence in the lane.
    pub sequence: u64,
}

impl Place {
    /// Where a walk begins.
    pub const FIRST: Self = Self { lane: DEFAULT_LANE, sequence: 0 };
}

/// Which messages a walk visits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visited {
    /// Those that a receive may find.
    pub ready: bool,
    /// Those that are out under a lease.
    pub in_flight: bool,
    /// Those that are hidden by a delay.
    pub delayed: bool,
}

/// The state of a message, as far as its end was noticed: a lease or a delay that ended a moment ago may still be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageState {
    /// A receive may find it.
    Ready,
    /// It is out under a lease.
    InFlight {
        /// Stamp at which the lease ends.
        until_ms: u64,
    },
    /// It is hidden by a delay.
    Delayed {
        /// Stamp at which the delay ends.
        due_ms: u64,
    },
}

/// What can be seen of a message without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glimpse {
    /// Names the message and its latest delivery; generation 0 before the first.
    pub id: DeliveryId,
    /// Body and send.
    pub slot: Slot,
    /// State.
    pub state: MessageState,
    /// Receives so far.
    pub receive_count: u32,
    /// Stamp of the first receive; 0 before it.
    pub first_received_ms: u64,
    /// Message group. A standard queue forgets it for messages that were sent with a delay.
    pub group: Option<Box<str>>,
}

/// One step of a walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Browsed {
    /// The epoch of the queue: places of another one mean nothing.
    pub epoch: QueueEpoch,
    /// What was found.
    pub found: Vec<Glimpse>,
    /// Where to go on; None at the end of the queue.
    pub next: Option<Place>,
    /// Messages and lanes that were looked at.
    pub looked_at: usize,
    /// The chunk pages that going on needs first; none where a bound stopped the step. A page that is not on disk any more
    /// is not needed any more either.
    pub pages: Vec<ChunkKey>,
}

/// Bounds of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrowseBounds {
    /// Messages in the answer.
    pub found_max: usize,
    /// Messages and lanes looked at.
    pub looks_max: usize,
    /// Pages asked for.
    pub pages_max: usize,
    /// Only this lane.
    pub lane: Option<LaneId>,
}
