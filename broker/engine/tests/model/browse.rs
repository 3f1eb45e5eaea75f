//! Walks over queues, and what is done to what they find.

use cmq_engine::browse::{BrowseBounds, Glimpse, MessageState, Place, Visited};
use cmq_engine::chunk::Pages;
use cmq_engine::command::Command;
use cmq_engine::limits::CHUNK_MESSAGES;
use cmq_engine::message::{DeliveryId, LaneId};
use cmq_engine::outcome::{Handled, Outcome};

use crate::world::World;

const ALL: Visited = Visited { ready: true, in_flight: true, delayed: true };

/// Steps that a walk may need: more means that it does not get on.
const STEPS_MAX: usize = 10_000;

impl World {
    /// Walks over a queue in bounded steps; `meanwhile` runs between two of them.
    pub(crate) fn walk(
        &mut self,
        slot: usize,
        visited: Visited,
        bounds: BrowseBounds,
        mut meanwhile: impl FnMut(&mut Self),
    ) -> Vec<Glimpse> {
        let queue = self.queue(slot);
        let mut seen = Vec::new();
        let mut pages = Pages::default();
        let mut from = Some(Place::FIRST);
        for _ in 0..STEPS_MAX {
            let Some(place) = from else { return seen };
            let step = self.replica.shard.browse(queue, place, visited, bounds, &pages, &mut |_| true);
            let Some(step) = step else { return seen };
            assert!(step.found.len() <= bounds.found_max && step.looked_at <= bounds.looks_max);
            assert!(
                step.next.is_none_or(|next| next > place || step.looked_at == 1 || !step.pages.is_empty())
            );
            assert!(step.pages.len() <= bounds.pages_max);
            pages = self.replica.pages(step.pages);
            seen.extend(step.found);
            from = step.next;
            meanwhile(self);
        }
        panic!("a walk that does not end");
    }

    /// All messages of a queue, each in its state, as the model has them.
    fn walk_at_rest(&mut self, slot: usize) -> Vec<Glimpse> {
        let bounds = BrowseBounds { found_max: 300, looks_max: 700, pages_max: 2, lane: None };
        let seen = self.walk(slot, ALL, bounds, |_| ());
        self.model.check_walk(self.queue(slot), &seen, self.now_ms);
        for state in 0..3 {
            let visited = Visited { ready: state == 0, in_flight: state == 1, delayed: state == 2 };
            let is_it = |glimpse: &&Glimpse| match glimpse.state {
                MessageState::Ready => visited.ready,
                MessageState::InFlight { .. } => visited.in_flight,
                MessageState::Delayed { .. } => visited.delayed,
            };
            let expected: Vec<Glimpse> = seen.iter().filter(is_it).cloned().collect();
            assert_eq!(self.walk(slot, visited, bounds, |_| ()), expected);
        }
        if let Some(glimpse) = seen.first()
            && let Some(group) = &glimpse.group
        {
            let lane = self.replica.shard.lane_of_group(self.queue(slot), group);
            assert_eq!(lane, Some(glimpse.id.lane));
            let in_group = self.walk(slot, ALL, BrowseBounds { lane, ..bounds }, |_| ());
            assert!(in_group.iter().eq(seen.iter().filter(|glimpse| Some(glimpse.id.lane) == lane)));
        }
        seen
    }

    pub(crate) fn remove_one(&mut self, slot: usize, nth: usize) {
        let seen = self.walk_at_rest(slot);
        if !self.model.is_settled(self.queue(slot)) {
            return;
        }
        let Some(glimpse) = seen.get(nth % seen.len().max(1)) else { return };
        self.apply(Command::Remove { message: glimpse.id });
        // Once is enough.
        let (outcome, _) = self.apply(Command::Remove { message: glimpse.id });
        assert_eq!(outcome, Outcome::Handled(Handled::Missing));
    }

    pub(crate) fn return_one(&mut self, slot: usize, nth: usize, off: u32) {
        let mut seen = self.walk_at_rest(slot);
        if !self.model.is_settled(self.queue(slot)) {
            return;
        }
        if seen.iter().any(|glimpse| glimpse.state != MessageState::Ready) {
            seen.retain(|glimpse| glimpse.state != MessageState::Ready);
        }
        let Some(glimpse) = seen.get(nth % seen.len().max(1)) else { return };
        let message = DeliveryId { generation: glimpse.id.generation + off, ..glimpse.id };
        self.apply(Command::Return { message });
    }

    pub(crate) fn operate_forged(&mut self, slot: usize, lane: u64, sequence: u64) {
        self.walk_at_rest(slot);
        if !self.model.is_settled(self.queue(slot)) {
            return;
        }
        let Some(queue) = self.replica.shard.epoch(self.queue(slot)) else { return };
        let message = DeliveryId { queue, lane: LaneId(lane), sequence, generation: 0 };
        self.apply(Command::Return { message });
        self.apply(Command::Remove { message });
    }
}

const PLAIN: usize = 0;

/// Every message that is there all the time is seen exactly once, while others come and go and change their state.
#[test]
fn a_walk_sees_what_stays() {
    let mut world = World::new();
    world.put_plain(PLAIN);
    world.send_plain(PLAIN, 6 * CHUNK_MESSAGES);
    let deleted = world.take_and_delete(PLAIN, 100);
    let bounds = BrowseBounds { found_max: 97, looks_max: 150, pages_max: 1, lane: None };
    let mut gone = Vec::new();
    let seen = world.walk(PLAIN, ALL, bounds, |world| {
        world.send_plain(PLAIN, 30);
        gone.extend(world.take_and_delete(PLAIN, 5));
        world.take(PLAIN, 7);
        world.checkpoint();
    });
    let mut sequences: Vec<u64> = seen.iter().map(|glimpse| glimpse.id.sequence).collect();
    assert!(sequences.is_sorted_by(|one, next| one < next), "each at most once, in order");
    assert!(!sequences.iter().any(|sequence| deleted.contains(sequence)));
    sequences.retain(|sequence| !gone.contains(sequence));
    let stayed = (100..6 * CHUNK_MESSAGES).filter(|sequence| !gone.contains(sequence));
    assert!(stayed.eq(sequences.into_iter().filter(|sequence| *sequence < 6 * CHUNK_MESSAGES)));
}

/// Removing from the middle of a backlog leaves a hole that receives step over, also after a crash.
#[test]
fn holes_in_a_backlog() {
    let mut world = World::new();
    world.put_plain(PLAIN);
    world.send_plain(PLAIN, 4 * CHUNK_MESSAGES + 10);
    let all = world.walk_at_rest(PLAIN);
    let holes =
        |sequence: u64| (500..1_100).contains(&sequence) || sequence.is_multiple_of(7) || sequence >= 2_050;
    for glimpse in all.iter().rev().filter(|glimpse| holes(glimpse.id.sequence)) {
        let (outcome, _) = world.apply(Command::Remove { message: glimpse.id });
        assert_eq!(outcome, Outcome::Handled(Handled::Done));
    }
    world.checkpoint();
    world.crash();
    world.walk_at_rest(PLAIN);
    let mut received = Vec::new();
    while received.len() < all.len() {
        let taken = world.take_and_delete(PLAIN, 16);
        if taken.is_empty() {
            break;
        }
        received.extend(taken);
    }
    let kept = all.iter().map(|glimpse| glimpse.id.sequence).filter(|sequence| !holes(*sequence));
    assert!(received.iter().copied().eq(kept));
    assert_eq!(world.records(), 0, "nothing is remembered of the holes");
    world.end();
}
