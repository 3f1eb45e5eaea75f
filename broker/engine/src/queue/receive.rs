//! Handing messages out: whose turn it is, and what is dropped or moved away instead.

use super::{Context, Queue};
use crate::attributes::DeadLetterRule;
use crate::faults::{self, Fault};
use crate::lane::{Head, Record, Role};
use crate::limits::{CHUNK_MESSAGES, RECEIVE_BYTES_MAX};
use crate::message::{DeliveryId, LaneId, Slot};
use crate::outcome::{Delivery, Outcome, Refusal};
use crate::row::RowKey;

/// Room that a receive makes for its answer at first.
const DELIVERIES_TYPICAL: usize = 16;

/// What became of the head of a lane.
enum Taken {
    /// It was handed out.
    Message(Delivery),
    /// Its time was over, or it moved to the dead-letter queue.
    Dropped,
    /// There is none.
    Nothing,
    /// It is on a page that the prefetch did not name, or had to be dropped and no steps are left.
    Cut,
}

/// Whether an answer has as many bytes as it may have.
fn is_heavy(deliveries: &[Delivery]) -> bool {
    deliveries.iter().map(|delivery| u64::from(delivery.bytes)).sum::<u64>() >= RECEIVE_BYTES_MAX
}

impl Queue {
    /// Hands out up to `max` messages, and none after [`RECEIVE_BYTES_MAX`].
    pub(crate) fn receive(
        &mut self,
        max: u16,
        visibility_ms: Option<u64>,
        context: &mut Context<'_>,
    ) -> Outcome {
        let room = u64::from(self.attributes.max_in_flight).saturating_sub(self.in_flight);
        let has_due_timer = self.has_due_timer(context.stamp_ms);
        if room == 0 && !has_due_timer {
            return Outcome::Refused(Refusal::TooManyInFlight);
        }
        let visibility_ms =
            visibility_ms.unwrap_or(u64::from(self.attributes.visibility_timeout_seconds) * 1_000);
        let until_ms = context.stamp_ms.saturating_add(visibility_ms);
        let most = room.min(u64::from(max)) as usize;
        let mut deliveries = Vec::with_capacity(most.min(DELIVERIES_TYPICAL));
        let mut is_cut = false;
        while deliveries.len() < most
            && !is_heavy(&deliveries)
            && !is_cut
            && let Some((_, _, id)) = self.ready.first().copied()
        {
            // With other groups waiting, each gets one message in turn. A FIFO group is taken as long as it has some,
            // for it is locked afterwards; what came back is taken in order before anything else.
            let is_alone = self.is_fifo() || self.ready.len() == 1 || self.rewound.contains(&id);
            let share = if is_alone { most } else { deliveries.len() + 1 };
            let before = deliveries.len();
            is_cut = self.serve(id, share, until_ms, &mut deliveries, context);
            self.settle(id, deliveries.len() > before, context);
        }
        self.totals.received += deliveries.len() as u64;
        self.totals.received_bytes +=
            deliveries.iter().map(|delivery| u64::from(delivery.bytes)).sum::<u64>();
        let is_partial = is_cut || has_due_timer && deliveries.len() < usize::from(max);
        Outcome::Received { deliveries, is_partial }
    }

    /// Hands out messages of one lane until `share` are in the answer; answers whether a bound stopped it.
    fn serve(
        &mut self,
        id: LaneId,
        share: usize,
        until_ms: u64,
        deliveries: &mut Vec<Delivery>,
        context: &mut Context<'_>,
    ) -> bool {
        let before = deliveries.len();
        while deliveries.len() < share && !is_heavy(deliveries) {
            match self.take(id, (deliveries.len() - before) as u32, until_ms, context) {
                Taken::Message(delivery) => deliveries.push(delivery),
                Taken::Dropped => {}
                Taken::Nothing => return false,
                Taken::Cut => return true,
            }
        }
        false
    }

    fn take(&mut self, id: LaneId, leased_now: u32, until_ms: u64, context: &mut Context<'_>) -> Taken {
        let is_fifo = self.is_fifo();
        let Some(lane) = self.lanes.get(&id) else { return Taken::Nothing };
        match lane.head(is_fifo, leased_now) {
            Head::None => Taken::Nothing,
            Head::Returned(sequence) => self.take_returned(id, sequence, until_ms, context),
            Head::Fresh => match lane.fresh_slot(self.epoch, id, &context.pages) {
                Some(slot) => {
                    let role = lane.role;
                    self.take_fresh(id, &slot, role, until_ms, context)
                }
                None => Taken::Cut,
            },
        }
    }

