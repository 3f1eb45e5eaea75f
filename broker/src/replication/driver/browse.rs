//! One step of a walk over a queue's messages, between two turns: bounded, and without the disk.

use cmq_engine::attributes::QueueId;
use cmq_engine::browse::{BrowseBounds, Browsed};
use cmq_engine::chunk::{ChunkKey, Pages};
use cmq_engine::shard::Counts;

use super::Driver;
use crate::replication::browse::Walk;
use crate::replication::keys::Space;
use crate::replication::pages::Peeked;
use crate::replication::{GroupId, Token};

/// What a step found.
#[derive(Debug)]
pub struct Step {
    /// The messages, and where to go on.
    pub browsed: Browsed,
    /// Where the rows of the shard are.
    pub(crate) space: Space,
    /// Of the pages that going on needs, those that are in memory.
    pub(crate) peeked: Vec<(ChunkKey, Peeked)>,
}

impl<T: Token> Driver<T> {
    /// How many messages of a queue are in which state on each shard that this node leads.
    pub fn counts_by_shard(&self, queue: QueueId) -> Vec<(GroupId, Counts)> {
        let of_shard =
            |at: usize| Some((self.groups[at].id, self.groups[at].machine.shard()?.counts(queue)?));
        self.led().filter_map(of_shard).collect()
    }

    /// Does one step of a walk. None: this node does not lead the shard. An empty step: the shard has
    /// no such queue, or no such message group.
    pub fn browse(&self, walk: &Walk, bounds: BrowseBounds, pages: &Pages) -> Option<Option<Step>> {
        let Walk { shard, queue, from, visited, filter } = walk;
        let group = self.groups.get(usize::from(shard.0)).filter(|group| group.is_serving())?;
        let state = group.machine.shard()?;
        let lane = match &filter.group {
            None => None,
            Some(name) => match state.lane_of_group(*queue, name) {
                None => return Some(None),
                lane => lane,
            },
        };
        let bounds = BrowseBounds { lane, ..bounds };
        let browsed =
            state.browse(*queue, *from, *visited, bounds, pages, &mut |glimpse| filter.accepts(glimpse));
        Some(browsed.map(|browsed| {
            let peeked = browsed.pages.iter().filter_map(|key| Some((*key, group.peek_page(key)?))).collect();
            Step { browsed, space: group.space(), peeked }
        }))
    }
}
