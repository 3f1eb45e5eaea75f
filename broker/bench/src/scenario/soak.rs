//! A broker that runs for an hour under every kind of load at a steady depth: nothing may grow, and every message must
//! come out where it should.

mod chart;
mod chores;
mod client;
mod findings;
mod lanes;
mod ledger;
mod traffic;
mod trend;
mod verdict;
mod watch;
mod world;

pub use chart::draw;

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use super::Bench;
use crate::error::{Error, Result};
use crate::process::Server;
use crate::report::{Section, grouped};
use client::Client;
use findings::Finding;
use lanes::lanes;
use watch::{Watch, metrics, sum};
use world::{Phase, World};

/// Longest settling: dead letters by age and the kept deletes of rewinds reach their depth after five minutes.
const SETTLE_MAX: Duration = Duration::from_secs(600);

/// How long messages may take to their end when nothing is sent any more: the age of dead letters, 300 s, and some.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(420);

/// Wait for the last answers.
const LAST_ANSWERS: Duration = Duration::from_secs(3);

/// How often a line of progress is shown.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(60);

/// Shape of the soak.
#[derive(Clone, Debug)]
pub struct Soak {
    /// Time for which messages are sent.
    pub time: Duration,
    /// Messages a second, in all queues together.
    pub rate: f64,
    /// Where to write the looks.
    pub csv: PathBuf,
}

impl Soak {
    /// Longest time that the whole run takes.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.time + DRAIN_TIMEOUT + Duration::from_secs(120)
    }
}

/// Runs the soak; the series, and the messages.
///
/// # Errors
/// The broker does not start or ends, or the file cannot be written. Calls that fail are findings, not errors.
pub async fn measure(bench: &Bench, soak: &Soak) -> Result<[Section; 2]> {
    println!("{}\n", verdict::bounds());
    let mut broker = bench.start_broker("soak").await?;
    let world = Rc::new(World::new(broker.client, lanes()));
    let mut client = Client::new(&world);
    for lane in &world.lanes {
        if !chores::create(&mut client, lane).await {
            return Err(Error::Server(format!("no queue {}: {:?}", lane.name, world.failures())));
        }
    }
    for lane in 0..world.lanes.len() {
        traffic::fill(&world, lane).await;
    }
    let data = bench.dir.path().join("soak");
    let mut watch = Watch::begin(&soak.csv, &data, &world, &broker)?;
    for lane in 0..world.lanes.len() {
        traffic::start(&world, lane, soak.rate);
    }
    chores::start(&world);
    let begin = world.now();
    let mut shown = begin;
    while world.now() - begin < soak.time {
        tokio::time::sleep(watch::INTERVAL).await;
        watch.look(&world, &broker).await?;
        if world.now() - shown >= PROGRESS_INTERVAL {
            shown = world.now();
            progress(&world, &watch);
        }
    }
    drain(&world, &mut broker).await?;
    let settled = begin.as_secs_f64() + SETTLE_MAX.min(soak.time / 6).as_secs_f64();
    let mut sections = [verdict::series(&watch, settled), verdict::messages(&world)];
    let [series, _] = &mut sections;
    let text = format!(
        " {} messages a second of 1,024 bytes for {:.0} minutes, ten kinds of queues, default flags.",
        grouped(soak.rate),
        soak.time.as_secs_f64() / 60.0
    );
    series.how.push_str(&text);
    broker.stop().await?;
    Ok(sections)
}

fn progress(world: &World, watch: &Watch) {
    let Some(row) = watch.rows.last() else { return };
    let figure = |name| watch.columns.iter().position(|column| column == name).map_or(0.0, |at| row[at]);
    let findings: u64 = world.ledgers.iter().map(|ledger| ledger.borrow().findings.total()).sum();
    eprintln!(
        "soak: {:.0} min, {} messages stored, {:.0} MB on disk, {:.0} MB resident, {} handles, p99 of sends {:.1} ms, \
         {findings} findings, {} failed calls",
        row[0] / 60.0,
        grouped(figure("messages")),
        figure("disk_bytes") / 1e6,
        figure("resident_bytes") / 1e6,
        figure("handles"),
        figure("send_p99_ms"),
        world.failed(),
    );
}

/// Waits until every message has come to its end, and compares the broker's counts with the ledgers.
async fn drain(world: &World, broker: &mut Server) -> Result<()> {
    world.phase.set(Phase::Drain);
    let begin = world.now();
    while world.now() - begin < DRAIN_TIMEOUT && world.ledgers.iter().any(|ledger| ledger.borrow().waits()) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    eprintln!("soak: drained after {:.0} s", (world.now() - begin).as_secs_f64());
    tokio::time::sleep(LAST_ANSWERS).await;
    world.phase.set(Phase::Over);
    tokio::time::sleep(LAST_ANSWERS).await;
    let page = metrics(broker).await?;
    for (lane, ledger) in world.lanes.iter().zip(&world.ledgers) {
        let mut ledger = ledger.borrow_mut();
        ledger.close();
        let count = |metric: &str, queue: &str| {
            sum(&page, metric, &format!("queue=\"{queue}\"")).unwrap_or_default() as u64
        };
        let totals = ledger.totals;
        let dead_left = lane.dead_letter_queue.map_or(0, |queue| count("cmq_queue_messages", queue));
        for (what, counted, expected) in [
            ("messages left", count("cmq_queue_messages", lane.name), 0),
            ("dead letters left", dead_left, 0),
            ("sent", count("cmq_queue_sent_messages_total", lane.name), totals.sent),
            ("expired", count("cmq_queue_expired_messages_total", lane.name), totals.expired),
            (
                "dead-lettered",
                count("cmq_queue_dead_lettered_messages_total", lane.name),
                totals.dead_lettered,
            ),
        ] {
            if counted != expected {
                let text = format!("{what}: the broker counts {counted}, the ledger {expected}");
                ledger.findings.add(Finding::Miscounted, text);
            }
        }
    }
    Ok(())
}