    fn take_returned(
        &mut self,
        id: LaneId,
        sequence: u64,
        until_ms: u64,
        context: &mut Context<'_>,
    ) -> Taken {
        let lane = &self.lanes[&id];
        let (record, role) = (lane.records[&sequence], lane.role);
        let is_too_old = self.ages().is_too_old(&record.slot, role, context.stamp_ms);
        if is_too_old || self.is_received_too_often(&record) {
            if context.steps == 0 {
                return Taken::Cut;
            }
            context.steps -= 1;
            self.finish(id, sequence, context);
            if is_too_old {
                self.age_out(id, record.slot, context);
            } else {
                self.dead_letter(id, record.slot, context);
            }
            return Taken::Dropped;
        }
        self.timers.remove(&(self.ages().due_ms(record.slot.sent_ms, role), id, sequence));
        let lane = self.lanes.get_mut(&id).expect("it was there above");
        let record = lane.lease_returned(sequence, context.stamp_ms, until_ms).expect("it was there above");
        Taken::Message(self.deliver(id, sequence, &record, until_ms, context))
    }

    fn take_fresh(
        &mut self,
        id: LaneId,
        slot: &Slot,
        role: Role,
        until_ms: u64,
        context: &mut Context<'_>,
    ) -> Taken {
        if self.ages().must_go(slot, role, context.stamp_ms) {
            if context.steps == 0 {
                return Taken::Cut;
            }
            self.drop_fresh(id, slot, context);
            return Taken::Dropped;
        }
        let lane = self.lanes.get_mut(&id).expect("the caller took the slot from it");
        let sequence = lane.fresh;
        let record = lane.lease_fresh(*slot, context.stamp_ms, until_ms);
        self.records += 1;
        self.pass_fresh(id, slot, context);
        Taken::Message(self.deliver(id, sequence, &record, until_ms, context))
    }

    /// Moves a lane past its first untouched message, whose slot is `slot`.
    pub(super) fn pass_fresh(&mut self, id: LaneId, slot: &Slot, context: &mut Context<'_>) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let (before, sequence) = (lane.records.len(), lane.fresh);
        let passed = lane.pass_fresh(slot);
        lane.look_again(sequence, slot, (self.epoch, id), &context.pages);
        if let Some(next) = lane.fresh_slot(self.epoch, id, &context.pages) {
            lane.fresh_sent_ms = next.sent_ms;
        }
        self.records -= before - lane.records.len();
        for number in passed.chunks {
            context.dirty.mark(RowKey::Chunk(crate::chunk::ChunkKey { queue: self.epoch, lane: id, number }));
        }
        for number in passed.records {
            context.dirty.mark(RowKey::Records(self.epoch, id, number));
        }
    }

    /// Counts a message that was just leased, and sets the timer for its return.
    fn deliver(
        &mut self,
        id: LaneId,
        sequence: u64,
        record: &Record,
        until_ms: u64,
        context: &mut Context<'_>,
    ) -> Delivery {
        self.in_flight += 1;
        self.timers.insert((until_ms, id, sequence));
        context.dirty.mark(RowKey::Records(self.epoch, id, sequence / CHUNK_MESSAGES));
        Delivery {
            id: DeliveryId { queue: self.epoch, lane: id, sequence, generation: record.generation },
            body: record.slot.body,
            bytes: record.slot.bytes,
            sent_ms: record.slot.sent_ms,
            first_received_ms: record.first_received_ms,
            visible_again_ms: until_ms,
            receive_count: record.receive_count,
        }
    }

    fn is_received_too_often(&self, record: &Record) -> bool {
        match self.attributes.dead_letter.map(|policy| policy.rule) {
            Some(DeadLetterRule::MaxReceiveCount(max)) => {
                let margin = u32::from(faults::is_active(Fault::DeadLetterLate));
                record.receive_count >= max.saturating_add(margin)
            }
            _ => false,
        }
    }
}
