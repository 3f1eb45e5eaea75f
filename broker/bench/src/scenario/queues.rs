//! Many queues: whether the last ones are made as fast as the first, and what they cost when nothing happens.

use std::fmt::Write;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Bench, START_TIMEOUT, settle};
use crate::cmq;
use crate::error::{Error, Result};
use crate::http::{self, Connection};
use crate::process::Server;
use crate::report::{Bound, Section, grouped, megabytes};
use crate::stats::Latencies;

/// Parts of the queues that are compared: the first and the last of so many.
const PARTS: usize = 10;

/// Rounds in which these two are made in turn.
const ROUNDS: usize = 20;

/// How long sends beside scrapes, and sends without, are measured.
const SENDS: Duration = Duration::from_secs(5);

const CREATION_RATIO_MAX: f64 = 1.5;
const CORE_PERCENT_MAX: f64 = 3.0;
const RESIDENT_MB_MAX: f64 = 300.0;

/// Shape of the measurement.
#[derive(Clone, Copy, Debug)]
pub struct Queues {
    /// Queues, a multiple of ten.
    pub queues: usize,
    /// Time between two scrapes.
    pub scrape: Duration,
    /// Time over which the CPU share is taken.
    pub window: Duration,
}

/// Makes the queues in both ways and measures.
///
/// # Errors
/// The broker does not start, or a call fails.
pub async fn measure(bench: &Bench, queues: Queues) -> Result<Section> {
    let how = format!(
        "{} queues, made one by one over HTTP; then nothing but a scrape of /metrics every {} s: CPU (user and system) over {} s. Then sends in \
         a closed loop of one connection, without scrapes and beside one scrape after the other. On other brokers, \
         as many queues declared by manifests. MB are 10⁶ bytes.",
        grouped(queues.queues as f64),
        queues.scrape.as_secs(),
        queues.window.as_secs(),
    );
    let mut section = Section::new("Many queues", how, &["", "figure"]);
    let broker = bench.start_broker("queues").await?;
    create(bench, &broker, queues, &mut section).await?;
    idle(&broker, queues, &mut section).await?;
    scrapes_beside_sends(&broker, &mut section).await?;
    broker.stop().await?;
    declare(bench, queues, &mut section).await?;
    Ok(section)
}

fn queue(number: usize) -> String {
    format!("queue-{number}")
}

/// Makes the first tenth of the queues on one broker and the last tenth on another, a few here and a few there, so that a
/// machine that becomes slower or faster favours neither.
async fn create(bench: &Bench, broker: &Server, queues: Queues, section: &mut Section) -> Result<()> {
    let part = queues.queues / PARTS;
    let empty = bench.start_broker("first-queues").await?;
    let (mut few, mut many) = (Connection::open(empty.client).await?, Connection::open(broker.client).await?);
    let start = Instant::now();
    create_some(&mut many, 0..queues.queues - part).await?;
    let rate = (queues.queues - part) as f64 / start.elapsed().as_secs_f64();
    settle(&[broker, &empty]).await?;
    let (mut first, mut last) = (0.0, 0.0);
    for round in 0..ROUNDS {
        let some = part * round / ROUNDS..part * (round + 1) / ROUNDS;
        let later = queues.queues - part + some.start..queues.queues - part + some.end;
        if round % 2 == 0 {
            first += create_some(&mut few, some).await?;
            last += create_some(&mut many, later).await?;
        } else {
            last += create_some(&mut many, later).await?;
            first += create_some(&mut few, some).await?;
        }
    }
    eprintln!("queues: {part} created in {first:.2} s on an empty broker, in {last:.2} s behind the others");
    let text = |seconds: f64| grouped(part as f64 / seconds);
    section.row(["created one by one, queues/s: all before the last tenth".into(), grouped(rate)]);
    section.row(["the first tenth".into(), text(first)]);
    section.row(["the last tenth, in turn with the first on another broker".into(), text(last)]);
    section.gate(
        "created, time of the last tenth against the first",
        last / first,
        Bound::AtMost(CREATION_RATIO_MAX),
    );
    empty.stop().await
}

/// Makes queues one by one; seconds that it took.
async fn create_some(connection: &mut Connection, numbers: Range<usize>) -> Result<f64> {
    let start = Instant::now();
    for number in numbers {
        cmq::create_queue(connection, &queue(number)).await?;
    }
    Ok(start.elapsed().as_secs_f64())
}

async fn idle(broker: &Server, queues: Queues, section: &mut Section) -> Result<()> {
    settle(&[broker]).await?;
    let mut scraper = Scraper::open(broker).await?;
    let (start, used) = (Instant::now(), broker.usage()?);
    let mut times = Latencies::default();
    while start.elapsed() < queues.window {
        times.add(scraper.scrape().await?);
        tokio::time::sleep(queues.scrape).await;
    }
    let cpu_seconds = broker.usage()?.cpu_seconds - used.cpu_seconds;
    let percent = 100.0 * cpu_seconds / start.elapsed().as_secs_f64();
    let memory = broker.memory()?;
    section.row(["CPU, % of a core".into(), format!("{percent:.2}")]);
    section.row(["resident, MB".into(), grouped(megabytes(memory.resident_bytes))]);
    section.row(["scrapes".into(), times.count().to_string()]);
    section.row(["time of a scrape, p50, ms".into(), format!("{:.1}", times.per_mille(500))]);
    section.row(["size of a scrape, MB".into(), format!("{:.2}", megabytes(scraper.bytes))]);
    section.gate("CPU, % of a core", percent, Bound::Below(CORE_PERCENT_MAX));
    section.gate("resident, MB", megabytes(memory.resident_bytes), Bound::Below(RESIDENT_MB_MAX));
    Ok(())
}

