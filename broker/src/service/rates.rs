//! How often a queue, and the broker's management, may be called. Off unless asked for: a rate is a wish of who runs the
//! broker, not a bound that protects it.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use cmq_engine::attributes::QueueId;
use cmq_engine::limits::QUEUES_MAX;

/// The calls of one of so many parts of a second may come at once.
const BURST_SHARE: u32 = 10;
/// But at least so many calls, where a second has them.
const BURST_MIN: u32 = 10;
/// Queues whose calls are remembered: all that there are, and as many that were deleted a moment ago.
const METERS_MAX: usize = 2 * QUEUES_MAX;

/// Calls a second; None: as many as come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Sends to one queue. Receives from it may be a tenth more.
    pub queue: Option<NonZeroU32>,
    /// Calls that are about queues rather than messages, all queues together.
    pub manage: Option<NonZeroU32>,
}

/// The rates, and what was used of them.
#[derive(Debug)]
pub(super) struct Limiter {
    started: Instant,
    manage: Option<(Pace, Mutex<u64>)>,
    queues: Option<Queues>,
}

/// When the buckets of a queue are full again.
#[derive(Debug, Default)]
struct Meters {
    send: u64,
    receive: u64,
}

#[derive(Debug)]
struct Queues {
    send: Pace,
    receive: Pace,
    meters: Mutex<HashMap<QueueId, Meters>>,
}

/// A token bucket without a token: what is kept is the time at which the bucket is full again, in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Nanoseconds in which the bucket gains a call.
    call_ns: u64,
    /// Nanoseconds in which an empty bucket fills up.
    full_ns: u64,
}

impl Pace {
    fn new(calls_per_second: u32) -> Self {
        let call_ns = 1_000_000_000 / u64::from(calls_per_second);
        let burst = calls_per_second.min(BURST_MIN).max(calls_per_second / BURST_SHARE);
        Self { call_ns, full_ns: call_ns * u64::from(burst) }
    }

    /// Takes a call out of the bucket that is full at `full_at`, if it has one.
    fn take(self, full_at: &mut u64, now: u64) -> bool {
        let then = now.max(*full_at) + self.call_ns;
        let is_in = then <= now + self.full_ns;
        if is_in {
            *full_at = then;
        }
        is_in
    }
}

impl Queues {
    fn take(&self, queue: QueueId, now: u64, take: impl FnOnce(&mut Meters) -> bool) -> bool {
        let mut meters = lock(&self.meters);
        if meters.len() >= METERS_MAX && !meters.contains_key(&queue) {
            // A full bucket is as good as none.
            meters.retain(|_, meters| meters.send.max(meters.receive) > now);
        }
        take(meters.entry(queue).or_default())
    }
}

impl Limiter {
    pub(super) fn new(rates: Rates) -> Self {
        let queues = rates.queue.map(NonZeroU32::get).map(|sends| Queues {
            send: Pace::new(sends),
            receive: Pace::new(sends.saturating_add(sends / 10)),
            meters: Mutex::default(),
        });
        let manage = rates.manage.map(|calls| (Pace::new(calls.get()), Mutex::default()));
        Self { started: Instant::now(), manage, queues }
    }

    /// Whether another management call may be done.
    pub(super) fn manage(&self) -> bool {
        let Some((pace, full_at)) = &self.manage else { return true };
        pace.take(&mut lock(full_at), self.now())
    }

    /// Whether another send to the queue may be done.
    pub(super) fn send(&self, queue: QueueId) -> bool {
        let Some(queues) = &self.queues else { return true };
        let now = self.now();
        queues.take(queue, now, |meters| queues.send.take(&mut meters.send, now))
    }

    /// Whether another receive from the queue may be done.
    pub(super) fn receive(&self, queue: QueueId) -> bool {
        let Some(queues) = &self.queues else { return true };
        let now = self.now();
        queues.take(queue, now, |meters| queues.receive.take(&mut meters.receive, now))
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn taken(pace: Pace, full_at: &mut u64, now: u64) -> u32 {
        (0..100_000).take_while(|_| pace.take(full_at, now)).count() as u32
    }

    #[test]
    fn a_second_has_so_many_calls_and_a_burst() {
        for (rate, burst) in [(1, 1), (7, 7), (10, 10), (50, 10), (100, 10), (5_000, 500)] {
            let (pace, mut full_at) = (Pace::new(rate), 0);
            assert_eq!(taken(pace, &mut full_at, 0), burst, "rate {rate}");
            assert_eq!(taken(pace, &mut full_at, 10 * SECOND), burst, "a bucket does not overflow");
            let moments = (1..=1_000).map(|ms| 10 * SECOND + ms * SECOND / 1_000);
            let fine: u32 = moments.map(|now| taken(pace, &mut full_at, now)).sum();
            assert!((rate.saturating_sub(1)..=rate).contains(&fine), "rate {rate} gave {fine} in a second");
        }
    }

    #[test]
    fn queues_and_directions_do_not_share() {
        let limiter = Limiter::new(Rates { queue: NonZeroU32::new(1), manage: None });
        for queue in [QueueId(1), QueueId(2)] {
            assert!(limiter.send(queue) && limiter.receive(queue));
            assert!(!limiter.send(queue) && !limiter.receive(queue));
        }
        assert!((0..1_000).all(|_| limiter.manage()), "not asked for");
    }

    #[test]
    fn meters_of_queues_that_are_gone_are_forgotten() {
        let limiter = Limiter::new(Rates { queue: NonZeroU32::new(u32::MAX), manage: None });
        for queue in 0..3 * METERS_MAX as u32 {
            assert!(limiter.send(QueueId(queue)));
        }
        let kept = lock(&limiter.queues.as_ref().unwrap().meters).len();
        assert!(kept <= METERS_MAX, "{kept}");
    }
}
