//! The program as it is started: what it refuses before it serves, and in which words.

#![allow(clippy::unwrap_used, reason = "in a test a failure may panic")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

fn command(dir: &Path, arguments: &[&str]) -> Command {
    let ports = ["--client-addr", "--peer-addr", "--admin-addr"].map(|flag| [flag, "127.0.0.1:0"]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_cmq-broker"));
    command.arg("--data-dir").arg(dir).args(ports.as_flattened()).args(["--log-format", "json"]);
    command.args(arguments).stderr(Stdio::piped());
    command
}

/// What a start says that fails.
fn refused(dir: &Path, arguments: &[&str]) -> String {
    let output = command(dir, arguments).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        output.status.code(),
        Some(if said.starts_with("error: invalid value") { 2 } else { 1 }),
        "{said}"
    );
    said
}

struct Broker {
    process: Child,
    client: SocketAddr,
    admin: SocketAddr,
    _log: BufReader<ChildStderr>,
}

impl Broker {
    fn start(dir: &Path, arguments: &[&str]) -> Self {
        let mut process = command(dir, arguments).spawn().unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let serves = log
            .by_ref()
            .lines()
            .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap())
            .find(|line| line["message"] == "cmq-broker serves")
            .expect("a line that names the ports");
        let port = |name: &str| serves[name].as_str().unwrap().parse().unwrap();
        Self { client: port("client"), admin: port("admin"), process, _log: log }
    }

    fn cluster_id(&self) -> String {
        let begun = Instant::now();
        loop {
            let broker = exchange(self.admin, "GET /api/v1/broker", "");
            if let Some(id) = broker["clusterId"].as_str() {
                return id.to_owned();
            }
            // A new broker asks callers to come back until its cluster is founded.
            assert!(
                broker["error"]["code"] == "busy" && begun.elapsed() < Duration::from_secs(30),
                "{broker}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Both fail only when it has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn exchange(address: SocketAddr, what: &str, body: &str) -> Value {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let head = format!(
        "{what} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn only_the_named_cluster_is_served() {
    // By these words an operator knows a pod whose volume is lost.
    let asks = "--cluster-id asks for";
    let place = tempfile::tempdir().unwrap();
    let (dir, wanted) = (place.path().join("data"), "0123456789abcdef0123456789abcdef");
    // An empty volume is refused as often as it comes, and nothing is founded on it.
    for _ in 0..2 {
        let said = refused(&dir, &["--cluster-id", wanted]);
        assert!(
            said.contains("the volume is empty") && said.contains(asks) && said.contains(wanted),
            "{said}"
        );
        assert!(said.contains("leave --cluster-id out once to begin a new cluster"), "{said}");
    }
    let found = Broker::start(&dir, &[]).cluster_id();
    assert_ne!(found, "0".repeat(32));
    // Killed at once: the id is in the log and in no checkpoint yet.
    assert_eq!(Broker::start(&dir, &["--cluster-id", &found]).cluster_id(), found);
    assert_eq!(Broker::start(&dir, &[]).cluster_id(), found);
    let said = refused(&dir, &["--cluster-id", wanted]);
    assert!(said.contains(&format!("is of cluster {found}")) && said.contains(asks), "{said}");
    assert!(said.contains(wanted), "{said}");
    for wrong in ["", "12", &"0".repeat(32), &"g".repeat(32), &format!("+{}", "1".repeat(31))] {
        let said = refused(&dir, &["--cluster-id", wrong]);
        assert!(said.contains("32 hexadecimal digits"), "{wrong}: {said}");
    }
}

#[test]
fn a_start_without_its_certificate_fails() {
    let place = tempfile::tempdir().unwrap();
    let tls = place.path().join("tls");
    for flag in ["--client-tls", "--admin-tls"] {
        let said = refused(&place.path().join("data"), &[flag, tls.to_str().unwrap()]);
        assert!(said.contains("No such file") && said.contains("expected: "), "{said}");
    }
    // Before anything is written.
    assert!(!place.path().join("data").exists());
}

#[test]
fn calls_create_no_queues_where_only_declared_ones_may_be() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("data");
    let create = |broker: &Broker, name: &str| {
        let form = format!("Action=CreateQueue&queueName={name}");
        let answer = exchange(broker.client, "POST /v2/index.php", &form);
        format!("{} {}", answer["code"], answer["message"].as_str().unwrap())
    };
    assert!(create(&Broker::start(&dir, &[]), "old").starts_with("0 "));
    let broker = Broker::start(&dir, &["--api-queues", "deny"]);
    let denied = create(&broker, "new");
    assert!(denied.starts_with("4000 (10110)") && denied.contains("--api-queues deny"), "{denied}");
    // What exists is told as ever.
    for name in ["old", "OLD"] {
        assert!(create(&broker, name).starts_with("4000 (4460)"), "{name}");
    }
}
