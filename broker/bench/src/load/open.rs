//! Open loop: calls start at the times of a schedule, whatever the server does.
//!
//! A call's latency counts from its scheduled time. When every connection is busy the call waits for one and
//! that wait is part of its latency: a slow server cannot hide its slowness by slowing the client down.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::{Random, connect, drain, flatten};
use crate::error::{Error, Result};
use crate::http::Connection;
use crate::stats::Latencies;
use crate::work::Work;

/// Shape of one open-loop round.
#[derive(Clone, Copy, Debug)]
pub struct OpenPlan {
    /// Calls a second, at random (Poisson) times.
    pub rate: f64,
    /// Connections; a call that finds all of them busy waits.
    pub connections: usize,
    /// Time before the measured window.
    pub warm_up: Duration,
    /// The measured window.
    pub window: Duration,
    /// Chooses the schedule: the same seed, the same times.
    pub seed: u64,
}

/// What an open-loop round showed. Every call scheduled in the window is in it.
#[derive(Debug, Default)]
pub struct OpenRound {
    /// From the scheduled time to the answer.
    pub latencies: Latencies,
    /// From the scheduled time to the moment a connection took the call up: what the generator and the wait
    /// for a connection add.
    pub delays: Latencies,
}

/// Times of calls as offsets from the start: exponentially distributed gaps, as independent callers make
/// them.
pub(crate) struct Schedule {
    random: Random,
    mean_gap_seconds: f64,
    at_seconds: f64,
}

impl Schedule {
    pub(crate) fn new(rate: f64, seed: u64) -> Schedule {
        Schedule { random: Random::new(seed), mean_gap_seconds: 1.0 / rate, at_seconds: 0.0 }
    }

    pub(crate) fn next(&mut self) -> Duration {
        self.at_seconds += -self.random.unit().ln() * self.mean_gap_seconds;
        Duration::from_secs_f64(self.at_seconds)
    }
}

/// Calls that are due and wait for a connection.
#[derive(Default)]
struct Due {
    calls: RefCell<VecDeque<Instant>>,
    arrived: Notify,
    closed: Cell<bool>,
}

/// Runs one open-loop round. Must run in a `LocalSet`.
///
/// # Errors
/// A call failed, the rate is not a positive number, or the calls that were due at the end were not answered
/// in time: the server cannot keep up with the rate.
pub async fn open_loop<W: Work + 'static>(
    address: SocketAddr,
    plan: OpenPlan,
    make: impl Fn(u64) -> W,
) -> Result<OpenRound> {
    if !(plan.rate.is_finite() && plan.rate > 0.0) {
        return Err(Error::Usage(format!("an open loop needs a positive rate, not {}", plan.rate)));
    }
    let due = Rc::new(Due::default());
    let round = Rc::new(RefCell::new(OpenRound::default()));
    let connections = connect(address, plan.connections, make).await?;
    let start = Instant::now();
    let counted_from = start + plan.warm_up;
    let mut tasks = JoinSet::new();
    for (connection, work) in connections {
        tasks.spawn_local(serve_due(connection, work, due.clone(), round.clone(), counted_from));
    }
    tokio::select! {
        paced = pace(start, plan, &due) => paced?,
        Some(ended) = tasks.join_next() => {
            flatten(ended)?;
            return Err(Error::Server("a connection ended before its round was over".into()));
        }
    }
    due.closed.set(true);
    due.arrived.notify_waiters();
    drain(tasks).await?;
    Ok(round.take())
}

/// Puts calls into `due` at their times.
async fn pace(start: Instant, plan: OpenPlan, due: &Due) -> Result<()> {
    let mut timer = Timer::new()?;
    let mut schedule = Schedule::new(plan.rate, plan.seed);
    let end = plan.warm_up + plan.window;
    let mut next = schedule.next();
    while next < end {
        let now = start.elapsed();
        if next > now {
            timer.sleep(next - now).await?;
            continue;
        }
        due.calls.borrow_mut().push_back(start + next);
        due.arrived.notify_one();
        next = schedule.next();
    }
    Ok(())
}

async fn serve_due<W: Work>(
    mut connection: Connection,
    mut work: W,
    due: Rc<Due>,
    round: Rc<RefCell<OpenRound>>,
    counted_from: Instant,
) -> Result<()> {
    loop {
        // Registered before the look: a call that arrives in between is not missed.
        let arrived = due.arrived.notified();
        let call = due.calls.borrow_mut().pop_front();
        let Some(scheduled) = call else {
            if due.closed.get() {
                return Ok(());
            }
            arrived.await;
            continue;
        };
        let delay = scheduled.elapsed();
        work.run(&mut connection).await?;
        if scheduled >= counted_from {
            let mut round = round.borrow_mut();
            round.latencies.add(scheduled.elapsed());
            round.delays.add(delay);
        }
    }
}

/// A timer finer than the runtime's, whose grain of a millisecond would be most of what is measured.
struct Timer {
    descriptor: OwnedFd,
    /// The same timer for the runtime to wait on. A timer is read as a pipe is.
    expired: Receiver,
}

impl Timer {
    fn new() -> Result<Timer> {
        let failed = || Error::io("cannot make a timer");
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let descriptor =
            timerfd_create(TimerfdClockId::Monotonic, flags).map_err(|errno| failed()(errno.into()))?;
        let shared = descriptor.try_clone().map_err(failed())?;
        let expired = Receiver::from_owned_fd_unchecked(shared).map_err(failed())?;
        Ok(Timer { descriptor, expired })
    }

    /// Sleeps for `time`, which must not be zero (zero would switch the timer off).
    async fn sleep(&mut self, time: Duration) -> Result<()> {
        let failed = || Error::io("cannot use a timer");
        let value = Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(time.subsec_nanos()),
        };
        let once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let setting = Itimerspec { it_interval: once, it_value: value };
        timerfd_settime(&self.descriptor, TimerfdTimerFlags::empty(), &setting)
            .map_err(|errno| failed()(errno.into()))?;
        loop {
            self.expired.readable().await.map_err(failed())?;
            match self.expired.try_read(&mut [0; 8]) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(failed()(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_repeats_by_seed_and_keeps_its_rate() {
        let times = |seed| {
            let mut schedule = Schedule::new(5000.0, seed);
            (0..50_000).map(|_| schedule.next()).collect::<Vec<_>>()
        };
        let one = times(1);
        assert_eq!(one, times(1));
        assert_ne!(one, times(2));
        assert!(one.is_sorted());
        let seconds = one.last().unwrap().as_secs_f64();
        assert!((9.8..10.2).contains(&seconds), "50,000 calls at 5,000/s took {seconds} s");
        let gaps = one.windows(2).map(|two| (two[1] - two[0]).as_secs_f64());
        let short = gaps.filter(|gap| *gap < 0.0002).count();
        // 1 - 1/e of exponential gaps are below their mean.
        assert!((31_000..32_200).contains(&short), "{short} gaps are shorter than the mean");
    }

    #[tokio::test]
    async fn the_timer_sleeps_as_long_as_asked() {
        let mut timer = Timer::new().unwrap();
        for micros in [200, 1500, 20_000] {
            let start = Instant::now();
            timer.sleep(Duration::from_micros(micros)).await.unwrap();
            assert!(start.elapsed() >= Duration::from_micros(micros));
        }
    }
}
