//! A shard: all queues of a Broker, each with the part of its messages that lies on this shard.
//!
//! Every replica applies the same commands with the same stamps, so every replica has the same state. Applying has two
//! phases: [`Shard::prefetch`] moves time forward and names the chunk pages that the command may touch, [`Shard::apply`]
//! does the rest with those pages. What else happens to be in memory never changes an outcome.

mod browse;
mod queues;
mod rows;
mod salvage;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use crate::attributes::QueueId;
use crate::chunk::{ChunkKey, NamedPages, Pages};
use crate::command::{Command, NewMessage};
use crate::limits::{DEDUPLICATION_IDS_MAX, LANES_MAX, LANES_TOUCHED_MAX, RECORDS_MAX, STEPS_MAX};
use crate::message::{BodyRef, DeliveryId, LaneId, QueueEpoch};
use crate::outcome::{Deleted, Digest, Effects, Handled, Moved, Outcome, Refusal, Totals};
use crate::queue::{Context, Move, Queue};
use crate::row::{Dirty, RowKey};

pub use salvage::{MessageState, MessageView, Seen};
pub use view::{Counts, Sizes};

/// The state machine of one shard.
#[derive(Clone, Debug, Default)]
pub struct Shard {
    queues: BTreeMap<QueueId, Queue>,
    /// Queues that are deleted and wait for their rows and bodies to be freed, a bounded step at a time.
    removed: BTreeMap<QueueEpoch, Queue>,
    due: BTreeSet<(u64, QueueId)>,
    /// Revision of the catalogue that this shard has.
    revision: u64,
    stamp_ms: u64,
    hash: u64,
    records: usize,
    lanes: usize,
    deduplication_ids: usize,
    dirty: Dirty,
    /// What happened on all queues, those that are gone included.
    totals: Totals,
    /// Whether what happens is counted; see [`Shard::set_counting`].
    is_counting: bool,
    /// What `prefetch` prepared for the `apply` that follows it.
    prepared: Prepared,
}

/// What the first phase found, for the second.
#[derive(Clone, Debug, Default)]
struct Prepared {
    effects: Effects,
    moves: Vec<Move>,
    steps_left: usize,
    /// The pages that were asked for.
    named: Vec<ChunkKey>,
    aged: Vec<(QueueId, LaneId)>,
}

impl Shard {
    /// First phase: moves time to `stamp_ms`, ends what is due as far as the command looks, and names the chunk pages
    /// that [`Shard::apply`] of the same command may touch. Must be followed by it.
    pub fn prefetch(&mut self, command: &Command, stamp_ms: u64) -> Vec<ChunkKey> {
        self.stamp_ms = self.stamp_ms.max(stamp_ms);
        self.prepared = Prepared { steps_left: STEPS_MAX, ..Prepared::default() };
        let named = match command {
            Command::Receive { queue, max, .. } => self
                .on_queue(*queue, &Pages::default(), |queue, context| {
                    queue.end_timers(context);
                    queue.receive_pages(*max)
                })
                .unwrap_or_default(),
            Command::Expire => self.prefetch_expire(),
            Command::Remove { message } => {
                let queue = self.queues.get(&message.queue.queue);
                queue.map(|queue| queue.remove_pages(message)).unwrap_or_default()
            }
            Command::Catalogue { .. }
            | Command::Send { .. }
            | Command::Delete { .. }
            | Command::Return { .. } => Vec::new(),
        };
        self.prepared.named.clone_from(&named);
        named
    }

    fn prefetch_expire(&mut self) -> Vec<ChunkKey> {
        let due = self.due.iter().take_while(|(due_ms, _)| *due_ms <= self.stamp_ms).take(STEPS_MAX);
        let queues: Vec<QueueId> = due.map(|(_, id)| *id).collect();
        let mut pages = Vec::new();
        for id in queues {
            let lanes_left = LANES_TOUCHED_MAX - self.prepared.aged.len();
            let aged = self.on_queue(id, &Pages::default(), |queue, context| {
                queue.end_timers(context);
                queue.forget_deduplication(context);
                let lanes = queue.aged_lanes(context.stamp_ms, lanes_left);
                pages.extend(lanes.iter().flat_map(|lane| queue.lane_pages(*lane)));
                lanes
            });
            self.prepared.aged.extend(aged.into_iter().flatten().map(|lane| (id, lane)));
            if self.prepared.steps_left == 0 {
                break;
            }
        }
        pages
    }

