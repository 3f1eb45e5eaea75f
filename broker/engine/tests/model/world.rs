//! Two replicas and the model, run in lock-step.

use cmq_engine::attributes::QueueId;
use cmq_engine::catalogue::{Change, Rewind, RewindKind};
use cmq_engine::command::{Command, StaleHandle};
use cmq_engine::limits::REWINDS_MAX;
use cmq_engine::message::{BodyRef, DeliveryId, QueueEpoch};
use cmq_engine::outcome::{Delivery, Effects, Outcome};
use cmq_engine::row::RowKey;
use cmq_engine::shard::Counts;

use crate::reference::Model;
use crate::replica::{Replica, Step, assert_same};
use crate::workload::{self, Op, SLOTS};

/// Expires that may be needed until nothing is due: more means that time does not get on.
const EXPIRES_MAX: usize = 2_000;

/// Longer than any retention, delay, lease or window of the workload.
const OUTLIVES_ALL_MS: u64 = 10_000_000;

pub(crate) struct World {
    pub(crate) model: Model,
    pub(crate) replica: Replica,
    pub(crate) witness: Replica,
    slots: [Option<QueueId>; SLOTS],
    changes: Vec<Option<Change>>,
    next_queue: u32,
    revision: u64,
    index: u64,
    pub(crate) now_ms: u64,
}

