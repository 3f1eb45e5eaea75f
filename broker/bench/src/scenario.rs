//! The measurements, each of which starts its own servers and ends them.

pub mod abuse;
pub mod backlog;
pub mod noisy;
pub mod open;
pub mod pairs;
pub mod queues;
pub mod soak;
pub mod waiters;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::cmq;
use crate::error::{Error, Result};
use crate::http::{self, Connection};
use crate::json;
use crate::load::Plan;
use crate::process::Server;

/// How long a server may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A server is quiet when it uses less than this share of a core.
const QUIET_SHARE: f64 = 0.05;

/// Over which time a server must be quiet.
const QUIET_TIME: Duration = Duration::from_millis(200);

/// The longest wait for the servers to become quiet. A server that always works is measured as it is.
const QUIET_TIMEOUT: Duration = Duration::from_secs(10);

/// What all measurements share.
pub struct Bench {
    /// The broker's executable.
    pub broker: PathBuf,
    /// Arguments for the broker beside those that a measurement needs.
    pub broker_arguments: Vec<String>,
    /// The floor's executable.
    pub floor: PathBuf,
    /// Holds the data of both servers; removed at the end.
    pub dir: TempDir,
    /// Pairs of rounds.
    pub pairs: usize,
    /// Shape of a round.
    pub plan: Plan,
}

impl Bench {
    /// Starts the floor on a new file.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start_floor(&self) -> Result<Server> {
        let mut command = Command::new(&self.floor);
        command.arg("--addr").arg("127.0.0.1:0").arg("--file").arg(self.dir.path().join("floor.data"));
        Server::start("floor", &mut command, &self.dir.path().join("floor.log"), START_TIMEOUT).await
    }

    /// Starts the broker on the data directory `name`, which may hold data, and waits until it is ready.
    /// Variables of the environment that would change its settings are taken away.
    ///
    /// # Errors
    /// It does not start or does not become ready.
    pub async fn start_broker(&self, name: &str) -> Result<Server> {
        self.start_broker_with(name, &[]).await
    }

    /// As [`Bench::start_broker`], with more arguments.
    ///
    /// # Errors
    /// As `start_broker`.
    pub async fn start_broker_with(&self, name: &str, arguments: &[String]) -> Result<Server> {
        let mut command = Command::new(&self.broker);
        command.arg("--data-dir").arg(self.dir.path().join(name));
        for port in ["--client-addr", "--peer-addr", "--admin-addr"] {
            command.arg(port).arg("127.0.0.1:0");
        }
        command.arg("--log-format").arg("json").args(&self.broker_arguments).args(arguments);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("CMQ_") {
                command.env_remove(variable);
            }
        }
        let log = self.dir.path().join(format!("{name}.log"));
        let mut server = Server::start("broker", &mut command, &log, START_TIMEOUT).await?;
        server.wait_ready(START_TIMEOUT).await?;
        Ok(server)
    }
}

/// Creates a queue on the broker.
async fn create_queue(broker: &Server, queue: &str) -> Result<()> {
    cmq::create_queue(&mut Connection::open(broker.client).await?, queue).await
}

/// Messages and flushes that the floor has counted.
async fn floor_counts(floor: &Server) -> Result<(u64, u64)> {
    let mut connection = Connection::open(floor.client).await?;
    let answer = connection.call(&http::get("/stats")).await?;
    match (json::number(answer, "messages"), json::number(answer, "flushes")) {
        (Some(messages), Some(flushes)) => Ok((messages, flushes)),
        _ => Err(Error::refused("stats", answer)),
    }
}

/// Waits until none of the servers does much: what one still does for its last round must not slow the
/// other's next.
async fn settle(servers: &[&Server]) -> Result<()> {
    let used = || servers.iter().map(|server| Ok(server.usage()?.cpu_seconds)).sum::<Result<f64>>();
    let start = Instant::now();
    let mut before = used()?;
    while start.elapsed() < QUIET_TIMEOUT {
        tokio::time::sleep(QUIET_TIME).await;
        let now = used()?;
        if (now - before) / QUIET_TIME.as_secs_f64() < QUIET_SHARE {
            break;
        }
        before = now;
    }
    Ok(())
}

/// Runs `pairs` pairs of rounds. Which of the two goes first changes from pair to pair, so that a machine
/// that becomes slower or faster favours neither.
async fn alternate<A, B>(
    pairs: usize,
    servers: [&Server; 2],
    mut first: impl AsyncFnMut() -> Result<A>,
    mut second: impl AsyncFnMut() -> Result<B>,
) -> Result<Vec<(A, B)>> {
    let mut rounds = Vec::with_capacity(pairs);
    for pair in 0..pairs {
        settle(&servers).await?;
        let round = if pair % 2 == 0 {
            let a = first().await?;
            settle(&servers).await?;
            (a, second().await?)
        } else {
            let b = second().await?;
            settle(&servers).await?;
            (first().await?, b)
        };
        rounds.push(round);
    }
    Ok(rounds)
}
