//! Looking at messages without taking them: steps of a walk on the driver's thread, and the rows that they need read beside
//! it. Those rows, closed chunks and committed bodies, never change: beside the driver they are found as they are, or gone.

use std::sync::Arc;

use bytes::Bytes;
use cmq_engine::attributes::QueueId;
use cmq_engine::browse::{BrowseBounds, Glimpse, Place, Visited};
use cmq_engine::chunk::{Chunk, ChunkKey, Pages};
use cmq_engine::message::{BodyRef, QueueEpoch};
use cmq_engine::row::RowKey;

use super::driver::browse::Step;
use super::keys::Space;
use super::pages::Peeked;
use super::runtime::NodeHandle;
use super::{GroupId, entry};
use crate::storage::fjall_store::FjallStore;
use crate::storage::{Store, StoreError, Tree};

/// Messages and lanes that one step looks at: a fraction of a millisecond on the driver's thread.
pub const STEP_LOOKS_MAX: usize = 2_048;
/// Chunks that are read between two steps.
pub const STEP_PAGES_MAX: usize = 4;

/// Which messages a walk stops for.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Sent at this stamp or later.
    pub sent_after_ms: Option<u64>,
    /// Sent before this stamp.
    pub sent_before_ms: Option<u64>,
    /// Received so often, or more.
    pub min_receives: u32,
    /// This message.
    pub body: Option<BodyRef>,
    /// Messages of this group.
    pub group: Option<Arc<str>>,
}

impl Filter {
    /// Whether a message is one of those; its group is not looked at.
    pub(super) fn accepts(&self, glimpse: &Glimpse) -> bool {
        self.sent_after_ms.is_none_or(|from_ms| glimpse.slot.sent_ms >= from_ms)
            && self.sent_before_ms.is_none_or(|end_ms| glimpse.slot.sent_ms < end_ms)
            && glimpse.receive_count >= self.min_receives
            && self.body.is_none_or(|body| glimpse.slot.body == body)
    }
}

/// A walk over the messages of a queue on one shard.
#[derive(Clone, Debug)]
pub struct Walk {
    /// The shard.
    pub shard: GroupId,
    /// The queue.
    pub queue: QueueId,
    /// Where to begin, or to go on.
    pub from: Place,
    /// States.
    pub visited: Visited,
    /// Everything else.
    pub filter: Filter,
}

/// What a walk found until it reached a bound or the end.
#[derive(Clone, Debug, Default)]
pub struct Stretch {
    /// The epoch of the queue; None where the shard does not have it.
    pub epoch: Option<QueueEpoch>,
    /// The messages.
    pub found: Vec<Glimpse>,
    /// Where to go on; None at the end.
    pub next: Option<Place>,
    /// Messages and lanes that were looked at.
    pub looked_at: usize,
    space: Option<Space>,
}

/// Why a walk could not go on.
#[derive(Debug, thiserror::Error)]
pub enum BrowseError {
    /// This node does not lead the shard.
    #[error("this node does not lead the shard")]
    NotLeader,
    /// The node is over.
    #[error("the node is over")]
    Stopping,
    /// A row cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A body that was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookedUp {
    /// Here it is.
    Found(Bytes),
    /// Its message is finished meanwhile.
    Gone,
    /// The row cannot be read, and why.
    Damaged(String),
}

