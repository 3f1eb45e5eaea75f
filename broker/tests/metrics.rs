//! The metrics of a running broker, the page that documents them, and the dashboard and alerts that use them.

#![allow(clippy::unwrap_used, reason = "in a test a failure may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use serde_json::Value;

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

struct Broker {
    process: Child,
    client: SocketAddr,
    admin: SocketAddr,
    dir: Arc<tempfile::TempDir>,
}

impl Broker {
    fn start(arguments: &[&str]) -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().unwrap()), arguments)
    }

    /// Starts a broker on the data that another one left when it was killed.
    fn start_after(killed: Broker) -> Self {
        let dir = killed.dir.clone();
        drop(killed);
        Self::start_in(dir, &[])
    }

    fn start_in(dir: Arc<tempfile::TempDir>, arguments: &[&str]) -> Self {
        let ports = ["--client-addr", "--peer-addr", "--admin-addr"].map(|flag| [flag, "127.0.0.1:0"]);
        let mut process = Command::new(env!("CARGO_BIN_EXE_cmq-broker"))
            .arg("--data-dir")
            .arg(dir.path().join("data"))
            .args(ports.as_flattened())
            .args(["--log-format", "json"])
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let serves = lines
            .by_ref()
            .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap())
            .find(|line| line["message"] == "cmq-broker serves")
            .expect("a line that names the ports");
        // Nobody reads on, and a full pipe would hold the broker up.
        std::thread::spawn(move || lines.for_each(drop));
        let port = |name: &str| serves[name].as_str().unwrap().parse().unwrap();
        Self { client: port("client"), admin: port("admin"), process, dir }
    }

    fn call(&self, form: &str) -> Value {
        serde_json::from_str(&exchange(self.client, "POST /v2/index.php", form)).unwrap()
    }

    fn page(&self) -> Page {
        Page::read(&exchange(self.admin, "GET /metrics", ""))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Both fail only when it has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn exchange(address: SocketAddr, what: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let head = format!("{what} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all((head + body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    body.to_owned()
}

/// A metrics page: type and labels of each family, and the value of each series.
struct Page {
    families: BTreeMap<String, (String, BTreeSet<String>)>,
    series: BTreeMap<String, f64>,
}

impl Page {
    fn read(text: &str) -> Self {
        let mut page = Self { families: BTreeMap::new(), series: BTreeMap::new() };
        let mut family = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                family = name.to_owned();
                let known = page.families.insert(family.clone(), (kind.to_owned(), BTreeSet::new()));
                assert!(known.is_none(), "{family} stands twice");
            } else if !line.starts_with('#') {
                let (series, value) = line.rsplit_once(' ').unwrap();
                page.series.insert(series.to_owned(), value.parse().unwrap());
                let labels = series.split_once('{').map_or("", |(_, labels)| labels.trim_end_matches('}'));
                let names = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
                let known = &mut page.families.get_mut(&family).unwrap().1;
                known.extend(names.filter(|name| name != "le"));
            }
        }
        page
    }

    fn value(&self, series: &str) -> f64 {
        *self.series.get(series).unwrap_or_else(|| panic!("no series {series}"))
    }
}

/// Names, types and labels in the tables of `docs/metrics.md`; those of the operator are not a broker's.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let text = fs::read_to_string(project("docs/metrics.md")).unwrap();
    let row = |line: &str| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
        if name.starts_with("cmq_operator_") {
            return None;
        }
        let kind = cells.next().filter(|kind| ["gauge", "counter", "histogram"].contains(kind))?;
        let labels = cells.next()?.split(',').map(str::trim).filter(|label| !label.is_empty());
        Some((name.to_owned(), (kind.to_owned(), labels.map(str::to_owned).collect())))
    };
    text.lines().filter_map(row).collect()
}

