//! A shard: all queues of a Broker, each with the part of its messages that lies on this shard.
//!
//! Every replica applies the same commands with the same stamps, so every replica has the same state. Applying has two
//! phases: [`Shard::prefetch`] moves time forward and names the chunk pages that the command may touch, [`Shard::apply`]
//! does the rest with those pages. What else happens to be in memory never changes an outcome.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::attributes::{QueueAttributes, QueueId};
use crate::catalogue::Change;
use crate::chunk::{ChunkKey, Pages};
use crate::codec::{DecodeError, Reader, Writer};
use crate::command::{Command, NewMessage};
use crate::faults::{self, Fault};
use crate::limits::{DEDUPLICATION_IDS_MAX, LANES_MAX, LANES_TOUCHED_MAX, RECORDS_MAX, STEPS_MAX};
use crate::message::{BodyRef, DEFAULT_LANE, DeliveryId, LaneId, QueueEpoch};
use crate::outcome::{Deleted, Digest, Effects, Outcome, Refusal, Totals};
use crate::queue::{Context, Move, Queue};
use crate::row::{Dirty, RowKey};

const FORMAT: u8 = 1;

/// How many messages of a queue are in which state, on this shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ready to be received.
    pub active: u64,
    /// Out under a lease.
    pub in_flight: u64,
    /// Hidden by a delay.
    pub delayed: u64,
    /// Stamp of the oldest message that is not finished.
    pub oldest_ms: Option<u64>,
}

/// The state machine of one shard.
#[derive(Clone, Debug, Default)]
pub struct Shard {
    queues: BTreeMap<QueueId, Queue>,
    /// Queues that are deleted and wait for their rows and bodies to be freed, a bounded step at a time.
    removed: VecDeque<Queue>,
    due: BTreeSet<(u64, QueueId)>,
    /// Revision of the catalogue that this shard has.
    revision: u64,
    stamp_ms: u64,
    hash: u64,
    records: usize,
    lanes: usize,
    deduplication_ids: usize,
    dirty: Dirty,
    /// What `prefetch` prepared for the `apply` that follows it.
    prepared: Prepared,
}

/// What the first phase found, for the second.
#[derive(Clone, Debug, Default)]
struct Prepared {
    effects: Effects,
    moves: Vec<Move>,
    steps_left: usize,
    aged: Vec<(QueueId, LaneId)>,
}

impl Shard {
    /// First phase: moves time to `stamp_ms`, ends what is due as far as the command looks, and names the chunk pages
    /// that [`Shard::apply`] of the same command may touch. Must be followed by it.
    pub fn prefetch(&mut self, command: &Command, stamp_ms: u64) -> Vec<ChunkKey> {
        self.stamp_ms = self.stamp_ms.max(stamp_ms);
        self.prepared = Prepared { steps_left: STEPS_MAX, ..Prepared::default() };
        match command {
            Command::Receive { queue, max, .. } => self
                .on_queue(*queue, &Pages::default(), |queue, context| {
                    queue.end_timers(context);
                    queue.receive_pages(*max)
                })
                .unwrap_or_default(),
            Command::Expire => self.prefetch_expire(),
            Command::Catalogue { .. } | Command::Send { .. } | Command::Delete { .. } => Vec::new(),
        }
    }

    fn prefetch_expire(&mut self) -> Vec<ChunkKey> {
        let mut pages = Vec::new();
        let due = self.due.iter().take_while(|(due_ms, _)| *due_ms <= self.stamp_ms).take(STEPS_MAX);
        let queues: Vec<QueueId> = due.map(|(_, id)| *id).collect();
        for id in queues {
            let lanes_left = LANES_TOUCHED_MAX - self.prepared.aged.len();
            let aged = self.on_queue(id, &Pages::default(), |queue, context| {
                queue.end_timers(context);
                queue.forget_deduplication(context);
                let lanes = queue.aged_lanes(context.stamp_ms, lanes_left);
                let keys: Vec<ChunkKey> = lanes.iter().flat_map(|lane| queue.lane_pages(*lane)).collect();
                (lanes, keys)
            });
            let Some((lanes, keys)) = aged else { continue };
            pages.extend(keys);
            self.prepared.aged.extend(lanes.into_iter().map(|lane| (id, lane)));
            if self.prepared.steps_left == 0 {
                break;
            }
        }
        pages
    }

