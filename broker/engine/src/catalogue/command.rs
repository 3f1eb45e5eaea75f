//! What a log entry asks of the catalogue, and how it is written.

use crate::attributes::{AttributesPatch, QueueAttributes, QueueId};
use crate::codec::{DecodeError, Reader, Writer};

/// What a [`CatalogueCommand::Put`] takes for granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutMode {
    /// The queue must not exist.
    Create,
    /// The queue must exist.
    Update,
    /// Either; the caller declares queues, and becomes the owner.
    Declare,
}

/// What becomes of a declared queue when nobody declares it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeletionPolicy {
    /// It stays, and clients may change it.
    Retain,
    /// It goes with its messages.
    Delete,
    /// It is closed to sends, and goes when it is empty.
    DeleteIfEmpty,
}

/// Who declares a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The manifest or object, as errors show it.
    pub name: Box<str>,
    /// What becomes of the queue when this owner withdraws.
    pub deletion: DeletionPolicy,
}

impl Owner {
    pub(super) fn encode(owner: Option<&Self>, out: &mut Writer) {
        out.text_option(owner.map(|owner| &*owner.name));
        out.u8(owner.map_or(0, |owner| owner.deletion as u8));
    }

    pub(super) fn decode(from: &mut Reader<'_>) -> Result<Option<Self>, DecodeError> {
        let name = from.text_option()?;
        let deletion = match from.u8()? {
            0 => DeletionPolicy::Retain,
            1 => DeletionPolicy::Delete,
            2 => DeletionPolicy::DeleteIfEmpty,
            _ => return Err(from.error()),
        };
        Ok(name.map(|name| Self { name: name.into(), deletion }))
    }
}

/// One operation on the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogueCommand {
    /// The first entry of a cluster: its identity and its secrets. Later ones change nothing.
    Found {
        /// Random; volumes of another cluster are refused.
        cluster_id: u128,
        /// Random; signs receipt handles.
        handle_key: [u8; 32],
    },
    /// Creates or changes a queue.
    Put {
        /// Name on the wire.
        name: Box<str>,
        /// What is taken for granted.
        mode: PutMode,
        /// All attributes; the id in the dead-letter policy is ignored.
        attributes: QueueAttributes,
        /// Name of the dead-letter queue, where the attributes have a policy.
        dead_letter_queue: Option<Box<str>>,
        /// Who declares the queue; None: a client.
        owner: Option<Owner>,
        /// Milliseconds for which a deleted name is closed, up to [`crate::catalogue::RECREATE_WAIT_MS_MAX`].
        recreate_wait_ms: u64,
        /// Shards that the Broker has now, 1 or more.
        shards: u16,
    },
    /// Changes single attributes of a queue that nobody declares.
    Patch {
        /// Name on the wire.
        name: Box<str>,
        /// What changes.
        patch: AttributesPatch,
    },
    /// Deletes a queue and everything in it.
    Delete {
        /// Name on the wire.
        name: Box<str>,
        /// Who declares queues and asks for this; None: a client, which may not delete a declared queue.
        owner: Option<Box<str>>,
    },
    /// Drops every message of a queue, in whatever state, declared or not. Later messages stay.
    Purge {
        /// Name on the wire.
        name: Box<str>,
        /// Milliseconds after a purge for which the next one is refused, up to [`crate::catalogue::PURGE_WAIT_MS_MAX`].
        wait_ms: u64,
    },
    /// Brings deleted messages back that were sent at a time or later, declared or not.
    Rewind {
        /// Name on the wire.
        name: Box<str>,
        /// Stamp from which on messages come back; not before the stamp of the command less the rewind time, whose
        /// second counts as a whole.
        start_ms: u64,
    },
    /// The owner does not declare the queue any more: its deletion policy is carried out, or, for
    /// [`DeletionPolicy::DeleteIfEmpty`], begins.
    Withdraw {
        /// Name on the wire.
        name: Box<str>,
        /// Name of the owner.
        owner: Box<str>,
    },
    /// Deletes a closed queue, which the caller found empty on every shard.
    DeleteClosed {
        /// Name on the wire.
        name: Box<str>,
        /// The queue's revision that the caller saw. The catalogue had it when it told the revision
        /// ([`crate::catalogue::Catalogue::closing_revision`]) that every shard had when it was empty.
        revision: u64,
    },
}

