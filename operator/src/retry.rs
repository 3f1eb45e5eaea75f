//! How long to wait before an object is looked at again, and since when it fails.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Wait after the first failure.
const FIRST: Duration = Duration::from_secs(1);
/// Wait at most, however often an object failed.
const MOST: Duration = Duration::from_secs(300);

/// Wait before an object that is as it should be is looked at again: what watches miss is found then.
pub const SETTLED: Duration = Duration::from_secs(300);
/// Wait for something that comes by itself, and whose coming is watched.
pub const WAITING: Duration = Duration::from_secs(5);
/// Wait for a person to change something; the change itself wakes the object at once.
pub const USER_ERROR: Duration = Duration::from_secs(3_600);
/// Wait after the API server refused for lack of a right.
pub const FORBIDDEN: Duration = Duration::from_secs(300);

/// One to two times a wait, so that objects do not come in step.
pub fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(1.0 + fastrand::f64())
}

/// Failures of an object in a row.
#[derive(Clone, Copy, Debug)]
pub struct Failing {
    /// How many.
    pub attempts: u32,
    /// When the first was.
    pub since: Instant,
}

impl Failing {
    /// Wait before the next attempt: from a second on doubling to five minutes, with jitter downwards.
    pub fn backoff(&self) -> Duration {
        let doubled = FIRST.saturating_mul(1 << self.attempts.saturating_sub(1).min(16)).min(MOST);
        doubled.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

/// Objects of a kind that fail, by namespace and name. As many entries as objects at most: one goes with its object.
#[derive(Debug, Default)]
pub struct Failures(Mutex<HashMap<(String, String), Failing>>);

impl Failures {
    /// Notes one more failure.
    pub fn note(&self, namespace: &str, name: &str) -> Failing {
        let mut failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = failing
            .entry((namespace.to_owned(), name.to_owned()))
            .or_insert(Failing { attempts: 0, since: Instant::now() });
        entry.attempts = entry.attempts.saturating_add(1);
        *entry
    }

    /// Notes that an object waits for something that should come by itself: since when is kept, failures begin anew.
    pub fn waits(&self, namespace: &str, name: &str) -> Failing {
        let mut failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = failing
            .entry((namespace.to_owned(), name.to_owned()))
            .or_insert(Failing { attempts: 0, since: Instant::now() });
        entry.attempts = 0;
        *entry
    }

    /// Forgets the failures of an object that does well, or is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        let mut failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !failing.is_empty() {
            failing.remove(&(namespace.to_owned(), name.to_owned()));
        }
    }

    /// How many objects fail.
    pub fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether none fails.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most_and_are_forgotten() {
        let failures = Failures::default();
        let mut last = Duration::ZERO;
        for attempt in 1..=40 {
            let failing = failures.note("shop", "orders");
            assert_eq!(failing.attempts, attempt);
            let (wait, whole) =
                (failing.backoff(), FIRST.saturating_mul(1 << (attempt - 1).min(16)).min(MOST));
            assert!(wait >= whole / 2 && wait <= whole, "{attempt}: {wait:?} of {whole:?}");
            last = whole;
        }
        assert_eq!((last, failures.len()), (MOST, 1));
        let since = failures.note("shop", "orders").since;
        let waiting = failures.waits("shop", "orders");
        assert_eq!((waiting.attempts, waiting.since), (0, since));
        assert_eq!(failures.note("shop", "orders").attempts, 1);
        failures.forget("shop", "orders");
        assert!(failures.is_empty());
        assert_eq!(failures.note("shop", "orders").attempts, 1);
    }

    #[test]
    fn jitter_never_shortens_a_wait() {
        for _ in 0..100 {
            let wait = jittered(SETTLED);
            assert!((SETTLED..=2 * SETTLED).contains(&wait), "{wait:?}");
        }
    }
}