    /// Second phase: does the command, whose bodies begin at `first_body`. `pages` holds what [`Shard::prefetch`] named.
    pub fn apply(&mut self, command: &Command, first_body: BodyRef, pages: &Pages) -> (Outcome, Effects) {
        let outcome = match command {
            Command::Catalogue { revision, is_complete, changes } => {
                self.take_catalogue(*revision, *is_complete, changes);
                Outcome::Done
            }
            Command::Send { queue, messages } => self.send(*queue, messages, first_body),
            Command::Receive { queue, max, visibility_ms } => {
                if self.records >= RECORDS_MAX {
                    Outcome::Refused(Refusal::ShardFull)
                } else {
                    let received = self.on_queue(*queue, pages, |queue, context| {
                        queue.receive(*max, *visibility_ms, context)
                    });
                    received.unwrap_or(Outcome::Refused(Refusal::QueueMissing))
                }
            }
            Command::Delete { deliveries, stale } => {
                let delete = |id: &DeliveryId| {
                    let queue = id.queue.queue;
                    self.on_queue(queue, pages, |queue, context| queue.delete(id, *stale, context))
                        .unwrap_or(Deleted::Unknown)
                };
                Outcome::Deleted(deliveries.iter().map(delete).collect())
            }
            Command::Expire => {
                for (id, lane) in std::mem::take(&mut self.prepared.aged) {
                    self.on_queue(id, pages, |queue, context| queue.age_lane(lane, context));
                }
                Outcome::Done
            }
        };
        self.finish_moves();
        let mut digest = Digest(self.hash);
        digest.add(self.stamp_ms).outcome(&outcome);
        self.hash = digest.0;
        self.dirty.mark(RowKey::Machine);
        (outcome, std::mem::take(&mut self.prepared.effects))
    }

    fn send(&mut self, id: QueueId, messages: &[NewMessage], first_body: BodyRef) -> Outcome {
        let is_full = self.records + messages.len() > RECORDS_MAX
            || self.lanes + messages.len() > LANES_MAX
            || self.deduplication_ids + messages.len() > DEDUPLICATION_IDS_MAX;
        let refusal = match self.queues.get(&id) {
            None => Some(Refusal::QueueMissing),
            Some(_) if is_full => Some(Refusal::ShardFull),
            Some(queue) => queue.refuses(messages),
        };
        if let Some(refusal) = refusal {
            let bodies = (0..messages.len() as u16)
                .map(|offset| BodyRef { index: first_body.index, position: first_body.position + offset });
            self.prepared.effects.dead_bodies.extend(bodies);
            return Outcome::Refused(refusal);
        }
        self.on_queue(id, &Pages::default(), |queue, context| queue.send(messages, first_body, context))
            .unwrap_or(Outcome::Refused(Refusal::QueueMissing))
    }