/// Appends a rewind to the latest ones, as the catalogue does.
fn note(rewinds: &mut Vec<Rewind>, kind: RewindKind) {
    rewinds.push(Rewind { number: rewinds.last().map_or(0, |last| last.number) + 1, kind });
    if rewinds.len() > REWINDS_MAX {
        rewinds.remove(0);
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            model: Model::default(),
            replica: Replica::new(false),
            witness: Replica::new(true),
            slots: [None; SLOTS],
            changes: vec![None; SLOTS],
            next_queue: 0,
            revision: 0,
            index: 0,
            now_ms: 1_000_000,
        }
    }

    fn step(&mut self, step: &Step) -> (Outcome, Effects) {
        let (outcome, effects) = self.replica.run(step);
        let (outcome_there, effects_there) = self.witness.run(step);
        assert_eq!(outcome, outcome_there);
        assert_eq!(effects, effects_there);
        (outcome, effects)
    }

    pub(crate) fn apply(&mut self, command: Command) -> (Outcome, Effects) {
        self.index += 1;
        let first_body = BodyRef { index: self.index, position: (self.index % 5) as u16 };
        let step = Step::Apply { command: command.clone(), stamp_ms: self.now_ms, first_body };
        let (outcome, effects) = self.step(&step);
        let now = self.now_ms;
        match &command {
            Command::Send { queue, messages } => {
                self.model.send(*queue, messages, first_body, now, &outcome, &effects);
            }
            Command::Receive { queue, max, visibility_ms } => {
                self.model.receive(*queue, *max, *visibility_ms, now, &outcome, &effects);
            }
            Command::Delete { deliveries, stale } => {
                self.model.delete(deliveries, *stale, now, &outcome, &effects);
            }
            Command::Expire => self.model.expire(now, &effects),
            Command::Remove { message } => self.model.remove_one(message, now, &outcome, &effects),
            Command::Return { message } => {
                assert!(effects.dead_bodies.is_empty());
                self.model.return_one(message, now, &outcome);
            }
            Command::Catalogue { changes, is_complete, .. } => {
                assert!(effects.dead_bodies.is_empty());
                self.take_catalogue(changes, *is_complete);
            }
        }
        for queue in self.model.queues() {
            self.model.check_counts(queue, self.replica.exact_counts(queue), now);
        }
        (outcome, effects)
    }

    fn take_catalogue(&mut self, changes: &[Change], is_complete: bool) {
        for queue in self.model.queues() {
            if is_complete && !changes.iter().any(|change| change.queue() == queue) {
                self.model.remove(queue);
            }
        }
        for change in changes {
            match change {
                Change::Put { queue, epoch, rewinds, attributes } => {
                    self.model.put(*queue, *epoch, rewinds, attributes, self.now_ms);
                }
                Change::Remove { queue } => self.model.remove(*queue),
            }
        }
    }

    fn catalogue(&mut self, is_complete: bool, changes: Vec<Change>) {
        self.revision += 1;
        self.apply(Command::Catalogue { revision: self.revision, is_complete, changes });
        let queues: Vec<QueueId> = self.replica.shard.queues().collect();
        assert_eq!(queues, self.model.queues());
        assert_eq!(self.replica.shard.revision(), self.revision);
    }

    pub(crate) fn quiesce(&mut self) {
        for _ in 0..EXPIRES_MAX {
            if self.replica.shard.next_due_ms().is_none_or(|due_ms| due_ms > self.now_ms) {
                return self.model.quiesce(self.now_ms);
            }
            self.apply(Command::Expire);
        }
        panic!("something stays due: {:?} at {}", self.replica.shard.next_due_ms(), self.now_ms);
    }

    /// Receives until nothing is found any more; answers what was found.
    pub(crate) fn drain(&mut self, slot: usize, max: u16) -> Vec<Delivery> {
        let mut found = Vec::new();
        for _ in 0..EXPIRES_MAX {
            let receive = Command::Receive { queue: self.queue(slot), max, visibility_ms: None };
            match self.apply(receive).0 {
                Outcome::Received { deliveries, is_partial } if deliveries.is_empty() && !is_partial => {
                    return found;
                }
                Outcome::Received { deliveries, .. } => found.extend(deliveries),
                other => panic!("a receive answered {other:?}"),
            }
        }
        panic!("a queue that cannot be drained");
    }

    /// A queue that is there, or one that never is.
    pub(crate) fn queue(&self, slot: usize) -> QueueId {
        self.slots[slot].unwrap_or(QueueId(1_000_000))
    }

    fn handles(&self, back: usize, count: usize, stride: usize) -> Vec<DeliveryId> {
        let handles = self.model.handles().iter().rev().map(|(id, _)| *id);
        handles.skip(back).step_by(stride).take(count).collect()
    }

    pub(crate) fn run(&mut self, op: &Op) {
        match op {
            Op::Send { slot, messages } => {
                _ = self.apply(Command::Send { queue: self.queue(*slot), messages: messages.clone() })
            }
            Op::Receive { slot, max, visibility_ms } => {
                let (queue, visibility_ms) = (self.queue(*slot), *visibility_ms);
                let may_find = self.replica.shard.may_have_ready(queue, self.now_ms);
                let (outcome, _) = self.apply(Command::Receive { queue, max: *max, visibility_ms });
                if let Outcome::Received { deliveries, .. } = outcome {
                    assert!(may_find || deliveries.is_empty());
                }
            }
            Op::Delete { back, count, stride, stale } => {
                let deliveries = self.handles(*back, *count, *stride);
                self.apply(Command::Delete { deliveries, stale: *stale });
            }
            Op::DeleteForged { back, sequence, generation } => {
                let mut deliveries = self.handles(*back, 1, 1);
                for id in &mut deliveries {
                    (id.sequence, id.generation) = (*sequence, *generation);
                }
                self.apply(Command::Delete { deliveries, stale: StaleHandle::Delete });
            }
            Op::RemoveOne { slot, nth } => self.remove_one(*slot, *nth),
            Op::ReturnOne { slot, nth, off } => self.return_one(*slot, *nth, *off),
            Op::OperateForged { slot, lane, sequence } => self.operate_forged(*slot, *lane, *sequence),
            Op::Expire => _ = self.apply(Command::Expire),
            Op::Quiesce => self.quiesce(),
            Op::Wait { ms } => self.now_ms += ms,
            Op::WaitForDue { more_ms } => {
                let due_ms = self.replica.shard.next_due_ms().unwrap_or(0);
                self.now_ms = self.now_ms.max(due_ms) + more_ms;
            }
            Op::Put { slot, attributes } => {
                let mut attributes = attributes.clone();
                let target = workload::dead_letter_slot(*slot).and_then(|slot| self.slots[slot]);
                attributes.dead_letter = attributes.dead_letter.zip(target).map(|(mut policy, target)| {
                    policy.queue = target;
                    policy
                });
                let queue = self.slots[*slot].unwrap_or_else(|| {
                    self.next_queue += 1;
                    QueueId(self.next_queue)
                });
                self.slots[*slot] = Some(queue);
                if !self.model.allows_rewind(queue, attributes.rewind_seconds) {
                    attributes.rewind_seconds = 0;
                }
                let (epoch, rewinds) = match self.changes[*slot].take() {
                    Some(Change::Put { epoch, mut rewinds, attributes: old, .. }) => {
                        if old.rewind_seconds > 0 && attributes.rewind_seconds == 0 {
                            note(&mut rewinds, RewindKind::Off);
                        }
                        (epoch, rewinds)
                    }
                    _ => (0, Vec::new()),
                };
                self.change(*slot, Change::Put { queue, epoch, rewinds, attributes });
            }
            Op::Rewind { slot, back_ms } => {
                let start_ms = self.now_ms.saturating_sub(*back_ms);
                if let Some(Change::Put { queue, epoch, mut rewinds, attributes }) =
                    self.changes[*slot].clone()
                {
                    note(&mut rewinds, RewindKind::To(start_ms));
                    self.change(*slot, Change::Put { queue, epoch, rewinds, attributes });
                }
            }
            Op::Purge { slot } => {
                if let Some(Change::Put { queue, epoch, rewinds, attributes }) = self.changes[*slot].take() {
                    self.change(*slot, Change::Put { queue, epoch: epoch + 1, rewinds, attributes });
                }
            }
            Op::Remove { slot } => {
                if let Some(queue) = self.slots[*slot].take() {
                    self.changes[*slot] = None;
                    self.catalogue(false, vec![Change::Remove { queue }]);
                }
            }
            Op::Complete { without } => {
                self.slots[*without] = None;
                self.changes[*without] = None;
                let changes = self.changes.iter().flatten().cloned().collect();
                self.catalogue(true, changes);
            }
            Op::CleanUp => self.clean_up(),
            Op::Checkpoint => self.replica.checkpoint(),
            Op::Crash => {
                self.replica.crash();
                assert_same(&self.replica.shard, &self.witness.shard);
            }
        }
    }

    fn change(&mut self, slot: usize, change: Change) {
        self.changes[slot] = Some(change.clone());
        self.catalogue(false, vec![change]);
    }

    fn clean_up(&mut self) {
        let (_, effects) = self.step(&Step::CleanUp);
        self.model.clean_up(&effects);
    }

    /// Time passes until every message and every deduplication id is too old: nothing but the queues is left.
    pub(crate) fn outlive_everything(&mut self) {
        self.now_ms += OUTLIVES_ALL_MS;
        self.quiesce();
        for queue in self.model.queues() {
            assert_eq!(self.replica.shard.counts(queue), Some(Counts::default()));
        }
        let epochs = self.replica.shard.queues().filter_map(|queue| self.replica.shard.epoch(queue));
        let epochs: Vec<QueueEpoch> = epochs.collect();
        for (key, _) in self.replica.shard.export() {
            match key {
                RowKey::Records(epoch, ..) | RowKey::Deduplication(epoch, _) => {
                    assert!(!epochs.contains(&epoch), "{key:?} is left");
                }
                // Lanes without a group stay.
                RowKey::Lane(epoch, lane) => assert!(!epochs.contains(&epoch) || lane.0 < 2),
                RowKey::Machine | RowKey::Queue(_) | RowKey::Chunk(_) => {}
            }
        }
    }

    /// Removes every queue and frees what it held: no row, no chunk and no body is left.
    pub(crate) fn end(&mut self) {
        self.catalogue(true, Vec::new());
        while self.replica.shard.has_remains() {
            self.clean_up();
        }
        assert_eq!(self.model.live_bodies(), 0, "bodies leaked");
        for replica in [&mut self.replica, &mut self.witness] {
            replica.checkpoint();
            replica.assert_empty();
        }
    }
}
