//! One Raft group of this node: its protocol state, its state machine, and the requests that wait for it.

use std::collections::{BTreeMap, VecDeque};
use std::mem;

use bytes::Bytes;
use cmq_engine::attributes::QueueId;
use cmq_engine::catalogue::CatalogueCommand;
use cmq_engine::chunk::Pages;
use cmq_engine::command::Command;
use cmq_engine::faults::{self, Fault};
use cmq_engine::limits::LOG_INDEX_MAX;
use cmq_engine::message::BodyRef;
use cmq_engine::outcome::{Deleted, Effects, Outcome};
use cmq_engine::row::RowKey;
use raft::eraftpb::{self, Message, MessageType};
use raft::{RawNode, SnapshotStatus, StateRole};

use super::driver::Hub;
use super::entry::{self, Commands};
use super::fold::{Asker, ENTRY_BYTES_MAX, Fold, Operation};
use super::keys::{self, Space};
use super::log::{GroupLog, Progress, encode_hard_state};
use super::machine::Machine;
use super::pages::PageCache;
use super::snapshot::{Ack, Page, Receipt, Receiving, Sending, Step, Taken};
use super::waiters::Waiter;
use super::{Fatal, GroupId, NodeId, PeerBody, Received, Reply};
use crate::storage::{ScanLimit, StoreError, Tree, Write};

/// Bytes of entries that one turn proposes.
const PROPOSE_BYTES_MAX: usize = 4 << 20;
const HASH_INTERVAL: u64 = 64;
/// State hashes that are remembered.
const HASHES_MAX: usize = 64;
/// Milliseconds between two proposals to do what is due: the resolution of delays when nobody receives.
const EXPIRE_INTERVAL_MS: u64 = 50;
/// Rows of a dead incarnation that are deleted in one turn.
const CLEAN_ROWS: ScanLimit = ScanLimit { rows: 256, bytes: 1 << 20 };
/// Chunks or lanes of deleted queues that are freed in one turn.
const CLEAN_UP_STEPS: usize = 8;

/// An entry that this node proposed as leader.
#[derive(Debug)]
enum Proposal<T> {
    Shard { index: u64, term: u64, askers: Vec<Asker<T>> },
    Catalogue { index: u64, term: u64, tokens: Vec<Option<T>> },
}

impl<T> Proposal<T> {
    fn position(&self) -> (u64, u64) {
        match self {
            Self::Shard { index, term, .. } | Self::Catalogue { index, term, .. } => (*index, *term),
        }
    }
}

/// Rows of another incarnation that have to go.
#[derive(Debug)]
struct Remains {
    tree: Tree,
    from: Bytes,
    end: Bytes,
    /// All of them can be seen when this batch is durable.
    after_batch: u64,
}

pub(crate) struct Group<T> {
    pub(crate) id: GroupId,
    raw: RawNode<GroupLog>,
    pub(crate) machine: Machine,
    pub(crate) fold: Fold<T>,
    proposals: VecDeque<Proposal<T>>,
    /// Messages that may leave when the ready of this number is durable.
    held: VecDeque<(u64, Vec<Message>)>,
    /// The newest ready in the batch that is being built.
    building: Option<u64>,
    /// Whether any of those must be synced before it counts as durable.
    building_syncs: bool,
    /// Batches on their way, and the newest ready in each.
    persisting: VecDeque<(u64, u64)>,
    pages: PageCache,
    /// Monotonic and stamp time at which this term's clock started.
    clock: Option<(u64, u64)>,
    last_stamp_ms: u64,
    led_term: Option<u64>,
    proposed_revision: u64,
    founding: bool,
    expire_in_flight: bool,
    last_expire_ms: u64,
    hashes: VecDeque<(u64, u64)>,
    announced_hash: u64,
    /// When the first change since the last checkpoint was made.
    dirty_since_ms: Option<u64>,
    bytes_since_checkpoint: usize,
    entries_since_checkpoint: u64,
    sending: BTreeMap<NodeId, Sending>,
    receiving: Option<Receiving>,
    remains: VecDeque<Remains>,
    next_incarnation: u32,
}

