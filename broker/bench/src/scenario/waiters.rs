//! Many idle long polls: what they cost, and that a message wakes exactly one.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::Bench;
use crate::cmq;
use crate::error::{Error, Result};
use crate::http::Connection;
use crate::load::flatten;
use crate::process::{Server, raise_open_files};
use crate::report::{Bound, Section, grouped, megabytes, spread};
use crate::stats::Series;

/// The longest wait that a receive may ask for.
const POLLING_WAIT_SECONDS: &str = "30";

/// Time between the last poll's start and the measured window.
const REST: Duration = Duration::from_secs(2);

/// Queues that get one message each.
const WOKEN_QUEUES: usize = 20;

/// How long after the send further deliveries of the message would be seen.
const WATCH: Duration = Duration::from_secs(1);

/// How long all polls may take to be under way.
const RAMP_TIMEOUT: Duration = Duration::from_secs(60);

/// Files this process needs beside its connections.
const OTHER_FILES: u64 = 100;

const CORE_PERCENT_MAX: f64 = 2.0;
const RESIDENT_MB_MAX: f64 = 200.0;

/// Shape of the measurement.
#[derive(Clone, Copy, Debug)]
pub struct Waiters {
    /// Long polls, each on a connection of its own.
    pub polls: usize,
    /// Queues they are spread over, evenly.
    pub queues: usize,
    /// Time over which the CPU share is taken.
    pub window: Duration,
}

/// What the polls have seen, by queue.
#[derive(Default)]
struct Line {
    /// Pollers in the order in which their present calls began.
    waiting: VecDeque<usize>,
    deliveries: u32,
    first_in_line: bool,
    delivered_at: Option<Instant>,
}

#[derive(Default)]
struct Board {
    lines: Vec<Line>,
    under_way: usize,
    renewals: u64,
}

/// Opens the polls and measures.
///
/// # Errors
/// The process may not open that many files, the broker does not start, or a call fails.
pub async fn measure(bench: &Bench, waiters: Waiters) -> Result<Section> {
    let files = raise_open_files();
    if files < waiters.polls as u64 + OTHER_FILES {
        let text = format!("{} connections need a higher limit of open files than {files}", waiters.polls);
        return Err(Error::Usage(text));
    }
    let how = format!(
        "{} long polls of {POLLING_WAIT_SECONDS} s on as many connections over {} queues; a poll that ends is \
         made again at once, so each is renewed once in 30 s. CPU (user and system) of the broker over {} s. \
         Then one message into each of {} queues. MB are 10⁶ bytes.",
        grouped(waiters.polls as f64),
        grouped(waiters.queues as f64),
        waiters.window.as_secs(),
        WOKEN_QUEUES.min(waiters.queues),
    );
    let mut section = Section::new("Idle long polls", how, &["", "figure"]);
    let broker = bench.start_broker("waiters").await?;
    let mut connection = Connection::open(broker.client).await?;
    for number in 0..waiters.queues {
        cmq::create_queue(&mut connection, &queue(number)).await?;
    }
    let empty = broker.memory()?;
    let board = Rc::new(RefCell::new(Board::default()));
    board.borrow_mut().lines.resize_with(waiters.queues, Line::default);
    let mut polls = JoinSet::new();
    let result = tokio::select! {
        done = observe(waiters, &broker, &mut connection, &board, &mut section) => done,
        failed = open_polls(waiters, broker.client, &board, &mut polls) => Err(failed),
    };
    result?;
    drop(polls);
    section.row(["resident before the polls, MB".into(), grouped(megabytes(empty.resident_bytes))]);
    broker.stop().await?;
    Ok(section)
}

fn queue(number: usize) -> String {
    format!("waiters-{number}")
}

/// Opens all polls and then watches over them; returns only when one fails.
async fn open_polls(
    waiters: Waiters,
    address: SocketAddr,
    board: &Rc<RefCell<Board>>,
    polls: &mut JoinSet<Result<()>>,
) -> Error {
    for number in 0..waiters.polls {
        match Connection::open(address).await {
            Ok(connection) => polls.spawn_local(poll(connection, number, waiters.queues, board.clone())),
            Err(error) => return error,
        };
    }
    match polls.join_next().await.map(flatten) {
        Some(Err(error)) => error,
        _ => Error::Server("a poll ended by itself".into()),
    }
}

