//! Purge and rewind: what becomes of all messages of a queue at once, on every shard.

use super::{Applied, Catalogue, CatalogueRefusal, QueueEntry, Rewind, RewindKind};
use crate::limits::REWINDS_MAX;

impl Catalogue {
    pub(super) fn purge(&mut self, name: &str, wait_ms: u64) -> Applied {
        let old = self.queues.get(name).cloned().ok_or(CatalogueRefusal::Missing)?;
        let open_ms = old.purged_ms.map_or(0, |purged_ms| purged_ms.saturating_add(wait_ms));
        if open_ms > self.stamp_ms {
            return Err(CatalogueRefusal::PurgedTooSoon);
        }
        let epoch = old.epoch.checked_add(1).ok_or(CatalogueRefusal::PurgedTooSoon)?;
        self.revision += 1;
        let entry = QueueEntry {
            epoch,
            purged_ms: Some(self.stamp_ms),
            revision: self.revision,
            ..QueueEntry::clone(&old)
        };
        Ok((Some(old.id), Some(self.replace(Some(&old), entry))))
    }

    pub(super) fn rewind(&mut self, name: &str, start_ms: u64) -> Applied {
        let old = self.queues.get(name).cloned().ok_or(CatalogueRefusal::Missing)?;
        if old.attributes.rewind_seconds == 0 {
            return Err(CatalogueRefusal::RewindOff);
        }
        let reach_ms = u64::from(old.attributes.rewind_seconds) * 1_000;
        // Clients count in whole seconds.
        let earliest_ms = self.stamp_ms.saturating_sub(reach_ms) / 1_000 * 1_000;
        if !(earliest_ms..=self.stamp_ms).contains(&start_ms) {
            return Err(CatalogueRefusal::RewindTime { earliest_ms });
        }
        self.revision += 1;
        let mut entry = QueueEntry { revision: self.revision, ..QueueEntry::clone(&old) };
        note_rewind(&mut entry.rewinds, RewindKind::To(start_ms));
        Ok((Some(old.id), Some(self.replace(Some(&old), entry))))
    }
}

/// Appends a rewind; the oldest one goes into the next when there are too many. It does not go into one that dropped
/// everything, for what it brought back may be long gone.
pub(super) fn note_rewind(rewinds: &mut Vec<Rewind>, kind: RewindKind) {
    let number = rewinds.last().map_or(0, |last| last.number) + 1;
    rewinds.push(Rewind { number, kind });
    if rewinds.len() > REWINDS_MAX {
        let oldest = rewinds.remove(0);
        if let (RewindKind::To(start_ms), RewindKind::To(next_ms)) = (oldest.kind, &mut rewinds[0].kind) {
            *next_ms = start_ms.min(*next_ms);
        }
    }
}
