//! The catalogue: which queues exist, with which attributes. It is the state machine of group 0; its changes are also
//! commands of every shard, so that attributes are part of a shard's state.

mod change;
mod command;
mod epochs;
mod patch;
mod rows;
mod salvage;
mod tables;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::attributes::{
    DEAD_LETTER_SOURCES_MAX, DeadLetterPolicy, DeduplicationScope, QueueAttributes, QueueId, QueueKind,
};
use crate::faults::{self, Fault};
use crate::limits::{HOME_SLOTS, QUEUES_MAX};
use crate::message::QueueEpoch;
use crate::outcome::Digest;
use crate::row::{Dirty, RowKey};

pub use change::{Change, Rewind, RewindKind};
pub use command::{CatalogueCommand, CatalogueOutcome, CatalogueRefusal, DeletionPolicy, Owner, PutMode};

/// Milliseconds for which a deleted name may be closed at most.
pub const RECREATE_WAIT_MS_MAX: u64 = 60_000;
/// Milliseconds after a purge for which the next one may be refused at most.
pub const PURGE_WAIT_MS_MAX: u64 = 60_000;

/// One queue of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueEntry {
    /// Number, never used again.
    pub id: QueueId,
    /// Name on the wire.
    pub name: Box<str>,
    /// All attributes.
    pub attributes: QueueAttributes,
    /// The manifest or object that declares the queue, or did until it was closed.
    pub owner: Option<Owner>,
    /// Shards that the Broker had when the queue was created; see [`QueueEntry::home`].
    pub shards: u16,
    /// Stamp of the creation.
    pub created_ms: u64,
    /// Stamp of the last change of an attribute.
    pub modified_ms: u64,
    /// One more after each purge.
    pub epoch: u32,
    /// Stamp of the last purge.
    pub purged_ms: Option<u64>,
    /// The latest rewinds, oldest first, up to [`crate::limits::REWINDS_MAX`].
    pub rewinds: Vec<Rewind>,
    /// Revision of the catalogue at which it changed last.
    pub revision: u64,
}

impl QueueEntry {
    /// The shard, 1 or more, that a message must go to; None: any. What must be one thing for a whole FIFO queue, or for a
    /// message group, stays on the shard that this names, whatever shards are added later. `group` is a hash of the
    /// message group.
    pub fn home(&self, group: u64) -> Option<u16> {
        let slot = match self.attributes.kind {
            QueueKind::Standard => return None,
            QueueKind::Fifo { deduplication: DeduplicationScope::Queue } => 0,
            QueueKind::Fifo { deduplication: DeduplicationScope::MessageGroup } => group % HOME_SLOTS,
        };
        Some(1 + ((u64::from(self.id.0) + slot) % u64::from(self.shards)) as u16)
    }
}

/// What changed for readers of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogueEvent {
    /// Cluster id and handle key are known.
    Founded,
    /// These are all queues: a replica read, or received, the catalogue as a whole.
    Reloaded(Vec<Arc<QueueEntry>>),
    /// The queue is as given from now on.
    Put(Arc<QueueEntry>),
    /// The queue is gone.
    Removed(Arc<QueueEntry>),
}

/// What a command did: the queue, and what readers must know.
type Applied = Result<(Option<QueueId>, Option<CatalogueEvent>), CatalogueRefusal>;

/// A queue that is gone, kept for shards that are behind and for its name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Removal {
    revision: u64,
    name: Box<str>,
    at_ms: u64,
}

/// The state machine of group 0.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    queues: BTreeMap<Box<str>, Arc<QueueEntry>>,
    names: BTreeMap<QueueId, Box<str>>,
    /// Names in lower case.
    folded: HashMap<Box<str>, Box<str>>,
    /// How many queues have this one as dead-letter queue.
    sources: HashMap<QueueId, usize>,
    /// Queues by the revision of their last change.
    changed: BTreeMap<u64, QueueId>,
    /// The latest removals, as many as `REMOVALS_MAX`.
    removals: BTreeMap<QueueId, Removal>,
    /// Removals by their revision.
    removed: BTreeMap<u64, QueueId>,
    /// The latest queue of a name that is gone, as long as its removal is kept.
    deleted_names: HashMap<Box<str>, QueueId>,
    /// Shards below this revision need the whole catalogue.
    complete_below: u64,
    revision: u64,
    next_id: u32,
    stamp_ms: u64,
    hash: u64,
    cluster_id: u128,
    handle_key: [u8; 32],
    dirty: Dirty,
}

