//! What can be seen of a group.

use super::Group;
use crate::replication::figures::GroupFigures;

impl<T> Group<T> {
    /// One look at the group.
    pub(crate) fn figures(&self) -> GroupFigures {
        let applied = self.applied().0;
        GroupFigures {
            is_serving: self.is_serving(),
            term: self.raw.raft.term,
            applied,
            unapplied: self.raw.raft.raft_log.last_index().saturating_sub(applied),
            entries_since_checkpoint: self.entries_since_checkpoint,
            bytes_since_checkpoint: self.bytes_since_checkpoint,
            waiting_bytes: self.fold.bytes(),
            page_bytes: self.pages.bytes(),
            sizes: self.machine.shard().map(|shard| shard.sizes()).unwrap_or_default(),
        }
    }
}
