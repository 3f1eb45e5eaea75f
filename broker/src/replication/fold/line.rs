//! Operations of many queues, taken by deficit round robin.

use std::collections::{BTreeMap, VecDeque};

use cmq_engine::attributes::QueueId;

use super::Operation;

/// Cost that a queue may take in its turn, in bytes.
const QUANTUM: usize = 32 << 10;

/// What one queue has waiting.
#[derive(Debug)]
struct Waiting<T> {
    operations: VecDeque<Operation<T>>,
    /// What it may still take before the next queue has its turn.
    deficit: usize,
}

/// Operations by queue, and whose turn it is. A queue keeps its own order.
#[derive(Debug)]
pub(super) struct Line<T> {
    queues: BTreeMap<QueueId, Waiting<T>>,
    turns: VecDeque<QueueId>,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { queues: BTreeMap::new(), turns: VecDeque::new() }
    }
}

impl<T> Line<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    pub(super) fn push(&mut self, queue: QueueId, operation: Operation<T>) {
        let waiting = self.queues.entry(queue).or_insert_with(|| {
            self.turns.push_back(queue);
            Waiting { operations: VecDeque::new(), deficit: QUANTUM }
        });
        waiting.operations.push_back(operation);
    }

    /// Moves operations to `taken`, queue by queue, until `fits` says no to the next one. The queue that was cut off goes on
    /// first the next time, so that what is too large for the rest of one entry finds the next one empty.
    pub(super) fn take(
        &mut self,
        taken: &mut Vec<Operation<T>>,
        mut fits: impl FnMut(&Operation<T>) -> bool,
    ) {
        while let Some(queue) = self.turns.front().copied() {
            let Some(waiting) = self.queues.get_mut(&queue) else {
                self.turns.pop_front();
                continue;
            };
            while let Some(next) = waiting.operations.front().filter(|next| next.cost <= waiting.deficit) {
                if !fits(next) {
                    return;
                }
                waiting.deficit -= next.cost;
                taken.extend(waiting.operations.pop_front());
            }
            self.turns.pop_front();
            if waiting.operations.is_empty() {
                self.queues.remove(&queue);
            } else {
                waiting.deficit += QUANTUM;
                self.turns.push_back(queue);
            }
        }
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Operation<T>> {
        self.turns.clear();
        std::mem::take(&mut self.queues).into_values().flat_map(|waiting| waiting.operations)
    }
}
