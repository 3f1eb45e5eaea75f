//! What the clients of a key are known to do, so that a wrong signature costs no more than a right one.
//!
//! A protocol whose clients sign in several forms has to hash a call once for each form it tries. The forms that were
//! right before are tried always; the others only as long as the key has credit for it, which comes back slowly. So
//! somebody who knows an id, but not its secret, can make the broker hash no more than the calls of the key's own
//! clients do, and a client that signs in a form of its own is still understood at its first call.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// Forms at most that a protocol has.
pub const FORMS_MAX: u32 = 31;
/// Bytes that are hashed at most at once in forms that no client of the key was seen to use: every form of the
/// largest call.
pub const TRIAL_BYTES_MAX: u64 = 64 << 20;
/// Bytes of that which come back each second.
const TRIAL_BYTES_PER_SECOND: u64 = 1 << 20;

/// No form was seen.
const NONE: u32 = u32::MAX;

/// Which forms the clients of a key sign in.
#[derive(Debug)]
pub struct Habits {
    /// A bit a form.
    seen: AtomicU32,
    latest: AtomicU32,
    credit: Mutex<Credit>,
}

#[derive(Debug)]
struct Credit {
    bytes: u64,
    at_s: u64,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            seen: AtomicU32::new(0),
            latest: AtomicU32::new(NONE),
            credit: Mutex::new(Credit { bytes: TRIAL_BYTES_MAX, at_s: 0 }),
        }
    }
}

impl Habits {
    /// The forms that were right before, the latest first.
    pub fn seen(&self) -> impl Iterator<Item = u32> {
        let (seen, latest) = (self.seen.load(Ordering::Relaxed), self.latest.load(Ordering::Relaxed));
        let others = (0..FORMS_MAX).filter(move |form| seen & (1_u32 << *form) != 0 && *form != latest);
        Some(latest).filter(|form| *form != NONE).into_iter().chain(others)
    }

    /// Whether a form was right before.
    pub fn has_seen(&self, form: u32) -> bool {
        self.seen.load(Ordering::Relaxed) & (1_u32 << form) != 0
    }

    /// A form, below [`FORMS_MAX`], was right.
    pub fn learn(&self, form: u32) {
        // Most calls are like the one before, and then no other core has to hear of it.
        if self.latest.load(Ordering::Relaxed) != form {
            self.seen.fetch_or(1_u32 << form, Ordering::Relaxed);
            self.latest.store(form, Ordering::Relaxed);
        }
    }

    /// Takes credit for hashing `bytes` in a form that was never right. Whether there was enough.
    pub fn pay(&self, bytes: u64, now_s: u64) -> bool {
        let mut credit = self.credit.lock().unwrap_or_else(PoisonError::into_inner);
        let back = now_s.saturating_sub(credit.at_s).saturating_mul(TRIAL_BYTES_PER_SECOND);
        credit.bytes = credit.bytes.saturating_add(back).min(TRIAL_BYTES_MAX);
        credit.at_s = now_s;
        let is_enough = credit.bytes >= bytes;
        if is_enough {
            credit.bytes -= bytes;
        }
        is_enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_tried_in_the_order_of_their_use() {
        let habits = Habits::default();
        assert_eq!(habits.seen().count(), 0);
        for form in [3, 0, 7, 0] {
            habits.learn(form);
        }
        assert_eq!(Vec::from_iter(habits.seen()), [0, 3, 7]);
        assert!(habits.has_seen(7) && !habits.has_seen(1));
    }

    #[test]
    fn credit_ends_and_comes_back() {
        let habits = Habits::default();
        assert!(habits.pay(TRIAL_BYTES_MAX, 1_000));
        assert!(!habits.pay(1, 1_000));
        assert!(!habits.pay(TRIAL_BYTES_PER_SECOND + 1, 1_001));
        assert!(habits.pay(TRIAL_BYTES_PER_SECOND, 1_001));
        // A clock that is set back gives nothing.
        assert!(!habits.pay(1, 500));
        assert!(habits.pay(TRIAL_BYTES_MAX, 5_000));
        assert!(!habits.pay(1, 5_000));
    }
}
