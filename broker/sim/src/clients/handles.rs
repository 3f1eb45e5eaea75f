//! Handles that clients hold: fresh ones, old ones, and how they are used rightly and wrongly.

use cmq_broker::replication::{GroupId, Received};
use cmq_engine::command::StaleHandle;
use cmq_engine::message::DeliveryId;
use fastrand::Rng;

use crate::history::{Action, Handle, HandleSource};

/// Handles that are kept for misuse.
const OLD_MAX: usize = 100;
/// Handles that wait for their delete; more are dropped, and their leases run out.
const FRESH_MAX: usize = 200;

/// Handles of deliveries.
#[derive(Debug, Default)]
pub(super) struct Handles {
    fresh: Vec<(GroupId, DeliveryId)>,
    old: Vec<(GroupId, DeliveryId)>,
}

fn remember(list: &mut Vec<(GroupId, DeliveryId)>, max: usize, one: (GroupId, DeliveryId), rng: &mut Rng) {
    if list.len() >= max {
        list.swap_remove(rng.usize(..list.len()));
    }
    list.push(one);
}

impl Handles {
    pub(super) fn is_empty(&self) -> bool {
        self.fresh.is_empty()
    }

    /// Takes a delivery: most are deleted soon, some only when it is too late, some never.
    pub(super) fn take(&mut self, received: &Received, is_drain: bool, rng: &mut Rng) {
        let one = (received.shard, received.delivery.id);
        if is_drain {
            self.fresh.push(one);
            return;
        }
        match rng.u8(..10) {
            0..8 => remember(&mut self.fresh, FRESH_MAX, one, rng),
            8 => remember(&mut self.old, OLD_MAX, one, rng),
            _ => {}
        }
    }

    /// The next delete, if there is a handle for one.
    pub(super) fn next_delete(&mut self, rng: &mut Rng, is_drain: bool) -> Option<Action> {
        let stale = if rng.bool() { StaleHandle::Refuse } else { StaleHandle::Delete };
        let misuse = if is_drain { 0 } else { rng.u8(..20) };
        match misuse {
            1 | 2 if !self.old.is_empty() => {
                let (shard, id) = self.old[rng.usize(..self.old.len())];
                Some(Action::Delete { shard, handles: vec![Handle { id, source: HandleSource::Old }], stale })
            }
            3 if !self.old.is_empty() => {
                let (shard, id) = self.old[rng.usize(..self.old.len())];
                let handles = vec![Handle { id: made_up(id, rng), source: HandleSource::MadeUp }];
                Some(Action::Delete { shard, handles, stale })
            }
            _ => self.next_rightful(stale, is_drain, rng),
        }
    }

    fn next_rightful(&mut self, stale: StaleHandle, is_drain: bool, rng: &mut Rng) -> Option<Action> {
        if self.fresh.is_empty() {
            return None;
        }
        let first = if is_drain { 0 } else { rng.usize(..self.fresh.len()) };
        let shard = self.fresh[first].0;
        let most = if is_drain {
            16
        } else if rng.bool() {
            1
        } else {
            rng.usize(2..=10)
        };
        let mut handles = Vec::new();
        let mut kept = Vec::with_capacity(self.fresh.len());
        for (at, one) in std::mem::take(&mut self.fresh).into_iter().enumerate() {
            if at >= first && one.0 == shard && handles.len() < most {
                handles.push(Handle { id: one.1, source: HandleSource::Fresh });
            } else {
                kept.push(one);
            }
        }
        self.fresh = kept;
        if !is_drain {
            for handle in &handles {
                if rng.u8(..5) == 0 {
                    remember(&mut self.old, OLD_MAX, (shard, handle.id), rng);
                }
            }
        }
        Some(Action::Delete { shard, handles, stale })
    }
}

/// A handle that the broker cannot have handed out.
fn made_up(mut id: DeliveryId, rng: &mut Rng) -> DeliveryId {
    match rng.u8(..3) {
        0 => id.generation += 1_000,
        1 => id.sequence += 1_000_000,
        _ => id.lane.0 += 1_000_000,
    }
    id
}
