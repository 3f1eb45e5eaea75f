//! Raft groups turned by one driver: commands in, batches for the disk, messages for peers and answers out.
//!
//! Nothing here does I/O of its own but read rows through [`crate::storage::Store`], looks at a clock, or draws random
//! numbers: [`driver::Driver::turn`] is a function of its inputs, so that production and the simulator run the same code.
//! What a turn wants written comes out as a [`crate::storage::Batch`]; the caller says when it is durable.

pub mod bodies;
pub mod browse;
pub mod driver;
pub mod entry;
pub mod figures;
pub mod fold;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod group;
mod hub;
pub mod keys;
mod log;
mod machine;
pub mod offline;
mod pages;
pub mod runtime;
mod share;
mod sizes;
mod snapshot;
pub mod waiters;

use bytes::Bytes;
use cmq_engine::attributes::QueueId;
use cmq_engine::catalogue::{CatalogueCommand, CatalogueEvent, CatalogueOutcome};
use cmq_engine::command::{NewMessage, StaleHandle};
use cmq_engine::message::{BodyRef, DeliveryId};
use cmq_engine::outcome::{Deleted, Delivery, Handled, Refusal};
use cmq_engine::shard::Counts;

use crate::storage::{Batch, StoreError};

/// Number of a Raft group on its Broker: 0 is the catalogue, 1 and up are shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u16);

impl GroupId {
    /// The group that replicates the catalogue.
    pub const CATALOGUE: Self = Self(0);
}

/// Number of a member of the Broker; never 0, never used again.
pub type NodeId = u64;

/// What the driver is told of the world at the start of a turn.
#[derive(Clone, Copy, Debug)]
pub struct World {
    /// Milliseconds of a clock that never jumps.
    pub monotonic_ms: u64,
    /// Unix milliseconds.
    pub wall_ms: u64,
    /// Whether the disk has room for more messages.
    pub has_room: bool,
}

/// One thing that happened. `T` is the caller's token for the answer.
#[derive(Debug)]
pub enum Input<T> {
    /// A client asks.
    Request(T, Request),
    /// A peer says.
    Peer(NodeId, PeerMessage),
    /// The batch of this number, and all before it, are durable.
    Persisted(u64),
    /// Leaders hand over where they can, waiters are answered, and no more requests are taken.
    Stop,
}

/// Where an answer goes: what the caller of the driver hands in with a request.
pub trait Token {
    /// Whether nobody waits for the answer any more. A message is not handed out to somebody who left.
    fn is_gone(&self) -> bool;
}

/// For callers who only number their requests.
impl Token for u64 {
    fn is_gone(&self) -> bool {
        false
    }
}

/// What a client asks.
#[derive(Clone, Debug)]
pub enum Request {
    /// A change of the catalogue.
    Catalogue(CatalogueCommand),
    /// Store messages, all or none, on a shard that this node leads.
    Send {
        /// Where to.
        queue: QueueId,
        /// One for each body.
        messages: Vec<NewMessage>,
        /// The bodies.
        bodies: Vec<Bytes>,
        /// The shard that the messages must go to, where that is fixed.
        home: Option<GroupId>,
    },
    /// Hand out messages.
    Receive {
        /// Where from.
        queue: QueueId,
        /// At most so many, 1 to 16.
        max: u16,
        /// How long to wait for the first.
        wait_ms: u64,
        /// None: the queue's own visibility timeout.
        visibility_ms: Option<u64>,
    },
    /// Finish messages.
    Delete {
        /// The shard that handed them out.
        shard: GroupId,
        /// Which deliveries.
        deliveries: Vec<DeliveryId>,
        /// What a handle does whose lease has ended.
        stale: StaleHandle,
    },
    /// Finish a message whatever its state.
    Remove {
        /// The shard that has it.
        shard: GroupId,
        /// Which message.
        message: DeliveryId,
    },
    /// Make a message ready that is in flight or delayed.
    Return {
        /// The shard that has it.
        shard: GroupId,
        /// Which delivery of which message.
        message: DeliveryId,
    },
    /// Count the messages of a queue on the shards that this node leads.
    Count(QueueId),
}