    /// Runs an operation on one queue and brings the tables over all queues in line.
    fn on_queue<T>(
        &mut self,
        id: QueueId,
        pages: &Pages,
        operation: impl FnOnce(&mut Queue, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let queue = self.queues.get_mut(&id)?;
        let (records, lanes, ids) = (queue.records(), queue.lanes(), queue.deduplication_ids());
        let mut context = Context {
            stamp_ms: self.stamp_ms,
            pages,
            effects: &mut self.prepared.effects,
            dirty: &mut self.dirty,
            moves: &mut self.prepared.moves,
            steps: self.prepared.steps_left,
        };
        let result = operation(queue, &mut context);
        self.prepared.steps_left = context.steps;
        self.records = self.records + queue.records() - records;
        self.lanes = self.lanes + queue.lanes() - lanes;
        self.deduplication_ids = self.deduplication_ids + queue.deduplication_ids() - ids;
        let due_ms = queue.next_due_ms();
        if queue.registered_due_ms != due_ms {
            if let Some(old) = queue.registered_due_ms {
                self.due.remove(&(old, id));
            }
            self.due.extend(due_ms.map(|due_ms| (due_ms, id)));
            queue.registered_due_ms = due_ms;
        }
        Some(result)
    }

    /// Takes messages that queues gave up into their dead-letter queues. Limits of the target do not hold here: a
    /// message that is refused by both would be lost.
    fn finish_moves(&mut self) {
        for message in std::mem::take(&mut self.prepared.moves) {
            let adopted = self
                .on_queue(message.target, &Pages::default(), |queue, context| queue.adopt(&message, context));
            if adopted.is_none() {
                self.prepared.effects.dead_bodies.push(message.slot.body);
            }
        }
    }

    fn take_catalogue(&mut self, revision: u64, is_complete: bool, changes: &[Change]) {
        if revision <= self.revision {
            return;
        }
        self.revision = revision;
        if is_complete {
            let named: BTreeSet<QueueId> = changes.iter().map(Change::queue).collect();
            let gone: Vec<QueueId> = self.queues.keys().filter(|id| !named.contains(id)).copied().collect();
            gone.into_iter().for_each(|id| self.remove(id));
        }
        for change in changes {
            match change {
                Change::Put { queue, attributes } => self.put(*queue, attributes),
                Change::Remove { queue } => self.remove(*queue),
            }
        }
    }

    fn put(&mut self, id: QueueId, attributes: &QueueAttributes) {
        if !self.queues.contains_key(&id) {
            let queue = Queue::new(QueueEpoch { queue: id, epoch: 0 }, attributes.clone());
            self.lanes += queue.lanes();
            self.dirty.mark(RowKey::Queue(queue.epoch));
            self.dirty.mark(RowKey::Lane(queue.epoch, DEFAULT_LANE));
            self.queues.insert(id, queue);
        } else {
            self.on_queue(id, &Pages::default(), |queue, context| {
                queue.set_attributes(attributes.clone());
                context.dirty.mark(RowKey::Queue(queue.epoch));
                context.effects.woken.push(id);
            });
        }
    }

    fn remove(&mut self, id: QueueId) {
        let Some(queue) = self.queues.remove(&id) else { return };
        if let Some(due_ms) = queue.registered_due_ms {
            self.due.remove(&(due_ms, id));
        }
        self.records -= queue.records();
        self.lanes -= queue.lanes();
        self.deduplication_ids -= queue.deduplication_ids();
        self.dirty.mark(RowKey::Queue(queue.epoch));
        self.prepared.effects.woken.push(id);
        self.removed.push_back(queue);
    }

    /// The chunk page that the next [`Shard::clean_up`] needs; None when it needs none, or there is nothing to do.
    pub fn clean_up_page(&self) -> Option<ChunkKey> {
        self.removed.front()?.remains_page()
    }

    /// Whether rows or bodies of deleted queues wait to be freed.
    pub fn has_remains(&self) -> bool {
        !self.removed.is_empty()
    }

    /// One bounded step of freeing what deleted queues left behind. Each replica does this in its own time; nothing that
    /// a client can see depends on it.
    pub fn clean_up(&mut self, pages: &Pages) -> Effects {
        let mut effects = Effects::default();
        if let Some(queue) = self.removed.front_mut() {
            let mut moves = Vec::new();
            let mut context = Context {
                stamp_ms: self.stamp_ms,
                pages,
                effects: &mut effects,
                dirty: &mut self.dirty,
                moves: &mut moves,
                steps: STEPS_MAX,
            };
            if !queue.clean_up(&mut context) {
                self.dirty.mark(RowKey::Queue(queue.epoch));
                self.removed.pop_front();
            }
        }
        effects
    }

    /// Revision of the catalogue that this shard has.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Stamp of the newest applied entry.
    pub fn stamp_ms(&self) -> u64 {
        self.stamp_ms
    }

    /// Rolling hash over all outcomes; equal on all replicas that applied the same entries.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// When something is due next that an [`Command::Expire`] would do.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.due.first().map(|(due_ms, _)| *due_ms)
    }

    /// Whether a receive at `stamp_ms` may find a message.
    pub fn may_have_ready(&self, queue: QueueId, stamp_ms: u64) -> bool {
        self.queues.get(&queue).is_some_and(|queue| {
            queue.has_ready() || queue.next_due_ms().is_some_and(|due_ms| due_ms <= stamp_ms)
        })
    }

    /// Whether the queue has as many messages out as it may.
    pub fn is_at_flight_limit(&self, queue: QueueId) -> bool {
        self.queues.get(&queue).is_some_and(Queue::is_at_flight_limit)
    }

    /// Why a send would be refused now; the leader asks before it writes bodies for nothing.
    pub fn refusal(&self, queue: QueueId, messages: &[NewMessage]) -> Option<Refusal> {
        match self.queues.get(&queue) {
            None => Some(Refusal::QueueMissing),
            Some(queue) => queue.refuses(messages),
        }
    }

    /// The epoch of a queue; None when the shard does not have it.
    pub fn epoch(&self, queue: QueueId) -> Option<QueueEpoch> {
        self.queues.get(&queue).map(|queue| queue.epoch)
    }

    /// The queues of this shard.
    pub fn queues(&self) -> impl Iterator<Item = QueueId> {
        self.queues.keys().copied()
    }

    /// How many messages of a queue are in which state.
    pub fn counts(&self, queue: QueueId) -> Option<Counts> {
        let queue = self.queues.get(&queue)?;
        let (stored, in_flight, delayed) = queue.counts();
        let oldest_ms = if stored == 0 { None } else { queue.oldest_ms() };
        Some(Counts { active: stored - in_flight - delayed, in_flight, delayed, oldest_ms })
    }

    /// What happened on a queue since the process started.
    pub fn totals(&self, queue: QueueId) -> Option<Totals> {
        self.queues.get(&queue).map(|queue| queue.totals)
    }

