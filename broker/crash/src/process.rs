//! The broker as a process: started, watched until it is ready, killed.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::oneshot;

use crate::cmq;

/// Message of the log line that names the ports.
const SERVES: &str = "cmq-broker serves";
/// A broker that is not ready by then has failed to recover.
const READY_WITHIN: Duration = Duration::from_secs(60);
const READY_POLL: Duration = Duration::from_millis(5);
/// Lines of the log that are kept for a report.
const LOG_LINES: usize = 40;

/// How to start a broker.
#[derive(Clone, Debug)]
pub struct Program {
    /// The binary.
    pub path: PathBuf,
    /// Flags beyond those that every run has.
    pub arguments: Vec<String>,
    /// Variables set for it, beyond those that it inherits.
    pub environment: Vec<(String, String)>,
}

/// A running broker. Dropping it kills it.
#[derive(Debug)]
pub struct Broker {
    child: Child,
    log: Log,
    ports: oneshot::Receiver<Ports>,
    started: Instant,
}

/// Where a broker that is ready listens.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// For CMQ calls.
    pub client: SocketAddr,
    /// From the start of the process until it said that it is ready.
    pub after: Duration,
}

type Log = Arc<Mutex<VecDeque<String>>>;

#[derive(Clone, Copy, Debug, Deserialize)]
struct Ports {
    client: SocketAddr,
    admin: SocketAddr,
}

impl Program {
    /// Starts a broker over `data_dir`, with free ports.
    ///
    /// # Errors
    /// The binary cannot be run.
    pub fn start(&self, data_dir: &Path) -> io::Result<Broker> {
        let mut command = Command::new(&self.path);
        command.arg("--data-dir").arg(data_dir).args(["--log-format", "json"]);
        for flag in ["--client-addr", "--peer-addr", "--admin-addr"] {
            command.args([flag, "127.0.0.1:0"]);
        }
        command.args(&self.arguments).envs(self.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let started = Instant::now();
        let mut child = command.spawn()?;
        let stderr = child.stderr.take().ok_or_else(|| io::Error::other("the broker has no stderr"))?;
        let log = Log::default();
        let (announce, ports) = oneshot::channel();
        tokio::spawn(read_log(stderr, log.clone(), announce));
        Ok(Broker { child, log, ports, started })
    }
}

impl Broker {
    /// Waits until the broker says that it has recovered.
    ///
    /// # Errors
    /// It ended, or is not ready within a minute; the text has the end of its log.
    pub async fn ready(&mut self) -> Result<Ready, String> {
        match tokio::time::timeout(READY_WITHIN, self.poll_ready()).await {
            Ok(Ok(ready)) => Ok(ready),
            Ok(Err(reason)) => Err(self.report(&reason).await),
            Err(_) => Err(self.report(&format!("not ready after {READY_WITHIN:?}")).await),
        }
    }

    /// The status with which the broker ended by itself, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends SIGKILL; no code of the broker runs after that.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub fn kill(&mut self) -> io::Result<()> {
        // A process that ended by itself needs no signal.
        if self.ended().is_some() { Ok(()) } else { self.child.start_kill() }
    }

    /// Waits until the process is gone.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub async fn gone(&mut self) -> io::Result<()> {
        self.child.wait().await.map(|_| ())
    }

    /// `reason` with the end of the log.
    pub async fn report(&self, reason: &str) -> String {
        // The last lines may still be on their way through the pipe.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().fold(format!("{reason}; its log ends:"), |report, line| report + "\n  " + line)
    }

    async fn poll_ready(&mut self) -> Result<Ready, String> {
        let Ok(ports) = (&mut self.ports).await else {
            let status = self.child.wait().await.map_err(|error| error.to_string())?;
            return Err(format!("ended with {status} before it named its ports"));
        };
        loop {
            if let Ok(StatusCode::OK) = cmq::status_of(ports.admin, "/readyz").await {
                return Ok(Ready { client: ports.client, after: self.started.elapsed() });
            }
            if let Some(status) = self.ended() {
                return Err(format!("ended with {status} before it was ready"));
            }
            tokio::time::sleep(READY_POLL).await;
        }
    }
}

async fn read_log(stderr: ChildStderr, log: Log, announce: oneshot::Sender<Ports>) {
    let mut announce = Some(announce);
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(ports) = announced_ports(&line)
            && let Some(announce) = announce.take()
        {
            // A receiver that is gone belongs to a broker that was killed meanwhile.
            announce.send(ports).ok();
        }
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.len() == LOG_LINES {
            log.pop_front();
        }
        log.push_back(line);
    }
}

/// The ports, if the line is the one that names them; its fields stand at the top or under `fields`.
fn announced_ports(line: &str) -> Option<Ports> {
    let mut record: serde_json::Value = serde_json::from_str(line).ok()?;
    if record.get("fields").is_some_and(serde_json::Value::is_object) {
        record = record["fields"].take();
    }
    (record["message"] == SERVES).then(|| serde_json::from_value(record).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_ports_in_the_log() {
        let flat = r#"{"message":"cmq-broker serves","client":"127.0.0.1:5","admin":"[::1]:6"}"#;
        let nested = format!(r#"{{"level":"INFO","fields":{flat}}}"#);
        for line in [flat, &nested] {
            let ports = announced_ports(line).map(|ports| (ports.client.port(), ports.admin.port()));
            assert_eq!(ports, Some((5, 6)), "{line}");
        }
        for line in ["", "text", "[]", r#"{"message":"other","client":"127.0.0.1:5","admin":"127.0.0.1:6"}"#]
        {
            assert!(announced_ports(line).is_none(), "{line}");
        }
    }
}
