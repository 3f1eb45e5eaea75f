//! The tables over all lanes of a queue, which follow from the lanes and are kept in line with them.

use super::Queue;
use crate::attributes::QueueAttributes;
use crate::lane::{Role, State};
use crate::message::LaneId;
use crate::queue::Context;
use crate::row::RowKey;

impl Queue {
    /// Brings the tables in line with a lane that was touched. One without messages ends.
    pub(super) fn settle(&mut self, id: LaneId, was_served: bool, context: &mut Context<'_>) {
        context.dirty.mark(RowKey::Lane(self.epoch, id));
        let is_fifo = self.is_fifo();
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let is_ready = lane.is_ready(is_fifo);
        let is_rewound = matches!(lane.role, Role::Rewound { .. });
        // Where no other lane waits, a lane that was served needs no new place.
        let goes_last = was_served && self.ready.len() > 1;
        if is_ready && !is_rewound && (goes_last || lane.ready.is_none()) {
            lane.ticket = self.next_ticket;
            self.next_ticket += 1;
            context.dirty.mark(RowKey::Queue(self.epoch));
        }
        self.index_lane(id, is_ready);
        let lane = &self.lanes[&id];
        if lane.is_drained() && (lane.group.is_some() || lane.role != Role::Live) {
            if let Some(group) = &lane.group {
                self.groups.remove(group);
            }
            if let Role::Kept { start_ms, .. } = lane.role {
                self.segments.remove(&start_ms);
            }
            self.rewound.remove(&id);
            self.lanes.remove(&id);
        }
    }

    /// Puts a lane where it belongs in the tables of what is ready and of what grows old.
    fn index_lane(&mut self, id: LaneId, is_ready: bool) {
        let is_fifo = self.is_fifo();
        let ages = self.ages();
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let due_ms = ages.head_due_ms(lane);
        // What came back goes before all others.
        let rank = match lane.role {
            Role::Rewound { .. } => 0,
            _ if is_fifo => 1,
            _ => 1 + lane.in_flight,
        };
        let key = is_ready.then_some((rank, lane.ticket, id));
        if lane.ready != key {
            if let Some(old) = lane.ready.take() {
                self.ready.remove(&old);
            }
            self.ready.extend(key);
            lane.ready = key;
        }
        if lane.age_timer_ms != due_ms {
            if let Some(old) = lane.age_timer_ms.take() {
                self.age_timers.remove(&(old, id));
            }
            self.age_timers.extend(due_ms.map(|due_ms| (due_ms, id)));
            lane.age_timer_ms = due_ms;
        }
        let oldest_ms = lane.oldest_ms().filter(|_| lane.is_stored());
        if lane.listed_oldest_ms != oldest_ms {
            if let Some(old) = lane.listed_oldest_ms.take() {
                self.oldest.remove(&(old, id));
            }
            self.oldest.extend(oldest_ms.map(|sent_ms| (sent_ms, id)));
            lane.listed_oldest_ms = oldest_ms;
        }
    }

    /// Takes new attributes. They hold for every message from now on, but for the delays and leases that run. What hangs
    /// on how old messages may grow is set anew, which walks the records and lanes.
    pub(crate) fn set_attributes(&mut self, attributes: QueueAttributes, context: &mut Context<'_>) {
        let before = self.ages();
        self.attributes = attributes;
        let ages = self.ages();
        if ages.reach_ms < before.reach_ms {
            self.shorten_reach((context.stamp_ms + 1).saturating_sub(ages.reach_ms), context);
        }
        if ages != before {
            self.index_all();
        }
    }

    /// Rebuilds every table that follows from the lanes.
    pub(crate) fn index_all(&mut self) {
        self.timers.clear();
        self.segments.clear();
        self.rewound.clear();
        (self.stored, self.in_flight, self.delayed, self.records, self.rewindable) = (0, 0, 0, 0, 0);
        let is_fifo = self.is_fifo();
        let ids: Vec<LaneId> = self.lanes.keys().copied().collect();
        for id in ids {
            let lane = &self.lanes[&id];
            match lane.role {
                Role::Live => self.stored += lane.tail - lane.fresh,
                Role::Kept { start_ms, .. } => {
                    self.rewindable += lane.tail - lane.fresh;
                    self.segments.insert(start_ms, id);
                }
                Role::Dropped => {}
                Role::Rewound { .. } => {
                    self.stored += lane.tail - lane.fresh;
                    self.rewound.insert(id);
                }
            }
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
                self.timers.extend(self.timer_ms(record, lane.role).map(|due_ms| (due_ms, id, *sequence)));
            }
            let is_ready = lane.is_ready(is_fifo);
            self.index_lane(id, is_ready);
        }
    }
}