/// A broker that has served some calls of every outcome.
fn busy_broker() -> Broker {
    let broker = Broker::start(&[]);
    let ok = |form: &str| {
        let answer = broker.call(form);
        assert_eq!(answer["code"], 0, "{form}: {answer}");
        answer
    };
    ok("Action=CreateQueue&queueName=orders");
    ok("Action=CreateQueue&queueName=other");
    ok("Action=SendMessage&queueName=orders&msgBody=hello");
    ok("Action=SendMessage&queueName=orders&msgBody=hello&delaySeconds=60");
    let received = ok("Action=ReceiveMessage&queueName=orders");
    let handle = received["receiptHandle"].as_str().unwrap();
    ok(&format!("Action=DeleteMessage&queueName=orders&receiptHandle={handle}"));
    let empty = broker.call("Action=ReceiveMessage&queueName=orders&pollingWaitSeconds=0");
    assert_eq!(empty["code"], 7000, "{empty}");
    let waited = broker.call("Action=ReceiveMessage&queueName=other&pollingWaitSeconds=1");
    assert_eq!(waited["code"], 7000, "{waited}");
    broker
}

#[test]
fn every_metric_is_documented_and_every_documented_one_is_there() {
    let broker = busy_broker();
    let page = broker.page();
    let documented = documented();
    for (name, family) in &page.families {
        assert_eq!(documented.get(name), Some(family), "{name} in docs/metrics.md");
    }
    for name in documented.keys() {
        assert!(page.families.contains_key(name), "{name} is documented, and a running broker has none");
    }

    let value = |series| page.value(series);
    assert_eq!(value(r#"cmq_queue_messages{queue="orders",state="active"}"#), 0.0);
    assert_eq!(value(r#"cmq_queue_messages{queue="orders",state="delayed"}"#), 1.0);
    assert_eq!(value(r#"cmq_messages{state="delayed"}"#), 1.0);
    assert_eq!(value(r#"cmq_queue_sent_messages_total{queue="orders"}"#), 2.0);
    assert_eq!(value(r#"cmq_queue_sent_bytes_total{queue="orders"}"#), 10.0);
    assert_eq!(value(r#"cmq_queue_received_messages_total{queue="orders"}"#), 1.0);
    assert_eq!(value(r#"cmq_queue_received_bytes_total{queue="orders"}"#), 5.0);
    assert_eq!(value(r#"cmq_queue_deleted_messages_total{queue="orders"}"#), 1.0);
    assert_eq!(value(r#"cmq_queue_empty_receives_total{queue="orders"}"#), 1.0);
    assert_eq!(value(r#"cmq_queue_empty_receives_total{queue="other"}"#), 1.0);
    assert_eq!(value("cmq_empty_receives_total"), 2.0);
    assert_eq!(value(r#"cmq_shard_leader{shard="1"}"#), 1.0);
    assert_eq!((value("cmq_queues"), value("cmq_ready")), (2.0, 1.0));

    // Sums outlive the queue.
    assert_eq!(broker.call("Action=DeleteQueue&queueName=orders")["code"], 0);
    let page = broker.page();
    assert_eq!(page.value("cmq_sent_messages_total"), 2.0);
    assert_eq!(page.value("cmq_empty_receives_total"), 2.0);
    assert!(!page.series.contains_key(r#"cmq_queue_sent_messages_total{queue="orders"}"#));
}

#[test]
fn what_a_restart_applies_again_is_not_counted_again() {
    let broker = Broker::start(&[]);
    assert_eq!(broker.call("Action=CreateQueue&queueName=orders")["code"], 0);
    // Killed long before the next checkpoint.
    for _ in 0..3 {
        assert_eq!(broker.call("Action=SendMessage&queueName=orders&msgBody=x")["code"], 0);
    }
    let page = Broker::start_after(broker).page();
    assert_eq!(page.value(r#"cmq_queue_messages{queue="orders",state="active"}"#), 3.0);
    assert_eq!(page.value(r#"cmq_queue_sent_messages_total{queue="orders"}"#), 0.0);
    assert_eq!(page.value("cmq_sent_messages_total"), 0.0);
}

#[test]
fn queues_beyond_the_bound_are_in_the_sums_alone() {
    // More than one page of the survey, on two shards.
    const QUEUES: usize = 300;
    let broker = Broker::start(&["--metrics-queues", "2", "--shards", "2"]);
    for number in 0..QUEUES {
        assert_eq!(broker.call(&format!("Action=CreateQueue&queueName=q{number}"))["code"], 0);
    }
    for queue in ["q7", "q299", "q299", "q299", "q299", "q299"] {
        let sent = broker.call(&format!("Action=SendMessage&queueName={queue}&msgBody=x"));
        assert_eq!(sent["code"], 0);
    }
    let page = broker.page();
    assert_eq!((page.value("cmq_queues"), page.value("cmq_queues_shown")), (QUEUES as f64, 2.0));
    assert_eq!(page.value(r#"cmq_queue_messages{queue="q299",state="active"}"#), 5.0);
    assert_eq!(page.value(r#"cmq_queue_messages{queue="q7",state="active"}"#), 1.0);
    assert_eq!(page.value(r#"cmq_messages{state="active"}"#), 6.0);
    assert_eq!(page.value("cmq_sent_messages_total"), 6.0);
    let shown =
        page.series.keys().filter(|series| series.starts_with("cmq_queue_sent_messages_total")).count();
    assert_eq!(shown, 2);
}

/// Names of metrics in an expression.
fn names(expression: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = expression.split(|c| !is_name(c));
    words.filter(|word| word.starts_with("cmq_") || word.starts_with("process_")).map(str::to_owned).collect()
}

fn check_names(place: &str, expression: &str) {
    let documented = documented();
    let names = names(expression);
    assert!(!names.is_empty(), "{place} asks for nothing: {expression}");
    for name in names {
        let part = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
        let is_part =
            part.is_some_and(|name| documented.get(name).is_some_and(|(kind, _)| kind == "histogram"));
        let is_whole = documented.get(&name).is_some_and(|(kind, _)| kind != "histogram");
        assert!(is_part || is_whole, "{place} asks for {name}, which no broker has");
    }
}

fn fields<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields_of) => {
            for (key, value) in fields_of {
                if let (true, Some(text)) = (key == name, value.as_str()) {
                    found.push(text);
                }
                fields(value, name, found);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| fields(value, name, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_asks_for_what_exists() {
    let text = fs::read_to_string(project("charts/cmq/files/dashboards/broker.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut expressions = Vec::new();
    fields(&dashboard, "expr", &mut expressions);
    fields(&dashboard["templating"], "definition", &mut expressions);
    assert!(expressions.len() > 50, "{}", expressions.len());
    for expression in expressions {
        check_names("the dashboard", expression);
    }
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "ids of panels are unique");
    let untold =
        panels.iter().find(|panel| panel["type"] != "row" && panel["description"].as_str().is_none());
    assert_eq!(untold, None, "every panel says what it shows");
}

#[test]
fn alerts_ask_for_what_exists_and_have_runbooks() {
    let rules = fs::read_to_string(project("charts/cmq/files/rules/broker.yaml")).unwrap();
    let rules: Value = serde_saphyr::from_str(&rules).unwrap();
    let page = fs::read_to_string(project("docs/metrics.md")).unwrap();
    let tests = fs::read_to_string(project("charts/cmq/files/rules/broker_test.yaml")).unwrap();
    let alerts = rules["groups"][0]["rules"].as_array().unwrap();
    let mut runbooks: BTreeSet<&str> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    for alert in alerts {
        let text = |value: &'_ Value| value.as_str().unwrap_or_default().to_owned();
        let name = text(&alert["alert"]);
        check_names(&name, alert["expr"].as_str().unwrap());
        assert!(["critical", "warning"].contains(&&*text(&alert["labels"]["severity"])), "{name}");
        let notes = &alert["annotations"];
        assert!(!text(&notes["summary"]).is_empty() && !text(&notes["description"]).is_empty(), "{name}");
        assert_eq!(text(&notes["runbook_url"]), format!("docs/metrics.md#{}", name.to_lowercase()));
        assert!(runbooks.remove(&*name), "{name} has no runbook");
        assert!(tests.contains(&format!("alertname: {name}\n")), "{name} is never tested");
    }
    assert!(runbooks.is_empty(), "{runbooks:?} are no alerts");
}
