//! How large the messages of a queue are, about. What a receive hands out is known only when it was applied; how many of
//! them go into a turn is decided before.

use std::collections::HashMap;

use cmq_engine::attributes::QueueId;

/// Queues that are remembered. Numbers of deleted queues are never used again, so all are forgotten when it is reached.
const QUEUES_REMEMBERED_MAX: usize = 16_384;
/// What a message of an unknown queue is taken for, in bytes: the largest that a queue takes which is created by CMQ's
/// defaults.
const UNKNOWN_BYTES: usize = 64 << 10;
/// How slowly smaller messages lower the figure; a larger one raises it at once.
const MEMORY: usize = 8;

#[derive(Debug, Default)]
pub(crate) struct Sizes {
    bytes: HashMap<QueueId, usize>,
}

impl Sizes {
    /// Bytes of a message of the queue, about.
    pub(crate) fn of(&self, queue: QueueId) -> usize {
        self.bytes.get(&queue).copied().unwrap_or(UNKNOWN_BYTES)
    }

    /// Takes note of a message that was handed out.
    pub(crate) fn saw(&mut self, queue: QueueId, bytes: usize) {
        if self.bytes.len() >= QUEUES_REMEMBERED_MAX {
            self.bytes.clear();
        }
        let known = self.bytes.entry(queue).or_insert(bytes);
        *known = if bytes >= *known { bytes } else { *known - (*known - bytes).div_ceil(MEMORY) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_at_once_and_shrinks_slowly() {
        let (mut sizes, queue) = (Sizes::default(), QueueId(1));
        assert_eq!(sizes.of(queue), UNKNOWN_BYTES);
        for (saw, then) in [(100, 100), (900, 900), (100, 800), (100, 712)] {
            sizes.saw(queue, saw);
            assert_eq!(sizes.of(queue), then);
        }
        (0..100).for_each(|_| sizes.saw(queue, 100));
        assert_eq!(sizes.of(queue), 100);
        (2..1_000_000).for_each(|number| sizes.saw(QueueId(number), 1));
        assert!(sizes.bytes.len() <= QUEUES_REMEMBERED_MAX);
    }
}