impl Catalogue {
    /// Does a command at a stamp. Answers what readers must know.
    pub fn apply(
        &mut self,
        command: &CatalogueCommand,
        stamp_ms: u64,
    ) -> (CatalogueOutcome, Option<CatalogueEvent>) {
        self.stamp_ms = self.stamp_ms.max(stamp_ms);
        let result = match command {
            CatalogueCommand::Found { cluster_id, handle_key } => {
                if self.cluster_id == 0 {
                    (self.cluster_id, self.handle_key) = (*cluster_id, *handle_key);
                }
                Ok((None, Some(CatalogueEvent::Founded)))
            }
            CatalogueCommand::Put { .. } => self.put(command),
            CatalogueCommand::Patch { name, patch } => self.patch(name, patch),
            CatalogueCommand::Delete { name, owner } => self.delete(name, owner.as_deref()),
            CatalogueCommand::Purge { name, wait_ms } => self.purge(name, *wait_ms),
            CatalogueCommand::Rewind { name, start_ms } => self.rewind(name, *start_ms),
            CatalogueCommand::Withdraw { name, owner } => self.withdraw(name, owner),
            CatalogueCommand::DeleteClosed { name, revision } => self.delete_closed(name, *revision),
        };
        let (outcome, event) = match result {
            Ok((id, event)) => (Ok(id), event),
            Err(refusal) => (Err(refusal), None),
        };
        let mut digest = Digest(self.hash);
        digest.add(self.stamp_ms).add(self.revision);
        digest.add(outcome.as_ref().map_or(u64::MAX, |id| id.map_or(0, |id| u64::from(id.0))));
        self.hash = digest.0;
        self.dirty.mark(RowKey::Machine);
        (outcome, event)
    }

    fn put(&mut self, command: &CatalogueCommand) -> Applied {
        let CatalogueCommand::Put {
            name,
            mode,
            attributes,
            dead_letter_queue,
            owner,
            recreate_wait_ms,
            shards,
        } = command
        else {
            return Ok((None, None));
        };
        let existing = self.queues.get(name).cloned();
        let mut attributes = attributes.clone();
        match (&existing, mode) {
            (Some(_), PutMode::Create) => return Err(CatalogueRefusal::NameTaken),
            (None, PutMode::Update) => return Err(CatalogueRefusal::Missing),
            (Some(existing), _) => {
                if existing.attributes.kind != attributes.kind {
                    return Err(CatalogueRefusal::KindIsFixed);
                }
                if let Some(declared) = &existing.owner
                    && *mode != PutMode::Declare
                {
                    return Err(CatalogueRefusal::Declared(declared.name.clone()));
                }
            }
            (None, _) => {
                if self.folded.contains_key(name.to_lowercase().as_str()) {
                    return Err(CatalogueRefusal::NameTaken);
                }
                if self.queues.len() >= QUEUES_MAX || self.next_id == u32::MAX {
                    return Err(CatalogueRefusal::TooManyQueues);
                }
                let deleted = self.deleted_names.get(name).and_then(|id| self.removals.get(id));
                let open_ms = deleted.map_or(0, |removal| removal.at_ms.saturating_add(*recreate_wait_ms));
                if open_ms > self.stamp_ms {
                    return Err(CatalogueRefusal::RecreatedTooSoon);
                }
            }
        }
        if attributes.rewind_seconds > 0 && attributes.kind != QueueKind::Standard {
            return Err(CatalogueRefusal::RewindFifo);
        }
        let id = existing.as_ref().map_or(QueueId(self.next_id), |existing| existing.id);
        if let Some(policy) = &mut attributes.dead_letter {
            let target = self.dead_letter_target(
                id,
                attributes.kind,
                existing.as_deref(),
                dead_letter_queue.as_deref(),
            );
            *policy = DeadLetterPolicy { queue: target?, rule: policy.rule };
        }
        if existing.as_ref().is_some_and(|old| old.attributes == attributes && old.owner == *owner) {
            return Ok((Some(id), None));
        }
        self.revision += 1;
        self.next_id = self.next_id.max(id.0.saturating_add(1));
        let mut rewinds = existing.as_ref().map(|existing| existing.rewinds.clone()).unwrap_or_default();
        let was_on = existing.as_ref().is_some_and(|existing| existing.attributes.rewind_seconds > 0);
        if was_on && attributes.rewind_seconds == 0 {
            epochs::note_rewind(&mut rewinds, RewindKind::Off);
        }
        let entry = QueueEntry {
            id,
            name: name.clone(),
            attributes,
            owner: owner.clone(),
            shards: existing.as_ref().map_or(*shards, |existing| existing.shards).max(1),
            created_ms: existing.as_ref().map_or(self.stamp_ms, |existing| existing.created_ms),
            modified_ms: self.stamp_ms,
            epoch: existing.as_ref().map_or(0, |existing| existing.epoch),
            purged_ms: existing.as_ref().and_then(|existing| existing.purged_ms),
            rewinds,
            revision: self.revision,
        };
        Ok((Some(id), Some(self.replace(existing.as_deref(), entry))))
    }

    /// Puts an entry in the place of the one before.
    fn replace(&mut self, old: Option<&QueueEntry>, entry: QueueEntry) -> CatalogueEvent {
        if let Some(old) = old {
            self.unlist(old);
        }
        let entry = Arc::new(entry);
        self.list(entry.clone());
        self.dirty.mark(row_key(entry.id));
        CatalogueEvent::Put(entry)
    }

