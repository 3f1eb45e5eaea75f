//! What happens by itself: delays and leases end, messages grow too old, deduplication ids are forgotten.

use super::{Context, Move, Queue};
use crate::attributes::DeadLetterRule;
use crate::faults::{self, Fault};
use crate::lane::{Record, Role, State};
use crate::limits::CHUNK_MESSAGES;
use crate::message::{LaneId, Slot};
use crate::row::RowKey;

impl Queue {
    /// Ends the delays and leases that are due, oldest first, as far as the steps go.
    pub(crate) fn end_timers(&mut self, context: &mut Context<'_>) {
        let margin_ms = if faults::is_active(Fault::LeaseEndsEarly) { 500 } else { 0 };
        while context.steps > 0
            && let Some((due_ms, id, sequence)) = self.timers.first().copied()
            && due_ms <= context.stamp_ms + margin_ms
        {
            context.steps -= 1;
            let lane = &self.lanes[&id];
            let record = lane.records[&sequence];
            if self.ages().is_too_old(&record.slot, lane.role, context.stamp_ms) {
                self.finish(id, sequence, context);
                self.age_out(id, record.slot, context);
            } else {
                self.timers.pop_first();
                self.make_ready(id, sequence, context);
            }
            self.settle(id, false, context);
            context.effects.wake(self.epoch.queue);
        }
    }

    /// Makes a delayed or leased message ready, whose timer is taken out already.
    pub(super) fn make_ready(&mut self, id: LaneId, sequence: u64, context: &mut Context<'_>) {
        let lane = self.lanes.get_mut(&id).expect("a timer is of a message that is there");
        let role = lane.role;
        let Some(record) = lane.give_back(sequence) else { return };
        match record.state {
            State::Leased { .. } => self.in_flight -= 1,
            State::Delayed { .. } => self.delayed -= 1,
            State::Returned | State::Finished => {}
        }
        self.timers.insert((self.ages().due_ms(record.slot.sent_ms, role), id, sequence));
        context.dirty.mark(RowKey::Records(self.epoch, id, sequence / CHUNK_MESSAGES));
    }

    /// Forgets deduplication ids outside their window, as far as the steps go.
    pub(crate) fn forget_deduplication(&mut self, context: &mut Context<'_>) {
        context.steps -=
            self.deduplication.forget(context.stamp_ms, context.steps, self.epoch, context.dirty);
    }

    /// Lanes at whose head something may have to go by now.
    pub(crate) fn aged_lanes(&self, stamp_ms: u64, limit: usize) -> Vec<LaneId> {
        let due = self.age_timers.iter().take_while(|(due_ms, _)| *due_ms <= stamp_ms);
        due.take(limit).map(|(_, id)| *id).collect()
    }

    /// Takes the untouched messages at the head of a lane out that do not belong there any more.
    pub(crate) fn age_lane(&mut self, id: LaneId, context: &mut Context<'_>) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.sort_open();
        }
        while context.steps > 0
            && let Some(lane) = self.lanes.get_mut(&id)
            && let Some(slot) = lane.fresh_slot(self.epoch, id, &context.pages)
        {
            lane.fresh_sent_ms = slot.sent_ms;
            let role = lane.role;
            if !self.ages().must_go(&slot, role, context.stamp_ms) {
                break;
            }
            self.drop_fresh(id, &slot, context);
        }
        self.settle(id, false, context);
    }

    /// Takes the first untouched message of a lane, which must go, out of it.
    pub(super) fn drop_fresh(&mut self, id: LaneId, slot: &Slot, context: &mut Context<'_>) {
        let Some(lane) = self.lanes.get(&id) else { return };
        let role = lane.role;
        context.steps -= 1;
        self.pass_fresh(id, slot, context);
        match role {
            Role::Kept { .. } | Role::Dropped => {
                self.rewindable -= u64::from(role != Role::Dropped);
                context.effects.dead_bodies.push(slot.body);
            }
            Role::Rewound { from_ms, floor_ms, .. } if slot.sent_ms < from_ms => {
                self.stored -= 1;
                if slot.sent_ms < floor_ms {
                    context.effects.dead_bodies.push(slot.body);
                } else {
                    self.let_go(*slot, context);
                }
            }
            Role::Live | Role::Rewound { .. } => {
                self.stored -= 1;
                self.age_out(id, *slot, context);
            }
        }
    }

    /// What becomes of a message that reached its age limit and was taken out of the queue.
    pub(super) fn age_out(&mut self, id: LaneId, slot: Slot, context: &mut Context<'_>) {
        let is_retained = slot.sent_ms.saturating_add(self.ages().retention_ms) > context.stamp_ms;
        let rule = self.attributes.dead_letter.map(|policy| policy.rule);
        if is_retained && matches!(rule, Some(DeadLetterRule::MaxTimeToLiveSeconds(_))) {
            self.dead_letter(id, slot, context);
        } else {
            context.effects.dead_bodies.push(slot.body);
            self.totals.expired += 1;
        }
    }

    /// Sends a message that was taken out of the queue to the dead-letter queue.
    pub(super) fn dead_letter(&mut self, id: LaneId, slot: Slot, context: &mut Context<'_>) {
        let Some(policy) = self.attributes.dead_letter else { return };
        let group = self.lanes.get(&id).and_then(|lane| lane.group.clone());
        if faults::is_active(Fault::LostDeadLetter) {
            return;
        }
        if faults::is_active(Fault::RewindMoved) {
            self.let_go(slot, context);
        }
        context.moves.push(Move { source: self.epoch.queue, target: policy.queue, group, slot });
        self.totals.dead_lettered += 1;
    }

    /// When the timer of a record is set; None for one that has none.
    pub(super) fn timer_ms(&self, record: &Record, role: Role) -> Option<u64> {
        match record.state {
            State::Delayed { due_ms } => Some(due_ms),
            State::Leased { until_ms } => Some(until_ms),
            State::Returned => Some(self.ages().due_ms(record.slot.sent_ms, role)),
            State::Finished => None,
        }
    }
}
