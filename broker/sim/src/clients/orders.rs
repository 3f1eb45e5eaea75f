//! What clients ask of whole queues: other attributes, a purge, a rewind.

use cmq_engine::attributes::{DeadLetterPolicy, DeadLetterRule, QueueAttributes, QueueId};

use super::Clients;
use crate::history::{Action, EPOCH_MS, History, KnownQueue, PURGED, QueueNumber};
use crate::plan::pick;

impl Clients {
    /// Asks something of one of the queues that are there for it; None when this run has none.
    pub(super) fn change_all(&mut self, history: &History, now_us: u64) -> Option<Action> {
        let suits = |queue: &KnownQueue| queue.is_changing() || queue.keeps_deleted() || queue.name == PURGED;
        let number = self.live_queue(history, suits)?;
        let queue = &history.queues[number];
        if queue.name == PURGED {
            return Some(Action::Purge(number));
        }
        if queue.is_changing() && self.rng.u8(..3) > 0 {
            return Some(Action::Change(number, self.other_attributes(queue)));
        }
        Some(self.rewind(number, now_us))
    }

    fn rewind(&mut self, queue: QueueNumber, now_us: u64) -> Action {
        let back_ms = *pick(&mut self.rng, &[500, 5_000, 15_000, 60_000]);
        let back_ms = self.rng.u64(..=back_ms);
        Action::Rewind { queue, start_ms: EPOCH_MS + (now_us / 1_000).saturating_sub(back_ms) }
    }

    /// Other attributes, none of which allows more than those of the beginning.
    fn other_attributes(&mut self, queue: &KnownQueue) -> QueueAttributes {
        let most = &queue.attributes;
        let rule = DeadLetterRule::MaxReceiveCount(self.rng.u32(1..=3));
        let by_age = DeadLetterRule::MaxTimeToLiveSeconds(self.rng.u32(3..=20));
        let rule = *pick(&mut self.rng, &[None, None, Some(rule), Some(by_age)]);
        QueueAttributes {
            visibility_timeout_seconds: self.rng.u32(1..=6),
            retention_seconds: *pick(&mut self.rng, &[5, 20, most.retention_seconds]),
            rewind_seconds: *pick(&mut self.rng, &[0, 3, most.rewind_seconds, most.rewind_seconds]),
            max_in_flight: *pick(&mut self.rng, &[1, 20, most.max_in_flight]),
            dead_letter: rule.map(|rule| DeadLetterPolicy { queue: QueueId(0), rule }),
            ..most.clone()
        }
    }
}
