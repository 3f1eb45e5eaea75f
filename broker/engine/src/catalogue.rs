//! The catalogue: which queues exist, with which attributes. It is the state machine of group 0; its changes are also
//! commands of every shard, so that attributes are part of a shard's state.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::attributes::{DEAD_LETTER_SOURCES_MAX, DeadLetterPolicy, QueueAttributes, QueueId};
use crate::codec::{DecodeError, Reader, Writer};
use crate::command::list;
use crate::limits::{QUEUES_MAX, REMOVALS_MAX};
use crate::message::QueueEpoch;
use crate::outcome::Digest;
use crate::row::{Dirty, RowKey};

const FORMAT: u8 = 1;

/// Milliseconds for which a deleted name is remembered: the longest wait before it may be used again.
pub const RECREATE_WAIT_MS_MAX: u64 = 60_000;

/// One change of the catalogue, as shards take it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The queue exists with these attributes.
    Put {
        /// Its number.
        queue: QueueId,
        /// All attributes.
        attributes: QueueAttributes,
    },
    /// The queue is deleted.
    Remove {
        /// Its number.
        queue: QueueId,
    },
}

impl Change {
    /// The queue that changes.
    pub fn queue(&self) -> QueueId {
        match self {
            Self::Put { queue, .. } | Self::Remove { queue } => *queue,
        }
    }

    pub(crate) fn encode(&self, out: &mut Writer) {
        match self {
            Self::Put { queue, attributes } => {
                out.u8(1).int(u64::from(queue.0));
                attributes.encode(out);
            }
            Self::Remove { queue } => _ = out.u8(2).int(u64::from(queue.0)),
        }
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let tag = from.u8()?;
        let queue = QueueId(from.int32()?);
        match tag {
            1 => Ok(Self::Put { queue, attributes: QueueAttributes::decode(from)? }),
            2 => Ok(Self::Remove { queue }),
            _ => Err(from.error()),
        }
    }
}

/// What a [`CatalogueCommand::Put`] takes for granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutMode {
    /// The queue must not exist.
    Create,
    /// The queue must exist.
    Update,
    /// Either; the caller is the owner that the queue has, or gets.
    Declare,
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
        /// The manifest or object that declares the queue.
        owner: Option<Box<str>>,
        /// Milliseconds for which a deleted name is closed, up to [`RECREATE_WAIT_MS_MAX`].
        recreate_wait_ms: u64,
    },
    /// Deletes a queue and everything in it.
    Delete {
        /// Name on the wire.
        name: Box<str>,
        /// Who asks: a declared queue is only deleted by its owner.
        owner: Option<Box<str>>,
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
    /// The queue is declared by this owner.
    Declared(Box<str>),
    /// The queue serves others as dead-letter queue.
    InUseAsDeadLetterQueue,
    /// The named dead-letter queue does not exist, or is the queue itself.
    DeadLetterQueueMissing,
    /// The dead-letter queue has one itself, or the queue is one.
    DeadLetterNesting,
    /// The dead-letter queue serves as many sources as it may.
    DeadLetterTooManySources,
    /// A FIFO queue needs a FIFO dead-letter queue, a standard one a standard one.
    DeadLetterKind,
}

/// What a command answers: the number of the queue, where there is one.
pub type CatalogueOutcome = Result<Option<QueueId>, CatalogueRefusal>;

/// One queue of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueEntry {
    /// Number, never used again.
    pub id: QueueId,
    /// Name on the wire.
    pub name: Box<str>,
    /// All attributes.
    pub attributes: QueueAttributes,
    /// The manifest or object that declares the queue.
    pub owner: Option<Box<str>>,
    /// Stamp of the creation.
    pub created_ms: u64,
    /// Stamp of the last change of an attribute.
    pub modified_ms: u64,
    /// Revision of the catalogue at which it changed last.
    pub revision: u64,
}

/// What changed for readers of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogueEvent {
    /// Cluster id and handle key are known.
    Founded,
    /// The queue is as given from now on.
    Put(Arc<QueueEntry>),
    /// The queue is gone.
    Removed(Arc<QueueEntry>),
}

