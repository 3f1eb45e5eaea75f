//! A walk over the messages of a queue in the order of lane and sequence, which changes nothing.

use std::ops::ControlFlow;

use super::{DELAYED_LANE, Queue};
use crate::browse::{BrowseBounds, Browsed, Glimpse, MessageState, Place, Visited};
use crate::chunk::{ChunkKey, Pages};
use crate::lane::{Lane, Record, State};
use crate::limits::CHUNK_MESSAGES;
use crate::message::{DeliveryId, LaneId, Slot};

/// A step of a walk under way.
struct Walk<'a> {
    visited: Visited,
    bounds: BrowseBounds,
    pages: &'a Pages,
    accept: &'a mut dyn FnMut(&Glimpse) -> bool,
    out: Browsed,
}

/// The lane that the walk is in.
#[derive(Clone, Copy)]
struct Here<'a> {
    id: LaneId,
    lane: &'a Lane,
}

impl Queue {
    pub(crate) fn lane_of_group(&self, group: &str) -> Option<LaneId> {
        self.groups.get(group).copied()
    }

    /// See [`crate::shard::Shard::browse`].
    pub(crate) fn browse(
        &self,
        from: Place,
        visited: Visited,
        bounds: BrowseBounds,
        pages: &Pages,
        accept: &mut dyn FnMut(&Glimpse) -> bool,
    ) -> Browsed {
        let out =
            Browsed { epoch: self.epoch, found: Vec::new(), next: None, looked_at: 0, pages: Vec::new() };
        let mut walk = Walk { visited, bounds, pages, accept, out };
        let lanes = from.lane.max(bounds.lane.unwrap_or(from.lane))..=bounds.lane.unwrap_or(LaneId(u64::MAX));
        if lanes.is_empty() {
            return walk.out;
        }
        for (id, lane) in self.lanes.range(lanes) {
            let first = if *id == from.lane { from.sequence } else { 0 };
            if walk.look(Place { lane: *id, sequence: first }).is_break() {
                break;
            }
            if self.may_hold(*id, lane, visited) && walk.lane(Here { id: *id, lane }, first).is_break() {
                break;
            }
        }
        walk.out
    }

    /// Whether a lane can have messages that are visited.
    fn may_hold(&self, id: LaneId, lane: &Lane, visited: Visited) -> bool {
        lane.is_stored()
            && (visited.ready
                || visited.in_flight && lane.in_flight > 0
                || visited.delayed && (id == DELAYED_LANE || self.is_fifo()))
    }
}

impl Walk<'_> {
    /// Counts one look; breaks when none is left, to go on at `place`.
    fn look(&mut self, place: Place) -> ControlFlow<()> {
        if self.out.looked_at == self.bounds.looks_max || self.out.found.len() == self.bounds.found_max {
            self.out.next = Some(place);
            return ControlFlow::Break(());
        }
        self.out.looked_at += 1;
        ControlFlow::Continue(())
    }

    fn lane(&mut self, here: Here<'_>, first: u64) -> ControlFlow<()> {
        if !self.visited.ready {
            // Only records can be in flight or delayed.
            return self.records(here, first, here.lane.tail);
        }
        self.records(here, first, here.lane.fresh)?;
        let mut sequence = first.max(here.lane.fresh);
        while let Some(number) = here.lane.chunk_of(sequence) {
            let key = ChunkKey { queue: self.out.epoch, lane: here.id, number };
            let Some(chunk) = self.pages.get(&key) else {
                let numbers = here.lane.chunk_numbers();
                let wanted = (number..numbers.end).take(self.bounds.pages_max);
                self.out.pages = wanted.map(|number| ChunkKey { number, ..key }).collect();
                self.out.next = Some(Place { lane: here.id, sequence });
                return ControlFlow::Break(());
            };
            let end = (number + 1) * CHUNK_MESSAGES;
            self.slots(here, (sequence..end).map(|at| (at, chunk.slot(at).copied())))?;
            sequence = end;
        }
        let slots = here.lane.open_slots().skip_while(|(at, _)| *at < sequence);
        self.slots(here, slots.map(|(at, slot)| (at, Some(slot))))
    }

    fn records(&mut self, here: Here<'_>, first: u64, end: u64) -> ControlFlow<()> {
        if first >= end {
            return ControlFlow::Continue(());
        }
        for (sequence, record) in here.lane.records.range(first..end) {
            self.look(Place { lane: here.id, sequence: *sequence })?;
            self.record(here, *sequence, record);
        }
        ControlFlow::Continue(())
    }

    /// Visits messages that are untouched or have a record.
    fn slots(&mut self, here: Here<'_>, slots: impl Iterator<Item = (u64, Option<Slot>)>) -> ControlFlow<()> {
        for (sequence, slot) in slots {
            self.look(Place { lane: here.id, sequence })?;
            match (here.lane.records.get(&sequence), slot) {
                (Some(record), _) => self.record(here, sequence, record),
                (None, Some(slot)) => self.visit(here, sequence, Record::new(slot, State::Returned)),
                (None, None) => {}
            }
        }
        ControlFlow::Continue(())
    }

    fn record(&mut self, here: Here<'_>, sequence: u64, record: &Record) {
        let is_visited = match record.state {
            State::Returned => self.visited.ready,
            State::Leased { .. } => self.visited.in_flight,
            State::Delayed { .. } => self.visited.delayed,
            State::Finished => false,
        };
        if is_visited {
            self.visit(here, sequence, *record);
        }
    }

    fn visit(&mut self, here: Here<'_>, sequence: u64, record: Record) {
        let state = match record.state {
            State::Returned => MessageState::Ready,
            State::Leased { until_ms } => MessageState::InFlight { until_ms },
            State::Delayed { due_ms } => MessageState::Delayed { due_ms },
            State::Finished => return,
        };
        let queue = self.out.epoch;
        let glimpse = Glimpse {
            id: DeliveryId { queue, lane: here.id, sequence, generation: record.generation },
            slot: record.slot,
            state,
            receive_count: record.receive_count,
            first_received_ms: record.first_received_ms,
            group: here.lane.group.clone(),
        };
        if (self.accept)(&glimpse) {
            self.out.found.push(glimpse);
        }
    }
}