    fn dead_letter_target(
        &self,
        id: QueueId,
        kind: QueueKind,
        existing: Option<&QueueEntry>,
        target: Option<&str>,
    ) -> Result<QueueId, CatalogueRefusal> {
        let policy = existing.and_then(|existing| existing.attributes.dead_letter);
        let is_bound = |target: &QueueEntry| policy.is_some_and(|policy| policy.queue == target.id);
        let target = target.and_then(|name| self.queues.get(name)).filter(|target| target.id != id);
        // A closed queue that is found empty must stay so.
        let target = target.filter(|target| !target.attributes.closed || is_bound(target));
        let target = target.ok_or(CatalogueRefusal::DeadLetterQueueMissing)?;
        let is_fifo = |kind| matches!(kind, QueueKind::Fifo { .. });
        if target.attributes.dead_letter.is_some() || self.sources.contains_key(&id) {
            return Err(CatalogueRefusal::DeadLetterNesting);
        }
        if is_fifo(kind) != is_fifo(target.attributes.kind) {
            return Err(CatalogueRefusal::DeadLetterKind);
        }
        let sources = self.sources.get(&target.id).copied().unwrap_or(0);
        if !is_bound(target) && sources >= DEAD_LETTER_SOURCES_MAX {
            return Err(CatalogueRefusal::DeadLetterTooManySources);
        }
        Ok(target.id)
    }

    fn delete(&mut self, name: &str, owner: Option<&str>) -> Applied {
        let entry = self.queues.get(name).cloned().ok_or(CatalogueRefusal::Missing)?;
        if let Some(declared) = &entry.owner
            && owner.is_none()
        {
            return Err(CatalogueRefusal::Declared(declared.name.clone()));
        }
        self.remove(entry)
    }

    fn remove(&mut self, entry: Arc<QueueEntry>) -> Applied {
        if self.sources.contains_key(&entry.id) {
            return Err(CatalogueRefusal::InUseAsDeadLetterQueue);
        }
        self.revision += 1;
        self.unlist(&entry);
        self.list_removal(
            entry.id,
            Removal { revision: self.revision, name: entry.name.clone(), at_ms: self.stamp_ms },
        );
        self.dirty.mark(row_key(entry.id));
        self.forget_removals();
        Ok((Some(entry.id), Some(CatalogueEvent::Removed(entry))))
    }

    /// An owner declares a queue no more. Asking twice is asking once.
    fn withdraw(&mut self, name: &str, owner: &str) -> Applied {
        let old = self.queues.get(name).cloned().ok_or(CatalogueRefusal::Missing)?;
        let deletion = match &old.owner {
            Some(present) if *present.name == *owner => present.deletion,
            Some(other) => return Err(CatalogueRefusal::Declared(other.name.clone())),
            None => return Err(CatalogueRefusal::Changed),
        };
        let mut entry = QueueEntry::clone(&old);
        match deletion {
            DeletionPolicy::Delete => return self.remove(old),
            DeletionPolicy::Retain if faults::is_active(Fault::RetainDeletes) => return self.remove(old),
            DeletionPolicy::DeleteIfEmpty if old.attributes.closed => return Ok((Some(old.id), None)),
            DeletionPolicy::DeleteIfEmpty => entry.attributes.closed = true,
            DeletionPolicy::Retain => entry.owner = None,
        }
        self.revision += 1;
        (entry.revision, entry.modified_ms) = (self.revision, self.stamp_ms);
        Ok((Some(old.id), Some(self.replace(Some(&old), entry))))
    }

    /// No shard took a message for it since it was found empty: see [`Catalogue::closing_revision`].
    fn delete_closed(&mut self, name: &str, revision: u64) -> Applied {
        let entry = self.queues.get(name).cloned().ok_or(CatalogueRefusal::Missing)?;
        if !entry.attributes.closed || entry.revision != revision {
            return Err(CatalogueRefusal::Changed);
        }
        self.remove(entry)
    }

    /// The revision of now, when a queue is closed and nobody's dead-letter queue; None when it is not. A shard that has this
    /// revision takes no message for the queue any more, until the queue's own revision changes.
    pub fn closing_revision(&self, id: QueueId) -> Option<u64> {
        let entry = self.names.get(&id).and_then(|name| self.queues.get(name))?;
        (entry.attributes.closed && !self.sources.contains_key(&id)).then_some(self.revision)
    }

    /// Whether the cluster was founded.
    pub fn is_founded(&self) -> bool {
        self.cluster_id != 0
    }

    /// Identity of the cluster; 0 before it was founded.
    pub fn cluster_id(&self) -> u128 {
        self.cluster_id
    }

    /// Signs receipt handles.
    pub fn handle_key(&self) -> &[u8; 32] {
        &self.handle_key
    }

    /// Counts the changes.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Stamp of the newest applied entry.
    pub fn stamp_ms(&self) -> u64 {
        self.stamp_ms
    }

    /// Rolling hash over all outcomes.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// All queues in the order of their names.
    pub fn queues(&self) -> impl Iterator<Item = &Arc<QueueEntry>> {
        self.queues.values()
    }
}

fn row_key(queue: QueueId) -> RowKey {
    RowKey::Queue(QueueEpoch { queue, epoch: 0 })
}