/// A message that was handed out, with its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The shard that has it.
    pub shard: GroupId,
    /// What the engine says of it.
    pub delivery: Delivery,
    /// The bytes of the message.
    pub body: Bytes,
}

/// What a client is answered. Whatever changed is on disk on a majority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To [`Request::Catalogue`].
    Catalogue(CatalogueOutcome),
    /// To [`Request::Send`]: the shard and the addresses.
    Sent(GroupId, Vec<BodyRef>),
    /// To [`Request::Receive`]; empty after the wait.
    Received(Vec<Received>),
    /// To [`Request::Delete`]: one verdict a delivery.
    Deleted(Vec<Deleted>),
    /// To [`Request::Remove`] and [`Request::Return`].
    Handled(Handled),
    /// To [`Request::Count`].
    Counted(Counts),
    /// The engine refused.
    Refused(Refusal),
    /// The disk is full.
    DiskFull,
    /// This node does not lead the group, or lost the lead before the answer was certain: whether the request was done
    /// is unknown. Try again, here or elsewhere.
    NotLeader,
    /// A bound is reached; try again.
    Busy(&'static str),
    /// The broker is stopping.
    Stopping,
}

/// What nodes say to each other, for one group.
#[derive(Clone, Debug)]
pub struct PeerMessage {
    /// The group.
    pub group: GroupId,
    /// The message.
    pub body: PeerBody,
}

/// What nodes say to each other.
#[derive(Clone, Debug)]
pub enum PeerBody {
    /// A message of the Raft protocol.
    Raft(Box<raft::eraftpb::Message>),
    /// A page of a snapshot.
    SnapshotPage(Box<snapshot::Page>),
    /// What of a snapshot has arrived.
    SnapshotAck(snapshot::Ack),
    /// The sender's state hash at an applied index.
    Hash {
        /// Applied index.
        index: u64,
        /// Rolling hash of the state.
        hash: u64,
    },
}

pub use snapshot::{Ack as SnapshotAck, Page as SnapshotPage, SnapshotId};

/// Why a replica must stop.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// The storage failed, or what it holds is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The leader knows of entries that this replica acknowledged and does not have.
    #[error(
        "group {group} lost entries that it had acknowledged: entry {committed} is committed, the log ends at {last}"
    )]
    LostTail {
        /// The group.
        group: u16,
        /// Index that the leader says is committed here.
        committed: u64,
        /// Index of the newest entry.
        last: u64,
    },
    /// Two replicas have different states at the same index.
    #[error("group {group} differs from node {peer} at entry {index}: this replica's data cannot be trusted")]
    Diverged {
        /// The group.
        group: u16,
        /// Who has the other state.
        peer: NodeId,
        /// Where.
        index: u64,
    },
    /// Shards cannot be taken away.
    #[error("the volume has {stored} shards, which cannot become {wanted}: start with --shards {stored}")]
    FewerShards {
        /// Shards on the volume.
        stored: u16,
        /// Shards that were asked for.
        wanted: u16,
    },
    /// The Raft library refused.
    #[error("group {group}: {detail}")]
    Raft {
        /// The group.
        group: u16,
        /// What it said.
        detail: String,
    },
}

/// What a turn wants done.
#[derive(Debug)]
pub struct Output<T> {
    /// Rows to write, and whether they must be synced before they count as persisted. The caller answers with
    /// [`Input::Persisted`].
    pub batch: Option<(Batch, bool)>,
    /// Messages for peers, in order.
    pub messages: Vec<(NodeId, PeerMessage)>,
    /// Answers for clients.
    pub replies: Vec<(T, Reply)>,
    /// Changes of the catalogue, in order.
    pub events: Vec<CatalogueEvent>,
    /// The replica must stop; nothing else in this output may be used.
    pub fatal: Option<Fatal>,
}

impl<T> Default for Output<T> {
    fn default() -> Self {
        Self { batch: None, messages: Vec::new(), replies: Vec::new(), events: Vec::new(), fatal: None }
    }
}