impl NodeHandle {
    /// Goes on with a walk until `found_max` messages are found, about `looks_max` are looked at, or the queue ends.
    ///
    /// # Errors
    /// When this node does not lead the shard, is over, or cannot read a chunk.
    pub async fn browse(
        &self,
        mut walk: Walk,
        found_max: usize,
        looks_max: usize,
    ) -> Result<Stretch, BrowseError> {
        let mut stretch = Stretch::default();
        let mut pages = Pages::default();
        // A page may be freed while it is read; the next step does not need it any more then.
        let mut missed = None;
        loop {
            let bounds = BrowseBounds {
                found_max: found_max - stretch.found.len(),
                looks_max: STEP_LOOKS_MAX.min(looks_max - stretch.looked_at),
                pages_max: STEP_PAGES_MAX,
                lane: None,
            };
            let asked = walk.clone();
            let step = self.look(move |driver| driver.browse(&asked, bounds, &pages));
            let step = step.await.ok_or(BrowseError::Stopping)?.ok_or(BrowseError::NotLeader)?;
            let Some(Step { browsed, space, peeked }) = step else { return Ok(stretch) };
            stretch.epoch = Some(browsed.epoch);
            stretch.space = Some(space);
            stretch.next = browsed.next;
            stretch.looked_at += browsed.looked_at;
            stretch.found.extend(browsed.found);
            let is_enough = stretch.found.len() >= found_max || stretch.looked_at >= looks_max;
            let Some(next) = browsed.next.filter(|_| !is_enough) else { return Ok(stretch) };
            walk.from = next;
            if missed.is_some() && browsed.pages.first() == missed.as_ref() {
                let place = format!("{:?}", browsed.pages[0]);
                return Err(StoreError::Damaged { place, detail: "the row is missing".into() }.into());
            }
            let first = browsed.pages.first().copied();
            let store = self.store().clone();
            let load = move || load(&store, space, &browsed.pages, peeked);
            pages = tokio::task::spawn_blocking(load).await.map_err(|_| BrowseError::Stopping)??;
            missed = first.filter(|key| pages.get(key).is_none());
        }
    }

    /// Reads the bodies of messages that a walk found, in their order.
    ///
    /// # Errors
    /// When the node is over, or the disk fails.
    pub async fn look_up(
        &self,
        stretch: &Stretch,
        bodies: Vec<BodyRef>,
    ) -> Result<Vec<LookedUp>, BrowseError> {
        let Some(space) = stretch.space else { return Ok(Vec::new()) };
        let store = self.store().clone();
        let read = move || bodies.into_iter().map(|body| body_at(&store, space, body)).collect();
        tokio::task::spawn_blocking(read).await.map_err(|_| BrowseError::Stopping)?
    }
}

fn load(
    store: &FjallStore,
    space: Space,
    keys: &[ChunkKey],
    peeked: Vec<(ChunkKey, Peeked)>,
) -> Result<Pages, BrowseError> {
    let mut pages = Pages::default();
    let decode = |key: &ChunkKey, row: &[u8]| {
        let chunk = Chunk::decode(row);
        chunk
            .map(Arc::new)
            .map_err(|error| StoreError::Damaged { place: format!("{key:?}"), detail: error.to_string() })
    };
    for key in keys {
        let in_memory = peeked.iter().find(|(known, _)| known == key).map(|(_, page)| page);
        let chunk = match in_memory {
            Some(Peeked::Chunk(chunk)) => chunk.clone(),
            Some(Peeked::Row(row)) => decode(key, row)?,
            None => match store.get(Tree::State, &space.row(&RowKey::Chunk(*key)))? {
                Some(row) => decode(key, &row)?,
                None => continue,
            },
        };
        pages.insert(*key, chunk);
    }
    Ok(pages)
}

fn body_at(store: &FjallStore, space: Space, body: BodyRef) -> Result<LookedUp, BrowseError> {
    let place = || format!("body {} of entry {} of group {}", body.position, body.index, space.group.0);
    let found = store
        .get(Tree::Log, &space.body(body))
        .and_then(|row| row.map(|row| entry::message_of(&row, &place)).transpose());
    match found {
        Ok(Some(body)) => Ok(LookedUp::Found(body)),
        Ok(None) => Ok(LookedUp::Gone),
        Err(error @ StoreError::Damaged { .. }) => Ok(LookedUp::Damaged(error.to_string())),
        Err(error) => Err(error.into()),
    }
}
