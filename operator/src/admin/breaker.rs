//! When a Broker that does not answer is asked again.

use std::time::Duration;

use tokio::time::Instant;

use super::CallError;

/// Rest after the first failure.
const FIRST: Duration = Duration::from_secs(1);
/// Rest at most: a Broker that comes back is noticed after so long even if nothing else shows it.
const MOST: Duration = Duration::from_secs(30);

/// Lets calls through while they succeed; after a failure it lets one through after each rest, and rests double.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    resting: Option<Rest>,
}

#[derive(Debug)]
struct Rest {
    until: Instant,
    problem: String,
}

impl Breaker {
    /// Whether a call may be made now; if not, the last failure. `under_way` says that one is being made.
    pub(super) fn check(&self, now: Instant, under_way: bool) -> Result<(), &str> {
        match &self.resting {
            Some(rest) if now < rest.until || under_way => Err(&rest.problem),
            _ => Ok(()),
        }
    }

    /// Whether nothing is to be remembered: nobody failed, or that was long ago.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        self.resting.as_ref().is_none_or(|rest| now > rest.until + 10 * MOST)
    }

    /// A call was answered, if only with a refusal.
    pub(super) fn answered(&mut self) {
        *self = Self::default();
    }

    /// A call failed.
    pub(super) fn failed(&mut self, now: Instant, error: &CallError) {
        let rest = FIRST.saturating_mul(1 << self.failures.min(8)).min(MOST);
        self.failures = self.failures.saturating_add(1);
        let until = now + rest.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.resting = Some(Rest { until, problem: error.to_string() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_double_and_one_call_tries_after_each() {
        let error = CallError::Unreachable { pod: "orders-cmq-0".into(), problem: "refused".into() };
        let (mut breaker, mut now) = (Breaker::default(), Instant::now());
        assert!(breaker.check(now, true).is_ok(), "while all is well calls run side by side");
        for attempt in 0..20 {
            breaker.failed(now, &error);
            let rest = FIRST.saturating_mul(1 << attempt.min(8)).min(MOST);
            assert!(breaker.check(now + rest / 3, false).is_err(), "{attempt}");
            now += rest;
            assert!(breaker.check(now, false).is_ok(), "{attempt}");
            assert_eq!(breaker.check(now, true), Err("orders-cmq-0 cannot be reached: refused"));
        }
        breaker.answered();
        assert!(breaker.check(now, true).is_ok());
        breaker.failed(now, &error);
        assert!(breaker.check(now + FIRST, false).is_ok(), "the first rest again");
        assert!(!breaker.is_stale(now + MOST) && breaker.is_stale(now + 12 * MOST));
    }
}
