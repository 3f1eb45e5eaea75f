//! The replay guard: a signature counts once.
//!
//! Keyed by the signature and not by the nonce, for the same nonce under another call is another call, and clients draw
//! nonces from generators that repeat. A signature is remembered for as long as its time stamp would be taken: two
//! generations, each at least as long as the whole window of the clock difference, take turns.
//!
//! When a generation is full before its time, the older one goes at once, and from then on each key's calls count only
//! with a time stamp later than any of that key in what was forgotten. A replay stays refused, at the price that the
//! clocks of a key which makes that many calls must agree better.

use std::collections::{HashMap, HashSet};

/// Signatures of one generation at most; about 20 MB of memory, and there are two.
pub const SIGNATURES_MAX: usize = 1_835_008;

/// A call whose signature is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The tag of its key.
    pub key: u64,
    /// The first bytes of the signature, which nobody without the secret can choose.
    pub signature: u64,
    /// The time stamp that it was signed with, in Unix seconds.
    pub timestamp_s: u64,
}

/// Why a call does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Repeated {
    /// The same signature was accepted before.
    #[error("the same request was accepted before; sign a repetition anew, with another Nonce")]
    Known,
    /// So many calls of the key came since that it is not known whether this is one of them.
    #[error(
        "Timestamp {timestamp_s} is too old to tell whether the request was accepted before; sign it anew"
    )]
    Forgotten {
        /// The time stamp of the call.
        timestamp_s: u64,
    },
}

/// What the guard holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuardFigures {
    /// Signatures that are remembered.
    pub signatures: usize,
    /// How often a generation was full before its time.
    pub overflows: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct ReplayGuard {
    /// Seconds by which a time stamp may differ.
    window_s: u64,
    /// Signatures of a generation at most.
    generation_max: usize,
    newer: Generation,
    older: Generation,
    /// By the tag of a key: time stamps up to here do not count.
    floors: HashMap<u64, u64>,
    overflows: u64,
}

#[derive(Debug, Default)]
struct Generation {
    since_s: u64,
    signatures: HashSet<u64>,
    /// The latest time stamp of each key in it.
    latest: HashMap<u64, u64>,
}

impl ReplayGuard {
    /// A guard for calls whose time stamps differ by `window_s` seconds at most.
    pub(super) fn new(window_s: u64) -> Self {
        Self {
            window_s,
            generation_max: SIGNATURES_MAX,
            newer: Generation::default(),
            older: Generation::default(),
            floors: HashMap::new(),
            overflows: 0,
        }
    }

    /// Remembers a call whose time stamp is inside the window.
    pub(super) fn admit(&mut self, call: &Signed, now_s: u64) -> Result<(), Repeated> {
        if now_s < self.newer.since_s {
            // The clock was set back: what is there stays a while longer.
            self.newer.since_s = now_s;
        } else if now_s - self.newer.since_s > 2 * self.window_s {
            self.turn(now_s);
        }
        let generations = [&self.newer, &self.older];
        if generations.iter().any(|generation| generation.signatures.contains(&call.signature)) {
            return Err(Repeated::Known);
        }
        // A floor beyond every time stamp that is allowed now is left from before the clock was set back.
        let floor = self.floors.get(&call.key).filter(|floor| **floor <= now_s + self.window_s);
        if floor.is_some_and(|floor| call.timestamp_s <= *floor) {
            return Err(Repeated::Forgotten { timestamp_s: call.timestamp_s });
        }
        if self.newer.signatures.len() >= self.generation_max {
            self.overflows += 1;
            for (key, latest) in &self.older.latest {
                let floor = self.floors.entry(*key).or_default();
                *floor = (*floor).max(*latest);
            }
            self.turn(now_s);
            return self.admit(call, now_s);
        }
        self.newer.signatures.insert(call.signature);
        let latest = self.newer.latest.entry(call.key).or_default();
        *latest = call.timestamp_s.max(*latest);
        Ok(())
    }