impl<T> std::fmt::Debug for Group<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let raft = &self.raw.raft;
        f.debug_struct("Group")
            .field("id", &self.id)
            .field("term", &raft.term)
            .field("role", &raft.state)
            .field("committed", &raft.raft_log.committed)
            .finish_non_exhaustive()
    }
}

impl<T> Group<T> {
    /// Opens a group: reads its state at the checkpoint and the log behind it.
    pub(crate) fn open(id: GroupId, hub: &mut Hub<T>) -> Result<Self, Fatal> {
        let log = GroupLog::open(hub.store.clone(), id, &hub.config.voters)?;
        let space = log.space();
        let progress = log.progress.clone();
        let mut machine = Machine::new(id);
        let mut from = space.first();
        loop {
            let rows = hub.store.scan(
                Tree::State,
                &from,
                &space.chunks(),
                ScanLimit { rows: 4_096, bytes: 4 << 20 },
            )?;
            let Some((last, _)) = rows.last() else { break };
            from = [&last[..], &b"\0"[..]].concat().into();
            for (key, row) in &rows {
                let damaged = |error: cmq_engine::codec::DecodeError| StoreError::Damaged {
                    place: format!("state of group {}", id.0),
                    detail: error.to_string(),
                };
                let key = RowKey::decode(Space::strip(key)).map_err(damaged)?;
                machine.restore(&key, row).map_err(damaged)?;
            }
        }
        machine.finish_restore();
        let config = raft::Config {
            id: hub.config.node,
            election_tick: ELECTION_TICKS,
            heartbeat_tick: HEARTBEAT_TICKS,
            applied: progress.applied.0,
            max_size_per_msg: 1 << 20,
            max_inflight_msgs: 64,
            check_quorum: true,
            pre_vote: true,
            max_uncommitted_size: 64 << 20,
            max_committed_size_per_ready: 4 << 20,
            ..raft::Config::default()
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&config, log, &logger).map_err(|error| raft_failure(id, &error))?;
        let mut group = Self {
            id,
            raw,
            machine,
            fold: Fold::default(),
            proposals: VecDeque::new(),
            held: VecDeque::new(),
            building: None,
            building_syncs: false,
            persisting: VecDeque::new(),
            pages: PageCache::default(),
            clock: None,
            last_stamp_ms: 0,
            led_term: None,
            proposed_revision: 0,
            founding: false,
            expire_in_flight: false,
            last_expire_ms: 0,
            hashes: VecDeque::new(),
            announced_hash: 0,
            dirty_since_ms: None,
            bytes_since_checkpoint: 0,
            entries_since_checkpoint: 0,
            sending: BTreeMap::new(),
            receiving: None,
            remains: VecDeque::new(),
            next_incarnation: space.incarnation + 1,
        };
        group.find_remains();
        group.randomize_election(hub);
        if hub.config.voters.len() == 1 {
            group.raw.campaign().map_err(|error| raft_failure(id, &error))?;
        }
        Ok(group)
    }

