//! The tables of the catalogue, and what a shard that is behind lacks.

use std::sync::Arc;

use super::{Catalogue, Change, QueueEntry, Removal, row_key};
use crate::attributes::QueueId;
use crate::limits::REMOVALS_MAX;

impl Catalogue {
    pub(super) fn list(&mut self, entry: Arc<QueueEntry>) {
        if let Some(policy) = entry.attributes.dead_letter {
            *self.sources.entry(policy.queue).or_default() += 1;
        }
        self.names.insert(entry.id, entry.name.clone());
        self.folded.insert(entry.name.to_lowercase().into(), entry.name.clone());
        self.changed.insert(entry.revision, entry.id);
        self.queues.insert(entry.name.clone(), entry);
    }

    pub(super) fn unlist(&mut self, entry: &QueueEntry) {
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

    pub(super) fn list_removal(&mut self, id: QueueId, removal: Removal) {
        let latest = self.deleted_names.entry(removal.name.clone()).or_insert(id);
        *latest = id.max(*latest);
        self.removed.insert(removal.revision, id);
        self.removals.insert(id, removal);
    }

    /// Forgets the oldest removals beyond the bound.
    pub(super) fn forget_removals(&mut self) {
        while self.removed.len() > REMOVALS_MAX
            && let Some((revision, id)) = self.removed.pop_first()
        {
            self.complete_below = revision;
            self.dirty.mark(row_key(id));
            if let Some(removal) = self.removals.remove(&id)
                && self.deleted_names.get(&removal.name) == Some(&id)
            {
                self.deleted_names.remove(&removal.name);
            }
        }
    }

    /// What a shard of revision `since` lacks: whether it is the whole catalogue, and the changes in the order of their
    /// revisions. `limit`, at least 1, bounds the changes unless it is the whole catalogue; the revision that the shard
    /// has afterwards comes first.
    pub fn changes_since(&self, since: u64, limit: usize) -> (u64, bool, Vec<Change>) {
        let put = |id: &QueueId| {
            let entry = &self.queues[&self.names[id]];
            let (epoch, rewinds) = (entry.epoch, entry.rewinds.clone());
            Change::Put { queue: *id, epoch, rewinds, attributes: entry.attributes.clone() }
        };
        if since < self.complete_below {
            return (self.revision, true, self.queues.values().map(|entry| put(&entry.id)).collect());
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
}
