//! What goes wrong, and when it ends.

use cmq_broker::replication::{Input, NodeId};

use super::node::Doom;
use super::{Event, World};
use crate::disk::Loss;
use crate::plan::{Link, pick};
use crate::tally::Blow;

/// The end of a fault.
#[derive(Clone, Copy, Debug)]
pub(super) enum Relief {
    /// All nodes hear each other.
    Heal,
    /// The network is as usual.
    Network,
    /// Syncs of a node take as long as usual.
    Sync(NodeId),
    /// A node has room for messages again.
    Room(NodeId),
    /// Writes of a node succeed again.
    Writes(NodeId),
}

/// Time between two faults when enough have happened, microseconds.
const RARE_US: std::ops::Range<u64> = 5_000_000..30_000_000;
/// Time that a process which was asked to stop may take, microseconds.
const STOP_US: u64 = 5_000_000;

impl World {
    /// Something goes wrong; the next time is planned.
    pub(super) fn next_blow(&mut self) {
        if self.phase != super::Phase::Storm {
            return;
        }
        let kind = *pick(&mut self.rng, &self.plan.blows);
        let node = self.victim();
        let has_happened = self.strike(kind, node);
        if has_happened {
            self.trace.mix(&[self.now_us, 8, kind as u64, node]);
            self.trace.note(self.now_us, || format!("fault: {kind}, node {node}"));
        }
        let delay_us = match has_happened {
            false => 10_000,
            true if self.tally.faults() >= self.plan.faults => self.rng.u64(RARE_US),
            true => self.rng.u64(..=2 * self.plan.fault_us),
        };
        self.at(delay_us, Event::Blow);
    }

    /// Any node, or one that leads: there it hurts most.
    fn victim(&mut self) -> NodeId {
        let leaders: Vec<NodeId> = self.leaders().of_group.into_iter().flatten().collect();
        if leaders.is_empty() || self.rng.bool() {
            self.rng.u64(1..=self.plan.replicas)
        } else {
            *pick(&mut self.rng, &leaders)
        }
    }

    fn strike(&mut self, kind: Blow, node: NodeId) -> bool {
        let is_done = match kind {
            Blow::Kill | Blow::PowerCut | Blow::LostSynced | Blow::PowerCutAll => self.cut(kind, node),
            // These are counted when they happen.
            Blow::TornWrite => return self.doom(node, Doom::TornWrite),
            Blow::MidTurn => return self.doom(node, Doom::MidTurn),
            Blow::OutOfSpace => {
                let is_doomed = self.doom(node, Doom::OutOfSpace);
                let delay_us = self.rng.u64(500_000..5_000_000);
                self.at(delay_us, Event::Relief(Relief::Writes(node)));
                is_doomed
            }
            Blow::Stop => self.ask_to_stop(node),
            Blow::Pause => {
                let until_us = self.now_us + self.rng.u64(100_000..4_000_000);
                self.node(node).process().map(|process| process.paused_until_us = until_us).is_some()
            }
            Blow::SlowSync => {
                self.node(node).sync_delay_us = self.rng.u64(20_000..400_000);
                self.end_later(Relief::Sync(node));
                true
            }
            Blow::DiskFull => {
                self.node(node).has_room = false;
                self.end_later(Relief::Room(node));
                true
            }
            Blow::DamagedPage => self.damage(node),
            Blow::ClockForward | Blow::ClockBackward => self.jump(node, kind == Blow::ClockForward),
            Blow::Partition | Blow::AsymmetricPartition => {
                self.partition(node, kind == Blow::AsymmetricPartition);
                true
            }
            Blow::Loss | Blow::Duplication | Blow::Reordering | Blow::Delay => {
                self.begin_spell(kind);
                true
            }
        };
        if is_done {
            self.tally.blow(kind);
        }
        is_done
    }