    /// How many rows a checkpoint would write.
    pub fn dirty_rows(&self) -> usize {
        self.dirty.len()
    }

    /// The rows that changed since the last checkpoint, as they are now; None: the row is gone. Together with the rows
    /// that are on disk they are the whole state.
    pub fn checkpoint(&mut self) -> Vec<(RowKey, Option<Vec<u8>>)> {
        let leaves_out = |key: &RowKey| {
            matches!(key, RowKey::Records(..)) && faults::is_active(Fault::CheckpointWithoutRecords)
        };
        let keys = self.dirty.take();
        let row = |key: RowKey| {
            let row = self.row(&key);
            (key, row)
        };
        keys.into_iter().filter(|key| !leaves_out(key)).map(row).collect()
    }

    /// Every row of the state but for closed chunks.
    pub fn export(&self) -> Vec<(RowKey, Vec<u8>)> {
        let queues = self.queues.values().chain(&self.removed);
        let keys = queues.flat_map(Queue::row_keys).chain([RowKey::Machine]);
        let mut rows: Vec<_> = keys.filter_map(|key| Some((key, self.row(&key)?))).collect();
        rows.sort_unstable_by_key(|(key, _)| *key);
        rows
    }

    fn row(&self, key: &RowKey) -> Option<Vec<u8>> {
        let epoch = match key {
            RowKey::Machine => {
                let mut out = Writer::with_format(FORMAT);
                out.int(self.revision).int(self.stamp_ms).int(self.hash);
                return Some(out.bytes);
            }
            // Chunk rows are only marked when they are not needed any more.
            RowKey::Chunk(_) => return None,
            RowKey::Queue(epoch)
            | RowKey::Lane(epoch, _)
            | RowKey::Records(epoch, ..)
            | RowKey::Deduplication(epoch, _) => *epoch,
        };
        let live = self.queues.get(&epoch.queue).filter(|queue| queue.epoch == epoch);
        let is_removed = live.is_none();
        let queue = live.or_else(|| self.removed.iter().find(|queue| queue.epoch == epoch))?;
        match key {
            RowKey::Queue(_) => Some(queue.encode(is_removed)),
            _ => queue.row(key),
        }
    }

    /// Reads one row of a checkpoint. Rows come in the order of their keys, chunk rows not at all.
    ///
    /// # Errors
    /// When the row is damaged or does not fit the ones before it.
    pub fn restore(&mut self, key: &RowKey, row: &[u8]) -> Result<(), DecodeError> {
        const ORPHAN: DecodeError = DecodeError { what: "a row of a queue that is not there" };
        match key {
            RowKey::Machine => {
                let mut from = Reader::with_format(row, FORMAT, "the row of a shard")?;
                (self.revision, self.stamp_ms, self.hash) = (from.int()?, from.int()?, from.int()?);
            }
            RowKey::Queue(epoch) => {
                let (queue, is_removed) = Queue::decode(*epoch, row)?;
                if is_removed {
                    self.removed.push_back(queue);
                } else {
                    self.queues.insert(epoch.queue, queue);
                }
            }
            RowKey::Lane(epoch, lane) => self.restored(epoch).ok_or(ORPHAN)?.restore_lane(*lane, row)?,
            RowKey::Records(epoch, lane, _) => {
                self.restored(epoch).ok_or(ORPHAN)?.restore_records(*lane, row)?
            }
            RowKey::Deduplication(epoch, hash) => {
                self.restored(epoch).ok_or(ORPHAN)?.restore_deduplication(*hash, row)?;
            }
            RowKey::Chunk(_) => {}
        }
        Ok(())
    }

    fn restored(&mut self, epoch: &QueueEpoch) -> Option<&mut Queue> {
        match self.queues.get_mut(&epoch.queue) {
            Some(queue) if queue.epoch == *epoch => Some(queue),
            _ => self.removed.iter_mut().find(|queue| queue.epoch == *epoch),
        }
    }

    /// Rebuilds every table that follows from the rows. Call it after the last [`Shard::restore`].
    pub fn finish_restore(&mut self) {
        let ids: Vec<QueueId> = self.queues.keys().copied().collect();
        self.removed.iter_mut().for_each(Queue::finish_restore);
        self.records = 0;
        self.lanes = 0;
        self.deduplication_ids = 0;
        for id in ids {
            if let Some(queue) = self.queues.get_mut(&id) {
                queue.finish_restore();
                self.records += queue.records();
                self.lanes += queue.lanes();
                self.deduplication_ids += queue.deduplication_ids();
            }
            // Registers when the queue has something due.
            self.on_queue(id, &Pages::default(), |_, _| ());
        }
    }
}
