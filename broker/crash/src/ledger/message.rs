//! One message's record, and what no correct queue does with one message.

use std::time::Duration;

use super::{CLOCK_TOLERANCE, Finding, QueueIndex, Span};

/// Number of a message in the ledger; it is in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageNumber(pub u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sending {
    InDoubt,
    Stored,
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deletion {
    None,
    /// A delete without an answer, given up at `end`.
    InDoubt {
        end: Duration,
    },
    Done {
        delivery: usize,
    },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Delivery {
    pub(super) span: Span,
    pub(super) receive_count: u64,
}

#[derive(Debug)]
pub(super) struct Message {
    pub(super) queue: QueueIndex,
    pub(super) body_bytes: usize,
    pub(super) send_start: Duration,
    pub(super) send_end: Duration,
    pub(super) delay: Duration,
    pub(super) sending: Sending,
    pub(super) id: Option<String>,
    pub(super) deliveries: Vec<Delivery>,
    pub(super) deletion: Deletion,
}

impl Message {
    pub(super) fn new(queue: QueueIndex, body_bytes: usize, send_start: Duration, delay: Duration) -> Self {
        Self {
            queue,
            body_bytes,
            send_start,
            send_end: Duration::MAX,
            delay,
            sending: Sending::InDoubt,
            id: None,
            deliveries: Vec::new(),
            deletion: Deletion::None,
        }
    }

    /// Whether it must be in the queue: acknowledged, and nobody may have deleted it.
    pub(super) fn is_certain(&self) -> bool {
        self.sending == Sending::Stored && self.deletion == Deletion::None
    }

    /// When its last lease and its delay have ended for certain.
    pub(super) fn settled_at(&self, visibility: Duration) -> Duration {
        let leased = self.deliveries.iter().map(|delivery| delivery.span.end + visibility).max();
        leased.unwrap_or_default().max(self.send_end.saturating_add(self.delay))
    }

    /// What is wrong with handing it out now; `self` does not hold the new delivery yet.
    pub(super) fn check_delivery(
        &self,
        number: MessageNumber,
        span: Span,
        receive_count: u64,
        visibility: Duration,
    ) -> Vec<Finding> {
        let mut found = Vec::new();
        if let Deletion::Done { delivery } = self.deletion
            && span.start > self.deliveries[delivery].span.end
        {
            found.push(Finding::Resurrected { number, at: span.end });
        }
        let due = self.send_start + self.delay;
        if !self.delay.is_zero() && span.end + CLOCK_TOLERANCE < due {
            found.push(Finding::Early { number, early: due - span.end });
        }
        for before in &self.deliveries {
            // Even when the broker acted as far apart as the two calls allow, both leases run at once.
            let apart = before.span.end.max(span.end) - before.span.start.min(span.start);
            if apart + CLOCK_TOLERANCE < visibility {
                found.push(Finding::DoubleLease { number, apart, visibility });
            }
            if before.span.end < span.start && receive_count <= before.receive_count {
                found.push(Finding::CountFell { number, before: before.receive_count, after: receive_count });
            }
        }
        found
    }

    /// What is wrong with an acknowledged delete by this delivery's handle.
    pub(super) fn check_deletion(&self, number: MessageNumber, delivery: usize) -> Option<Finding> {
        let mine = self.deliveries[delivery].span;
        if let Deletion::Done { .. } = self.deletion {
            return Some(Finding::DeletedTwice { number });
        }
        let later = self.deliveries.iter().find(|other| other.span.start > mine.end)?;
        Some(Finding::Resurrected { number, at: later.span.end })
    }

    /// What is wrong with refusing a delete by this delivery's handle.
    pub(super) fn check_refusal(
        &self,
        number: MessageNumber,
        delivery: usize,
        span: Span,
        visibility: Duration,
    ) -> Option<Finding> {
        let mine = self.deliveries[delivery].span;
        let is_last = self.deliveries.iter().all(|other| other.span.end <= mine.end);
        let lease_runs = span.end + CLOCK_TOLERANCE < mine.start + visibility;
        let age = span.end - mine.start;
        (is_last && lease_runs && self.deletion == Deletion::None).then_some(Finding::HandleRefused {
            number,
            age,
            visibility,
        })
    }
}
