//! The driver turns all groups of a node: inputs in, one batch for the disk, messages and answers out.
//!
//! The batch on its way to the disk is the batching window: while it is synced, requests gather, and the next turn makes
//! one entry a group of them. Nothing waits on a timer.

pub mod browse;
mod requests;
mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use cmq_engine::catalogue::Change;
use cmq_engine::faults::{self, Fault};
use cmq_engine::row::RowKey;

use super::bodies::BodyCache;
use super::figures::Counters;
use super::group::Group;
use super::hub::Hub;
use super::keys;
use super::sizes::Sizes;
use super::waiters::Waiters;
use super::{Fatal, GroupId, Input, NodeId, Output, Token, World};
use crate::storage::{Batch, Store, Tree};

/// Milliseconds between two ticks of the Raft protocol.
pub const TICK_MS: u64 = 100;
/// Ticks that are made up for after a pause; more would let every follower stand for election at once.
const TICKS_MAX: u64 = 3;
/// Milliseconds after which rows that nobody waits for are written.
const FLUSH_MS: u64 = 1_000;
/// Rows that nobody waits for, at which they are written.
const FLUSH_WRITES: usize = 16_384;

/// Changes of the catalogue in one entry of a shard.
const CHANGES_PER_ENTRY: usize = 4_096;

/// What a driver is, fixed for its life.
#[derive(Clone, Debug)]
pub struct Config {
    /// This member.
    pub node: NodeId,
    /// The members that vote in new groups.
    pub voters: Vec<NodeId>,
    /// Shards of the Broker.
    pub shards: u16,
    /// Cluster id and handle key, should this node found the cluster. Random.
    pub entropy: (u128, [u8; 32]),
    /// Whether this node founds a cluster where there is none; else it waits for one.
    pub founds: bool,
    /// Seeds the election time-outs.
    pub seed: u64,
    /// Memory for bodies, bytes.
    pub body_bytes: usize,
    /// Memory for chunk pages of a group, bytes.
    pub page_bytes: usize,
    /// Bodies of queues with a longer backlog are not cached when they are sent.
    pub cached_backlog_max: u64,
    /// Applied entries whose header rows are kept for followers.
    pub log_keep: u64,
    /// Milliseconds between a change and the checkpoint that holds it.
    pub checkpoint_interval_ms: u64,
    /// Entries after which a checkpoint is due.
    pub checkpoint_entries: u64,
    /// Bytes of entries after which a checkpoint is due. Bounds what a restart replays.
    pub checkpoint_bytes: usize,
    /// Bytes of one page of a snapshot; at least one row goes into each.
    pub snapshot_page_bytes: usize,
}

impl Config {
    /// A broker of one replica.
    pub fn standalone(shards: u16, entropy: (u128, [u8; 32])) -> Self {
        Self {
            node: 1,
            voters: vec![1],
            shards,
            entropy,
            founds: true,
            seed: 1,
            body_bytes: 32 << 20,
            page_bytes: 8 << 20,
            cached_backlog_max: 4_096,
            log_keep: 4_096,
            checkpoint_interval_ms: 1_000,
            checkpoint_entries: 8_192,
            checkpoint_bytes: 16 << 20,
            snapshot_page_bytes: 1 << 20,
        }
    }
}

/// What a shard lacks of the catalogue: the revision that it has afterwards, whether the changes are the whole catalogue,
/// and the changes.
pub(crate) type Changes = (u64, bool, Vec<Change>);

/// Applied index and state hash of a group, and all rows of its state machine but closed chunks.
pub type GroupState = (u64, u64, Vec<(RowKey, Vec<u8>)>);

/// All groups of a node. `T` is the caller's token for an answer.
pub struct Driver<T> {
    groups: Vec<Group<T>>,
    hub: Hub<T>,
    next_tick_ms: u64,
    outstanding: bool,
    /// When the oldest row that nobody waits for was written into the batch.
    lazy_since_ms: Option<u64>,
    next_shard: usize,
}

impl<T> std::fmt::Debug for Driver<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("groups", &self.groups).finish_non_exhaustive()
    }
}