    /// Rows of incarnations other than the valid one may have been left by a crash.
    fn find_remains(&mut self) {
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

    /// Raft draws its election time-outs from the thread's random source; they must come from the seed.
    fn randomize_election(&mut self, hub: &mut Hub<T>) {
        let ticks = ELECTION_TICKS + (hub.random() % ELECTION_TICKS as u64) as usize;
        self.raw.raft.set_randomized_election_timeout(ticks);
    }

    fn with_raft<R>(&mut self, hub: &mut Hub<T>, step: impl FnOnce(&mut RawNode<GroupLog>) -> R) -> R {
        let before = (self.raw.raft.term, self.raw.raft.state);
        let result = step(&mut self.raw);
        if (self.raw.raft.term, self.raw.raft.state) != before {
            self.randomize_election(hub);
        }
        result
    }

    pub(crate) fn leader(&self) -> Option<NodeId> {
        Some(self.raw.raft.leader_id).filter(|leader| *leader != raft::INVALID_ID)
    }

    /// Whether this node leads and has applied everything that was committed before its term.
    pub(crate) fn is_serving(&self) -> bool {
        self.raw.raft.state == StateRole::Leader && self.raw.store().applied.1 == self.raw.raft.term
    }

    pub(crate) fn applied(&self) -> (u64, u64) {
        self.raw.store().applied
    }

    pub(crate) fn space(&self) -> Space {
        self.raw.store().space()
    }

    /// The leader's stamp for now: moves with the monotonic clock during its term.
    pub(crate) fn stamp_ms(&mut self, hub: &Hub<T>) -> u64 {
        let now_ms = hub.world.monotonic_ms;
        let floor_ms = self.machine.stamp_ms().max(self.last_stamp_ms);
        let (started_ms, base_ms) =
            *self.clock.get_or_insert_with(|| (now_ms, hub.world.wall_ms.max(floor_ms)));
        floor_ms.max(base_ms + (now_ms - started_ms))
    }

    pub(crate) fn tick(&mut self, hub: &mut Hub<T>) {
        if hub.config.voters.len() > 1 {
            self.with_raft(hub, RawNode::tick);
        }
        let newest = self.hashes.back().copied().unwrap_or_default();
        if self.is_serving() && newest.0 > self.announced_hash {
            self.announced_hash = newest.0;
            let peers: Vec<NodeId> =
                hub.config.voters.iter().copied().filter(|peer| *peer != hub.config.node).collect();
            for peer in peers {
                hub.send(peer, self.id, PeerBody::Hash { index: newest.0, hash: newest.1 });
            }
        }
    }

    /// Takes what a peer says.
    pub(crate) fn step(&mut self, from: NodeId, body: PeerBody, hub: &mut Hub<T>) -> Result<(), Fatal> {
        match body {
            PeerBody::Raft(message) => self.step_raft(*message, hub),
            PeerBody::SnapshotPage(page) => self.take_page(from, *page, hub),
            PeerBody::SnapshotAck(ack) => {
                let now_ms = hub.world.monotonic_ms;
                if let Some(sending) = self.sending.get_mut(&from) {
                    sending.acknowledge(ack, now_ms);
                }
                Ok(())
            }
            PeerBody::Hash { index, hash } => {
                let own = self.hashes.iter().find(|(at, _)| *at == index);
                match own {
                    Some((_, own)) if *own != hash => {
                        Err(Fatal::Diverged { group: self.id.0, peer: from, index })
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    fn step_raft(&mut self, message: Message, hub: &mut Hub<T>) -> Result<(), Fatal> {
        let last = self.raw.raft.raft_log.last_index();
        let is_heartbeat = message.get_msg_type() == MessageType::MsgHeartbeat;
        if is_heartbeat && message.term >= self.raw.raft.term && message.commit > last {
            // Raft would panic: a leader names as committed only what this replica acknowledged.
            return Err(Fatal::LostTail { group: self.id.0, committed: message.commit, last });
        }
        match self.with_raft(hub, |raw| raw.step(message)) {
            // Votes and replies that came too late, or from a stranger.
            Ok(()) | Err(raft::Error::StepPeerNotFound | raft::Error::ProposalDropped) => Ok(()),
            Err(error) => Err(raft_failure(self.id, &error)),
        }
    }

    fn take_page(&mut self, from: NodeId, page: Page, hub: &mut Hub<T>) -> Result<(), Fatal> {
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

    fn abandon_receiving(&mut self, hub: &Hub<T>) {
        if let Some(receiving) = self.receiving.take() {
            self.give_up(receiving.space, hub);
        }
    }

    /// Lets the rows of an incarnation be deleted, with those that are on their way to disk.
    fn give_up(&mut self, space: Space, hub: &Hub<T>) {
        let after_batch = hub.building_batch();
        for tree in [Tree::Log, Tree::State] {
            self.remains.push_back(Remains { tree, from: space.first(), end: space.end(), after_batch });
        }
    }

    /// Turns protocol state into rows, messages and applied entries until there is nothing more to do.
    pub(crate) fn drain_ready(&mut self, hub: &mut Hub<T>) -> Result<(), Fatal> {
        while self.raw.has_ready() {
            let mut ready = self.raw.ready();
            self.send_all(ready.take_messages(), hub);
            let mut needs_sync = ready.must_sync();
            if !ready.snapshot().is_empty() {
                self.install(ready.snapshot(), hub)?;
                needs_sync = true;
            }
            let committed = ready.take_committed_entries();
            let entries = ready.take_entries();
            if faults::is_active(Fault::ReadUncommittedBody) && self.id != GroupId::CATALOGUE {
                self.cache_bodies(&entries, hub)?;
            }
            self.bytes_since_checkpoint += entries.iter().map(|entry| entry.data.len()).sum::<usize>();
            self.raw.mut_store().append(entries, &mut hub.writes)?;
            if let Some(state) = ready.hs() {
                self.raw.mut_store().set_hard_state(state);
                hub.put(Tree::Meta, keys::hard_state(self.id), encode_hard_state(state));
            }
            let number = ready.number();
            let messages = ready.take_persisted_messages();
            self.raw.advance_append_async(ready);
            hub.must_sync |= needs_sync;
            if faults::is_active(Fault::VoteBeforeSync) {
                self.send_all(messages, hub);
            } else {
                self.held.push_back((number, messages));
            }
            if needs_sync || self.building.is_some() || !self.persisting.is_empty() {
                self.building = Some(number);
                self.building_syncs |= needs_sync;
            } else {
                self.persisted_ready(number, hub);
            }
            for entry in committed {
                self.apply(&entry, hub)?;
            }
            self.advance_apply();
        }
        self.notice_leadership(hub);
        Ok(())
    }

    fn cache_bodies(&self, entries: &[eraftpb::Entry], hub: &mut Hub<T>) -> Result<(), Fatal> {
        for entry in entries.iter().filter(|entry| !entry.data.is_empty()) {
            let (_, rows) = entry::decode(&entry.data, false, entry.index)?;
            for (position, row) in (0_u16..).zip(rows) {
                hub.bodies.insert(self.id, BodyRef { index: entry.index, position }, row);
            }
        }
        Ok(())
    }

    fn send_all(&mut self, messages: Vec<Message>, hub: &mut Hub<T>) {
        for message in messages {
            let to = message.to;
            if message.get_msg_type() == MessageType::MsgSnapshot {
                let now_ms = hub.world.monotonic_ms;
                let (applied, space) = (self.applied(), self.space());
                let batch = hub.building_batch();
                self.sending
                    .entry(to)
                    .or_insert_with(|| Sending::new(message, applied, space, &self.machine, now_ms, batch));
            } else {
                hub.send(to, self.id, PeerBody::Raft(Box::new(message)));
            }
        }
    }

    /// The batch being built leaves as `batch`.
    pub(crate) fn batch_leaves(&mut self, batch: u64) {
        if let Some(number) = self.building.take() {
            self.persisting.push_back((batch, number));
        }
        self.building_syncs = false;
    }

    pub(crate) fn persisted(&mut self, batch: u64, hub: &mut Hub<T>) {
        self.pages.persisted(batch);
        let mut newest = None;
        while let Some((_, number)) = self.persisting.pop_front_if(|(number, _)| *number <= batch) {
            newest = Some(number);
        }
        if self.persisting.is_empty() && !self.building_syncs {
            // Only rows that may get lost are left, such as a commit index: replies need not wait for their batch.
            newest = self.building.take().or(newest);
        }
        if let Some(number) = newest {
            self.persisted_ready(number, hub);
        }
    }

    fn persisted_ready(&mut self, number: u64, hub: &mut Hub<T>) {
        self.raw.on_persist_ready(number);
        self.advance_apply();
        while let Some((_, messages)) = self.held.pop_front_if(|(held, _)| *held <= number) {
            self.send_all(messages, hub);
        }
    }

    /// Tells Raft what is applied. A snapshot counts as applied when it is durable: until then Raft holds that nothing
    /// behind the old state is.
    fn advance_apply(&mut self) {
        let (applied, log) = (self.applied().0, &self.raw.raft.raft_log);
        if applied > log.applied && applied <= log.persisted {
            self.raw.advance_apply_to(applied);
        }
    }

    /// Switches to the incarnation that a snapshot was received into.
    fn install(&mut self, snapshot: &eraftpb::Snapshot, hub: &mut Hub<T>) -> Result<(), Fatal> {
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

    /// Applies a committed entry and answers who asked for it.
    fn apply(&mut self, committed: &eraftpb::Entry, hub: &mut Hub<T>) -> Result<(), Fatal> {
        let position = (committed.index, committed.term);
        assert_eq!(committed.index, self.applied().0 + 1, "entries are applied in order, each once");
        let mut proposal = None;
        while let Some(first) = self.proposals.pop_front_if(|first| first.position().0 <= committed.index) {
            if first.position() == position {
                proposal = Some(first);
            } else {
                self.fail(first, hub);
            }
        }
        if !committed.data.is_empty() {
            let is_catalogue = self.id == GroupId::CATALOGUE;
            let (entry, bodies) = entry::decode(&committed.data, is_catalogue, committed.index)?;
            match entry.commands {
                Commands::Shard(commands) => {
                    self.apply_shard(&commands, entry.stamp_ms, committed.index, bodies, proposal, hub)?;
                }
                Commands::Catalogue(commands) => {
                    self.apply_catalogue(&commands, entry.stamp_ms, proposal, hub);
                }
            }
            self.dirty_since_ms.get_or_insert(hub.world.monotonic_ms);
            self.entries_since_checkpoint += 1;
        }
        self.raw.mut_store().set_applied(committed.index, committed.term);
        if committed.index.is_multiple_of(HASH_INTERVAL) {
            self.hashes.push_back((committed.index, self.machine.hash()));
            if self.hashes.len() > HASHES_MAX {
                self.hashes.pop_front();
            }
        }
        Ok(())
    }

    fn apply_catalogue(
        &mut self,
        commands: &[CatalogueCommand],
        stamp_ms: u64,
        proposal: Option<Proposal<T>>,
        hub: &mut Hub<T>,
    ) {
        let Machine::Catalogue(catalogue) = &mut self.machine else { return };
        let tokens = match proposal {
            Some(Proposal::Catalogue { tokens, .. }) => tokens,
            _ => Vec::new(),
        };
        let mut tokens = tokens.into_iter();
        for command in commands {
            let (outcome, event) = catalogue.apply(command, stamp_ms);
            hub.out.events.extend(event);
            if let Some(Some(token)) = tokens.next() {
                hub.out.replies.push((token, Reply::Catalogue(outcome)));
            }
        }
        hub.catalogue_revision = catalogue.revision();
    }

    fn apply_shard(
        &mut self,
        commands: &[Command],
        stamp_ms: u64,
        index: u64,
        bodies: Vec<Bytes>,
        proposal: Option<Proposal<T>>,
        hub: &mut Hub<T>,
    ) -> Result<(), Fatal> {
        let is_leader = self.raw.raft.state == StateRole::Leader;
        let askers = match proposal {
            Some(Proposal::Shard { askers, .. }) => askers,
            _ => Vec::new(),
        };
        let mut askers = askers.into_iter();
        let mut first = BodyRef { index, position: 0 };
        let mut pages = Pages::default();
        let mut bodies = bodies.into_iter();
        for command in commands {
            let (outcome, effects) = self.apply_command(command, stamp_ms, first, &mut pages, hub)?;
            let rows = bodies.by_ref().take(command.bodies());
            if let Command::Send { queue, .. } = command
                && is_leader
                && matches!(outcome, Outcome::Sent(_))
                && self.is_worth_caching(*queue, hub)
            {
                for (offset, row) in (0_u16..).zip(rows) {
                    let body = BodyRef { index, position: first.position + offset };
                    hub.bodies.insert(self.id, body, row);
                }
            } else {
                rows.for_each(drop);
            }
            first.position += command.bodies() as u16;
            if *command == Command::Expire {
                self.expire_in_flight = false;
                let due_ms = self.machine.shard().and_then(|shard| shard.next_due_ms());
                if due_ms.is_some_and(|due_ms| due_ms <= stamp_ms) {
                    // One command does a bounded share; what it left goes on at once.
                    self.last_expire_ms = 0;
                }
            }
            // Before the effects, which may let go of bodies that this very entry handed out.
            if let Some(asker) = askers.next() {
                self.answer(asker, outcome, hub)?;
            }
            self.take_effects(effects, is_leader, hub);
        }
        Ok(())
    }

    /// A body is worth its memory when it will be handed out soon.
    fn is_worth_caching(&self, queue: QueueId, hub: &Hub<T>) -> bool {
        let counts = self.machine.shard().and_then(|shard| shard.counts(queue));
        counts.is_some_and(|counts| counts.active <= hub.config.cached_backlog_max)
    }

    fn apply_command(
        &mut self,
        command: &Command,
        stamp_ms: u64,
        first: BodyRef,
        pages: &mut Pages,
        hub: &mut Hub<T>,
    ) -> Result<(Outcome, Effects), Fatal> {
        let space = self.space();
        let Machine::Shard(shard) = &mut self.machine else {
            return Ok((Outcome::Done, Effects::default()));
        };
        let keys = shard.prefetch(command, stamp_ms);
        pages.clear();
        if !keys.is_empty() {
            self.pages.load(&keys, space, &*hub.store, hub.config.page_bytes, pages)?;
        }
        Ok(shard.apply(command, first, pages))
    }

    fn take_effects(&mut self, effects: Effects, is_leader: bool, hub: &mut Hub<T>) {
        let space = self.space();
        for body in effects.dead_bodies {
            if faults::is_active(Fault::KeptBodies) {
                continue;
            }
            hub.writes.push(Write::Delete(Tree::Log, space.body(body)));
            hub.bodies.remove(self.id, body);
        }
        for (key, row) in effects.closed_chunks {
            let row = Bytes::from(row);
            self.pages.closed(key, row.clone(), hub.next_batch);
            hub.put(Tree::State, space.row(&RowKey::Chunk(key)), row);
        }
        if is_leader {
            hub.woken.extend(effects.woken);
        }
    }

    fn answer(&mut self, asker: Asker<T>, outcome: Outcome, hub: &mut Hub<T>) -> Result<(), Fatal> {
        match asker {
            Asker::Own => {}
            Asker::Client(token) => {
                let reply = match outcome {
                    Outcome::Sent(bodies) => Reply::Sent(self.id, bodies),
                    Outcome::Deleted(verdicts) => Reply::Deleted(verdicts),
                    Outcome::Refused(refusal) => Reply::Refused(refusal),
                    Outcome::Done | Outcome::Received { .. } => Reply::Busy("unexpected outcome"),
                };
                hub.out.replies.push((token, reply));
            }
            Asker::Receive(waiter) => self.answer_receive(waiter, outcome, hub)?,
        }
        Ok(())
    }

    fn answer_receive(&mut self, waiter: Waiter<T>, outcome: Outcome, hub: &mut Hub<T>) -> Result<(), Fatal> {
        hub.release_claim(&waiter);
        let deliveries = match outcome {
            Outcome::Received { deliveries, is_partial } => {
                if deliveries.is_empty() {
                    hub.wait_on(waiter, is_partial);
                    return Ok(());
                }
                deliveries
            }
            Outcome::Refused(refusal) => {
                hub.out.replies.push((waiter.token, Reply::Refused(refusal)));
                return Ok(());
            }
            Outcome::Done | Outcome::Sent(_) | Outcome::Deleted(_) => Vec::new(),
        };
        let (space, applied) = (self.space(), self.applied().0);
        let mut received = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            let is_first = delivery.receive_count == 1;
            let body = hub.bodies.message(space, delivery.body, is_first, applied, &*hub.store)?;
            received.push(Received { shard: self.id, delivery, body });
            if faults::is_active(Fault::BodyDeletedEarly) {
                hub.writes.push(Write::Delete(Tree::Log, space.body(delivery.body)));
                hub.bodies.remove(self.id, delivery.body);
            }
        }
        hub.woken.insert(waiter.queue);
        hub.out.replies.push((waiter.token, Reply::Received(received)));
        Ok(())
    }

    /// Answers requests whose entry may or may not come through under another leader.
    fn fail(&mut self, proposal: Proposal<T>, hub: &mut Hub<T>) {
        match proposal {
            Proposal::Shard { askers, .. } => {
                askers.into_iter().for_each(|asker| hub.fail(asker));
            }
            Proposal::Catalogue { tokens, .. } => {
                let lost = tokens.into_iter().flatten().map(|token| (token, Reply::NotLeader));
                hub.out.replies.extend(lost);
            }
        }
    }

    fn notice_leadership(&mut self, hub: &mut Hub<T>) {
        let raft = &self.raw.raft;
        let term = (raft.state == StateRole::Leader).then_some(raft.term);
        if term == self.led_term {
            return;
        }
        self.led_term = term;
        self.clock = None;
        self.proposed_revision = 0;
        self.founding = false;
        self.expire_in_flight = false;
        self.last_stamp_ms = 0;
        for proposal in mem::take(&mut self.proposals) {
            self.fail(proposal, hub);
        }
        let (operations, tokens) = self.fold.drain();
        operations.into_iter().for_each(|operation| hub.fail(operation.asker));
        hub.out.replies.extend(tokens.into_iter().map(|token| (token, Reply::NotLeader)));
        if term.is_none() {
            self.sending.clear();
        }
        hub.leadership_changed = true;
    }

    /// Makes entries of the requests that wait, and of what the leader itself has to do.
    pub(crate) fn propose(&mut self, hub: &mut Hub<T>) -> Result<(), Fatal> {
        if !self.is_serving() {
            return Ok(());
        }
        self.propose_own(hub);
        let mut bytes = 0;
        while !self.fold.is_empty() && bytes < PROPOSE_BYTES_MAX {
            let index = self.raw.raft.raft_log.last_index() + 1;
            if index > LOG_INDEX_MAX {
                return Err(Fatal::Raft { group: self.id.0, detail: "the log has no index left".into() });
            }
            let term = self.raw.raft.term;
            let stamp_ms = self.stamp_ms(hub);
            let (data, proposal) = if self.id == GroupId::CATALOGUE {
                let (tokens, commands) = self.fold.take_catalogue().into_iter().unzip();
                let data = entry::encode(stamp_ms, &Commands::Catalogue(commands), &[]);
                (data, Proposal::Catalogue { index, term, tokens })
            } else {
                let mut askers = Vec::new();
                let mut commands = Vec::new();
                let mut bodies = Vec::new();
                for Operation { asker, command, bodies: own } in self.fold.take() {
                    askers.push(asker);
                    commands.push(command);
                    bodies.extend(own);
                }
                let data = entry::encode(stamp_ms, &Commands::Shard(commands), &bodies);
                (data, Proposal::Shard { index, term, askers })
            };
            bytes += data.len();
            match self.with_raft(hub, |raw| raw.propose(Vec::new(), data)) {
                Ok(()) => {
                    self.last_stamp_ms = stamp_ms;
                    self.proposals.push_back(proposal);
                }
                Err(raft::Error::ProposalDropped) => {
                    self.fail(proposal, hub);
                    break;
                }
                Err(error) => return Err(raft_failure(self.id, &error)),
            }
        }
        Ok(())
    }

    fn propose_own(&mut self, hub: &mut Hub<T>) {
        let stamp_ms = self.stamp_ms(hub);
        match &self.machine {
            Machine::Catalogue(catalogue) => {
                if !catalogue.is_founded() && !self.founding {
                    self.founding = true;
                    let (cluster_id, handle_key) = hub.config.entropy;
                    self.fold.push_catalogue(None, CatalogueCommand::Found { cluster_id, handle_key });
                }
            }
            Machine::Shard(shard) => {
                let known = shard.revision().max(self.proposed_revision);
                if known < hub.catalogue_revision {
                    let wanted = hub.catalogue_changes.take();
                    let (revision, is_complete, changes) = match wanted {
                        Some((since, changes)) if since == known => changes,
                        other => {
                            // The driver reads them from the catalogue's group for the next pass.
                            hub.catalogue_changes = other;
                            hub.changes_wanted = Some(known);
                            return;
                        }
                    };
                    self.proposed_revision = revision;
                    self.fold.push_own(Command::Catalogue { revision, is_complete, changes });
                }
                let is_due = shard.next_due_ms().is_some_and(|due_ms| due_ms <= stamp_ms);
                let now_ms = hub.world.monotonic_ms;
                if is_due && !self.expire_in_flight && self.last_expire_ms + EXPIRE_INTERVAL_MS <= now_ms {
                    self.expire_in_flight = true;
                    self.last_expire_ms = now_ms;
                    self.fold.push_own(Command::Expire);
                }
            }
        }
    }

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
        let has_housework =
            !self.remains.is_empty() || self.machine.shard().is_some_and(|shard| shard.has_remains());
        if has_housework {
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
        self.clean(hub)?;
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

    fn send_snapshots(&mut self, hub: &mut Hub<T>) -> Result<(), Fatal> {
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

    fn clean(&mut self, hub: &mut Hub<T>) -> Result<(), Fatal> {
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
        // Pages of a snapshot can be read when it is durable, which is when Raft counts it as applied.
        let steps = if self.raw.raft.raft_log.applied == self.applied().0 { CLEAN_UP_STEPS } else { 0 };
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

    /// Writes the state machine's changed rows and the entry that they are at, and truncates the log below it. All of it
    /// is one batch with whatever else the turn writes, so that a restart finds one consistent state.
    fn checkpoint(&mut self, hub: &mut Hub<T>) -> Result<(), Fatal> {
        let space = self.space();
        for (key, row) in self.machine.checkpoint() {
            hub.writes.push(match row {
                Some(row) => Write::Put(Tree::State, space.row(&key), row.into()),
                None => Write::Delete(Tree::State, space.row(&key)),
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

    /// Hands the lead to the peer that is furthest.
    pub(crate) fn hand_over(&mut self, hub: &mut Hub<T>) {
        if self.raw.raft.state != StateRole::Leader {
            return;
        }
        let own = hub.config.node;
        let best = self
            .raw
            .raft
            .prs()
            .iter()
            .filter(|(id, _)| **id != own)
            .max_by_key(|(_, progress)| progress.matched);
        if let Some(peer) = best.map(|(id, _)| *id) {
            self.with_raft(hub, |raw| raw.transfer_leader(peer));
        }
    }

    /// Whether nothing is on its way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.proposals.is_empty()
            && self.fold.is_empty()
            && self.building.is_none()
            && self.persisting.is_empty()
    }

    /// Whether a checkpoint would write anything.
    pub(crate) fn is_dirty(&self) -> bool {
        self.machine.dirty_rows() > 0
    }

    /// Whether more requests may be taken.
    pub(crate) fn has_room(&self) -> bool {
        self.fold.bytes() < 16 * ENTRY_BYTES_MAX
    }
}

/// Ticks of silence after which a follower stands for election.
const ELECTION_TICKS: usize = 10;
/// Ticks between two heartbeats.
const HEARTBEAT_TICKS: usize = 2;

fn raft_failure(group: GroupId, error: &raft::Error) -> Fatal {
    Fatal::Raft { group: group.0, detail: error.to_string() }
}

/// What became of a delivery whose shard does not know its queue.
pub(crate) const UNKNOWN: Deleted = Deleted::Unknown;
