//! What clients send.

use cmq_engine::attributes::{DeduplicationScope, QueueKind};
use xxhash_rust::xxh3::xxh3_128;

use super::{Clients, home_of};
use crate::history::{Action, BODY_BYTES_MIN, History, KnownQueue, QueueNumber, SentMessage};
use crate::plan::pick;

/// Deduplication ids of a queue that may be used again.
const IDS_KEPT: usize = 30;
const GROUPS: &[&str] = &["a", "b", "c", "d", "e"];

impl Clients {
    pub(super) fn send(&mut self, history: &History) -> Option<Action> {
        // A dead-letter queue only gets what its sources give up.
        let queue = self.used_queue(history, |queue| !queue.name.starts_with("dead"))?;
        let known = &history.queues[queue];
        let count = match self.rng.u8(..60) {
            0 if self.has_bulk => self.rng.usize(100..=600),
            1..20 => self.rng.usize(2..=10),
            _ => 1,
        };
        let mut messages: Vec<SentMessage> = Vec::with_capacity(count);
        for _ in 0..count {
            let first_group = messages.first().and_then(|first| first.group.clone());
            let mut message = self.message(queue, known, first_group, count > 10);
            if known.attributes.kind == QueueKind::Standard {
                message.deduplication = None;
            }
            messages.push(message);
        }
        let home = home_of(queue, known.attributes.kind, messages[0].group.as_deref());
        Some(Action::Send { queue, messages, home })
    }

    fn message(
        &mut self,
        queue: QueueNumber,
        known: &KnownQueue,
        first_group: Option<Box<str>>,
        is_bulk: bool,
    ) -> SentMessage {
        let bytes = match self.rng.u8(..20) {
            _ if is_bulk => BODY_BYTES_MIN,
            0 => self.rng.u32(2_000..20_000),
            1..5 => self.rng.u32(100..2_000),
            _ => self.rng.u32(BODY_BYTES_MIN..100),
        };
        let delay_ms = match self.rng.u8(..12) {
            0 => Some(self.rng.u64(100..4_000)),
            1 => Some(0),
            _ => None,
        };
        let mut group: Option<Box<str>> = Some((*pick(&mut self.rng, GROUPS)).into());
        if is_bulk {
            // One long backlog.
            group = Some(GROUPS[0].into());
        }
        let mut deduplication = None;
        match known.attributes.kind {
            QueueKind::Standard => {
                if self.rng.u8(..5) > 0 {
                    group = None;
                }
            }
            QueueKind::Fifo { deduplication: scope } => {
                // What goes to one shard is one call.
                let is_by_group = scope == DeduplicationScope::MessageGroup;
                if is_by_group && first_group.is_some() {
                    group = first_group;
                }
                if !is_bulk && self.rng.bool() {
                    deduplication = Some(self.deduplication_id(queue, is_by_group, &mut group));
                }
            }
        }
        SentMessage { group, deduplication, delay_ms, bytes }
    }

    /// A new id, or one that was used before.
    fn deduplication_id(
        &mut self,
        queue: QueueNumber,
        is_by_group: bool,
        group: &mut Option<Box<str>>,
    ) -> u128 {
        let ids = self.deduplication_ids.entry(queue).or_default();
        if self.rng.u8(..5) < 2 {
            let suitable: Vec<u128> =
                ids.iter().filter(|(of, _)| !is_by_group || of == group).map(|(_, hash)| *hash).collect();
            if !suitable.is_empty() {
                return *pick(&mut self.rng, &suitable);
            }
        }
        self.next_deduplication_id += 1;
        let scope = if is_by_group { group.as_deref().unwrap_or_default() } else { "" };
        let hash = xxh3_128(format!("{queue} {scope} {}", self.next_deduplication_id).as_bytes());
        if ids.len() >= IDS_KEPT {
            ids.swap_remove(self.rng.usize(..ids.len()));
        }
        ids.push((group.clone(), hash));
        hash
    }
}
