//! Servers under test as child processes: started, watched, and always ended.

mod usage;

pub use usage::{Memory, Usage, handles, memory, threads, usage};

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

use crate::error::{Error, Result};
use crate::http::{self, Connection};

/// How often a server's log and readiness are looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Lines of a server's log that an error shows.
const LOG_LINES_SHOWN: usize = 12;

/// How long a server may take to end after SIGTERM before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// A running server. Dropping it kills the process, or tells that it had already ended by itself: a call that fails
/// for this reason does not say so.
pub struct Server {
    name: &'static str,
    child: Child,
    end_is_known: bool,
    log: PathBuf,
    /// Where clients connect.
    pub client: SocketAddr,
    /// The admin port; the floor has none.
    pub admin: Option<SocketAddr>,
}

impl Server {
    /// Starts `command`, whose output goes to `log`, and waits until a line of it names its ports: a JSON
    /// object whose message ends in `serves`, with `client` and perhaps `admin` fields.
    ///
    /// # Errors
    /// The program cannot be started, ends, or names no port within `limit`.
    pub async fn start(
        name: &'static str,
        command: &mut Command,
        log: &Path,
        limit: Duration,
    ) -> Result<Server> {
        let failed = || Error::io(format!("cannot write {}", log.display()));
        let out = File::create(log).map_err(failed())?;
        let err = out.try_clone().map_err(failed())?;
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(Error::io(format!("cannot start {program}")))?;
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server =
            Server { name, child, end_is_known: false, log: log.to_path_buf(), client: unknown, admin: None };
        let start = Instant::now();
        loop {
            let text = fs::read_to_string(log).map_err(Error::io("cannot read a server's log"))?;
            if let Some((client, admin)) = text.lines().find_map(ports) {
                (server.client, server.admin) = (client, admin);
                return Ok(server);
            }
            server.check_alive()?;
            if start.elapsed() > limit {
                return Err(server.failure("named no port in time"));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until `GET /readyz` on the admin port answers 200.
    ///
    /// # Errors
    /// The server ends, has no admin port, or is not ready within `limit`.
    pub async fn wait_ready(&mut self, limit: Duration) -> Result<()> {
        let admin = self.admin.ok_or_else(|| self.failure("names no admin port"))?;
        let start = Instant::now();
        while !is_ready(admin).await {
            self.check_alive()?;
            if start.elapsed() > limit {
                return Err(self.failure("was not ready in time"));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    /// CPU time and disk writes so far.
    ///
    /// # Errors
    /// The process has ended.
    pub fn usage(&self) -> Result<Usage> {
        usage(self.child.id())
    }

    /// Resident memory now and its peak.
    ///
    /// # Errors
    /// The process has ended.
    pub fn memory(&self) -> Result<Memory> {
        memory(self.child.id())
    }

    /// Files and sockets that it has open.
    ///
    /// # Errors
    /// The process has ended.
    pub fn handles(&self) -> Result<usize> {
        handles(self.child.id())
    }

    /// Its threads.
    ///
    /// # Errors
    /// The process has ended.
    pub fn threads(&self) -> Result<u64> {
        threads(self.child.id())
    }

    /// Kills the process (SIGKILL) and waits until it is gone.
    pub fn kill(mut self) {
        self.end();
    }

    /// Asks the process to end (SIGTERM) and waits for it; kills it when it takes too long.
    ///
    /// # Errors
    /// It ended with a failure, or had to be killed.
    pub async fn stop(mut self) -> Result<()> {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM).map_err(|errno| Error::io("cannot signal")(errno.into()))?;
        }
        self.end_is_known = true;
        let start = Instant::now();
        loop {
            match self.child.try_wait().map_err(Error::io("cannot wait for a server"))? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(self.failure(&format!("ended with {status}"))),
                None if start.elapsed() > STOP_TIMEOUT => {
                    return Err(self.failure("did not end after SIGTERM and was killed"));
                }
                None => tokio::time::sleep(POLL_INTERVAL).await,
            }
        }
    }

    fn check_alive(&mut self) -> Result<()> {
        match self.child.try_wait().map_err(Error::io("cannot wait for a server"))? {
            Some(status) => {
                self.end_is_known = true;
                Err(self.failure(&format!("ended with {status}")))
            }
            None => Ok(()),
        }
    }

    fn failure(&self, what: &str) -> Error {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n");
        Error::Server(format!("{} {what}; the end of its log:\n{tail}", self.name))
    }

    fn end(&mut self) {
        if let (Ok(Some(status)), false) = (self.child.try_wait(), self.end_is_known) {
            eprintln!("bench: {}", self.failure(&format!("ended by itself with {status}")));
        }
        self.end_is_known = true;
        // Both fail only when the process has already ended and been waited for.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

async fn is_ready(admin: SocketAddr) -> bool {
    let Ok(mut connection) = Connection::open(admin).await else { return false };
    let answer = connection.exchange(&http::get("/readyz")).await;
    answer.is_ok_and(|answer| answer.status == 200)
}

/// The ports that a log line names. Fields may stand beside the message or under `fields`.
fn ports(line: &str) -> Option<(SocketAddr, Option<SocketAddr>)> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let field = |name: &str| line.get(name).or_else(|| line.get("fields")?.get(name))?.as_str();
    if !field("message")?.ends_with("serves") {
        return None;
    }
    let client = field("client")?.parse().ok()?;
    Some((client, field("admin").and_then(|admin| admin.parse().ok())))
}

/// Raises this process's limit of open files to the most it may have; children inherit it. Gives the limit.
#[must_use]
pub fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let now = if setrlimit(Resource::Nofile, raised).is_ok() { raised } else { limit };
    now.current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_flat_and_nested() {
        let flat = r#"{"message":"cmq-broker serves","client":"127.0.0.1:4242","admin":"127.0.0.1:4243"}"#;
        let nested = r#"{"level":"INFO","fields":{"message":"cmq-broker serves","client":"127.0.0.1:4242",
            "admin":"127.0.0.1:4243","peer":"127.0.0.1:1"},"target":"cmq_broker"}"#;
        let expected = (([127, 0, 0, 1], 4242).into(), Some(([127, 0, 0, 1], 4243).into()));
        assert_eq!(ports(flat), Some(expected));
        assert_eq!(ports(nested), Some(expected));
        let floor = r#"{"message":"floor serves","client":"127.0.0.1:4242"}"#;
        assert_eq!(ports(floor), Some((expected.0, None)));
        for other in
            ["text", "{}", r#"{"message":"listens","client":"127.0.0.1:1"}"#, r#"{"message":"x serves"}"#]
        {
            assert_eq!(ports(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn a_program_that_ends_is_reported_with_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such flag >&2; exit 3"]);
        let started =
            Server::start("broker", &mut command, &dir.path().join("log"), Duration::from_secs(10)).await;
        let error = started.err().unwrap().to_string();
        assert!(error.contains("exit status: 3") && error.contains("no such flag"), "{error}");
    }
}