    fn end_later(&mut self, relief: Relief) {
        let delay_us = self.rng.u64(200_000..4_000_000);
        self.at(delay_us, Event::Relief(relief));
    }

    fn may_mark(&self) -> bool {
        self.nodes.iter().all(|node| !node.is_marked)
    }

    fn cut(&mut self, kind: Blow, node: NodeId) -> bool {
        if kind == Blow::PowerCutAll {
            for node in 1..=self.plan.replicas {
                if !self.node(node).is_out() {
                    self.crash(node, Loss::Unsynced);
                }
            }
            return true;
        }
        let is_possible = self.node(node).is_running()
            && (kind != Blow::LostSynced || self.may_mark() && self.node(node).disk.has_noticeable_tail());
        if is_possible {
            let loss = match kind {
                Blow::Kill => Loss::None,
                Blow::LostSynced => Loss::Synced,
                _ => Loss::Unsynced,
            };
            self.node(node).is_marked |= kind == Blow::LostSynced;
            self.crash(node, loss);
        }
        is_possible
    }

    fn doom(&mut self, node: NodeId, doom: Doom) -> bool {
        match self.node(node).process() {
            Some(process) if process.doom.is_none() => {
                process.doom = Some(doom);
                true
            }
            _ => false,
        }
    }

    fn ask_to_stop(&mut self, id: NodeId) -> bool {
        let Some(process) = self.node(id).process().filter(|process| !process.is_stopping) else {
            return false;
        };
        process.is_stopping = true;
        let process = process.number;
        self.input(id, Input::Stop);
        self.at(STOP_US, Event::End { node: id, process });
        true
    }

    fn damage(&mut self, id: NodeId) -> bool {
        if !self.may_mark() {
            return false;
        }
        let disk = self.node(id).disk.clone();
        let is_damaged = disk.damage(&mut self.rng);
        self.node(id).is_marked |= is_damaged;
        is_damaged
    }

    fn jump(&mut self, id: NodeId, is_forward: bool) -> bool {
        let most_ms = self.plan.skew_ms as i64;
        let now_ms = self.node(id).skew_ms;
        let to_ms = match is_forward {
            true if now_ms < most_ms => self.rng.i64(now_ms + 1..=most_ms),
            false if now_ms > -most_ms => self.rng.i64(-most_ms..now_ms),
            _ => return false,
        };
        self.node(id).skew_ms = to_ms;
        true
    }

    fn partition(&mut self, node: NodeId, is_one_way: bool) {
        let is_deaf = self.rng.bool();
        for other in (1..=self.plan.replicas).filter(|other| *other != node) {
            if !is_one_way || is_deaf {
                self.network.block(other, node);
            }
            if !is_one_way || !is_deaf {
                self.network.block(node, other);
            }
        }
        self.end_later(Relief::Heal);
    }

    fn begin_spell(&mut self, kind: Blow) {
        let usual = self.network.ordinary();
        let spell = match kind {
            Blow::Loss => Link { loss: 0.1 + 0.4 * self.rng.f64(), ..usual },
            Blow::Duplication => Link { duplicate: 0.5, ..usual },
            Blow::Reordering => Link { keeps_order: false, delay_us: (100, 100_000), ..usual },
            _ => Link { delay_us: (50_000, 400_000), ..usual },
        };
        self.network.spell = Some(spell);
        self.end_later(Relief::Network);
    }

    pub(super) fn relieve(&mut self, relief: Relief) {
        match relief {
            Relief::Heal => self.network.heal(),
            Relief::Network => self.network.spell = None,
            Relief::Sync(node) => self.node(node).sync_delay_us = 0,
            Relief::Room(node) => self.node(node).has_room = true,
            Relief::Writes(node) => {
                let node = self.node(node);
                node.is_full = false;
                if let Some(process) = node.process().filter(|process| process.doom == Some(Doom::OutOfSpace))
                {
                    process.doom = None;
                }
            }
        }
    }
}