/// Why a command changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogueRefusal {
    /// A queue of this name, or of one that differs only in case, exists.
    NameTaken,
    /// As many queues as a Broker takes.
    TooManyQueues,
    /// No queue of this name.
    Missing,
    /// The name was in use until a moment ago.
    RecreatedTooSoon,
    /// The queue is standard and would become FIFO, or the other way round.
    KindIsFixed,
    /// Deleted messages would be kept longer than messages live.
    RewindAboveRetention,
    /// Messages would expire before they are old enough for the dead-letter queue.
    TimeToLiveNotBelowRetention,
    /// The queue is declared by this owner.
    Declared(Box<str>),
    /// The queue serves others as dead-letter queue.
    InUseAsDeadLetterQueue,
    /// The named dead-letter queue does not exist, is the queue itself, or is closed.
    DeadLetterQueueMissing,
    /// The dead-letter queue has one itself, or the queue is one.
    DeadLetterNesting,
    /// The dead-letter queue serves as many sources as it may.
    DeadLetterTooManySources,
    /// A FIFO queue needs a FIFO dead-letter queue, a standard one a standard one.
    DeadLetterKind,
    /// The queue was purged a moment ago.
    PurgedTooSoon,
    /// The queue keeps no deleted messages: its rewind time is 0.
    RewindOff,
    /// The start lies before the reach of rewinding, or in the future.
    RewindTime {
        /// The earliest start that would do.
        earliest_ms: u64,
    },
    /// A FIFO queue cannot keep deleted messages.
    RewindFifo,
    /// The queue is not what the caller took it for: nobody declares it, or it changed since.
    Changed,
}

/// What a command answers: the number of the queue, where there is one.
pub type CatalogueOutcome = Result<Option<QueueId>, CatalogueRefusal>;

impl CatalogueCommand {
    /// Appends the command to an entry.
    pub fn encode(&self, out: &mut Writer) {
        match self {
            Self::Found { cluster_id, handle_key } => {
                out.u8(1).bytes.extend_from_slice(&cluster_id.to_be_bytes());
                out.bytes.extend_from_slice(handle_key);
            }
            Self::Put { name, mode, attributes, dead_letter_queue, owner, recreate_wait_ms, shards } => {
                let mode = match mode {
                    PutMode::Create => 0,
                    PutMode::Update => 1,
                    PutMode::Declare => 2,
                };
                out.u8(2).blob(name.as_bytes()).u8(mode).int(*recreate_wait_ms).int(u64::from(*shards));
                out.text_option(dead_letter_queue.as_deref());
                Owner::encode(owner.as_ref(), out);
                attributes.encode(out);
            }
            Self::Patch { name, patch } => patch.encode(out.u8(6).blob(name.as_bytes())),
            Self::Delete { name, owner } => {
                out.u8(3).blob(name.as_bytes()).text_option(owner.as_deref());
            }
            Self::Purge { name, wait_ms } => _ = out.u8(4).blob(name.as_bytes()).int(*wait_ms),
            Self::Rewind { name, start_ms } => _ = out.u8(5).blob(name.as_bytes()).int(*start_ms),
            Self::Withdraw { name, owner } => {
                out.u8(7).blob(name.as_bytes()).blob(owner.as_bytes());
            }
            Self::DeleteClosed { name, revision } => {
                out.u8(8).blob(name.as_bytes()).int(*revision);
            }
        }
    }

    /// Takes a command from an entry.
    ///
    /// # Errors
    /// When the bytes are damaged or from a newer version.
    pub fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match from.u8()? {
            1 => {
                let cluster_id = u128::from_be_bytes(from.array()?);
                Self::Found { cluster_id, handle_key: from.array()? }
            }
            2 => Self::Put {
                name: from.text()?.into(),
                mode: match from.u8()? {
                    0 => PutMode::Create,
                    1 => PutMode::Update,
                    2 => PutMode::Declare,
                    _ => return Err(from.error()),
                },
                recreate_wait_ms: from.int()?,
                shards: u16::try_from(from.int()?).map_err(|_| from.error())?,
                dead_letter_queue: from.text_option()?.map(Into::into),
                owner: Owner::decode(from)?,
                attributes: QueueAttributes::decode(from)?,
            },
            3 => Self::Delete { name: from.text()?.into(), owner: from.text_option()?.map(Into::into) },
            4 => Self::Purge { name: from.text()?.into(), wait_ms: from.int()? },
            5 => Self::Rewind { name: from.text()?.into(), start_ms: from.int()? },
            7 => Self::Withdraw { name: from.text()?.into(), owner: from.text()?.into() },
            8 => Self::DeleteClosed { name: from.text()?.into(), revision: from.int()? },
            6 => Self::Patch { name: from.text()?.into(), patch: AttributesPatch::decode(from)? },
            _ => return Err(from.error()),
        })
    }
}