impl<T: Token> Driver<T> {
    /// Opens all groups on a volume whose newest batch is `last_batch`. The first output holds the catalogue as events.
    ///
    /// # Errors
    /// When the storage fails, what it holds does not fit together, or it has more shards than `config`.
    pub fn open(
        config: Config,
        store: Arc<dyn Store + Send + Sync>,
        last_batch: u64,
        world: World,
    ) -> Result<(Self, Output<T>), Fatal> {
        let seed = config.seed.max(1);
        let mut hub = Hub {
            store,
            world,
            bodies: BodyCache::new(config.body_bytes),
            sizes: Sizes::default(),
            answered_bytes: 0,
            out: Output::default(),
            writes: Vec::new(),
            must_sync: false,
            next_batch: last_batch + 1,
            persisted_batch: last_batch,
            woken: BTreeSet::new(),
            waiters: Waiters::default(),
            next_ticket: 0,
            claims: BTreeMap::new(),
            retries: Vec::new(),
            catalogue_revision: 0,
            epochs_waiting: VecDeque::new(),
            catalogue_changes: None,
            changes_wanted: None,
            emptied: Vec::new(),
            counters: Counters::default(),
            leadership_changed: false,
            is_stopping: false,
            random_state: seed,
            config,
        };
        let shards = Self::settle_shards(&mut hub)?;
        let mut groups = Vec::with_capacity(usize::from(shards) + 1);
        for id in 0..=shards {
            groups.push(Group::open(GroupId(id), &mut hub)?);
        }
        if let Some(catalogue) = groups[0].machine.catalogue() {
            hub.reload_catalogue(catalogue);
        }
        let out = std::mem::take(&mut hub.out);
        let next_tick_ms = world.monotonic_ms + TICK_MS;
        let driver =
            Self { groups, hub, next_tick_ms, outstanding: false, lazy_since_ms: None, next_shard: 0 };
        Ok((driver, out))
    }

    fn settle_shards(hub: &mut Hub<T>) -> Result<u16, Fatal> {
        let wanted = hub.config.shards;
        let stored = hub.store.get(Tree::Meta, keys::SHARDS)?.and_then(|row| row[..].try_into().ok());
        let stored = stored.map_or(0, u16::from_be_bytes);
        if stored > wanted {
            return Err(Fatal::FewerShards { stored, wanted });
        }
        if stored < wanted {
            hub.put(
                Tree::Meta,
                Bytes::from_static(keys::SHARDS),
                Bytes::copy_from_slice(&wanted.to_be_bytes()),
            );
            hub.must_sync = true;
        }
        Ok(wanted)
    }

    /// Takes inputs and says what has to be done about them.
    pub fn turn(&mut self, inputs: impl IntoIterator<Item = Input<T>>, world: World) -> Output<T> {
        self.hub.world = world;
        self.hub.answered_bytes = 0;
        if let Err(fatal) = self.try_turn(inputs) {
            return Output { fatal: Some(fatal), ..Output::default() };
        }
        std::mem::take(&mut self.hub.out)
    }

    fn try_turn(&mut self, inputs: impl IntoIterator<Item = Input<T>>) -> Result<(), Fatal> {
        for input in inputs {
            match input {
                Input::Request(token, request) => self.request(token, request)?,
                Input::Peer(from, message) => {
                    if let Some(group) = self.groups.get_mut(usize::from(message.group.0)) {
                        group.step(from, message.body, &mut self.hub)?;
                    }
                }
                Input::Persisted(batch) => self.persisted(batch),
                Input::Stop => self.stop(),
            }
        }
        self.tick();
        while let Some(waiter) = self.hub.waiters.pop_due(self.hub.world.monotonic_ms) {
            self.hub.answer_empty(waiter);
        }
        self.pass()?;
        for group in &mut self.groups {
            group.housework(&mut self.hub)?;
            group.drain_ready(&mut self.hub)?;
        }
        self.count_empty_receives();
        self.emit();
        if faults::is_active(Fault::AnswerBeforeSync)
            && let Some((batch, _)) = &self.hub.out.batch
        {
            let number = batch.number;
            for group in &mut self.groups {
                group.persisted(number, &mut self.hub);
                group.drain_ready(&mut self.hub)?;
            }
        }
        Ok(())
    }

