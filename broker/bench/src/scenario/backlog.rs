//! A deep backlog: what it costs in memory, in speed and in time to be ready again.

use std::time::{Duration, Instant};

use super::{Bench, alternate, create_queue};
use crate::cmq::BATCH_MESSAGES_MAX;
use crate::error::{Error, Result};
use crate::http::Connection;
use crate::load::{Round, closed_loop, load_calls};
use crate::process::{Memory, Server};
use crate::report::{Bound, Section, grouped, megabytes, spread};
use crate::stats::Series;
use crate::work::{Cycle, Send, Work};

/// Size of a backlog's message, in bytes.
const MESSAGE_BYTES: usize = 100;

/// Messages in the queue that the deep one is compared with.
const SHALLOW_MESSAGES: u64 = 500;

/// The load must end within this time.
const LOAD_TIMEOUT: Duration = Duration::from_secs(900);

/// Load before each kill.
const LOAD_BEFORE_KILL: Duration = Duration::from_secs(3);

/// Bounds on memory, in MB (10⁶ bytes).
const RESIDENT_MB_MAX: f64 = 300.0;
const PEAK_MB_MAX: f64 = 700.0;

/// Cycle rate at depth against that of a shallow queue.
const DEPTH_RATIO_MIN: f64 = 0.8;

/// Seconds until ready after SIGKILL.
const READY_SECONDS_MAX: f64 = 5.0;

const DEEP: &str = "deep";
const SHALLOW: &str = "shallow";

/// Shape of the measurement.
#[derive(Clone, Copy, Debug)]
pub struct Backlog {
    /// Messages loaded.
    pub messages: u64,
    /// Time between the end of the load and the look at resident memory.
    pub rest: Duration,
    /// How often the broker is killed under load.
    pub kills: u32,
}

/// Loads the backlog and measures.
///
/// # Errors
/// A broker does not start, or a call fails.
pub async fn measure(bench: &Bench, backlog: Backlog) -> Result<Section> {
    let how = format!(
        "{} messages of {MESSAGE_BYTES} bytes sent into one queue in batches of {BATCH_MESSAGES_MAX}, none \
         received; default flags. Then cycles (send, receive, delete) on it and, in alternating rounds, on a \
         queue of {SHALLOW_MESSAGES} messages of a second, fresh broker: {} pairs of {} s; median (smallest – \
         largest). Then {} times SIGKILL under such load. MB are 10⁶ bytes.",
        grouped(backlog.messages as f64),
        bench.pairs,
        bench.plan.window.as_secs_f64(),
        backlog.kills,
    );
    let mut section = Section::new("Deep backlog", how, &["", "figure"]);
    let deep = bench.start_broker(DEEP).await?;
    create_queue(&deep, DEEP).await?;
    let rested = load(bench, backlog, &deep, &mut section).await?;
    let peak = compare_depths(bench, &deep, &mut section).await?;
    let resident_mb = megabytes(rested.resident_bytes);
    section.gate("resident after the rest, MB", resident_mb, Bound::Below(RESIDENT_MB_MAX));
    section.gate("peak resident, MB", megabytes(peak.peak_bytes), Bound::Below(PEAK_MB_MAX));
    kill_and_restart(bench, backlog, deep, &mut section).await?;
    Ok(section)
}

async fn load(bench: &Bench, backlog: Backlog, broker: &Server, section: &mut Section) -> Result<Memory> {
    let calls = backlog.messages.div_ceil(BATCH_MESSAGES_MAX as u64);
    eprintln!("backlog: loading {} messages", grouped(backlog.messages as f64));
    let make = |i| Send::batch(DEEP, MESSAGE_BYTES, i);
    let time = load_calls(broker.client, bench.plan.connections, calls, LOAD_TIMEOUT, make).await?;
    let loaded = broker.memory()?;
    let rate = grouped((calls * BATCH_MESSAGES_MAX as u64) as f64 / time.as_secs_f64());
    eprintln!("backlog: {rate} messages/s; resting {} s", backlog.rest.as_secs());
    section.row(["load, messages/s".into(), rate]);
    section.row(["peak resident during the load, MB".into(), grouped(megabytes(loaded.peak_bytes))]);
    tokio::time::sleep(backlog.rest).await;
    let rested = broker.memory()?;
    let name = format!("resident {} s after the load, MB", backlog.rest.as_secs());
    section.row([name, grouped(megabytes(rested.resident_bytes))]);
    Ok(rested)
}

