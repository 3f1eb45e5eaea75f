//! What an operator does to single messages: removes them whatever their state, or makes them ready before their time.

use super::{Context, Queue};
use crate::chunk::ChunkKey;
use crate::faults::{self, Fault};
use crate::lane::{Lane, State};
use crate::limits::CHUNK_MESSAGES;
use crate::message::{DeliveryId, Slot};
use crate::outcome::{Handled, Outcome, Refusal};
use crate::row::RowKey;

impl Queue {
    /// The lane of a message, where it holds messages that are neither deleted nor given up.
    fn stored_lane(&self, message: &DeliveryId) -> Option<&Lane> {
        let lane = self.lanes.get(&message.lane)?;
        (message.queue == self.epoch && lane.is_stored()).then_some(lane)
    }

    /// The chunk pages that removing a message touches: its own, and at the head of a lane those behind it.
    pub(crate) fn remove_pages(&self, message: &DeliveryId) -> Vec<ChunkKey> {
        let Some(lane) = self.stored_lane(message) else { return Vec::new() };
        if message.sequence == lane.fresh {
            return self.lane_pages(message.lane).collect();
        }
        let number =
            lane.chunk_of(message.sequence).filter(|_| !lane.records.contains_key(&message.sequence));
        number.map(|number| ChunkKey { queue: self.epoch, lane: message.lane, number }).into_iter().collect()
    }

    /// Finishes a message whatever its state. `has_room` says whether the shard has room for one more record, which an
    /// untouched message in the middle of a backlog needs.
    pub(crate) fn remove(
        &mut self,
        message: &DeliveryId,
        has_room: bool,
        context: &mut Context<'_>,
    ) -> Outcome {
        const MISSING: Outcome = Outcome::Handled(Handled::Missing);
        let (id, sequence) = (message.lane, message.sequence);
        let Some(lane) = self.stored_lane(message) else { return MISSING };
        let slot = match lane.records.get(&sequence) {
            Some(record) if record.state == State::Finished => return MISSING,
            Some(_) if faults::is_active(Fault::RemovedComesBack) => return Outcome::Handled(Handled::Done),
            Some(record) => {
                let slot = record.slot;
                self.finish(id, sequence, context);
                slot
            }
            None if sequence < lane.fresh => return MISSING,
            None => {
                let Some(slot) = lane.slot_of(self.epoch, id, sequence, &context.pages) else {
                    return MISSING;
                };
                if sequence > lane.fresh && !has_room {
                    return Outcome::Refused(Refusal::ShardFull);
                }
                self.remove_untouched(message, &slot, context);
                slot
            }
        };
        self.let_go(slot, context);
        self.totals.deleted += 1;
        self.settle(id, false, context);
        if self.is_fifo() {
            // The group may be unlocked now.
            context.effects.wake(self.epoch.queue);
        }
        Outcome::Handled(Handled::Done)
    }

    fn remove_untouched(&mut self, message: &DeliveryId, slot: &Slot, context: &mut Context<'_>) {
        let (id, sequence) = (message.lane, message.sequence);
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        self.stored -= 1;
        if sequence == lane.fresh {
            self.pass_fresh(id, slot, context);
        } else {
            lane.finish_untouched(sequence, *slot);
            lane.look_again(sequence, slot, (self.epoch, id), &context.pages);
            self.records += 1;
            context.dirty.mark(RowKey::Records(self.epoch, id, sequence / CHUNK_MESSAGES));
        }
    }

    /// Makes a message ready that is in flight or delayed. The handle of that delivery is stale afterwards.
    pub(crate) fn return_early(&mut self, message: &DeliveryId, context: &mut Context<'_>) -> Handled {
        let (id, sequence) = (message.lane, message.sequence);
        let Some(lane) = self.stored_lane(message) else { return Handled::Missing };
        let role = lane.role;
        let Some(record) = lane.records.get(&sequence).copied() else {
            let is_untouched = (lane.fresh..lane.tail).contains(&sequence);
            return if is_untouched { Handled::Unsuited } else { Handled::Missing };
        };
        match record.state {
            State::Finished => return Handled::Missing,
            State::Returned => return Handled::Unsuited,
            State::Leased { .. } | State::Delayed { .. } if record.generation != message.generation => {
                return Handled::Unsuited;
            }
            State::Leased { .. } | State::Delayed { .. } => {}
        }
        if faults::is_active(Fault::ReturnedHides) {
            return Handled::Done;
        }
        if let Some(due_ms) = self.timer_ms(&record, role) {
            self.timers.remove(&(due_ms, id, sequence));
        }
        self.make_ready(id, sequence, context);
        self.settle(id, false, context);
        context.effects.wake(self.epoch.queue);
        Handled::Done
    }
}
