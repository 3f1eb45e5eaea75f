//! One Raft group of this node: its protocol state, its state machine, and the requests that wait for it.

mod apply;
mod figures;
mod housework;
mod propose;
mod snapshots;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use cmq_engine::chunk::ChunkKey;
use cmq_engine::faults::{self, Fault};
use cmq_engine::message::BodyRef;
use cmq_engine::row::RowKey;
use raft::eraftpb::{self, Message, MessageType};
use raft::{RawNode, StateRole};

use super::entry;
use super::fold::{Asker, Fold};
use super::hub::Hub;
use super::keys::{self, Space};
use super::log::{GroupLog, encode_hard_state};
use super::machine::Machine;
use super::offline::row_name;
use super::pages::{PageCache, Peeked};
use super::snapshot::{Receiving, Sending};
use super::{Fatal, GroupId, NodeId, PeerBody};
use crate::storage::{ScanLimit, StoreError, Tree};

/// Ticks of silence after which a follower stands for election.
const ELECTION_TICKS: usize = 10;
/// Ticks between two heartbeats.
const HEARTBEAT_TICKS: usize = 2;

/// An entry that this node proposed as leader.
#[derive(Debug)]
enum Proposal<T> {
    Shard { index: u64, term: u64, askers: Vec<Asker<T>> },
    Catalogue { index: u64, term: u64, tokens: Vec<Option<T>> },
}

impl<T> Proposal<T> {
    /// Requests in the entry.
    fn requests(&self) -> usize {
        match self {
            Self::Shard { askers, .. } => askers.len(),
            Self::Catalogue { tokens, .. } => tokens.len(),
        }
    }

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
                let damaged = |what: String, error: &cmq_engine::codec::DecodeError| StoreError::Damaged {
                    place: format!("state of group {}, {what}", id.0),
                    detail: error.to_string(),
                };
                let key = RowKey::decode(Space::strip(key))
                    .map_err(|error| damaged("a row without a proper key".to_owned(), &error))?;
                machine.restore(&key, row).map_err(|error| damaged(row_name(&key), &error))?;
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

    /// A chunk page that is in memory.
    pub(crate) fn peek_page(&self, key: &ChunkKey) -> Option<Peeked> {
        self.pages.peek(key)
    }

    pub(crate) fn space(&self) -> Space {
        self.raw.store().space()
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
        Ok(self.raw.store().take_failure()?)
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
                let (batch, page_bytes) = (hub.building_batch(), hub.config.snapshot_page_bytes);
                self.sending.entry(to).or_insert_with(|| {
                    Sending::new(message, applied, space, &self.machine, now_ms, batch, page_bytes)
                });
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
}

fn raft_failure(group: GroupId, error: &raft::Error) -> Fatal {
    Fatal::Raft { group: group.0, detail: error.to_string() }
}
