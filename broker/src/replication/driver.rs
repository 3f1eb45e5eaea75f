//! The driver turns all groups of a node: inputs in, one batch for the disk, messages and answers out.
//!
//! The batch on its way to the disk is the batching window: while it is synced, requests gather, and the next turn makes
//! one entry a group of them. Nothing waits on a timer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use cmq_engine::attributes::QueueId;
use cmq_engine::catalogue::{Catalogue, CatalogueEvent, Change};
use cmq_engine::command::{Command, NewMessage};
use cmq_engine::faults::{self, Fault};
use cmq_engine::outcome::{Deleted, Refusal, Totals};
use cmq_engine::row::RowKey;
use cmq_engine::shard::Counts;

use super::bodies::BodyCache;
use super::fold::{Asker, Operation};
use super::group::Group;
use super::keys;
use super::waiters::{Waiter, Waiters};
use super::{Fatal, GroupId, Input, NodeId, Output, PeerBody, PeerMessage, Reply, Request, Token, World};
use crate::storage::{Batch, Store, StoreError, Tree, Write};

/// Milliseconds between two ticks of the Raft protocol.
pub const TICK_MS: u64 = 100;
/// Ticks that are made up for after a pause; more would let every follower stand for election at once.
const TICKS_MAX: u64 = 3;
/// Milliseconds after which rows that nobody waits for are written.
const FLUSH_MS: u64 = 1_000;
/// Bytes of rows that nobody waits for, at which they are written.
const FLUSH_WRITES: usize = 16_384;

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
}

impl Config {
    /// A broker of one replica.
    pub fn standalone(shards: u16, entropy: (u128, [u8; 32])) -> Self {
        Self {
            node: 1,
            voters: vec![1],
            shards,
            entropy,
            seed: 1,
            body_bytes: 32 << 20,
            page_bytes: 8 << 20,
            cached_backlog_max: 4_096,
            log_keep: 4_096,
            checkpoint_interval_ms: 1_000,
            checkpoint_entries: 8_192,
            checkpoint_bytes: 16 << 20,
        }
    }
}

/// What a shard lacks of the catalogue: the revision that it has afterwards, whether the changes are the whole catalogue,
/// and the changes.
pub(crate) type Changes = (u64, bool, Vec<Change>);

/// Applied index and state hash of a group, and all rows of its state machine but closed chunks.
pub type GroupState = (u64, u64, Vec<(RowKey, Vec<u8>)>);

/// What all groups share.
pub(crate) struct Hub<T> {
    pub(crate) store: Arc<dyn Store + Send + Sync>,
    pub(crate) config: Config,
    pub(crate) world: World,
    pub(crate) bodies: BodyCache,
    pub(crate) out: Output<T>,
    /// The batch that is being built.
    pub(crate) writes: Vec<Write>,
    pub(crate) must_sync: bool,
    pub(crate) next_batch: u64,
    pub(crate) persisted_batch: u64,
    /// Queues in which something may have become ready.
    pub(crate) woken: BTreeSet<QueueId>,
    waiters: Waiters<T>,
    next_ticket: u64,
    /// Messages of a queue that receives on their way through the log will take.
    claims: BTreeMap<QueueId, u64>,
    /// Receives that were stopped by a bound and go on at once.
    retries: Vec<Waiter<T>>,
    pub(crate) catalogue_revision: u64,
    /// Changes since a revision, for the shard that asked for them.
    pub(crate) catalogue_changes: Option<(u64, Changes)>,
    pub(crate) changes_wanted: Option<u64>,
    pub(crate) leadership_changed: bool,
    pub(crate) is_stopping: bool,
    random_state: u64,
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

