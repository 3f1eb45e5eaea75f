//! Receives that wait for a message, in the order of their arrival.

use std::collections::{BTreeMap, BTreeSet};

use cmq_engine::attributes::QueueId;

use super::Token;

/// Waiters of one queue at most.
pub const WAITERS_PER_QUEUE_MAX: usize = 10_000;
/// Waiters of a node at most.
pub const WAITERS_MAX: usize = 100_000;

/// A receive that waits, or is on its way through the log.
#[derive(Debug)]
pub(crate) struct Waiter<T> {
    pub(crate) token: T,
    pub(crate) queue: QueueId,
    pub(crate) max: u16,
    pub(crate) visibility_ms: Option<u64>,
    /// Monotonic milliseconds at which it is answered empty.
    pub(crate) deadline_ms: u64,
    /// Place in the order of arrival.
    pub(crate) ticket: u64,
    /// Messages that are set aside for it while it is on its way through the log.
    pub(crate) claim: u64,
}

/// All waiters of a node.
#[derive(Debug)]
pub(crate) struct Waiters<T> {
    queues: BTreeMap<QueueId, BTreeMap<u64, Waiter<T>>>,
    deadlines: BTreeSet<(u64, u64, QueueId)>,
}

impl<T> Default for Waiters<T> {
    fn default() -> Self {
        Self { queues: BTreeMap::new(), deadlines: BTreeSet::new() }
    }
}

impl<T> Waiters<T> {
    pub(crate) fn len(&self) -> usize {
        self.deadlines.len()
    }

    pub(crate) fn of(&self, queue: QueueId) -> usize {
        self.queues.get(&queue).map_or(0, BTreeMap::len)
    }

    /// Whether a bound is reached.
    pub(crate) fn is_full(&self, queue: QueueId) -> bool {
        self.len() >= WAITERS_MAX || self.of(queue) >= WAITERS_PER_QUEUE_MAX
    }

    /// Adds a waiter at its place in the order of arrival; gives it back when a bound is reached.
    pub(crate) fn push(&mut self, waiter: Waiter<T>) -> Result<(), Waiter<T>> {
        if self.is_full(waiter.queue) {
            return Err(waiter);
        }
        self.deadlines.insert((waiter.deadline_ms, waiter.ticket, waiter.queue));
        self.queues.entry(waiter.queue).or_default().insert(waiter.ticket, waiter);
        Ok(())
    }

    /// The first in the order of arrival.
    pub(crate) fn pop(&mut self, queue: QueueId) -> Option<Waiter<T>> {
        let (_, waiter) = self.queues.get_mut(&queue)?.pop_first()?;
        self.forget(&waiter);
        Some(waiter)
    }

    /// One whose time is over.
    pub(crate) fn pop_due(&mut self, now_ms: u64) -> Option<Waiter<T>> {
        let (_, ticket, queue) = self.deadlines.first().copied().filter(|(due_ms, ..)| *due_ms <= now_ms)?;
        let waiter = self.queues.get_mut(&queue)?.remove(&ticket)?;
        self.forget(&waiter);
        Some(waiter)
    }

    /// Gives up the places of those who left. Called when a bound is reached.
    pub(crate) fn forget_gone(&mut self, queue: QueueId)
    where
        T: Token,
    {
        let Some(waiters) = self.queues.get_mut(&queue) else { return };
        let gone: Vec<u64> =
            waiters.values().filter(|waiter| waiter.token.is_gone()).map(|waiter| waiter.ticket).collect();
        for ticket in gone {
            if let Some(waiter) = self.queues.get_mut(&queue).and_then(|waiters| waiters.remove(&ticket)) {
                self.forget(&waiter);
            }
        }
    }

    /// Queues for which somebody waits.
    pub(crate) fn queues(&self) -> impl Iterator<Item = QueueId> {
        self.queues.keys().copied()
    }

    fn forget(&mut self, waiter: &Waiter<T>) {
        self.deadlines.remove(&(waiter.deadline_ms, waiter.ticket, waiter.queue));
        if self.of(waiter.queue) == 0 {
            self.queues.remove(&waiter.queue);
        }
    }

    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        self.deadlines.first().map(|(due_ms, ..)| *due_ms)
    }

    /// Takes all of them, for the end.
    pub(crate) fn drain(&mut self) -> Vec<Waiter<T>> {
        self.deadlines.clear();
        std::mem::take(&mut self.queues).into_values().flat_map(BTreeMap::into_values).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(queue: u32, ticket: u64) -> Waiter<u64> {
        let queue = QueueId(queue);
        Waiter { token: ticket, queue, max: 1, visibility_ms: None, deadline_ms: ticket, ticket, claim: 0 }
    }

    #[test]
    fn a_queue_and_the_node_are_bounded() {
        let mut waiters = Waiters::default();
        let mut ticket = 0;
        let mut fill = |waiters: &mut Waiters<u64>, queue| {
            let before = waiters.len();
            ticket += 1;
            while waiters.push(waiter(queue, ticket)).is_ok() {
                ticket += 1;
            }
            waiters.len() - before
        };
        for queue in 1..=10 {
            assert_eq!(fill(&mut waiters, queue), WAITERS_PER_QUEUE_MAX);
        }
        assert_eq!(waiters.len(), WAITERS_MAX);
        assert_eq!(fill(&mut waiters, 11), 0);
        assert_eq!(
            waiters.pop(QueueId(3)).map(|waiter| waiter.ticket),
            Some(2 * WAITERS_PER_QUEUE_MAX as u64 + 3)
        );
        assert_eq!((fill(&mut waiters, 11), fill(&mut waiters, 3)), (1, 0));
    }
}