    /// Forgets the older generation.
    fn turn(&mut self, now_s: u64) {
        // As large as the one before from the start: growing a large table stops everybody.
        let room = self.newer.signatures.len().min(self.generation_max);
        let fresh =
            Generation { since_s: now_s, signatures: HashSet::with_capacity(room), latest: HashMap::new() };
        self.older = std::mem::replace(&mut self.newer, fresh);
        // Below this, the clock difference refuses a call anyway.
        self.floors.retain(|_, floor| *floor + self.window_s >= now_s);
    }

    pub(super) fn figures(&self) -> GuardFigures {
        let signatures = self.newer.signatures.len() + self.older.signatures.len();
        GuardFigures { signatures, overflows: self.overflows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn call(key: u64, signature: u64, timestamp_s: u64) -> Signed {
        Signed { key, signature, timestamp_s }
    }

    /// A signature counts once at every moment at which its time stamp is inside the window.
    #[test]
    fn a_signature_counts_once_while_its_time_stamp_does() {
        for ahead in [-300_i64, 0, 300] {
            let mut guard = ReplayGuard::new(300);
            let once = call(1, 77, NOW.saturating_add_signed(ahead));
            assert_eq!(guard.admit(&once, NOW), Ok(()));
            for later in 0..=700 {
                let now = NOW + later;
                if once.timestamp_s.abs_diff(now) <= 300 {
                    assert_eq!(guard.admit(&once, now), Err(Repeated::Known), "{ahead}, {later} s later");
                }
                // Others go on, so that generations take turns.
                assert_eq!(guard.admit(&call(1, 1_000 + later, now), now), Ok(()));
            }
        }
    }

    #[test]
    fn nothing_is_kept_for_ever() {
        let mut guard = ReplayGuard::new(10);
        for second in 0..1_000 {
            guard.admit(&call(1, second, NOW + second), NOW + second).unwrap();
        }
        assert!(guard.figures().signatures <= 2 * 22, "{:?}", guard.figures());
        assert_eq!(guard.figures().overflows, 0);
    }

    /// Full before its time: nothing that was accepted is accepted again, and calls with a right clock go on.
    #[test]
    fn a_full_guard_forgets_without_accepting_twice() {
        let mut guard = ReplayGuard { generation_max: 1_000, ..ReplayGuard::new(300) };
        let mut accepted = Vec::new();
        // 100 calls a second of key 1; key 2 calls once a second, with a clock that is 5 s late.
        for number in 0..10_000_u64 {
            let now = NOW + number / 100;
            let mut calls = vec![call(1, number, now)];
            if number % 100 == 0 {
                calls.push(call(2, 1_000_000 + number, now - 5));
            }
            for call in calls {
                assert_eq!(guard.admit(&call, now), Ok(()), "{call:?}");
                accepted.push(call);
            }
        }
        let now = NOW + 100;
        for call in &accepted {
            assert!(guard.admit(call, now).is_err(), "{call:?} was accepted twice");
        }
        assert!(guard.figures().signatures <= 2_000);
        assert!(guard.figures().overflows >= 8);
        // What was never accepted, but could have been, is told apart.
        let late = call(1, 5_000_000, NOW + 10);
        assert_eq!(guard.admit(&late, now), Err(Repeated::Forgotten { timestamp_s: NOW + 10 }));
        // Another key suffers nothing.
        assert_eq!(guard.admit(&call(3, 5_000_001, now - 299), now), Ok(()));
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let mut guard = ReplayGuard { generation_max: 10, ..ReplayGuard::new(300) };
        for number in 0..100 {
            guard.admit(&call(1, number, NOW + number), NOW + number).unwrap();
        }
        let back = NOW - 3_600;
        assert_eq!(guard.admit(&call(1, 1_000, back), back), Ok(()));
        assert_eq!(guard.admit(&call(1, 1_000, back), back), Err(Repeated::Known));
    }
}
