//! Manifests and a whole broker in one process: what is declared, changed and taken away again.

use bytes::Bytes;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::*;
use crate::metrics::Metrics;
use crate::service::Rules;
use crate::service::types::Outgoing;
use crate::testing::{SOON, TestNode};

const SHARDS: u16 = 2;

/// A broker's data and its manifests; what runs on them comes and goes.
struct Place {
    dir: TempDir,
}

struct Running {
    service: Service,
    metrics: ManifestMetrics,
    node: TestNode,
    stop: watch::Sender<bool>,
    following: JoinHandle<()>,
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: TempDir::new().unwrap() };
        std::fs::create_dir(place.manifests()).unwrap();
        place
    }

    fn manifests(&self) -> PathBuf {
        self.dir.path().join("manifests")
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.manifests().join(name), text).unwrap();
    }

    /// Starts a broker; None: the manifests were refused, with these words.
    async fn try_start(&self) -> Result<Running, String> {
        let loaded = Loaded::read(&self.manifests()).map_err(|error| error.to_string())?;
        let data = self.dir.path().join("data");
        let node = TestNode::start_in(&data, SHARDS, Rules::default()).await;
        let service = node.service.clone();
        let metrics = Metrics::new().manifests;
        let (stop, stopped) = watch::channel(false);
        match loaded.start(&service, metrics.clone()).await {
            Ok(declarer) => {
                let following = tokio::spawn(declarer.follow(service.clone(), stopped));
                Ok(Running { service, metrics, node, stop, following })
            }
            Err(error) => {
                node.end().await;
                Err(error.to_string())
            }
        }
    }

    async fn start(&self) -> Running {
        self.try_start().await.unwrap_or_else(|error| panic!("{error}"))
    }
}

impl Running {
    /// The queues, each with its owner and its dead-letter queue where it has them, and `!` where it is closed.
    fn queues(&self) -> Vec<String> {
        let entries = self.service.queues();
        let show = |entry: &std::sync::Arc<cmq_engine::catalogue::QueueEntry>| {
            let owner = entry.owner.as_ref().map_or(String::new(), |owner| format!(" by {}", owner.name));
            let target = entry.attributes.dead_letter.and_then(|policy| {
                entries
                    .iter()
                    .find(|target| target.id == policy.queue)
                    .map(|target| format!(" > {}", target.name))
            });
            let closed = if entry.attributes.closed { "!" } else { "" };
            format!("{}{closed}{}{owner}", entry.name, target.unwrap_or_default())
        };
        entries.iter().map(show).collect()
    }

    fn names(&self) -> Vec<String> {
        self.service.queues().iter().map(|entry| entry.name.to_string()).collect()
    }