/// Who looks at the metrics.
struct Scraper {
    connection: Connection,
    bytes: u64,
}

impl Scraper {
    async fn open(broker: &Server) -> Result<Scraper> {
        let admin = broker.admin.ok_or_else(|| Error::Server("the broker names no admin port".into()))?;
        Ok(Scraper { connection: Connection::open(admin).await?, bytes: 0 })
    }

    async fn scrape(&mut self) -> Result<Duration> {
        let start = Instant::now();
        let page = self.connection.call(&http::get("/metrics")).await?;
        self.bytes = page.len() as u64;
        Ok(start.elapsed())
    }
}

async fn scrapes_beside_sends(broker: &Server, section: &mut Section) -> Result<()> {
    let mut quiet = sends(broker).await?;
    let mut scraper = Scraper::open(broker).await?;
    let mut scrapes = 0_u32;
    let mut beside = tokio::select! {
        sent = sends(broker) => sent?,
        failed = async {
            loop {
                match scraper.scrape().await {
                    Ok(_) => scrapes += 1,
                    Err(error) => break error,
                }
            }
        } => return Err(failed),
    };
    let row = |latencies: &mut Latencies| {
        format!("{:.2}, {:.2}", latencies.per_mille(500), latencies.per_mille(990))
    };
    section.row(["a send without scrapes, p50 and p99, ms".into(), row(&mut quiet)]);
    section.row(["a send beside scrapes, p50 and p99, ms".into(), row(&mut beside)]);
    section.row([
        "scrapes a second meanwhile".into(),
        format!("{:.1}", f64::from(scrapes) / SENDS.as_secs_f64()),
    ]);
    Ok(())
}

async fn sends(broker: &Server) -> Result<Latencies> {
    let mut connection = Connection::open(broker.client).await?;
    let request = cmq::request("SendMessage", &queue(0), &[("msgBody", &cmq::body(1_024, 1))]);
    let mut latencies = Latencies::default();
    let start = Instant::now();
    while start.elapsed() < SENDS {
        let sent = Instant::now();
        cmq::call(&mut connection, "SendMessage", &request).await?;
        latencies.add(sent.elapsed());
    }
    Ok(latencies)
}

/// Starts brokers that have to declare a tenth of the queues, all of them, and nothing new.
async fn declare(bench: &Bench, queues: Queues, section: &mut Section) -> Result<()> {
    let part = queues.queues / PARTS;
    let few = start_declared(bench, "few", part).await?;
    let many = start_declared(bench, "many", queues.queues).await?;
    let again = start_declared(bench, "many", queues.queues).await?;
    section.row([format!("start with {} declared queues, s", grouped(part as f64)), format!("{few:.2}")]);
    section.row([format!("start with {} of them, s", grouped(queues.queues as f64)), format!("{many:.2}")]);
    section.row(["the same start when they exist, s".into(), format!("{again:.2}")]);
    let ratio = many / (few * PARTS as f64);
    section.gate(
        "declared, time of all against ten times that of a tenth",
        ratio,
        Bound::AtMost(CREATION_RATIO_MAX),
    );
    Ok(())
}

/// Seconds from the start of a broker to its readiness, with so many queues in its manifests.
async fn start_declared(bench: &Bench, name: &str, queues: usize) -> Result<f64> {
    let dir = bench.dir.path().join(format!("{name}-manifests"));
    write_manifests(&dir, queues)?;
    let start = Instant::now();
    let broker = bench.start_broker_with(name, &["--manifests".into(), dir.display().to_string()]).await?;
    let seconds = start.elapsed().as_secs_f64();
    eprintln!("queues: ready with {queues} declared ones after {seconds:.2} s");
    broker.stop().await?;
    Ok(seconds)
}

fn write_manifests(dir: &Path, queues: usize) -> Result<()> {
    let failed = || Error::io(format!("cannot write {}", dir.display()));
    fs::create_dir_all(dir).map_err(failed())?;
    for file in 0..PARTS {
        let part = queues / PARTS;
        let mut text = String::new();
        for number in file * part..(file + 1) * part {
            let name = queue(number);
            writeln!(
                text,
                "---\napiVersion: cmq.dev/v1alpha1\nkind: Queue\nmetadata: {{name: {name}}}\nspec: {{brokerRef: {{name: b}}}}"
            )
            .expect("a string takes every write");
        }
        fs::write(dir.join(format!("{file}.yaml")), text).map_err(failed())?;
    }
    Ok(())
}

const _: () = assert!(START_TIMEOUT.as_secs() >= 60, "thousands of queues take a while on a slow disk");
