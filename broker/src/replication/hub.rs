//! What all groups of a node share while they turn.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use cmq_engine::attributes::QueueId;
use cmq_engine::catalogue::{Catalogue, CatalogueEvent};
use cmq_engine::faults::{self, Fault};

use super::bodies::BodyCache;
use super::driver::{Changes, Config};
use super::figures::Counters;
use super::fold::Asker;
use super::sizes::Sizes;
use super::waiters::{Waiter, Waiters};
use super::{GroupId, NodeId, Output, PeerBody, PeerMessage, Reply, World};
use crate::storage::{Store, Tree, Write};

/// What all groups share.
pub(crate) struct Hub<T> {
    pub(crate) store: Arc<dyn Store + Send + Sync>,
    pub(crate) config: Config,
    pub(crate) world: World,
    pub(crate) bodies: BodyCache,
    pub(crate) sizes: Sizes,
    /// Bytes of messages that this turn has handed out.
    pub(crate) answered_bytes: usize,
    pub(crate) out: Output<T>,
    /// The batch that is being built.
    pub(crate) writes: Vec<Write>,
    pub(crate) must_sync: bool,
    pub(crate) next_batch: u64,
    pub(crate) persisted_batch: u64,
    /// Queues in which something may have become ready.
    pub(crate) woken: BTreeSet<QueueId>,
    pub(super) waiters: Waiters<T>,
    pub(super) next_ticket: u64,
    /// Messages of a queue that receives on their way through the log will take.
    pub(super) claims: BTreeMap<QueueId, u64>,
    /// Receives that were stopped by a bound and go on at once.
    pub(super) retries: Vec<Waiter<T>>,
    pub(crate) catalogue_revision: u64,
    /// Purges and rewinds that the catalogue did, to be answered when the shards of this node did them, too: revision,
    /// token, queue.
    pub(super) epochs_waiting: VecDeque<(u64, T, Option<QueueId>)>,
    /// Changes since a revision, for the shard that asked for them.
    pub(crate) catalogue_changes: Option<(u64, Changes)>,
    pub(crate) changes_wanted: Option<u64>,
    /// Queues of receives that were answered empty in this turn.
    pub(super) emptied: Vec<QueueId>,
    pub(crate) counters: Counters,
    pub(crate) leadership_changed: bool,
    pub(crate) is_stopping: bool,
    pub(super) random_state: u64,
}

impl<T> Hub<T> {
    pub(crate) fn random(&mut self) -> u64 {
        // Xorshift: election time-outs only have to differ.
        self.random_state ^= self.random_state << 13;
        self.random_state ^= self.random_state >> 7;
        self.random_state ^= self.random_state << 17;
        self.random_state
    }

    pub(crate) fn send(&mut self, to: NodeId, group: GroupId, body: PeerBody) {
        self.out.messages.push((to, PeerMessage { group, body }));
    }

    /// Number of the batch with which everything that was written so far is durable.
    pub(crate) fn building_batch(&self) -> u64 {
        self.next_batch - u64::from(self.writes.is_empty())
    }

    pub(crate) fn put(&mut self, tree: Tree, key: Bytes, value: Bytes) {
        self.writes.push(Write::Put(tree, key, value));
    }

    pub(crate) fn fail(&mut self, asker: Asker<T>) {
        match asker {
            Asker::Own => {}
            Asker::Client(token) => self.out.replies.push((token, Reply::NotLeader)),
            Asker::Receive(waiter) => {
                self.release_claim(&waiter);
                self.out.replies.push((waiter.token, Reply::NotLeader));
            }
        }
    }

    /// What was set aside for a receive may go to others that wait.
    pub(crate) fn release_claim(&mut self, waiter: &Waiter<T>) {
        self.woken.insert(waiter.queue);
        if let Some(claimed) = self.claims.get_mut(&waiter.queue) {
            *claimed -= waiter.claim;
            if *claimed == 0 {
                self.claims.remove(&waiter.queue);
            }
        }
    }

    /// A receive found nothing: it waits on at its old place, or its time is over.
    pub(crate) fn wait_on(&mut self, mut waiter: Waiter<T>, is_partial: bool) {
        waiter.claim = 0;
        if is_partial {
            self.retries.push(waiter);
        } else if waiter.deadline_ms <= self.world.monotonic_ms || self.is_stopping {
            self.answer_empty(waiter);
        } else {
            self.park(waiter);
        }
    }

    /// A receive finds nothing.
    pub(super) fn answer_empty(&mut self, waiter: Waiter<T>) {
        self.emptied.push(waiter.queue);
        self.out.replies.push((waiter.token, Reply::Received(Vec::new())));
    }

    pub(super) fn park(&mut self, waiter: Waiter<T>) {
        self.woken.insert(waiter.queue);
        if faults::is_active(Fault::ForgottenWaiter) && self.waiters.of(waiter.queue) > 0 {
            return;
        }
        if let Err(waiter) = self.waiters.push(waiter) {
            self.out.replies.push((waiter.token, Reply::Busy("too many receives wait")));
        }
    }

    pub(crate) fn reload_catalogue(&mut self, catalogue: &Catalogue) {
        self.catalogue_revision = catalogue.revision();
        self.out.events.push(CatalogueEvent::Reloaded(catalogue.queues().cloned().collect()));
    }
}
