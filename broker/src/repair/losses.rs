//! Messages that a shard knows and whose bytes, or whose place, cannot be read.

use std::collections::{BTreeMap, BTreeSet};

use cmq_engine::attributes::QueueId;
use cmq_engine::chunk::ChunkKey;
use cmq_engine::message::LaneId;
use cmq_engine::shard::{MessageState, Seen};

use crate::inspect::volume::Volume;
use crate::storage::Tree;

/// Lost messages that are named one by one; beyond, they are only counted.
const NAMED_MAX: usize = 1_000;

/// What is lost.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// One line a message or chunk.
    pub(super) lines: Vec<String>,
    /// How many messages.
    pub(super) messages: u64,
    /// Blocks of tables that cannot be read, whether or not anything that is needed lies in them.
    pub(super) blocks: Vec<String>,
    /// Chunks that need a substitute, by the position of their shard among the groups.
    pub(super) chunks: Vec<(usize, ChunkKey)>,
}

/// Looks at every message, and takes the lost ones out of the state machines.
pub(super) fn find(volume: &mut Volume) -> Losses {
    let mut losses = Losses::default();
    let names: BTreeMap<QueueId, String> =
        volume.catalogue().queues().map(|entry| (entry.id, entry.name.to_string())).collect();
    let name = |id: QueueId| {
        names.get(&id).cloned().unwrap_or_else(|| format!("number {}, which has lost its name", id.0))
    };
    let Volume { image, groups, .. } = volume;
    for (at, group) in groups.iter_mut().enumerate().skip(1) {
        let mut gone: BTreeMap<(QueueId, LaneId), BTreeSet<u64>> = BTreeMap::new();
        if let Some(shard) = group.shard() {
            let mut visit = |seen: Seen| match seen {
                Seen::Message(message) => {
                    let Err(error) = group.body(image, message.body) else { return };
                    let is_deleted = message.state == MessageState::Deleted;
                    losses.messages += u64::from(!is_deleted);
                    gone.entry((message.queue.queue, message.lane)).or_default().insert(message.sequence);
                    if losses.lines.len() < NAMED_MAX {
                        let id = group.message_id(message.body);
                        let what = if is_deleted {
                            "what a rewind could bring back with message"
                        } else {
                            "message"
                        };
                        losses
                            .lines
                            .push(format!("{what} {id} of queue {}: {error}", name(message.queue.queue)));
                    }
                }
                Seen::Unknown { chunk, sequences } => {
                    losses.messages += sequences.len() as u64;
                    losses.lines.push(format!(
                        "{} messages of queue {}, group {}: chunk {} of lane {} cannot be read",
                        sequences.len(),
                        name(chunk.queue.queue),
                        group.id.0,
                        chunk.number,
                        chunk.lane.0
                    ));
                    gone.entry((chunk.queue.queue, chunk.lane)).or_default().extend(sequences);
                    losses.chunks.push((at, chunk));
                }
            };
            shard.survey(|key| group.chunk(image, key), &mut visit);
            // A shard that has forgotten the catalogue drops such queues at its next start: they were reported before.
            for id in shard.queues().filter(|id| shard.revision() > 0 && !names.contains_key(id)) {
                let counts = shard.counts(id).unwrap_or_default();
                let all = counts.active + counts.in_flight + counts.delayed;
                losses.messages += all;
                losses.lines.push(format!("queue {}, with {all} messages in group {}", name(id), group.id.0));
            }
        }
        group.give_up(&gone);
    }
    for group in groups.iter() {
        let space = group.space();
        for (tree, from) in [(Tree::Log, space.first()), (Tree::State, space.chunks())] {
            let gaps = image.salvage(tree, &from, &space.end(), |_, _| ());
            losses
                .blocks
                .extend(gaps.iter().map(|_| format!("a block of a table of {tree:?}, group {}", group.id.0)));
        }
    }
    if losses.lines.len() >= NAMED_MAX {
        losses.lines.push(format!("… {} messages in all", losses.messages));
    }
    losses
}
