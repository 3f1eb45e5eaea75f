//! The network between the nodes: delays, loses, reorders and duplicates messages, and falls apart.

use std::collections::{BTreeMap, BTreeSet};

use cmq_broker::replication::NodeId;
use fastrand::Rng;

use crate::plan::Link;

/// How the network treats messages now.
#[derive(Debug)]
pub(crate) struct Network {
    ordinary: Link,
    /// The state of a bad spell, while it lasts.
    pub(crate) spell: Option<Link>,
    blocked: BTreeSet<(NodeId, NodeId)>,
    latest_us: BTreeMap<(NodeId, NodeId), u64>,
    rng: Rng,
}

impl Network {
    /// A whole network.
    pub(crate) fn new(link: Link, rng: Rng) -> Self {
        Self { ordinary: link, spell: None, blocked: BTreeSet::new(), latest_us: BTreeMap::new(), rng }
    }

    /// The link in its ordinary state.
    pub(crate) fn ordinary(&self) -> Link {
        self.ordinary
    }

    /// Cuts the way from one node to another.
    pub(crate) fn block(&mut self, from: NodeId, to: NodeId) {
        self.blocked.insert((from, to));
    }

    /// Whether the way is cut.
    pub(crate) fn is_blocked(&self, from: NodeId, to: NodeId) -> bool {
        self.blocked.contains(&(from, to))
    }

    /// Mends all cuts.
    pub(crate) fn heal(&mut self) {
        self.blocked.clear();
    }

    /// Ends everything that is bad about the network.
    pub(crate) fn calm(&mut self) {
        self.heal();
        self.spell = None;
        self.ordinary.loss = 0.0;
        self.ordinary.duplicate = 0.0;
    }

    /// When a message that is sent now arrives: never, once or twice.
    pub(crate) fn arrivals(&mut self, from: NodeId, to: NodeId, now_us: u64) -> Vec<u64> {
        let link = self.spell.unwrap_or(self.ordinary);
        if self.is_blocked(from, to) || self.rng.f64() < link.loss {
            return Vec::new();
        }
        let copies = 1 + usize::from(self.rng.f64() < link.duplicate);
        let mut arrivals = Vec::with_capacity(copies);
        for _ in 0..copies {
            let mut at_us = now_us + self.rng.u64(link.delay_us.0..=link.delay_us.1);
            if link.keeps_order {
                let latest_us = self.latest_us.entry((from, to)).or_default();
                at_us = at_us.max(*latest_us + 1);
                *latest_us = at_us;
            }
            arrivals.push(at_us);
        }
        arrivals
    }
}
