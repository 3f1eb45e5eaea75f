//! The end of a message's life by a receipt handle.

use super::{Context, Queue};
use crate::command::StaleHandle;
use crate::faults::{self, Fault};
use crate::lane::State;
use crate::limits::CHUNK_MESSAGES;
use crate::message::{DeliveryId, LaneId};
use crate::outcome::Deleted;
use crate::row::RowKey;

impl Queue {
    /// Finishes the message of a delivery.
    pub(crate) fn delete(
        &mut self,
        id: &DeliveryId,
        stale: StaleHandle,
        context: &mut Context<'_>,
    ) -> Deleted {
        if id.queue.epoch != self.epoch.epoch {
            return Deleted::Stale;
        }
        let Some(lane) = self.lanes.get(&id.lane) else {
            return if id.lane.0 < self.next_lane { Deleted::Stale } else { Deleted::Unknown };
        };
        let Some(record) = lane.records.get(&id.sequence).copied() else {
            return if id.sequence < lane.fresh { Deleted::Stale } else { Deleted::Unknown };
        };
        if id.generation == 0 || id.generation > record.generation {
            return Deleted::Unknown;
        }
        let is_live = match record.state {
            State::Leased { until_ms } => until_ms > context.stamp_ms || stale == StaleHandle::Delete,
            State::Returned => stale == StaleHandle::Delete,
            State::Delayed { .. } | State::Finished => return Deleted::Stale,
        };
        let is_current = id.generation == record.generation && is_live;
        if !is_current && !faults::is_active(Fault::StaleLease) {
            return Deleted::Stale;
        }
        self.finish(id.lane, id.sequence, context);
        self.let_go(record.slot, context);
        self.totals.deleted += 1;
        self.settle(id.lane, false, context);
        if self.is_fifo() {
            // The group may be unlocked now.
            context.effects.wake(self.epoch.queue);
        }
        Deleted::Done
    }

    /// Takes a message with a record out of the queue, but for what becomes of its body.
    pub(super) fn finish(&mut self, id: LaneId, sequence: u64, context: &mut Context<'_>) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let (before, role) = (lane.records.len(), lane.role);
        let Some(record) = lane.finish(sequence) else { return };
        self.records -= before - lane.records.len();
        self.stored -= 1;
        match record.state {
            State::Leased { .. } => self.in_flight -= 1,
            State::Delayed { .. } => self.delayed -= 1,
            State::Returned | State::Finished => {}
        }
        if let Some(due_ms) = self.timer_ms(&record, role) {
            self.timers.remove(&(due_ms, id, sequence));
        }
        context.dirty.mark(RowKey::Records(self.epoch, id, sequence / CHUNK_MESSAGES));
    }
}
