//! The load generator: connections that work in a closed loop, for a time or for a number of messages.

mod open;

pub(crate) use open::Schedule;
pub use open::{OpenPlan, OpenRound, open_loop};

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::error::{Error, Result};
use crate::http::Connection;
use crate::process::{Usage, usage as own_usage};
use crate::work::Work;

/// How long the calls under way may take to end when a round is over.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// Shape of one closed-loop round.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Connections, each with one call outstanding.
    pub connections: usize,
    /// Time before the measured window.
    pub warm_up: Duration,
    /// The measured window.
    pub window: Duration,
}

/// What a closed-loop round showed in its window.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Messages done.
    pub messages: u64,
    /// Length of the window as it really was, in seconds.
    pub seconds: f64,
    /// CPU time of the server (user and system), in seconds.
    pub cpu_seconds: f64,
    /// CPU time of this process, the load generator, in seconds.
    pub generator_seconds: f64,
    /// Bytes that the server caused to be written to the disk.
    pub written_bytes: u64,
}

impl Round {
    /// Messages a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.messages as f64 / self.seconds
    }

    /// The server's CPU time for a message, in microseconds.
    #[must_use]
    pub fn cpu_micros_per_message(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.messages.max(1) as f64
    }

    /// The load generator's CPU time for a message, in microseconds: what it takes from the server on the same cores.
    #[must_use]
    pub fn generator_micros_per_message(&self) -> f64 {
        self.generator_seconds * 1e6 / self.messages.max(1) as f64
    }

    /// Bytes written to the disk for a message.
    #[must_use]
    pub fn written_bytes_per_message(&self) -> f64 {
        self.written_bytes as f64 / self.messages.max(1) as f64
    }
}

/// A small random source (splitmix64): the same numbers in every run.
pub struct Random(u64);

impl Random {
    /// The sequence of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next 64 bits.
    #[expect(
        clippy::should_implement_trait,
        reason = "it never ends, an iterator's Option would say otherwise"
    )]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number above 0 and at most 1.
    pub fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }
}

/// Runs one closed-loop round. `make` gives the work of the connection with that number; `usage` reads what
/// the server has used so far. Must run in a `LocalSet`.
///
/// # Errors
/// Any call of any connection failed.
pub async fn closed_loop<W: Work + 'static>(
    address: SocketAddr,
    plan: Plan,
    make: impl Fn(u64) -> W,
    usage: impl Fn() -> Result<Usage>,
) -> Result<Round> {
    let stop = Rc::new(Cell::new(false));
    let done = Rc::new(Cell::new(0u64));
    let mut tasks = JoinSet::new();
    for (mut connection, mut work) in connect(address, plan.connections, make).await? {
        let (stop, done) = (stop.clone(), done.clone());
        tasks.spawn_local(async move {
            while !stop.get() {
                let moved = work.run(&mut connection).await?;
                done.set(done.get() + moved);
            }
            Ok(())
        });
    }
    run_for(&mut tasks, plan.warm_up).await?;
    let own = || own_usage(std::process::id());
    let (start, messages, before, own_before) = (Instant::now(), done.get(), usage()?, own()?);
    run_for(&mut tasks, plan.window).await?;
    let (seconds, messages) = (start.elapsed().as_secs_f64(), done.get() - messages);
    let (after, own_after) = (usage()?, own()?);
    stop.set(true);
    drain(tasks).await?;
    Ok(Round {
        messages,
        seconds,
        cpu_seconds: after.cpu_seconds - before.cpu_seconds,
        generator_seconds: own_after.cpu_seconds - own_before.cpu_seconds,
        written_bytes: after.written_bytes.saturating_sub(before.written_bytes),
    })
}

/// Makes `calls` calls in all over `connections` connections; gives the time it took. Must run in a
/// `LocalSet`.
///
/// # Errors
/// Any call failed, or it took longer than `limit`.
pub async fn load_calls<W: Work + 'static>(
    address: SocketAddr,
    connections: usize,
    calls: u64,
    limit: Duration,
    make: impl Fn(u64) -> W,
) -> Result<Duration> {
    let left = Rc::new(Cell::new(calls));
    let mut tasks = JoinSet::new();
    let start = Instant::now();
    for (mut connection, mut work) in connect(address, connections, make).await? {
        let left = left.clone();
        tasks.spawn_local(async move {
            while let Some(fewer) = left.get().checked_sub(1) {
                left.set(fewer);
                work.run(&mut connection).await?;
            }
            Ok(())
        });
    }
    let what = format!("a load of {calls} calls");
    join_all(tasks, what, limit).await?;
    Ok(start.elapsed())
}

async fn connect<W>(
    address: SocketAddr,
    count: usize,
    make: impl Fn(u64) -> W,
) -> Result<Vec<(Connection, W)>> {
    let mut connections = Vec::with_capacity(count);
    for number in 0..count {
        connections.push((Connection::open(address).await?, make(number as u64)));
    }
    Ok(connections)
}

/// Lets the tasks run for `time`; ends early when one fails.
async fn run_for(tasks: &mut JoinSet<Result<()>>, time: Duration) -> Result<()> {
    tokio::select! {
        () = tokio::time::sleep(time) => Ok(()),
        Some(ended) = tasks.join_next() => {
            flatten(ended)?;
            Err(Error::Server("a connection ended before its round was over".into()))
        }
    }
}

/// Waits for the tasks to end after they were told to.
async fn drain(tasks: JoinSet<Result<()>>) -> Result<()> {
    join_all(tasks, "the last calls of a round".into(), DRAIN_TIMEOUT).await
}

async fn join_all(mut tasks: JoinSet<Result<()>>, what: String, limit: Duration) -> Result<()> {
    let all = async {
        while let Some(ended) = tasks.join_next().await {
            flatten(ended)?;
        }
        Ok(())
    };
    tokio::time::timeout(limit, all).await.map_err(|_| Error::Timeout { what, limit })?
}

/// The result of a task; a panic in it goes on here.
pub(crate) fn flatten(ended: std::result::Result<Result<()>, tokio::task::JoinError>) -> Result<()> {
    match ended {
        Ok(result) => result,
        Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        Err(_) => Err(Error::Server("a connection's task was cancelled".into())),
    }
}
