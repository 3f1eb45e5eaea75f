//! Deleted messages within the reach of rewinding, and how they come back.
//!
//! They lie in lanes of their own, the segments: each holds those of a span of send times, a part of the rewind time, and
//! spans do not overlap. So what is kept costs memory by the segment, not by the message, and ends by the same machinery
//! as what grows too old. A rewind turns whole segments into lanes that are served again, before all others and oldest
//! first; in the one that the start cuts, what was sent before it goes back.

use super::{Context, Queue};
use crate::catalogue::{Rewind, RewindKind};
use crate::chunk::ChunkKey;
use crate::faults::{self, Fault};
use crate::lane::{Lane, Role};
use crate::limits::{CHUNK_MESSAGES, KEPT_SEGMENTS_MAX, KEPT_SPANS};
use crate::message::{LaneId, Slot};
use crate::row::RowKey;

impl Queue {
    /// Deleted messages that a rewind could bring back.
    pub(crate) fn rewindable(&self) -> u64 {
        self.rewindable
    }

    /// Keeps a deleted message if rewinding reaches it; else nothing needs its body any more.
    pub(super) fn let_go(&mut self, slot: Slot, context: &mut Context<'_>) {
        if !self.ages().is_in_reach(&slot, context.stamp_ms) {
            context.effects.dead_bodies.push(slot.body);
            return;
        }
        let id = self.segment_for(slot.sent_ms, context);
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if let Some((number, row)) = lane.keep(slot) {
            context.effects.closed_chunks.push((ChunkKey { queue: self.epoch, lane: id, number }, row));
        }
        self.rewindable += 1;
        self.settle(id, false, context);
    }

    /// The segment that takes a message sent at `sent_ms`; its span is made to hold it.
    fn segment_for(&mut self, sent_ms: u64, context: &mut Context<'_>) -> LaneId {
        let span_ms = self.ages().reach_ms / KEPT_SPANS;
        let is_full = self.segments.len() >= KEPT_SEGMENTS_MAX;
        // A short one may span more: what it costs is memory for its open chunk.
        let takes =
            |lane: &Lane, span: u64| is_full || lane.tail - lane.fresh < CHUNK_MESSAGES || span <= span_ms;
        if let Some((start_ms, id)) = self.segments.range(..=sent_ms).next_back()
            && let Some(lane) = self.lanes.get_mut(id)
            && let Role::Kept { end_ms, .. } = lane.role
            && (sent_ms < end_ms || takes(lane, sent_ms - start_ms))
        {
            lane.span(sent_ms);
            return *id;
        }
        if let Some((start_ms, id)) = self.segments.range(sent_ms..).next().map(|(start, id)| (*start, *id))
            && let Some(lane) = self.lanes.get_mut(&id)
            && let Role::Kept { end_ms, .. } = lane.role
            && takes(lane, end_ms - sent_ms)
        {
            lane.span(sent_ms);
            self.segments.remove(&start_ms);
            self.segments.insert(sent_ms, id);
            return id;
        }
        let id = LaneId(self.next_lane);
        self.next_lane += 1;
        self.lanes.insert(id, Box::new(Lane::segment(sent_ms)));
        self.segments.insert(sent_ms, id);
        context.dirty.mark(RowKey::Queue(self.epoch));
        id
    }

    /// Does the rewinds that were not done yet.
    pub(crate) fn take_rewinds(&mut self, rewinds: &[Rewind], context: &mut Context<'_>) {
        for rewind in rewinds {
            if rewind.number <= self.rewinds_done {
                continue;
            }
            match rewind.kind {
                RewindKind::To(start_ms) => self.rewind(start_ms, context),
                RewindKind::Off => self.shorten_reach(u64::MAX, context),
            }
            if !faults::is_active(Fault::RewindAgain) {
                self.rewinds_done = rewind.number;
            }
        }
    }

    fn rewind(&mut self, start_ms: u64, context: &mut Context<'_>) {
        // What is out of reach stays so, although it may still be there.
        let start_ms = start_ms.max((context.stamp_ms + 1).saturating_sub(self.ages().reach_ms));
        // What an earlier rewind has yet to put back may be wanted now.
        for id in Vec::from_iter(self.rewound.iter().copied()) {
            if let Some(lane) = self.lanes.get_mut(&id)
                && let Role::Rewound { from_ms, .. } = &mut lane.role
                && *from_ms > start_ms
            {
                *from_ms = start_ms;
                self.settle(id, false, context);
            }
        }
        // Segments do not overlap, so their ends are in the order of their starts.
        let first = self.segments.range(..=start_ms).next_back().map_or(start_ms, |(start_ms, _)| *start_ms);
        for (segment_ms, id) in Vec::from_iter(self.segments.range(first..).map(|(start, id)| (*start, *id)))
        {
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            let Role::Kept { end_ms, floor_ms, .. } = lane.role else { continue };
            if end_ms <= start_ms {
                continue;
            }
            lane.sort_open();
            lane.role = Role::Rewound { from_ms: start_ms.max(floor_ms), floor_ms, at_ms: context.stamp_ms };
            lane.ticket = segment_ms;
            let count = lane.tail - lane.fresh;
            self.rewindable -= count;
            self.stored += count;
            self.segments.remove(&segment_ms);
            self.rewound.insert(id);
            self.settle(id, false, context);
        }
        context.effects.wake(self.epoch.queue);
    }

    /// Gives up kept messages that were sent before `floor_ms`, for good.
    pub(super) fn shorten_reach(&mut self, floor_ms: u64, context: &mut Context<'_>) {
        for (start_ms, id) in Vec::from_iter(self.segments.range(..floor_ms).map(|(start, id)| (*start, *id)))
        {
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            let Role::Kept { end_ms, floor_ms: floor, .. } = &mut lane.role else { continue };
            if *end_ms <= floor_ms {
                lane.role = Role::Dropped;
                self.rewindable -= lane.tail - lane.fresh;
                self.segments.remove(&start_ms);
            } else {
                *floor = floor_ms;
            }
            self.settle(id, false, context);
        }
    }
}
