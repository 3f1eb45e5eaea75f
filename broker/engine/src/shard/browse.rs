//! Walks over the messages of a queue.

use super::Shard;
use crate::attributes::QueueId;
use crate::browse::{BrowseBounds, Browsed, Glimpse, Place, Visited};
use crate::chunk::Pages;
use crate::message::LaneId;

impl Shard {
    /// Visits messages of a queue from a place on: as many as `accept` takes up to `found_max`, looking at `looks_max` at
    /// most. `pages` holds closed chunks that an earlier step asked for; where one is missing, the step ends and asks for
    /// it and those behind it, `pages_max` in all. None: the shard has no such queue.
    pub fn browse(
        &self,
        queue: QueueId,
        from: Place,
        visited: Visited,
        bounds: BrowseBounds,
        pages: &Pages,
        accept: &mut dyn FnMut(&Glimpse) -> bool,
    ) -> Option<Browsed> {
        Some(self.queues.get(&queue)?.browse(from, visited, bounds, pages, accept))
    }

    /// The lane of a message group, where it has messages.
    pub fn lane_of_group(&self, queue: QueueId, group: &str) -> Option<LaneId> {
        self.queues.get(&queue)?.lane_of_group(group)
    }
}