/// Cycles at depth against cycles on a shallow queue; gives the deep broker's memory afterwards.
async fn compare_depths(bench: &Bench, deep: &Server, section: &mut Section) -> Result<Memory> {
    let shallow = bench.start_broker(SHALLOW).await?;
    create_queue(&shallow, SHALLOW).await?;
    let make = |i| Send::one(SHALLOW, MESSAGE_BYTES, i);
    load_calls(shallow.client, bench.plan.connections, SHALLOW_MESSAGES, LOAD_TIMEOUT, make).await?;
    let rounds = alternate(
        bench.pairs,
        [&shallow, deep],
        async || cycles(bench, &shallow, SHALLOW).await,
        async || cycles(bench, deep, DEEP).await,
    )
    .await?;
    let rates = |of: fn(&(Round, Round)) -> f64| rounds.iter().map(of).collect::<Series>();
    section.row(["cycles/s, shallow".into(), spread(&rates(|(shallow, _)| shallow.rate()), 0)]);
    section.row(["cycles/s, deep".into(), spread(&rates(|(_, deep)| deep.rate()), 0)]);
    let ratio = rates(|(shallow, deep)| deep.rate() / shallow.rate());
    section.row(["ratio within the pairs".into(), spread(&ratio, 2)]);
    let memory = deep.memory()?;
    section.row(["peak resident with the cycles, MB".into(), grouped(megabytes(memory.peak_bytes))]);
    section.gate("cycle rate, deep against shallow", ratio.median(), Bound::AtLeast(DEPTH_RATIO_MIN));
    shallow.stop().await?;
    Ok(memory)
}

async fn cycles(bench: &Bench, broker: &Server, queue: &'static str) -> Result<Round> {
    let make = |i| Cycle::new(queue, MESSAGE_BYTES, i);
    let round = closed_loop(broker.client, bench.plan, make, || broker.usage()).await?;
    eprintln!("backlog: {queue} {} cycles/s", grouped(round.rate()));
    Ok(round)
}

async fn kill_and_restart(
    bench: &Bench,
    backlog: Backlog,
    broker: Server,
    section: &mut Section,
) -> Result<()> {
    let mut broker = broker;
    let mut seconds = Vec::new();
    for _ in 0..backlog.kills {
        let mut plan = bench.plan;
        plan.window = Duration::from_secs(3600);
        let make = |i| Cycle::new(DEEP, MESSAGE_BYTES, i);
        tokio::select! {
            ended = closed_loop(broker.client, plan, make, || broker.usage()) => {
                let early = || Error::Server("the load ended before the kill".into());
                return Err(ended.err().unwrap_or_else(early));
            }
            () = tokio::time::sleep(LOAD_BEFORE_KILL) => {}
        }
        // The connections of the round are still open here, their calls on the way.
        broker.kill();
        let start = Instant::now();
        broker = bench.start_broker(DEEP).await?;
        let ready = start.elapsed().as_secs_f64();
        eprintln!("backlog: ready {ready:.2} s after SIGKILL");
        let mut connection = Connection::open(broker.client).await?;
        Cycle::new(DEEP, MESSAGE_BYTES, 0).run(&mut connection).await?;
        seconds.push(ready);
    }
    let seconds: Series = seconds.into_iter().collect();
    section.row(["ready after SIGKILL, s".into(), spread(&seconds, 2)]);
    let what = "ready after SIGKILL, the slowest, s";
    section.gate(what, seconds.max(), Bound::Below(READY_SECONDS_MAX));
    broker.stop().await
}
