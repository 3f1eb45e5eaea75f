//! What the counts of a queue may be, from what was acknowledged and what is in doubt.

use std::fmt;
use std::ops::RangeInclusive;

use super::message::{Deletion, Sending};
use super::{CLOCK_TOLERANCE, Finding, Ledger, QueueIndex, Span};

/// What the counts of a queue may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// All messages.
    pub total: RangeInclusive<u64>,
    /// Those under a lease.
    pub in_flight: RangeInclusive<u64>,
    /// Those hidden by a delay.
    pub delayed: RangeInclusive<u64>,
}

/// What the broker says the counts of a queue are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ready.
    pub active: u64,
    /// Under a lease.
    pub in_flight: u64,
    /// Hidden by a delay.
    pub delayed: u64,
}

impl Counts {
    /// All messages.
    pub fn total(self) -> u64 {
        self.active + self.in_flight + self.delayed
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} active, {} in flight, {} delayed", self.active, self.in_flight, self.delayed)
    }
}

impl Ledger {
    /// What the counts of a queue may be within `span`, when nothing else is under way.
    pub fn expected(&self, queue: QueueIndex, span: Span) -> Expected {
        let visibility = self.queues[queue.0].visibility;
        let (mut total, mut in_flight, mut delayed) = ((0, 0), (0, 0), (0, 0));
        for number in &self.open[queue.0] {
            let message = &self.messages[number.0 as usize];
            let certain = u64::from(message.is_certain());
            total.0 += certain;
            total.1 += 1;
            if let Some(delivery) = message.deliveries.last() {
                if delivery.span.start + visibility > span.end + CLOCK_TOLERANCE {
                    in_flight.0 += certain;
                }
                if delivery.span.end + visibility + CLOCK_TOLERANCE > span.start {
                    in_flight.1 += 1;
                }
            } else if !message.delay.is_zero() {
                if message.send_start + message.delay > span.end + CLOCK_TOLERANCE {
                    delayed.0 += certain;
                }
                if message.send_end.saturating_add(message.delay + CLOCK_TOLERANCE) > span.start {
                    delayed.1 += 1;
                }
            }
        }
        for lost in self.lost_receives.iter().filter(|lost| lost.queue == queue) {
            if lost.end + visibility + CLOCK_TOLERANCE > span.start {
                in_flight.1 += lost.messages_max;
            }
        }
        Expected {
            total: total.0..=total.1,
            in_flight: in_flight.0..=in_flight.1,
            delayed: delayed.0..=delayed.1,
        }
    }

    /// What is wrong with the counts that a queue gave within `span`, when nothing else was under way.
    pub fn check_counts(&self, queue: QueueIndex, span: Span, counts: Counts) -> Option<Finding> {
        let expected = self.expected(queue, span);
        let name = self.queues[queue.0].name.clone();
        if counts.total() < *expected.total.start() {
            return Some(Finding::Missing { queue: name, counts, expected });
        }
        let is_right = expected.total.contains(&counts.total())
            && expected.in_flight.contains(&counts.in_flight)
            && expected.delayed.contains(&counts.delayed);
        (!is_right).then_some(Finding::WrongCounts { queue: name, counts, expected })
    }

    /// Forgets doubts that are settled: after a queue was drained to the end, a message whose send or delete
    /// had no answer and that did not come back is not there.
    pub fn settle_drained(&mut self) {
        for open in &mut self.open {
            open.retain(|number| {
                let message = &self.messages[number.0 as usize];
                message.sending == Sending::Stored && message.deletion == Deletion::None
            });
        }
        self.lost_receives.clear();
    }
}