    pub(crate) fn release_claim(&mut self, waiter: &Waiter<T>) {
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
            self.out.replies.push((waiter.token, Reply::Received(Vec::new())));
        } else {
            self.park(waiter);
        }
    }

    fn park(&mut self, waiter: Waiter<T>) {
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
        self.out.events.push(CatalogueEvent::Founded);
        self.out.events.extend(catalogue.queues().cloned().map(CatalogueEvent::Put));
    }
}

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
            catalogue_changes: None,
            changes_wanted: None,
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
            let detail = format!(
                "the volume has {stored} shards, which cannot become {wanted}: start with --shards {stored}"
            );
            return Err(StoreError::Damaged { place: "number of shards".into(), detail }.into());
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
        if let Err(fatal) = self.try_turn(inputs) {
            return Output { fatal: Some(fatal), ..Output::default() };
        }
        std::mem::take(&mut self.hub.out)
    }

    fn try_turn(&mut self, inputs: impl IntoIterator<Item = Input<T>>) -> Result<(), Fatal> {
        for input in inputs {
            match input {
                Input::Request(token, request) => self.request(token, request),
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
            self.hub.out.replies.push((waiter.token, Reply::Received(Vec::new())));
        }
        self.pass()?;
        for group in &mut self.groups {
            group.housework(&mut self.hub)?;
            group.drain_ready(&mut self.hub)?;
        }
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
            self.hub.out.replies.push((waiter.token, Reply::Received(Vec::new())));
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

    fn request(&mut self, token: T, request: Request) {
        if self.hub.is_stopping {
            self.hub.out.replies.push((token, Reply::Stopping));
            return;
        }
        match request {
            Request::Catalogue(command) => {
                let group = &mut self.groups[0];
                if group.is_serving() {
                    group.fold.push_catalogue(Some(token), command);
                } else {
                    self.hub.out.replies.push((token, Reply::NotLeader));
                }
            }
            Request::Send { queue, messages, bodies, home } => {
                self.send(token, queue, messages, bodies, home)
            }
            Request::Receive { queue, max, wait_ms, visibility_ms } => {
                let ticket = self.hub.next_ticket;
                self.hub.next_ticket += 1;
                let deadline_ms = self.hub.world.monotonic_ms + wait_ms;
                self.receive(Waiter { token, queue, max, visibility_ms, deadline_ms, ticket, claim: 0 });
            }
            Request::Delete { shard, deliveries, stale } => {
                let group =
                    self.groups.get_mut(usize::from(shard.0)).filter(|group| group.machine.shard().is_some());
                match group {
                    None => {
                        let verdicts = vec![Deleted::Unknown; deliveries.len()];
                        self.hub.out.replies.push((token, Reply::Deleted(verdicts)));
                    }
                    Some(group) if !group.is_serving() => {
                        self.hub.out.replies.push((token, Reply::NotLeader))
                    }
                    Some(group) => {
                        let command = Command::Delete { deliveries, stale };
                        group.fold.push(Operation {
                            asker: Asker::Client(token),
                            command,
                            bodies: Vec::new(),
                        });
                    }
                }
            }
            Request::Count(queue) => {
                let reply = match self.counts(queue) {
                    Some(counts) => Reply::Counted(counts),
                    None => Reply::NotLeader,
                };
                self.hub.out.replies.push((token, reply));
            }
        }
    }

    fn send(
        &mut self,
        token: T,
        queue: QueueId,
        messages: Vec<NewMessage>,
        bodies: Vec<Bytes>,
        home: Option<GroupId>,
    ) {
        let reply = match self.choose_for_send(home) {
            None => Reply::NotLeader,
            Some(_) if !self.hub.world.has_room => Reply::DiskFull,
            Some(at) => {
                let group = &mut self.groups[at];
                let refusal = group.machine.shard().and_then(|shard| shard.refusal(queue, &messages));
                // A queue that the shard does not know yet comes with the catalogue's changes, before the send.
                let is_behind =
                    group.machine.shard().is_some_and(|shard| shard.revision() < self.hub.catalogue_revision);
                match refusal {
                    Some(refusal) if refusal != Refusal::QueueMissing || !is_behind => {
                        Reply::Refused(refusal)
                    }
                    _ if !group.has_room() => Reply::Busy("too many sends wait for the disk"),
                    _ => {
                        let command = Command::Send { queue, messages };
                        group.fold.push(Operation { asker: Asker::Client(token), command, bodies });
                        return;
                    }
                }
            }
        };
        self.hub.out.replies.push((token, reply));
    }

    /// The shards that this node leads, by their place among the groups.
    fn led(&self) -> impl Iterator<Item = usize> {
        (1..self.groups.len()).filter(|at| self.groups[*at].is_serving())
    }

    fn choose_for_send(&mut self, home: Option<GroupId>) -> Option<usize> {
        let shards = self.groups.len() - 1;
        if let Some(home) = home {
            let at = usize::from(home.0);
            return self.groups.get(at).is_some_and(Group::is_serving).then_some(at);
        }
        self.next_shard = (self.next_shard + 1) % shards;
        let start = self.next_shard;
        (0..shards).map(|offset| 1 + (start + offset) % shards).find(|at| self.groups[*at].is_serving())
    }

    /// The shard whose oldest message of the queue is the oldest, of those that have any ready.
    fn choose_for_receive(&mut self, queue: QueueId) -> Option<usize> {
        let led: Vec<usize> = self.led().collect();
        let mut best: Option<(u64, usize)> = None;
        for at in led {
            let group = &mut self.groups[at];
            let stamp_ms = group.stamp_ms(&self.hub);
            let Some(shard) = group.machine.shard() else { continue };
            if !shard.may_have_ready(queue, stamp_ms) {
                continue;
            }
            let oldest_ms = shard.counts(queue).and_then(|counts| counts.oldest_ms).unwrap_or(u64::MAX);
            if best.is_none_or(|(so_far, _)| oldest_ms < so_far) {
                best = Some((oldest_ms, at));
            }
        }
        best.map(|(_, at)| at)
    }

    fn receive(&mut self, waiter: Waiter<T>) {
        if self.led().next().is_none() {
            self.hub.out.replies.push((waiter.token, Reply::NotLeader));
            return;
        }
        let is_first = self.hub.waiters.of(waiter.queue) == 0;
        let waits = waiter.deadline_ms > self.hub.world.monotonic_ms;
        match self.choose_for_receive(waiter.queue) {
            Some(at) if is_first || !waits => {
                let available = self.available(waiter.queue);
                let claimed = self.hub.claims.get(&waiter.queue).copied().unwrap_or(0);
                if waits && available <= claimed && claimed > 0 {
                    self.hub.park(waiter);
                } else {
                    self.forward(waiter, at, available.saturating_sub(claimed));
                }
            }
            _ if waits => self.hub.park(waiter),
            _ => self.hub.out.replies.push((waiter.token, Reply::Received(Vec::new()))),
        }
    }

    /// Puts a receive on its way through the log of a shard.
    fn forward(&mut self, mut waiter: Waiter<T>, at: usize, unclaimed: u64) {
        let queue = waiter.queue;
        let group = &mut self.groups[at];
        let is_at_limit = group.machine.shard().is_some_and(|shard| shard.is_at_flight_limit(queue));
        if is_at_limit {
            self.hub.out.replies.push((waiter.token, Reply::Refused(Refusal::TooManyInFlight)));
            return;
        }
        waiter.claim = unclaimed.clamp(1, u64::from(waiter.max));
        *self.hub.claims.entry(queue).or_default() += waiter.claim;
        let command = Command::Receive { queue, max: waiter.max, visibility_ms: waiter.visibility_ms };
        group.fold.push(Operation { asker: Asker::Receive(waiter), command, bodies: Vec::new() });
    }

    fn available(&self, queue: QueueId) -> u64 {
        let shards = self.led().filter_map(|at| self.groups[at].machine.shard()?.counts(queue));
        shards.map(|counts| counts.active).sum()
    }

    /// Serves waiters of queues in which something may have become ready, in the order of their arrival.
    fn wake(&mut self) {
        for waiter in std::mem::take(&mut self.hub.retries) {
            match self.choose_for_receive(waiter.queue) {
                Some(at) => self.forward(waiter, at, 1),
                None => self.hub.wait_on(waiter, false),
            }
        }
        for queue in std::mem::take(&mut self.hub.woken) {
            while self.hub.waiters.of(queue) > 0 {
                let Some(at) = self.choose_for_receive(queue) else {
                    self.dismiss_if_removed(queue);
                    break;
                };
                let claimed = self.hub.claims.get(&queue).copied().unwrap_or(0);
                let available = self.available(queue).max(u64::from(claimed == 0));
                if available <= claimed {
                    break;
                }
                let Some(waiter) = self.hub.waiters.pop(queue) else { break };
                if !waiter.token.is_gone() {
                    self.forward(waiter, at, available - claimed);
                }
            }
        }
        if self.hub.leadership_changed {
            self.hub.leadership_changed = false;
            if self.led().next().is_none() {
                for waiter in self.hub.waiters.drain() {
                    self.hub.out.replies.push((waiter.token, Reply::NotLeader));
                }
            }
        }
    }

    /// Nobody waits for a queue that is gone.
    fn dismiss_if_removed(&mut self, queue: QueueId) {
        let is_known = self.led().any(|at| {
            let group = &self.groups[at];
            let shard = group.machine.shard();
            shard.is_some_and(|shard| {
                shard.epoch(queue).is_some() || shard.revision() < self.hub.catalogue_revision
            })
        });
        if !is_known {
            while let Some(waiter) = self.hub.waiters.pop(queue) {
                self.hub.out.replies.push((waiter.token, Reply::Refused(Refusal::QueueMissing)));
            }
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

    /// Whether every group has a leader that answers; on a single replica that is the end of the recovery.
    pub fn is_ready(&self) -> bool {
        self.groups.iter().all(|group| {
            group.is_serving() || group.leader().is_some_and(|leader| leader != self.hub.config.node)
        })
    }

    /// Whether all requests are answered and everything is on disk.
    pub fn is_quiet(&self) -> bool {
        !self.outstanding
            && self.hub.writes.is_empty()
            && self.groups.iter().all(|group| group.is_quiet() && !group.is_dirty())
    }

    /// How many messages of a queue are in which state on the shards that this node leads; None when it leads none.
    pub fn counts(&self, queue: QueueId) -> Option<Counts> {
        let mut led = self.led().peekable();
        led.peek()?;
        let shards = led.filter_map(|at| self.groups[at].machine.shard()?.counts(queue));
        Some(shards.fold(Counts::default(), |sum, counts| Counts {
            active: sum.active + counts.active,
            in_flight: sum.in_flight + counts.in_flight,
            delayed: sum.delayed + counts.delayed,
            oldest_ms: [sum.oldest_ms, counts.oldest_ms].into_iter().flatten().min(),
        }))
    }

    /// Counts and running totals of every queue on the shards that this node leads.
    pub fn survey(&self) -> BTreeMap<QueueId, (Counts, Totals)> {
        let mut queues: BTreeMap<QueueId, (Counts, Totals)> = BTreeMap::new();
        for at in self.led() {
            let Some(shard) = self.groups[at].machine.shard() else { continue };
            for queue in shard.queues() {
                let (counts, totals) = queues.entry(queue).or_default();
                let (Some(more), Some(happened)) = (shard.counts(queue), shard.totals(queue)) else {
                    continue;
                };
                counts.active += more.active;
                counts.in_flight += more.in_flight;
                counts.delayed += more.delayed;
                counts.oldest_ms = [counts.oldest_ms, more.oldest_ms].into_iter().flatten().min();
                totals.sent += happened.sent;
                totals.received += happened.received;
                totals.deleted += happened.deleted;
                totals.expired += happened.expired;
                totals.dead_lettered += happened.dead_lettered;
                totals.deduplicated += happened.deduplicated;
            }
        }
        queues
    }

    /// Shards of the Broker.
    pub fn shards(&self) -> u16 {
        self.hub.config.shards
    }

    /// Receives that wait.
    pub fn waiters(&self) -> usize {
        self.hub.waiters.len()
    }

    /// The state machine of the catalogue on this node.
    pub fn catalogue(&self) -> Option<&Catalogue> {
        self.groups[0].machine.catalogue()
    }

    /// Who leads each group, as far as this node knows.
    pub fn leaders(&self) -> Vec<Option<NodeId>> {
        self.groups.iter().map(Group::leader).collect()
    }

    /// Whether this node leads a group and answers for it.
    pub fn serves(&self, group: GroupId) -> bool {
        self.groups.get(usize::from(group.0)).is_some_and(Group::is_serving)
    }

    /// Applied index and state hash of a group, for comparing replicas.
    pub fn hash(&self, group: GroupId) -> Option<(u64, u64)> {
        let group = self.groups.get(usize::from(group.0))?;
        Some((group.applied().0, group.machine.hash()))
    }

    /// Applied index, state hash and all rows but closed chunks of a group, for comparing replicas.
    pub fn state(&self, group: GroupId) -> Option<GroupState> {
        let group = self.groups.get(usize::from(group.0))?;
        Some((group.applied().0, group.machine.hash(), group.machine.export()))
    }
}

/// Changes of the catalogue in one entry of a shard.
const CHANGES_PER_ENTRY: usize = 4_096;