/// The state machine of group 0.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    queues: BTreeMap<Box<str>, Arc<QueueEntry>>,
    names: HashMap<QueueId, Box<str>>,
    /// Names in lower case.
    folded: HashMap<Box<str>, Box<str>>,
    /// How many queues have this one as dead-letter queue.
    sources: HashMap<QueueId, usize>,
    changed: BTreeMap<u64, QueueId>,
    removed: BTreeMap<u64, QueueId>,
    deleted_names: BTreeMap<Box<str>, u64>,
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
            CatalogueCommand::Delete { name, owner } => self.delete(name, owner.as_deref()),
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

    fn put(
        &mut self,
        command: &CatalogueCommand,
    ) -> Result<(Option<QueueId>, Option<CatalogueEvent>), CatalogueRefusal> {
        let CatalogueCommand::Put { name, mode, attributes, dead_letter_queue, owner, recreate_wait_ms } =
            command
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
                    && Some(declared) != owner.as_ref()
                {
                    return Err(CatalogueRefusal::Declared(declared.clone()));
                }
            }
            (None, _) => {
                if self.folded.contains_key(name.to_lowercase().as_str()) {
                    return Err(CatalogueRefusal::NameTaken);
                }
                if self.queues.len() >= QUEUES_MAX {
                    return Err(CatalogueRefusal::TooManyQueues);
                }
                let deleted_ms = self.deleted_names.get(name);
                if deleted_ms.is_some_and(|at_ms| at_ms + recreate_wait_ms > self.stamp_ms) {
                    return Err(CatalogueRefusal::RecreatedTooSoon);
                }
            }
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
        self.next_id = self.next_id.max(id.0 + 1);
        let entry = Arc::new(QueueEntry {
            id,
            name: name.clone(),
            attributes,
            owner: owner.clone(),
            created_ms: existing.as_ref().map_or(self.stamp_ms, |existing| existing.created_ms),
            modified_ms: self.stamp_ms,
            revision: self.revision,
        });
        if let Some(old) = &existing {
            self.unlist(old);
        }
        self.list(entry.clone());
        self.dirty.mark(row_key(id));
        Ok((Some(id), Some(CatalogueEvent::Put(entry))))
    }

    fn dead_letter_target(
        &self,
        id: QueueId,
        kind: crate::attributes::QueueKind,
        existing: Option<&QueueEntry>,
        target: Option<&str>,
    ) -> Result<QueueId, CatalogueRefusal> {
        use crate::attributes::QueueKind::Fifo;
        let target = target.and_then(|name| self.queues.get(name)).filter(|target| target.id != id);
        let target = target.ok_or(CatalogueRefusal::DeadLetterQueueMissing)?;
        if target.attributes.dead_letter.is_some() || self.sources.contains_key(&id) {
            return Err(CatalogueRefusal::DeadLetterNesting);
        }
        if matches!(kind, Fifo { .. }) != matches!(target.attributes.kind, Fifo { .. }) {
            return Err(CatalogueRefusal::DeadLetterKind);
        }
        let policy = existing.and_then(|existing| existing.attributes.dead_letter);
        let is_bound = policy.is_some_and(|policy| policy.queue == target.id);
        let sources = self.sources.get(&target.id).copied().unwrap_or(0);
        if !is_bound && sources >= DEAD_LETTER_SOURCES_MAX {
            return Err(CatalogueRefusal::DeadLetterTooManySources);
        }
        Ok(target.id)
    }

    fn delete(
        &mut self,
        name: &str,
        owner: Option<&str>,
    ) -> Result<(Option<QueueId>, Option<CatalogueEvent>), CatalogueRefusal> {
        let entry = self.queues.get(name).cloned().ok_or(CatalogueRefusal::Missing)?;
        if let Some(declared) = &entry.owner
            && owner != Some(declared)
        {
            return Err(CatalogueRefusal::Declared(declared.clone()));
        }
        if self.sources.contains_key(&entry.id) {
            return Err(CatalogueRefusal::InUseAsDeadLetterQueue);
        }
        self.revision += 1;
        self.unlist(&entry);
        self.removed.insert(self.revision, entry.id);
        if self.removed.len() > REMOVALS_MAX
            && let Some((revision, id)) = self.removed.pop_first()
        {
            self.complete_below = revision;
            self.dirty.mark(row_key(id));
        }
        let forget_below_ms = self.stamp_ms.saturating_sub(RECREATE_WAIT_MS_MAX);
        self.deleted_names.retain(|_, at_ms| *at_ms >= forget_below_ms);
        self.deleted_names.insert(name.into(), self.stamp_ms);
        self.dirty.mark(row_key(entry.id));
        Ok((Some(entry.id), Some(CatalogueEvent::Removed(entry))))
    }

    fn list(&mut self, entry: Arc<QueueEntry>) {
        if let Some(policy) = entry.attributes.dead_letter {
            *self.sources.entry(policy.queue).or_default() += 1;
        }
        self.names.insert(entry.id, entry.name.clone());
        self.folded.insert(entry.name.to_lowercase().into(), entry.name.clone());
        self.changed.insert(entry.revision, entry.id);
        self.queues.insert(entry.name.clone(), entry);
    }

    fn unlist(&mut self, entry: &QueueEntry) {
        if let Some(policy) = entry.attributes.dead_letter
            && let Some(count) = self.sources.get_mut(&policy.queue)
        {
            *count -= 1;
            if *count == 0 {
                self.sources.remove(&policy.queue);
            }
        }
        self.names.remove(&entry.id);
        self.folded.remove(entry.name.to_lowercase().as_str());
        self.changed.remove(&entry.revision);
        self.queues.remove(&entry.name);
    }

    /// What a shard of revision `since` lacks: whether it is the whole catalogue, and the changes in the order of their
    /// revisions. `limit` bounds the changes; the revision that the shard has afterwards comes first.
    pub fn changes_since(&self, since: u64, limit: usize) -> (u64, bool, Vec<Change>) {
        let put = |id: &QueueId| {
            let entry = &self.queues[&self.names[id]];
            Change::Put { queue: *id, attributes: entry.attributes.clone() }
        };
        if since < self.complete_below {
            return (self.revision, true, self.names.keys().map(put).collect());
        }
        let after = since + 1..;
        let puts = self.changed.range(after.clone()).map(|(revision, id)| (*revision, put(id)));
        let removals =
            self.removed.range(after).map(|(revision, id)| (*revision, Change::Remove { queue: *id }));
        let mut changes: Vec<(u64, Change)> = puts.take(limit).chain(removals.take(limit)).collect();
        changes.sort_unstable_by_key(|(revision, _)| *revision);
        let is_cut = changes.len() > limit;
        changes.truncate(limit);
        let reached = match changes.last() {
            Some((revision, _)) if is_cut || changes.len() == limit => *revision,
            _ => self.revision,
        };
        (reached, false, changes.into_iter().map(|(_, change)| change).collect())
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

    /// The rows that changed since the last checkpoint; None: the row is gone.
    pub fn checkpoint(&mut self) -> Vec<(RowKey, Option<Vec<u8>>)> {
        let keys = self.dirty.take();
        keys.into_iter().map(|key| (key, self.row(&key))).collect()
    }

    /// How many rows a checkpoint would write.
    pub fn dirty_rows(&self) -> usize {
        self.dirty.len()
    }

    /// Every row of the state.
    pub fn export(&self) -> Vec<(RowKey, Vec<u8>)> {
        let ids = self.names.keys().chain(self.removed.values());
        let keys = ids.map(|id| row_key(*id)).chain([RowKey::Machine]);
        let mut rows: Vec<_> = keys.filter_map(|key| Some((key, self.row(&key)?))).collect();
        rows.sort_unstable_by_key(|(key, _)| *key);
        rows
    }

    fn row(&self, key: &RowKey) -> Option<Vec<u8>> {
        let mut out = Writer::with_format(FORMAT);
        match key {
            RowKey::Machine => {
                out.int(self.revision).int(u64::from(self.next_id)).int(self.stamp_ms).int(self.hash);
                out.int(self.complete_below);
                out.bytes.extend_from_slice(&self.cluster_id.to_be_bytes());
                out.bytes.extend_from_slice(&self.handle_key);
                out.int(self.deleted_names.len() as u64);
                for (name, at_ms) in &self.deleted_names {
                    out.blob(name.as_bytes()).int(*at_ms);
                }
            }
            RowKey::Queue(epoch) => match self.names.get(&epoch.queue) {
                Some(name) => {
                    let entry = &self.queues[name];
                    out.u8(1).int(entry.revision).blob(name.as_bytes());
                    out.blob(entry.owner.as_deref().unwrap_or("").as_bytes());
                    out.u8(u8::from(entry.owner.is_some())).int(entry.created_ms).int(entry.modified_ms);
                    entry.attributes.encode(&mut out);
                }
                None => {
                    let (revision, _) = self.removed.iter().find(|(_, id)| **id == epoch.queue)?;
                    out.u8(0).int(*revision);
                }
            },
            _ => return None,
        }
        Some(out.bytes)
    }

    /// Reads one row of a checkpoint, in any order.
    ///
    /// # Errors
    /// When the row is damaged.
    pub fn restore(&mut self, key: &RowKey, row: &[u8]) -> Result<(), DecodeError> {
        let mut from = Reader::with_format(row, FORMAT, "a row of the catalogue")?;
        match key {
            RowKey::Machine => {
                self.revision = from.int()?;
                self.next_id = from.int32()?;
                (self.stamp_ms, self.hash, self.complete_below) = (from.int()?, from.int()?, from.int()?);
                self.cluster_id = u128::from_be_bytes(from.take(16)?.try_into().map_err(|_| from.error())?);
                self.handle_key = from.take(32)?.try_into().map_err(|_| from.error())?;
                let names = list(&mut from, |from| Ok((from.text()?.into(), from.int()?)))?;
                self.deleted_names = names.into_iter().collect();
            }
            RowKey::Queue(epoch) if from.u8()? == 1 => {
                let revision = from.int()?;
                let name = from.text()?.into();
                let owner = from.text()?.into();
                let owner = (from.u8()? == 1).then_some(owner);
                let (created_ms, modified_ms) = (from.int()?, from.int()?);
                let attributes = QueueAttributes::decode(&mut from)?;
                let id = epoch.queue;
                self.list(Arc::new(QueueEntry {
                    id,
                    name,
                    attributes,
                    owner,
                    created_ms,
                    modified_ms,
                    revision,
                }));
            }
            RowKey::Queue(epoch) => _ = self.removed.insert(from.int()?, epoch.queue),
            _ => return Err(from.error()),
        }
        Ok(())
    }
}

