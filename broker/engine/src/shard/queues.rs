//! Which queues a shard has: changes of the catalogue, and freeing what deleted and purged queues left behind.

use std::collections::BTreeSet;

use super::Shard;
use crate::attributes::{QueueAttributes, QueueId};
use crate::catalogue::{Change, Rewind};
use crate::chunk::{ChunkKey, NamedPages, Pages};
use crate::faults::{self, Fault};
use crate::limits::STEPS_MAX;
use crate::message::{DEFAULT_LANE, QueueEpoch};
use crate::outcome::Effects;
use crate::queue::{Context, Queue};
use crate::row::RowKey;

impl Shard {
    pub(super) fn take_catalogue(&mut self, revision: u64, is_complete: bool, changes: &[Change]) {
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
                Change::Put { queue, epoch, rewinds, attributes } => {
                    self.put(QueueEpoch { queue: *queue, epoch: *epoch }, rewinds, attributes);
                }
                Change::Remove { queue } => self.remove(*queue),
            }
        }
    }

    fn put(&mut self, epoch: QueueEpoch, rewinds: &[Rewind], attributes: &QueueAttributes) {
        let id = epoch.queue;
        let is_purge = |queue: &&Queue| queue.epoch < epoch && !faults::is_active(Fault::PurgeLeaves);
        let known = self.queues.get(&id).filter(|queue| !is_purge(queue));
        if known.is_none() {
            // A purge: the old epoch becomes remains, and the new one begins empty.
            let totals = self.queues.get(&id).map(|queue| queue.totals).unwrap_or_default();
            self.remove(id);
            let mut queue = Queue::new(epoch, attributes.clone());
            queue.totals = totals;
            queue.rewinds_done = rewinds.last().map_or(0, |latest| latest.number);
            self.lanes += queue.lanes();
            self.dirty.mark(RowKey::Queue(queue.epoch));
            self.dirty.mark(RowKey::Lane(queue.epoch, DEFAULT_LANE));
            self.queues.insert(id, queue);
        } else {
            self.on_queue(id, &Pages::default(), |queue, context| {
                // These happened under the attributes of before.
                queue.take_rewinds(rewinds, context);
                queue.set_attributes(attributes.clone(), context);
                context.dirty.mark(RowKey::Queue(queue.epoch));
                context.effects.wake(id);
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
        self.prepared.effects.wake(id);
        self.removed.insert(queue.epoch, queue);
    }

    /// The chunk page that the next [`Shard::clean_up`] needs; None when it needs none, or there is nothing to do.
    pub fn clean_up_page(&self) -> Option<ChunkKey> {
        self.removed.first_key_value()?.1.remains_page()
    }

    /// Whether rows or bodies of deleted queues wait to be freed.
    pub fn has_remains(&self) -> bool {
        !self.removed.is_empty()
    }

    /// One bounded step of freeing what deleted queues left behind. Each replica does this in its own time; nothing that
    /// a client can see depends on it. Without the page that [`Shard::clean_up_page`] names it does nothing.
    pub fn clean_up(&mut self, pages: &Pages) -> Effects {
        let named = Vec::from_iter(self.clean_up_page().filter(|key| pages.get(key).is_some()));
        let mut effects = Effects::default();
        let Some(mut entry) = self.removed.first_entry() else { return effects };
        let mut context = Context {
            stamp_ms: self.stamp_ms,
            pages: NamedPages { named: &named, pages },
            effects: &mut effects,
            dirty: &mut self.dirty,
            moves: &mut Vec::new(),
            steps: STEPS_MAX,
        };
        if !entry.get_mut().clean_up(&mut context) {
            self.dirty.mark(RowKey::Queue(*entry.key()));
            entry.remove();
        }
        effects
    }
}
