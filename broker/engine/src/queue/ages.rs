//! How old messages may grow, by what they are to their queue.

use super::Queue;
use crate::attributes::DeadLetterRule;
use crate::lane::{Lane, Role};
use crate::message::Slot;

/// Milliseconds after its send at which something becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ages {
    /// It expires, or moves to the dead-letter queue.
    limit_ms: u64,
    /// It expires.
    pub(super) retention_ms: u64,
    /// It is out of the reach of a rewind once it is deleted.
    pub(super) reach_ms: u64,
}

impl Queue {
    pub(super) fn ages(&self) -> Ages {
        let attributes = &self.attributes;
        let retention_seconds = attributes.retention_seconds;
        let limit_seconds = match attributes.dead_letter.map(|policy| policy.rule) {
            Some(DeadLetterRule::MaxTimeToLiveSeconds(seconds)) => seconds.min(retention_seconds),
            _ => retention_seconds,
        };
        let reach_seconds = if self.is_fifo() { 0 } else { attributes.rewind_seconds.min(retention_seconds) };
        let [limit_ms, retention_ms, reach_ms] =
            [limit_seconds, retention_seconds, reach_seconds].map(|seconds| u64::from(seconds) * 1_000);
        Ages { limit_ms, retention_ms, reach_ms }
    }
}

impl Ages {
    /// When a message that is not deleted is too old. For one that came back, the time to the dead-letter queue begins
    /// again, or a rewind beyond it would only fill that queue.
    pub(super) fn due_ms(&self, sent_ms: u64, role: Role) -> u64 {
        let Role::Rewound { at_ms, .. } = role else {
            return sent_ms.saturating_add(self.limit_ms);
        };
        let expires_ms = sent_ms.saturating_add(self.retention_ms);
        expires_ms.min(at_ms.max(sent_ms).saturating_add(self.limit_ms))
    }

    pub(super) fn is_too_old(&self, slot: &Slot, role: Role, stamp_ms: u64) -> bool {
        self.due_ms(slot.sent_ms, role) <= stamp_ms
    }

    pub(super) fn is_in_reach(&self, slot: &Slot, stamp_ms: u64) -> bool {
        slot.sent_ms.saturating_add(self.reach_ms) > stamp_ms
    }

    /// Whether an untouched message does not belong into its lane any more.
    pub(super) fn must_go(&self, slot: &Slot, role: Role, stamp_ms: u64) -> bool {
        match role {
            Role::Live => self.is_too_old(slot, role, stamp_ms),
            Role::Kept { floor_ms, .. } => slot.sent_ms < floor_ms || !self.is_in_reach(slot, stamp_ms),
            Role::Dropped => true,
            Role::Rewound { from_ms, .. } => slot.sent_ms < from_ms || self.is_too_old(slot, role, stamp_ms),
        }
    }

    /// When something may have to go from the head of a lane; None when it has no untouched message.
    pub(super) fn head_due_ms(&self, lane: &Lane) -> Option<u64> {
        if !lane.has_fresh() {
            return None;
        }
        let sent_ms = lane.fresh_sent_ms;
        Some(match lane.role {
            Role::Kept { floor_ms, .. } if sent_ms < floor_ms => 0,
            Role::Kept { .. } => sent_ms.saturating_add(self.reach_ms),
            Role::Dropped => 0,
            Role::Rewound { from_ms, .. } if sent_ms < from_ms => 0,
            Role::Live | Role::Rewound { .. } => self.due_ms(sent_ms, lane.role),
        })
    }
}