fn row_key(queue: QueueId) -> RowKey {
    RowKey::Queue(QueueEpoch { queue, epoch: 0 })
}

impl CatalogueCommand {
    /// Appends the command to an entry.
    pub fn encode(&self, out: &mut Writer) {
        let optional = |out: &mut Writer, text: &Option<Box<str>>| {
            out.u8(u8::from(text.is_some())).blob(text.as_deref().unwrap_or("").as_bytes());
        };
        match self {
            Self::Found { cluster_id, handle_key } => {
                out.u8(1).blob(&cluster_id.to_be_bytes()).blob(handle_key);
            }
            Self::Put { name, mode, attributes, dead_letter_queue, owner, recreate_wait_ms } => {
                out.u8(2).blob(name.as_bytes()).u8(*mode as u8).int(*recreate_wait_ms);
                optional(out, dead_letter_queue);
                optional(out, owner);
                attributes.encode(out);
            }
            Self::Delete { name, owner } => {
                out.u8(3).blob(name.as_bytes());
                optional(out, owner);
            }
        }
    }

    /// Takes a command from an entry.
    ///
    /// # Errors
    /// When the bytes are damaged or from a newer version.
    pub fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        fn optional(from: &mut Reader<'_>) -> Result<Option<Box<str>>, DecodeError> {
            let is_some = from.u8()? == 1;
            let text = from.text()?.into();
            Ok(is_some.then_some(text))
        }
        Ok(match from.u8()? {
            1 => {
                let cluster_id = u128::from_be_bytes(from.blob()?.try_into().map_err(|_| from.error())?);
                Self::Found { cluster_id, handle_key: from.blob()?.try_into().map_err(|_| from.error())? }
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
                dead_letter_queue: optional(from)?,
                owner: optional(from)?,
                attributes: QueueAttributes::decode(from)?,
            },
            3 => Self::Delete { name: from.text()?.into(), owner: optional(from)? },
            _ => return Err(from.error()),
        })
    }
}