    /// Second phase: does the command, whose bodies begin at `first_body`. `pages` holds what [`Shard::prefetch`] named;
    /// it may hold more.
    ///
    /// # Panics
    /// When a page that was named and is needed is missing, or the bodies are more than an entry has: going on would
    /// make this replica differ from the others.
    pub fn apply(&mut self, command: &Command, first_body: BodyRef, pages: &Pages) -> (Outcome, Effects) {
        let outcome = match command {
            Command::Catalogue { revision, is_complete, changes } => {
                self.take_catalogue(*revision, *is_complete, changes);
                Outcome::Done
            }
            Command::Send { queue, messages } => self.send(*queue, messages, first_body),
            Command::Receive { .. } if self.records >= RECORDS_MAX => Outcome::Refused(Refusal::ShardFull),
            Command::Receive { queue, max, visibility_ms } => self
                .on_queue(*queue, pages, |queue, context| queue.receive(*max, *visibility_ms, context))
                .unwrap_or(Outcome::Refused(Refusal::QueueMissing)),
            Command::Delete { deliveries, stale } => {
                let delete = |id: &DeliveryId| {
                    self.on_queue(id.queue.queue, pages, |queue, context| queue.delete(id, *stale, context))
                        .unwrap_or(Deleted::Unknown)
                };
                Outcome::Deleted(deliveries.iter().map(delete).collect())
            }
            Command::Expire => {
                for (id, lane) in std::mem::take(&mut self.prepared.aged) {
                    self.on_queue(id, pages, |queue, context| queue.age_lane(lane, context));
                }
                Outcome::Done
            }
            Command::Remove { message } => {
                let has_room = self.records < RECORDS_MAX;
                self.on_queue(message.queue.queue, pages, |queue, context| {
                    queue.remove(message, has_room, context)
                })
                .unwrap_or(Outcome::Handled(Handled::Missing))
            }
            Command::Return { message } => {
                let handled = self.on_queue(message.queue.queue, pages, |queue, context| {
                    queue.return_early(message, context)
                });
                Outcome::Handled(handled.unwrap_or(Handled::Missing))
            }
        };
        self.finish_moves();
        let effects = std::mem::take(&mut self.prepared.effects);
        let mut digest = Digest(self.hash);
        digest
            .add(self.stamp_ms)
            .add(effects.dead_bodies.len() as u64)
            .add(effects.moved.len() as u64)
            .outcome(&outcome);
        self.hash = digest.0;
        self.dirty.mark(RowKey::Machine);
        (outcome, effects)
    }

    fn send(&mut self, id: QueueId, messages: &[NewMessage], first_body: BodyRef) -> Outcome {
        let refusal = self.refusal(id, messages);
        let sent = match refusal {
            None => self
                .on_queue(id, &Pages::default(), |queue, context| queue.send(messages, first_body, context)),
            Some(refusal) => {
                let bodies = (0..messages.len()).map(|offset| first_body.later(offset));
                self.prepared.effects.dead_bodies.extend(bodies);
                Some(Outcome::Refused(refusal))
            }
        };
        sent.unwrap_or(Outcome::Refused(Refusal::QueueMissing))
    }

    /// Why a send would be refused now; the leader asks before it writes bodies for nothing.
    pub fn refusal(&self, queue: QueueId, messages: &[NewMessage]) -> Option<Refusal> {
        let Some(queue) = self.queues.get(&queue) else { return Some(Refusal::QueueMissing) };
        let load = queue.load(messages);
        let is_full = load.delayed > 0 && self.records + load.delayed as usize > RECORDS_MAX
            || load.groups > 0 && self.lanes + load.groups > LANES_MAX
            || load.deduplication_ids > 0
                && self.deduplication_ids + load.deduplication_ids > DEDUPLICATION_IDS_MAX;
        if is_full { Some(Refusal::ShardFull) } else { queue.refuses(&load) }
    }

    /// Runs an operation on one queue and brings the tables over all queues in line.
    fn on_queue<T>(
        &mut self,
        id: QueueId,
        pages: &Pages,
        operation: impl FnOnce(&mut Queue, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let queue = self.queues.get_mut(&id)?;
        let (records, lanes, ids) = (queue.records(), queue.lanes(), queue.deduplication_ids());
        let totals = queue.totals;
        let mut context = Context {
            stamp_ms: self.stamp_ms,
            pages: NamedPages { named: &self.prepared.named, pages },
            effects: &mut self.prepared.effects,
            dirty: &mut self.dirty,
            moves: &mut self.prepared.moves,
            steps: self.prepared.steps_left,
        };
        let result = operation(queue, &mut context);
        self.prepared.steps_left = context.steps;
        self.records = self.records + queue.records() - records;
        self.lanes = self.lanes + queue.lanes() - lanes;
        self.deduplication_ids = self.deduplication_ids + queue.deduplication_ids() - ids;
        if self.is_counting {
            self.totals += queue.totals.since(totals);
        } else {
            queue.totals = totals;
        }
        let due_ms = queue.next_due_ms();
        if queue.registered_due_ms != due_ms {
            if let Some(old) = queue.registered_due_ms {
                self.due.remove(&(old, id));
            }
            self.due.extend(due_ms.map(|due_ms| (due_ms, id)));
            queue.registered_due_ms = due_ms;
        }
        Some(result)
    }

    /// Takes messages that queues gave up into their dead-letter queues. Limits of the target do not hold here: a
    /// message that is refused by both would be lost.
    fn finish_moves(&mut self) {
        for message in std::mem::take(&mut self.prepared.moves) {
            let (from, to, body) = (message.source, message.target, message.slot.body);
            let adopted =
                self.on_queue(to, &Pages::default(), |queue, context| queue.adopt(&message, context));
            match adopted {
                Some(()) => self.prepared.effects.moved.push(Moved { from, to, body }),
                None => self.prepared.effects.dead_bodies.push(body),
            }
        }
    }
}