    async fn until(&self, what: &str, is_true: impl Fn(&Self) -> bool) {
        let wait = async {
            while !is_true(self) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let ended = timeout(SOON, wait).await;
        ended.unwrap_or_else(|_| panic!("{what}: {:?}", self.queues()));
    }

    async fn send(&self, queue: &str) -> Result<(), ServiceError> {
        let bodies = vec![Bytes::from_static(b"body")];
        self.service.send(queue, Outgoing { bodies, delay: None }).await.map(drop)
    }

    async fn receive_and_delete(&self, queue: &str) {
        let message = self.service.receive(queue, 1, None).await.unwrap().remove(0);
        self.service.delete(queue, &[&message.receipt_handle]).await.unwrap().remove(0).unwrap();
    }

    async fn end(self) {
        self.stop.send_replace(true);
        timeout(SOON, self.following).await.unwrap().unwrap();
        self.node.end().await;
    }
}

fn queue(name: &str, spec: &str) -> String {
    let head = format!("apiVersion: cmq.dev/v1alpha1\nkind: Queue\nmetadata: {{name: {name}}}\n");
    format!("---\n{head}spec:\n  broker: {{}}\n{spec}")
}

fn source(name: &str, target: &str, spec: &str) -> String {
    queue(name, &format!("  deadLetter: {{queueRef: {{name: {target}}}, maxReceiveCount: 3}}\n{spec}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_the_files_are_followed() {
    let place = Place::new();
    place.write("a.yaml", &(source("a", "b", "") + &queue("b", "")));
    let broker = place.start().await;
    assert_eq!(broker.queues(), ["a > b by Queue default/a (manifests)", "b by Queue default/b (manifests)"]);
    broker.send("a").await.unwrap();

    // An attribute changes, a queue comes in another file; messages stay.
    place.write("a.yaml", &(source("a", "b", "  visibilityTimeoutSeconds: 7\n") + &queue("b", "")));
    place.write("c.yaml", &queue("c", ""));
    broker
        .until("the change", |it| {
            let first = it.service.queues()[0].attributes.visibility_timeout_seconds;
            it.names() == ["a", "b", "c"] && first == 7
        })
        .await;
    assert_eq!(broker.metrics.files.refusals(), 0);
    let described = broker.service.describe_queue("a").await.unwrap();
    assert_eq!((described.attributes.visibility_timeout_seconds, described.counts.active), (7, 1));

    // The relation is turned round.
    place.write("a.yaml", &(queue("a", "") + &source("b", "a", "")));
    broker.until("the turn", |it| it.queues()[1].starts_with("b > a")).await;
    assert!(broker.queues()[0].starts_with("a by"));

    // Bad files: reported once each, and nothing changes.
    let before = broker.queues();
    for (count, (name, bad)) in (1..).zip([
        ("c.yaml", queue("c", "  delaySecond: 1\n")),
        ("c.yaml", queue("c", "  delaySeconds: -1\n")),
        ("c.yaml", "not: [yaml".to_owned()),
        ("c.yaml", queue("a", "")),
        ("c.yaml", source("c", "nobody", "")),
        ("c.yaml", source("c", "b", "")),
        ("c.yaml", queue("c", "  queueName: c.fifo\n  fifo: {}\n")),
        ("c.yaml", queue("c", "  queueName: see\n")),
        ("c.yaml", queue("c", "  rewindSeconds: 345601\n")),
        ("c.yaml", queue("C", "")),
    ]) {
        place.write(name, &bad);
        broker.until(&bad, |it| it.metrics.files.refusals() == count).await;
        assert_eq!(broker.queues(), before, "{bad}");
    }
    place.write("c.yaml", &queue("c", "  delaySeconds: 1\n"));
    broker
        .until("the good file after them", |it| {
            it.service.queues()[2].attributes.delay_seconds == 1 && it.metrics.pending.get() == 0
        })
        .await;
    broker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_that_disappear_follow_their_policy() {
    let place = Place::new();
    let all = queue("deleted", "  deletionPolicy: Delete\n")
        + &queue("retained", "  deletionPolicy: Retain\n")
        + &queue("empty", "")
        + &source("full", "letters", "")
        + &queue("letters", "  deletionPolicy: Delete\n");
    place.write("a.yaml", &all);
    let broker = place.start().await;
    for queue in ["deleted", "retained", "full", "letters"] {
        broker.send(queue).await.unwrap();
    }
    broker.service.create_queue("by-call", Default::default(), None).await.unwrap();
    place.write("a.yaml", "# none\n");
    broker
        .until("the end of the empty one", |it| it.names() == ["by-call", "full", "letters", "retained"])
        .await;
    assert_eq!(broker.queues()[1], "full! > letters by Queue default/full (manifests)");
    assert_eq!(broker.queues()[3], "retained");
    // Closed: no more messages in, the ones that are there come out.
    assert_eq!(broker.send("full").await, Err(ServiceError::QueueClosed("full".into())));
    broker.send("retained").await.unwrap();
    broker.service.delete_queue("retained").await.unwrap();
    assert!(matches!(broker.service.delete_queue("full").await, Err(ServiceError::Declared(..))));
    // What is in flight is not gone.
    let held = broker.service.receive("full", 1, None).await.unwrap().remove(0);
    sleep(3 * follow::PERIOD).await;
    assert_eq!(broker.names(), ["by-call", "full", "letters"]);
    assert_eq!(broker.metrics.closing.get(), 1);
    broker.service.delete("full", &[&held.receipt_handle]).await.unwrap().remove(0).unwrap();
    // The dead-letter queue goes after its source, with what is in it: its policy says so.
    broker.until("the end of all that was declared", |it| it.names() == ["by-call"]).await;
    broker.end().await;
}

/// A queue that comes back into the files while it drains is open again.
#[tokio::test(flavor = "multi_thread")]
async fn a_closed_queue_can_be_declared_again() {
    let place = Place::new();
    place.write("a.yaml", &queue("a", ""));
    let broker = place.start().await;
    broker.send("a").await.unwrap();
    place.write("a.yaml", "");
    broker.until("closing", |it| it.queues() == ["a! by Queue default/a (manifests)"]).await;
    place.write("a.yaml", &queue("a", ""));
    broker.until("opening", |it| it.queues() == ["a by Queue default/a (manifests)"]).await;
    broker.send("a").await.unwrap();
    broker.receive_and_delete("a").await;
    broker.receive_and_delete("a").await;
    sleep(2 * follow::PERIOD).await;
    assert_eq!(broker.names(), ["a"]);
    broker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_changed_while_the_broker_was_down() {
    let place = Place::new();
    let all = queue("deleted", "  deletionPolicy: Delete\n")
        + &queue("retained", "  deletionPolicy: Retain\n")
        + &queue("empty", "")
        + &queue("full", "")
        + &queue("stays", "");
    place.write("a.yaml", &all);
    let broker = place.start().await;
    broker.send("full").await.unwrap();
    broker.end().await;

    place.write("a.yaml", &queue("stays", "  delaySeconds: 3\n"));
    let broker = place.start().await;
    broker.until("the end of the empty one", |it| it.names() == ["full", "retained", "stays"]).await;
    assert_eq!(broker.queues()[0], "full! by Queue default/full (manifests)");
    assert_eq!(broker.service.queues()[2].attributes.delay_seconds, 3);
    broker.end().await;

    // Closed is closed after a restart too, and a directory without files takes nothing away.
    std::fs::remove_file(place.manifests().join("a.yaml")).unwrap();
    let refused = place.try_start().await.err().expect("an empty directory is refused");
    assert!(refused.contains("holds no *.yaml"), "{refused}");
    place.write("a.yaml", &queue("stays", "  delaySeconds: 3\n"));
    let broker = place.start().await;
    assert_eq!(broker.send("full").await, Err(ServiceError::QueueClosed("full".into())));
    broker.receive_and_delete("full").await;
    broker.until("the end of the drained one", |it| it.names() == ["retained", "stays"]).await;
    std::fs::remove_file(place.manifests().join("a.yaml")).unwrap();
    broker.until("the report of the empty directory", |it| it.metrics.files.refusals() == 1).await;
    assert_eq!(broker.names(), ["retained", "stays"]);
    broker.end().await;
}

/// What a cluster would not let change stops the start, with its place and the cluster's words.
#[tokio::test(flavor = "multi_thread")]
async fn changes_that_a_cluster_refuses_are_refused() {
    let place = Place::new();
    let before = queue("a", "") + &queue("f", "  queueName: f.fifo\n  fifo: {}\n");
    place.write("a.yaml", &before);
    place.start().await.end().await;
    for (text, place_and_words) in [
        (
            queue("a", "  queueName: b\n"),
            "a.yaml:7: spec.queueName: queueName cannot be changed; allowed: \"a\", as before",
        ),
        (
            queue("f", "  queueName: g.fifo\n  fifo: {}\n"),
            "a.yaml:7: spec.queueName: queueName cannot be changed; allowed: \"f.fifo\"",
        ),
        (
            queue("f", "  queueName: f.fifo\n  fifo: {deduplicationScope: MessageGroup}\n"),
            "a.yaml:8: spec.fifo: whether a queue is FIFO, and its deduplicationScope, cannot be changed; allowed: fifo with \
             deduplicationScope Queue, as before",
        ),
        (queue("f", ""), "a.yaml:5: spec.fifo: whether a queue is FIFO"),
    ] {
        place.write("a.yaml", &text);
        let refused = place.try_start().await.err().unwrap_or_else(|| panic!("taken: {text}"));
        assert!(refused.contains(place_and_words), "{refused}");
    }
    place.write("a.yaml", &before);
    place.start().await.end().await;
}

/// Ten thousand queues: how long a start, and a change of all of them, takes. Printed; the bounds are generous, for they
/// must hold on any machine.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_queues_are_declared_in_one_go() {
    let place = Place::new();
    let all = |delay: u32| -> String {
        (0..10_000).map(|n| queue(&format!("q{n}"), &format!("  delaySeconds: {delay}\n"))).collect()
    };
    place.write("a.yaml", &all(1));
    let started = std::time::Instant::now();
    let broker = place.start().await;
    let start = started.elapsed();
    assert_eq!(broker.names().len(), 10_000);
    let changed = std::time::Instant::now();
    place.write("a.yaml", &all(2));
    broker
        .until("the change of all", |it| {
            it.service.queues().iter().all(|entry| entry.attributes.delay_seconds == 2)
        })
        .await;
    println!("10,000 queues: start {start:?}, change seen and applied {:?}", changed.elapsed());
    assert!(start < SOON && changed.elapsed() < SOON);
    broker.end().await;
}
