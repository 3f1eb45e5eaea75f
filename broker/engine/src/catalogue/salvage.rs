//! The catalogue after a loss: what must never be used twice moves on.

use super::Catalogue;
use crate::attributes::QueueId;
use crate::row::RowKey;

impl Catalogue {
    /// Goes on after rows, or the newest changes, may have been lost: queue ids are counted on behind `known`, every shard
    /// gets the whole catalogue, and receipt handles of before are no longer valid.
    pub fn go_on_after_loss(&mut self, known: QueueId, lost_ids_max: u32, handle_key: [u8; 32]) {
        let newest = self.names.keys().chain(self.removals.keys()).copied().max().unwrap_or(known).max(known);
        self.next_id = self.next_id.max(newest.0.saturating_add(lost_ids_max));
        let changed = self.changed.last_key_value().map_or(0, |(revision, _)| *revision);
        let removed = self.removed.last_key_value().map_or(0, |(revision, _)| *revision);
        self.revision = self.revision.max(changed).max(removed) + 1;
        self.complete_below = self.revision;
        self.handle_key = handle_key;
        self.dirty.mark(RowKey::Machine);
    }
}
