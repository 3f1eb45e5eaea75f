//! The history sorted by message.

use std::collections::BTreeMap;

use bytes::Bytes;
use cmq_broker::replication::{GroupId, Reply};
use cmq_engine::command::StaleHandle;
use cmq_engine::message::{BodyRef, DeliveryId};
use cmq_engine::outcome::{Deleted, Delivery, Handled};

use crate::history::{
    Action, EPOCH_MS, History, KnownQueue, Meant, Operation, OperationId, Origin, QueueNumber, origin_of,
};

/// What rounding to milliseconds may add up to.
const ROUNDING_MS: u64 = 2;

/// Names a stored message in one queue: shard, queue, epoch, lane, sequence.
pub(super) type MessageKey = (u16, u32, u32, u64, u64);

/// Names a body: shard and address.
pub(super) type BodyKey = (u16, BodyRef);

/// One message in one answer to a receive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handed<'a> {
    pub(super) operation: OperationId,
    /// Place in the answer.
    pub(super) place: usize,
    pub(super) queue: QueueNumber,
    pub(super) shard: GroupId,
    pub(super) delivery: &'a Delivery,
    pub(super) body: &'a Bytes,
    pub(super) origin: Option<Origin>,
    /// Stamp of the receive.
    pub(super) stamp_ms: u64,
    pub(super) asked_us: u64,
    pub(super) answered_us: u64,
}

impl Handed<'_> {
    pub(super) fn key(&self) -> MessageKey {
        key(self.shard, &self.delivery.id)
    }

    pub(super) fn body_key(&self) -> BodyKey {
        (self.shard.0, self.delivery.body)
    }

    pub(super) fn until_ms(&self) -> u64 {
        self.delivery.visible_again_ms
    }
}

/// One handle in one delete.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub(super) operation: OperationId,
    pub(super) place: usize,
    pub(super) generation: u32,
    pub(super) stale: StaleHandle,
    /// None: in doubt.
    pub(super) verdict: Option<Deleted>,
    pub(super) asked_us: u64,
    pub(super) answered_us: u64,
}

/// What an operator asked of one message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operated {
    pub(super) meant: Meant,
    /// None: in doubt.
    pub(super) verdict: Option<Handled>,
    pub(super) asked_us: u64,
    pub(super) answered_us: u64,
}

impl Operated {
    /// Whether it may have happened before a time.
    pub(super) fn may_be_done(&self, by_us: u64) -> bool {
        matches!(self.verdict, None | Some(Handled::Done)) && self.asked_us < by_us
    }
}

/// One message in one acknowledged send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acknowledged {
    pub(super) origin: Origin,
    pub(super) queue: QueueNumber,
    pub(super) body: BodyKey,
    pub(super) asked_us: u64,
    pub(super) answered_us: u64,
}

/// The history sorted by message.
#[derive(Debug)]
pub(super) struct Index<'a> {
    pub(super) history: &'a History,
    /// In the order of the operations.
    pub(super) handed: Vec<Handed<'a>>,
    /// In the order of their generations.
    pub(super) by_message: BTreeMap<MessageKey, Vec<Handed<'a>>>,
    pub(super) by_body: BTreeMap<BodyKey, Vec<Handed<'a>>>,
    pub(super) acknowledged: Vec<Acknowledged>,
    /// Deletes, and removals by an operator.
    pub(super) attempts: BTreeMap<MessageKey, Vec<Attempt>>,
    pub(super) removals: Vec<Operated>,
    pub(super) returns: BTreeMap<MessageKey, Vec<Operated>>,
    /// Purges and rewinds that may have happened.
    pub(super) purges: Vec<Order>,
    pub(super) rewinds: Vec<(Order, u64)>,
    skew_ms: u64,
}

/// Something that was asked of a whole queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    pub(super) queue: QueueNumber,
    pub(super) asked_us: u64,
    /// None: in doubt.
    pub(super) answered_us: Option<u64>,
}

pub(super) fn key(shard: GroupId, id: &DeliveryId) -> MessageKey {
    (shard.0, id.queue.queue.0, id.queue.epoch, id.lane.0, id.sequence)
}

fn order(queue: QueueNumber, operation: &Operation) -> Order {
    let answered_us = operation.reply.as_ref().map(|_| operation.answered_us);
    Order { queue, asked_us: operation.asked_us, answered_us }
}

impl<'a> Index<'a> {
    pub(super) fn new(history: &'a History, skew_ms: u64) -> Self {
        let mut index = Self {
            history,
            handed: Vec::new(),
            by_message: BTreeMap::new(),
            by_body: BTreeMap::new(),
            acknowledged: Vec::new(),
            attempts: BTreeMap::new(),
            removals: Vec::new(),
            returns: BTreeMap::new(),
            purges: Vec::new(),
            rewinds: Vec::new(),
            skew_ms,
        };
        for (id, operation) in (0..).zip(&history.operations) {
            index.add(id, operation);
        }
        for handed in &index.handed {
            index.by_message.entry(handed.key()).or_default().push(*handed);
            index.by_body.entry(handed.body_key()).or_default().push(*handed);
        }
        for handed in index.by_message.values_mut() {
            handed.sort_by_key(|handed| handed.delivery.id.generation);
        }
        index
    }

