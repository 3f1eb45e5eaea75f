//! The beginning of a message's life in a queue: it is sent, or given up by another queue.

use super::{Context, DELAYED_LANE, Move, Queue};
use crate::chunk::ChunkKey;
use crate::command::NewMessage;
use crate::faults::{self, Fault};
use crate::lane::Lane;
use crate::limits::CHUNK_MESSAGES;
use crate::message::{BodyRef, DEFAULT_LANE, LaneId, Slot};
use crate::outcome::{Outcome, Refusal};
use crate::row::RowKey;

/// What a list of messages adds at most to what is counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    pub(crate) messages: u64,
    pub(crate) delayed: u64,
    pub(crate) groups: usize,
    pub(crate) deduplication_ids: usize,
}

impl Queue {
    /// What `messages` add at most.
    pub(crate) fn load(&self, messages: &[NewMessage]) -> Load {
        let mut load = Load { messages: messages.len() as u64, ..Load::default() };
        for message in messages {
            load.delayed += u64::from(self.delay_ms(message) > 0);
            load.groups += usize::from(message.group.is_some());
            load.deduplication_ids += usize::from(message.deduplication.is_some());
        }
        load
    }

    /// Whether the limits of the queue refuse a send, and why.
    pub(crate) fn refuses(&self, load: &Load) -> Option<Refusal> {
        if self.attributes.closed && !faults::is_active(Fault::ClosedTakes) {
            Some(Refusal::QueueClosed)
        } else if self.stored + load.messages > self.attributes.max_messages {
            Some(Refusal::HeapFull)
        } else if load.delayed > 0 && self.delayed + load.delayed > u64::from(self.attributes.max_delayed) {
            Some(Refusal::TooManyDelayed)
        } else {
            None
        }
    }

    fn delay_ms(&self, message: &NewMessage) -> u64 {
        message.delay_ms.unwrap_or(u64::from(self.attributes.delay_seconds) * 1_000)
    }

    /// Stores messages whose bodies begin at `first`.
    pub(crate) fn send(
        &mut self,
        messages: &[NewMessage],
        first: BodyRef,
        context: &mut Context<'_>,
    ) -> Outcome {
        let mut sent = Vec::with_capacity(messages.len());
        // A lane is settled once for all messages in a row that go to it.
        let mut unsettled = None;
        for (offset, message) in messages.iter().enumerate() {
            let body = first.later(offset);
            if let Some(hash) = message.deduplication {
                if let Some(original) = self.deduplication.find(hash, context.stamp_ms) {
                    context.effects.dead_bodies.push(body);
                    self.totals.deduplicated += 1;
                    sent.push(original);
                    continue;
                }
                self.deduplication.insert(hash, body, context.stamp_ms, self.epoch, context.dirty);
            }
            let slot = Slot { body, bytes: message.bytes, sent_ms: context.stamp_ms };
            let id = self.store(slot, message.group.as_deref(), self.delay_ms(message), context);
            if let Some(before) = unsettled.replace(id)
                && before != id
            {
                self.settle(before, false, context);
            }
            self.totals.sent += 1;
            self.totals.sent_bytes += u64::from(message.bytes);
            sent.push(body);
        }
        if let Some(id) = unsettled {
            self.settle(id, false, context);
            context.effects.wake(self.epoch.queue);
        }
        Outcome::Sent(sent)
    }

    /// Stores a message that another queue gave up.
    pub(crate) fn adopt(&mut self, message: &Move, context: &mut Context<'_>) {
        let id = self.store(message.slot, message.group.as_deref(), 0, context);
        self.settle(id, false, context);
        context.effects.wake(self.epoch.queue);
    }

    /// Appends a message to its lane, which has to be settled afterwards.
    fn store(&mut self, slot: Slot, group: Option<&str>, delay_ms: u64, context: &mut Context<'_>) -> LaneId {
        let is_delayed = delay_ms > 0;
        let id = if is_delayed && !self.is_fifo() { DELAYED_LANE } else { self.lane_of(group, context) };
        let due_ms = context.stamp_ms.saturating_add(delay_ms);
        let lane = self.lanes.entry(id).or_default();
        if slot.sent_ms < context.stamp_ms {
            lane.watch_order(slot.sent_ms, context.stamp_ms);
        }
        let (sequence, closed) = lane.push(slot, is_delayed.then_some(due_ms));
        if let Some((number, row)) = closed {
            context.effects.closed_chunks.push((ChunkKey { queue: self.epoch, lane: id, number }, row));
        }
        self.stored += 1;
        if is_delayed {
            self.delayed += 1;
            self.records += 1;
            self.timers.insert((due_ms, id, sequence));
            context.dirty.mark(RowKey::Records(self.epoch, id, sequence / CHUNK_MESSAGES));
        }
        id
    }

    fn lane_of(&mut self, group: Option<&str>, context: &mut Context<'_>) -> LaneId {
        let Some(group) = group else { return DEFAULT_LANE };
        if let Some(id) = self.groups.get(group) {
            return *id;
        }
        let id = LaneId(self.next_lane);
        self.next_lane += 1;
        self.groups.insert(group.into(), id);
        self.lanes.insert(id, Box::new(Lane::new(Some(group.into()))));
        context.dirty.mark(RowKey::Queue(self.epoch));
        id
    }
}
