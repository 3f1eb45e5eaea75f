//! The tables over all lanes of a queue, which follow from the lanes and are kept in line with them.

use super::Queue;
use crate::attributes::QueueAttributes;
use crate::lane::{Head, State};
use crate::message::LaneId;
use crate::queue::Context;
use crate::row::RowKey;

impl Queue {
    /// Brings the tables in line with a lane that was touched. One without messages ends.
    pub(super) fn settle(&mut self, id: LaneId, was_served: bool, context: &mut Context<'_>) {
        context.dirty.mark(RowKey::Lane(self.epoch, id));
        let is_fifo = self.is_fifo();
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let is_ready = lane.head(is_fifo, 0) != Head::None;
        // Where no other lane waits, a lane that was served needs no new place.
        let goes_last = was_served && self.ready.len() > 1;
        if is_ready && (goes_last || lane.ready.is_none()) {
            lane.ticket = self.next_ticket;
            self.next_ticket += 1;
            context.dirty.mark(RowKey::Queue(self.epoch));
        }
        self.index_lane(id, is_ready);
        let lane = &self.lanes[&id];
        if let Some(group) = &lane.group
            && lane.is_drained()
        {
            self.groups.remove(group);
            self.lanes.remove(&id);
        }
    }

    /// Puts a lane where it belongs in the tables of what is ready and of what grows old.
    fn index_lane(&mut self, id: LaneId, is_ready: bool) {
        let is_fifo = self.is_fifo();
        let age_limit_ms = self.age_limit_ms();
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let key = is_ready.then_some((if is_fifo { 0 } else { lane.in_flight }, lane.ticket, id));
        if lane.ready != key {
            if let Some(old) = lane.ready.take() {
                self.ready.remove(&old);
            }
            self.ready.extend(key);
            lane.ready = key;
        }
        let due_ms = lane.has_fresh().then(|| lane.fresh_sent_ms.saturating_add(age_limit_ms));
        if lane.age_timer_ms != due_ms {
            if let Some(old) = lane.age_timer_ms.take() {
                self.age_timers.remove(&(old, id));
            }
            self.age_timers.extend(due_ms.map(|due_ms| (due_ms, id)));
            lane.age_timer_ms = due_ms;
        }
        let oldest_ms = lane.oldest_ms();
        if lane.listed_oldest_ms != oldest_ms {
            if let Some(old) = lane.listed_oldest_ms.take() {
                self.oldest.remove(&(old, id));
            }
            self.oldest.extend(oldest_ms.map(|sent_ms| (sent_ms, id)));
            lane.listed_oldest_ms = oldest_ms;
        }
    }

    /// Takes new attributes. What hangs on the old age limit is set anew, which walks the records and lanes.
    pub(crate) fn set_attributes(&mut self, attributes: QueueAttributes) {
        let age_limit_ms = self.age_limit_ms();
        self.attributes = attributes;
        if self.age_limit_ms() != age_limit_ms {
            self.index_all();
        }
    }

    /// Rebuilds every table that follows from the lanes.
    pub(crate) fn index_all(&mut self) {
        self.timers.clear();
        (self.stored, self.in_flight, self.delayed, self.records) = (0, 0, 0, 0);
        let is_fifo = self.is_fifo();
        let ids: Vec<LaneId> = self.lanes.keys().copied().collect();
        for id in ids {
            let lane = &self.lanes[&id];
            self.stored += lane.tail - lane.fresh;
            self.records += lane.records.len();
            self.in_flight += u64::from(lane.in_flight);
            for (sequence, record) in &lane.records {
                let is_finished = record.state == State::Finished;
                match (*sequence < lane.fresh, is_finished) {
                    (true, false) => self.stored += 1,
                    // It was counted with the untouched ones.
                    (false, true) => self.stored -= 1,
                    _ => {}
                }
                self.delayed += u64::from(matches!(record.state, State::Delayed { .. }));
                self.timers.extend(self.timer_ms(record).map(|due_ms| (due_ms, id, *sequence)));
            }
            let is_ready = lane.head(is_fifo, 0) != Head::None;
            self.index_lane(id, is_ready);
        }
    }
}
