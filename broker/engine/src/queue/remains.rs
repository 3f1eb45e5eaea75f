//! Freeing what a removed queue left behind, a bounded step at a time.

use super::{Context, Queue};
use crate::chunk::ChunkKey;
use crate::lane::State;
use crate::limits::CHUNK_MESSAGES;
use crate::row::RowKey;

impl Queue {
    /// The chunk page that the next step needs.
    pub(crate) fn remains_page(&self) -> Option<ChunkKey> {
        let (id, lane) = self.lanes.first_key_value()?;
        lane.fresh_chunk().map(|number| ChunkKey { queue: self.epoch, lane: *id, number })
    }

    /// One step: frees the messages of one chunk, or some that have records, or forgets some deduplication ids. Answers
    /// whether more is left. Without the page that it needs it does nothing.
    pub(crate) fn clean_up(&mut self, context: &mut Context<'_>) -> bool {
        let page = self.remains_page();
        let Some(mut entry) = self.lanes.first_entry() else {
            self.deduplication.forget(u64::MAX, context.steps, self.epoch, context.dirty);
            return self.deduplication.len() > 0;
        };
        let id = *entry.key();
        let lane = entry.get_mut();
        context.dirty.mark(RowKey::Lane(self.epoch, id));
        if let Some(key) = page {
            let Some(chunk) = context.pages.get(&key) else { return true };
            let freed = lane.abandon_chunk(key.number, chunk);
            context.effects.dead_bodies.extend(freed.iter().map(|slot| slot.body));
            context.dirty.mark(RowKey::Chunk(key));
            context.dirty.mark(RowKey::Records(self.epoch, id, key.number));
            return true;
        }
        context.dirty.mark(RowKey::Records(self.epoch, id, lane.tail / CHUNK_MESSAGES));
        let freed = lane.abandon_open();
        context.effects.dead_bodies.extend(freed.iter().map(|slot| slot.body));
        while context.steps > 0
            && let Some((sequence, record)) = lane.records.pop_first()
        {
            context.steps -= 1;
            context.dirty.mark(RowKey::Records(self.epoch, id, sequence / CHUNK_MESSAGES));
            if record.state != State::Finished {
                context.effects.dead_bodies.push(record.slot.body);
            }
        }
        if lane.records.is_empty() {
            entry.remove();
        }
        true
    }
}