    fn add(&mut self, id: OperationId, operation: &'a Operation) {
        let Operation { action, asked_us, answered_us, reply, .. } = operation;
        let (asked_us, answered_us) = (*asked_us, *answered_us);
        match (action, reply) {
            (Action::Send { queue, .. }, Some(Reply::Sent(shard, bodies))) => {
                for (place, body) in (0..).zip(bodies) {
                    let origin = Origin { operation: id, place };
                    let body = (shard.0, *body);
                    let queue = *queue;
                    self.acknowledged.push(Acknowledged { origin, queue, body, asked_us, answered_us });
                }
            }
            (Action::Receive { queue, visibility_ms, .. }, Some(Reply::Received(received))) => {
                let attributes = &self.history.queues[*queue].attributes;
                let visibility_ms =
                    visibility_ms.unwrap_or(u64::from(attributes.visibility_timeout_seconds) * 1_000);
                for (place, one) in received.iter().enumerate() {
                    self.handed.push(Handed {
                        operation: id,
                        place,
                        queue: *queue,
                        shard: one.shard,
                        delivery: &one.delivery,
                        body: &one.body,
                        origin: origin_of(&one.body),
                        stamp_ms: one.delivery.visible_again_ms.saturating_sub(visibility_ms),
                        asked_us,
                        answered_us,
                    });
                }
            }
            (Action::Delete { shard, handles, stale }, reply) => {
                for (place, handle) in handles.iter().enumerate() {
                    let verdict = match reply {
                        Some(Reply::Deleted(verdicts)) => verdicts.get(place).copied(),
                        _ => None,
                    };
                    self.attempts.entry(key(*shard, &handle.id)).or_default().push(Attempt {
                        operation: id,
                        place,
                        generation: handle.id.generation,
                        stale: *stale,
                        verdict,
                        asked_us,
                        answered_us,
                    });
                }
            }
            // A bound was in the way.
            (Action::RemoveOne(_) | Action::ReturnOne(_), Some(Reply::Refused(_))) => {}
            (Action::RemoveOne(meant) | Action::ReturnOne(meant), reply) => {
                let verdict = match reply {
                    Some(Reply::Handled(verdict)) => Some(*verdict),
                    _ => None,
                };
                let operated = Operated { meant: *meant, verdict, asked_us, answered_us };
                let key = key(meant.shard, &meant.message);
                if matches!(action, Action::ReturnOne(_)) {
                    return self.returns.entry(key).or_default().push(operated);
                }
                self.removals.push(operated);
                self.attempts.entry(key).or_default().push(Attempt {
                    operation: id,
                    place: 0,
                    generation: u32::MAX,
                    stale: StaleHandle::Delete,
                    verdict: verdict.map(|verdict| match verdict {
                        Handled::Done => Deleted::Done,
                        Handled::Missing | Handled::Unsuited => Deleted::Stale,
                    }),
                    asked_us,
                    answered_us,
                });
            }
            (Action::Purge(queue), Some(Reply::Catalogue(Ok(_))) | None) => {
                self.purges.push(order(*queue, operation));
            }
            (Action::Rewind { queue, start_ms }, Some(Reply::Catalogue(Ok(_))) | None) => {
                self.rewinds.push((order(*queue, operation), *start_ms));
            }
            _ => {}
        }
    }

    /// The queue of a number.
    pub(super) fn queue(&self, number: QueueNumber) -> &'a KnownQueue {
        &self.history.queues[number]
    }

    /// Deletes of a message.
    pub(super) fn attempts(&self, key: &MessageKey) -> &[Attempt] {
        self.attempts.get(key).map_or(&[], Vec::as_slice)
    }

    /// Whether an operator may have ended the lease of a delivery before a time.
    pub(super) fn may_be_returned(&self, key: &MessageKey, generation: u32, by_us: u64) -> bool {
        let returns = self.returns.get(key).into_iter().flatten();
        returns.clone().any(|one| one.meant.message.generation == generation && one.may_be_done(by_us))
    }

    /// The queue that the message of a delivery was sent to.
    pub(super) fn sent_to(&self, handed: &Handed<'_>) -> Option<QueueNumber> {
        match &self.history.operations.get(handed.origin?.operation as usize)?.action {
            Action::Send { queue, .. } => Some(*queue),
            _ => None,
        }
    }

    /// The least stamp that an entry can have that was proposed at this time or later.
    pub(super) fn stamp_from(&self, time_us: u64) -> u64 {
        (EPOCH_MS + time_us / 1_000).saturating_sub(self.skew_ms + ROUNDING_MS)
    }

    /// The greatest stamp that an entry can have that was proposed at this time or before.
    pub(super) fn stamp_until(&self, time_us: u64) -> u64 {
        EPOCH_MS + time_us / 1_000 + self.skew_ms + ROUNDING_MS
    }

    /// Virtual milliseconds of the last answer.
    pub(super) fn end_us(&self) -> u64 {
        self.history.operations.iter().map(|operation| operation.answered_us).max().unwrap_or(0)
    }
}