    /// Moves everything on as far as it goes without the disk: what is committed is applied, who can be served is woken,
    /// what waits is proposed.
    fn pass(&mut self) -> Result<(), Fatal> {
        for group in &mut self.groups {
            group.drain_ready(&mut self.hub)?;
        }
        self.answer_epochs();
        self.wake();
        if self.outstanding {
            return Ok(());
        }
        for at in 0..self.groups.len() {
            self.groups[at].propose(&mut self.hub)?;
            if let Some(since) = self.hub.changes_wanted.take()
                && let Some(catalogue) = self.groups[0].machine.catalogue()
            {
                let changes = catalogue.changes_since(since, CHANGES_PER_ENTRY);
                self.hub.catalogue_changes = Some((since, changes));
                self.groups[at].propose(&mut self.hub)?;
                self.hub.catalogue_changes = None;
                self.hub.changes_wanted = None;
            }
            self.groups[at].drain_ready(&mut self.hub)?;
        }
        Ok(())
    }

    fn tick(&mut self) {
        let now_ms = self.hub.world.monotonic_ms;
        for _ in 0..TICKS_MAX {
            if self.next_tick_ms > now_ms {
                return;
            }
            self.next_tick_ms += TICK_MS;
            for group in &mut self.groups {
                group.tick(&mut self.hub);
            }
        }
        self.next_tick_ms = self.next_tick_ms.max(now_ms + 1);
    }

    fn persisted(&mut self, batch: u64) {
        self.outstanding = false;
        self.hub.persisted_batch = batch;
        for group in &mut self.groups {
            group.persisted(batch, &mut self.hub);
        }
    }

    fn stop(&mut self) {
        self.hub.is_stopping = true;
        for waiter in self.hub.waiters.drain() {
            self.hub.answer_empty(waiter);
        }
        for group in &mut self.groups {
            group.hand_over(&mut self.hub);
        }
    }

    fn emit(&mut self) {
        let hub = &mut self.hub;
        if self.outstanding || hub.writes.is_empty() {
            return;
        }
        let now_ms = hub.world.monotonic_ms;
        let since_ms = *self.lazy_since_ms.get_or_insert(now_ms);
        let is_due = since_ms + FLUSH_MS <= now_ms || hub.writes.len() >= FLUSH_WRITES || hub.is_stopping;
        if !hub.must_sync && !is_due {
            return;
        }
        let number = hub.next_batch;
        hub.next_batch += 1;
        let writes = std::mem::take(&mut hub.writes);
        hub.out.batch = Some((Batch { number, writes }, std::mem::take(&mut hub.must_sync)));
        self.outstanding = true;
        self.lazy_since_ms = None;
        for group in &mut self.groups {
            group.batch_leaves(number);
        }
    }

    /// Monotonic milliseconds at which a turn is due though nothing comes in; None: never.
    pub fn next_wake_ms(&mut self) -> Option<u64> {
        let mut wakes = [
            (self.hub.config.voters.len() > 1).then_some(self.next_tick_ms),
            self.hub.waiters.next_due_ms(),
            self.lazy_since_ms.filter(|_| !self.outstanding).map(|since_ms| since_ms + FLUSH_MS),
        ]
        .into_iter()
        .flatten()
        .min();
        if !self.hub.woken.is_empty() {
            return Some(self.hub.world.monotonic_ms);
        }
        if self.outstanding {
            // Everything else moves on when the batch is durable.
            return wakes;
        }
        for group in &mut self.groups {
            let wake_ms = group.next_wake_ms(&self.hub);
            wakes = [wakes, wake_ms].into_iter().flatten().min();
        }
        wakes
    }

    /// Whether a batch is on its way: until it is durable, new requests only gather.
    pub fn is_outstanding(&self) -> bool {
        self.outstanding
    }

    /// Applied index and state hash of a group, for comparing replicas.
    pub fn hash(&self, group: GroupId) -> Option<(u64, u64)> {
        let group = self.groups.get(usize::from(group.0))?;
        Some((group.applied().0, group.machine.hash()))
    }
}
