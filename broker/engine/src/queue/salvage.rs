//! A queue as a tool sees it that works on a volume nobody serves.

use std::ops::Range;

use super::Queue;
use crate::attributes::QueueAttributes;
use crate::chunk::{Chunk, ChunkKey};
use crate::lane::{Lane, Role, State};
use crate::limits::CHUNK_MESSAGES;
use crate::message::{DEFAULT_LANE, LaneId, QueueEpoch, Slot};
use crate::shard::{MessageState, MessageView, Seen};

/// Where lanes and turns are counted on when the row that had the counters is lost.
const COUNTERS_RESTART: u64 = 1 << 32;

impl Queue {
    /// A queue whose own row is lost: all that hangs on it is known from elsewhere, but for counters that must not be
    /// used twice.
    pub(crate) fn without_row(epoch: QueueEpoch, attributes: QueueAttributes) -> Self {
        let mut queue = Self::new(epoch, attributes);
        queue.lanes.clear();
        (queue.next_lane, queue.next_ticket) = (COUNTERS_RESTART, COUNTERS_RESTART);
        queue
    }

    /// Makes the lane of messages without a group, should its row be lost.
    pub(crate) fn ensure_default_lane(&mut self) -> bool {
        let is_lost = !self.lanes.contains_key(&DEFAULT_LANE);
        self.lanes.entry(DEFAULT_LANE).or_default();
        is_lost
    }

    pub(crate) fn survey(
        &self,
        chunk: &mut impl FnMut(&ChunkKey) -> Option<Chunk>,
        visit: &mut impl FnMut(Seen),
    ) {
        for (id, lane) in &self.lanes {
            for (sequence, record) in &lane.records {
                let state = match record.state {
                    State::Finished => continue,
                    State::Returned => MessageState::Active,
                    State::Delayed { due_ms } => MessageState::Delayed { due_ms },
                    State::Leased { until_ms } => MessageState::InFlight { until_ms },
                };
                visit(Seen::Message(MessageView {
                    receive_count: record.receive_count,
                    state,
                    ..self.untouched(*id, *sequence, &record.slot)
                }));
            }
            let state = match lane.role {
                Role::Live | Role::Rewound { .. } => MessageState::Active,
                Role::Kept { .. } => MessageState::Deleted,
                // It only waits to be freed.
                Role::Dropped => continue,
            };
            let mut untouched = |(sequence, slot): (u64, Slot)| {
                if !lane.records.contains_key(&sequence) {
                    let message = self.untouched(*id, sequence, &slot);
                    visit(Seen::Message(MessageView { state, ..message }));
                }
            };
            let mut lost = Vec::new();
            for number in lane.chunk_numbers() {
                let key = ChunkKey { queue: self.epoch, lane: *id, number };
                let sequences = lane.fresh.max(number * CHUNK_MESSAGES)..(number + 1) * CHUNK_MESSAGES;
                match chunk(&key) {
                    Some(chunk) => sequences
                        .filter_map(|sequence| Some((sequence, *chunk.slot(sequence)?)))
                        .for_each(&mut untouched),
                    None => lost.push((key, sequences)),
                }
            }
            lane.open_slots().for_each(untouched);
            for (key, sequences) in lost {
                visit(Seen::Unknown { chunk: key, sequences: unrecorded(lane, sequences) });
            }
        }
    }

    fn untouched(&self, lane: LaneId, sequence: u64, slot: &Slot) -> MessageView {
        MessageView {
            queue: self.epoch,
            lane,
            sequence,
            body: slot.body,
            bytes: slot.bytes,
            sent_ms: slot.sent_ms,
            receive_count: 0,
            state: MessageState::Active,
        }
    }

    /// Ends messages that cannot be handed out any more. Of deleted ones that a rewind could bring back, the whole segment
    /// goes. Tables over the lanes stay as they were.
    pub(crate) fn give_up(&mut self, id: LaneId, sequences: &[u64]) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            if !lane.is_stored() {
                // Its messages have no records that could say which of them are gone.
                self.lanes.remove(&id);
                return;
            }
            sequences.iter().for_each(|sequence| lane.give_up(*sequence));
            if let Some(group) = &lane.group
                && lane.is_drained()
            {
                self.groups.remove(group);
                self.lanes.remove(&id);
            }
        }
    }
}

fn unrecorded(lane: &Lane, sequences: Range<u64>) -> Vec<u64> {
    sequences.filter(|sequence| !lane.records.contains_key(sequence)).collect()
}
