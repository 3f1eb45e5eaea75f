//! Work that nobody waits for: checkpoints, and freeing what is dead.

use cmq_engine::chunk::Pages;
use cmq_engine::row::RowKey;

use super::propose::EXPIRE_INTERVAL_MS;
use super::{Group, Remains};
use crate::replication::hub::Hub;
use crate::replication::keys::{self, Space};
use crate::replication::machine::Machine;
use crate::replication::{Fatal, GroupId};
use crate::storage::{ScanLimit, Tree, Write};

/// Rows of a dead incarnation that are deleted in one turn.
const CLEAN_ROWS: ScanLimit = ScanLimit { rows: 256, bytes: 1 << 20 };
/// Chunks or lanes of deleted queues that are freed in one turn.
const CLEAN_UP_STEPS: usize = 8;

impl<T> Group<T> {
    /// Monotonic milliseconds at which something of this group is due without any input.
    pub(crate) fn next_wake_ms(&mut self, hub: &Hub<T>) -> Option<u64> {
        let now_ms = hub.world.monotonic_ms;
        // A snapshot on its way out holds checkpoints up; what moves it on comes in as a message.
        let since_ms = self.dirty_since_ms.filter(|_| self.sending.is_empty());
        let mut wake_ms = since_ms.map(|since_ms| since_ms + hub.config.checkpoint_interval_ms);
        if self.is_serving() && !self.expire_in_flight {
            let stamp_ms = self.stamp_ms(hub);
            if let Some(due_ms) = self.machine.shard().and_then(|shard| shard.next_due_ms()) {
                let at_ms =
                    (now_ms + due_ms.saturating_sub(stamp_ms)).max(self.last_expire_ms + EXPIRE_INTERVAL_MS);
                wake_ms = Some(wake_ms.map_or(at_ms, |wake_ms| wake_ms.min(at_ms)));
            }
        }
        // What waits for a batch goes on when the disk says that it is durable.
        let persisted = hub.persisted_batch;
        let may_clean = self.remains.front().is_some_and(|remains| remains.after_batch <= persisted);
        let may_free = self.can_read_pages() && self.machine.shard().is_some_and(|shard| shard.has_remains());
        if may_clean || may_free {
            Some(wake_ms.map_or(now_ms + 1, |wake_ms| wake_ms.min(now_ms + 1)))
        } else {
            wake_ms
        }
    }

    /// Work that nobody waits for: snapshots, freeing what is dead, checkpoints.
    pub(crate) fn housework(&mut self, hub: &mut Hub<T>) -> Result<(), Fatal> {
        self.send_snapshots(hub)?;
        let (applied, now_ms) = (self.applied().0, hub.world.monotonic_ms);
        if self.receiving.as_ref().is_some_and(|receiving| receiving.is_over(applied, now_ms)) {
            self.abandon_receiving(hub);
        }
        if !hub.is_stopping {
            // What is left is found again at the next start.
            self.clean(hub)?;
        }
        let is_due = self.dirty_since_ms.is_some_and(|since_ms| {
            since_ms + hub.config.checkpoint_interval_ms <= hub.world.monotonic_ms || hub.is_stopping
        });
        let is_large = self.entries_since_checkpoint >= hub.config.checkpoint_entries
            || self.bytes_since_checkpoint >= hub.config.checkpoint_bytes;
        if (is_due || is_large) && self.entries_since_checkpoint > 0 && self.sending.is_empty() {
            self.checkpoint(hub)?;
        }
        Ok(())
    }

    /// Pages of a snapshot can be read when it is durable, which is when Raft counts it as applied.
    fn can_read_pages(&self) -> bool {
        self.raw.raft.raft_log.applied == self.applied().0
    }

    pub(super) fn clean(&mut self, hub: &mut Hub<T>) -> Result<(), Fatal> {
        let persisted = hub.persisted_batch;
        if let Some(remains) = self.remains.front_mut().filter(|remains| remains.after_batch <= persisted) {
            let rows = hub.store.scan(remains.tree, &remains.from, &remains.end, CLEAN_ROWS)?;
            match rows.last() {
                Some((last, _)) => remains.from = [&last[..], &b"\0"[..]].concat().into(),
                None => _ = self.remains.pop_front(),
            }
            let tree = self.remains.front().map_or(Tree::Log, |remains| remains.tree);
            hub.writes.extend(rows.into_iter().map(|(key, _)| Write::Delete(tree, key)));
            if self.remains.is_empty() {
                let log = self.raw.mut_store();
                log.progress.clean_from = log.progress.incarnation;
                hub.put(Tree::Meta, keys::progress(self.id), log.progress.encode());
            }
        }
        let space = self.space();
        let steps = if self.can_read_pages() { CLEAN_UP_STEPS } else { 0 };
        for _ in 0..steps {
            let Machine::Shard(shard) = &mut self.machine else { break };
            if !shard.has_remains() {
                break;
            }
            let mut pages = Pages::default();
            if let Some(key) = shard.clean_up_page() {
                self.pages.load(&[key], space, &*hub.store, hub.config.page_bytes, &mut pages)?;
            }
            let effects = shard.clean_up(&pages);
            self.take_effects(effects, false, hub);
            self.dirty_since_ms.get_or_insert(hub.world.monotonic_ms);
            self.entries_since_checkpoint += 1;
        }
        Ok(())
    }

    /// Rows of incarnations other than the valid one may have been left by a crash.
    pub(super) fn find_remains(&mut self) {
        let space = self.raw.store().space();
        let first = Space { incarnation: self.raw.store().progress.clean_from, ..space };
        let end = Space { group: GroupId(space.group.0 + 1), incarnation: 0 };
        for tree in [Tree::Log, Tree::State] {
            if first < space {
                self.remains.push_back(Remains {
                    tree,
                    from: first.first(),
                    end: space.first(),
                    after_batch: 0,
                });
            }
            self.remains.push_back(Remains { tree, from: space.end(), end: end.first(), after_batch: 0 });
        }
    }

    /// Writes the state machine's changed rows and the entry that they are at, and truncates the log below it. All of it
    /// is one batch with whatever else the turn writes, so that a restart finds one consistent state.
    pub(super) fn checkpoint(&mut self, hub: &mut Hub<T>) -> Result<(), Fatal> {
        let space = self.space();
        for (key, row) in self.machine.checkpoint() {
            hub.writes.push(match row {
                Some(row) => Write::Put(Tree::State, space.row(&key), row.into()),
                None => {
                    if let RowKey::Chunk(chunk) = &key {
                        self.pages.forget(chunk);
                    }
                    Write::Delete(Tree::State, space.row(&key))
                }
            });
        }
        let keep = if hub.config.voters.len() > 1 { hub.config.log_keep } else { 0 };
        let log = self.raw.mut_store();
        log.truncate(keep, &mut hub.writes)?;
        log.progress.applied = log.applied;
        hub.put(Tree::Meta, keys::progress(self.id), log.progress.encode());
        self.dirty_since_ms = None;
        self.entries_since_checkpoint = 0;
        self.bytes_since_checkpoint = 0;
        Ok(())
    }
}