/// One poller: waits, and deletes what it gets.
async fn poll(
    mut connection: Connection,
    number: usize,
    queues: usize,
    board: Rc<RefCell<Board>>,
) -> Result<()> {
    let line = number % queues;
    let queue = queue(line);
    let request = cmq::request("ReceiveMessage", &queue, &[("pollingWaitSeconds", POLLING_WAIT_SECONDS)]);
    board.borrow_mut().under_way += 1;
    loop {
        board.borrow_mut().lines[line].waiting.push_back(number);
        let handle = cmq::receive(&mut connection, &request).await?.map(<[u8]>::to_vec);
        board.borrow_mut().answered(line, number, handle.is_some());
        if let Some(handle) = handle {
            let handle = String::from_utf8_lossy(&handle).into_owned();
            let delete = cmq::request("DeleteMessage", &queue, &[("receiptHandle", &handle)]);
            cmq::call(&mut connection, "DeleteMessage", &delete).await?;
        }
    }
}

impl Board {
    /// Notes the end of a poll, with or without a message.
    fn answered(&mut self, line: usize, poller: usize, delivered: bool) {
        let line = &mut self.lines[line];
        let place = line.waiting.iter().position(|waiting| *waiting == poller);
        if let Some(place) = place {
            line.waiting.remove(place);
        }
        if delivered {
            line.deliveries += 1;
            line.first_in_line = place == Some(0);
            line.delivered_at = Some(Instant::now());
        } else {
            self.renewals += 1;
        }
    }
}

async fn observe(
    waiters: Waiters,
    broker: &Server,
    connection: &mut Connection,
    board: &Rc<RefCell<Board>>,
    section: &mut Section,
) -> Result<()> {
    let start = Instant::now();
    while board.borrow().under_way < waiters.polls {
        if start.elapsed() > RAMP_TIMEOUT {
            let what = format!("opening {} polls", waiters.polls);
            return Err(Error::Timeout { what, limit: RAMP_TIMEOUT });
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    eprintln!("waiters: {} polls after {:.1} s", waiters.polls, start.elapsed().as_secs_f64());
    tokio::time::sleep(REST).await;

    let (start, used, renewals) = (Instant::now(), broker.usage()?, board.borrow().renewals);
    tokio::time::sleep(waiters.window).await;
    let cpu_seconds = broker.usage()?.cpu_seconds - used.cpu_seconds;
    let percent = 100.0 * cpu_seconds / start.elapsed().as_secs_f64();
    let renewals = board.borrow().renewals - renewals;
    let memory = broker.memory()?;
    eprintln!("waiters: {percent:.2} % of a core, {renewals} renewals");
    section.row(["CPU, % of a core".into(), format!("{percent:.2}")]);
    section.row(["polls renewed in the window".into(), grouped(renewals as f64)]);
    section.row(["resident, MB".into(), grouped(megabytes(memory.resident_bytes))]);
    section.gate("CPU, % of a core", percent, Bound::Below(CORE_PERCENT_MAX));
    let resident_mb = megabytes(memory.resident_bytes);
    section.gate("resident, MB", resident_mb, Bound::Below(RESIDENT_MB_MAX));

    wake(waiters, connection, board, section).await
}

/// Sends one message to some queues and counts the polls that each wakes.
async fn wake(
    waiters: Waiters,
    connection: &mut Connection,
    board: &Rc<RefCell<Board>>,
    section: &mut Section,
) -> Result<()> {
    let count = WOKEN_QUEUES.min(waiters.queues);
    let mut sent_at = Vec::with_capacity(count);
    let before: u32 = board.borrow().lines.iter().map(|line| line.deliveries).sum();
    for i in 0..count {
        let line = i * (waiters.queues / count);
        let request = cmq::request("SendMessage", &queue(line), &[("msgBody", "wake")]);
        sent_at.push((line, Instant::now()));
        cmq::call(connection, "SendMessage", &request).await?;
        // Apart from each other, so that a latency is that of one message.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(WATCH).await;
    let board = board.borrow();
    let all: u32 = board.lines.iter().map(|line| line.deliveries).sum();
    let exactly_one = sent_at.iter().filter(|(line, _)| board.lines[*line].deliveries == 1).count();
    let first = sent_at.iter().filter(|(line, _)| board.lines[*line].first_in_line).count();
    let millis: Series = sent_at
        .iter()
        .filter_map(|(line, sent)| Some((board.lines[*line].delivered_at? - *sent).as_secs_f64() * 1e3))
        .collect();
    section.row(["messages sent".into(), count.to_string()]);
    section.row(["that woke exactly one poll".into(), exactly_one.to_string()]);
    section.row(["that woke the poll first in line".into(), first.to_string()]);
    section.row(["from the send to the wake-up, ms".into(), spread(&millis, 2)]);
    // A delivery on a queue that got no message spoils the figure too.
    let strays = (all - before).abs_diff(count as u32) as usize;
    let share = exactly_one.saturating_sub(strays) as f64 / count as f64;
    section.gate("messages that woke exactly one poll, share", share, Bound::AtLeast(1.0));
    Ok(())
}
