//! Snapshots of a group, in both directions.

use raft::{SnapshotStatus, eraftpb};

use super::{Group, Remains};
use crate::replication::hub::Hub;
use crate::replication::keys::{self, Space};
use crate::replication::log::Progress;
use crate::replication::machine::Machine;
use crate::replication::pages::PageCache;
use crate::replication::snapshot::{Ack, Page, Receipt, Receiving, Step, Taken};
use crate::replication::{Fatal, NodeId, PeerBody};
use crate::storage::Tree;

impl<T> Group<T> {
    pub(super) fn take_page(&mut self, from: NodeId, page: Page, hub: &mut Hub<T>) -> Result<(), Fatal> {
        if !self.remains.is_empty() {
            // The next incarnation may still hold rows of an attempt before; the sender tries again.
            return Ok(());
        }
        let (id, number) = (page.id, page.number);
        let is_current =
            self.receiving.as_ref().is_some_and(|receiving| receiving.id == id && receiving.from == from);
        if !is_current {
            let is_needed = id.0 > self.applied().0;
            if !is_needed || number != 0 {
                let receipt = if is_needed { Receipt::Nothing } else { Receipt::Enough };
                hub.send(from, self.id, PeerBody::SnapshotAck(Ack { id, receipt }));
                return Ok(());
            }
            self.abandon_receiving(hub);
            if !self.remains.is_empty() {
                return Ok(());
            }
            self.receiving = Some(Receiving::new(self.id, self.next_incarnation, from, id));
            self.next_incarnation += 1;
        }
        let Some(receiving) = &mut self.receiving else { return Ok(()) };
        let taken = receiving.take(page, hub.world.monotonic_ms, &mut hub.writes)?;
        hub.must_sync = true;
        match taken {
            Taken::Ignore => {}
            Taken::Acknowledge => {
                hub.send(from, self.id, PeerBody::SnapshotAck(Ack { id, receipt: Receipt::Page(number) }))
            }
            Taken::Complete(message) => {
                hub.send(from, self.id, PeerBody::SnapshotAck(Ack { id, receipt: Receipt::Page(number) }));
                self.step_raft(*message, hub)?;
            }
        }
        Ok(())
    }

    pub(super) fn abandon_receiving(&mut self, hub: &Hub<T>) {
        if let Some(receiving) = self.receiving.take() {
            self.give_up(receiving.space, hub);
        }
    }

    /// Lets the rows of an incarnation be deleted, with those that are on their way to disk.
    pub(super) fn give_up(&mut self, space: Space, hub: &Hub<T>) {
        let after_batch = hub.building_batch();
        for tree in [Tree::Log, Tree::State] {
            self.remains.push_back(Remains { tree, from: space.first(), end: space.end(), after_batch });
        }
    }

    /// Switches to the incarnation that a snapshot was received into.
    pub(super) fn install(&mut self, snapshot: &eraftpb::Snapshot, hub: &mut Hub<T>) -> Result<(), Fatal> {
        let metadata = snapshot.get_metadata();
        let id = (metadata.index, metadata.term);
        let Some(receiving) = self.receiving.take_if(|receiving| receiving.id == id) else {
            return Err(Fatal::Raft {
                group: self.id.0,
                detail: format!("a snapshot at {id:?} without its pages"),
            });
        };
        let old = self.space();
        let progress = Progress {
            incarnation: receiving.space.incarnation,
            clean_from: self.raw.store().progress.clean_from,
            applied: id,
            truncated: id,
            voters: metadata.get_conf_state().voters.clone(),
        };
        hub.put(Tree::Meta, keys::progress(self.id), progress.encode());
        self.raw.mut_store().install(progress);
        self.machine = receiving.machine;
        self.pages = PageCache::default();
        self.hashes.clear();
        self.dirty_since_ms = None;
        self.entries_since_checkpoint = 0;
        self.bytes_since_checkpoint = 0;
        self.give_up(old, hub);
        if let Machine::Catalogue(catalogue) = &self.machine {
            hub.reload_catalogue(catalogue);
        }
        Ok(())
    }

    pub(super) fn send_snapshots(&mut self, hub: &mut Hub<T>) -> Result<(), Fatal> {
        let now_ms = hub.world.monotonic_ms;
        let mut ended = Vec::new();
        for (peer, sending) in &mut self.sending {
            match sending.step(&*hub.store, now_ms, hub.persisted_batch)? {
                Step::Send(page) => hub.send(*peer, self.id, PeerBody::SnapshotPage(page)),
                Step::Wait => {}
                Step::GiveUp => ended.push((*peer, SnapshotStatus::Failure)),
                Step::Done => ended.push((*peer, SnapshotStatus::Finish)),
            }
        }
        for (peer, status) in ended {
            self.sending.remove(&peer);
            self.raw.report_snapshot(peer, status);
        }
        Ok(())
    }
}
