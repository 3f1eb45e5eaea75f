//! The rest of a cluster: what the controllers of Kubernetes, a node and a storage driver do to the objects, at a toy's size
//! but by the real rules where an operator can trip over them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::time::Instant;

use crate::api::Server;
use crate::api::kinds::named;
use crate::api::store::{Store, place};
use crate::broker::Brokers;

mod claims;
mod garbage;
mod kubelet;
mod namespaces;
mod statefulset;

/// A cluster without an operator.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) server: Arc<Server>,
    brokers: Arc<Mutex<Brokers>>,
}

/// A cluster as it was, to go on from as often as needed.
#[derive(Clone)]
pub(crate) struct Snapshot {
    store: Store,
    brokers: Brokers,
}

impl World {
    /// The cluster of a snapshot; it lives as long as the runtime.
    pub(crate) fn start(snapshot: Snapshot, absent: &[&'static str]) -> Self {
        let server = Server::without(snapshot.store.resumed(), absent);
        let world = Self { server, brokers: Arc::new(Mutex::new(snapshot.brokers)) };
        tokio::spawn(world.clone().run());
        world
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot { store: self.server.read().snapshot(), brokers: self.brokers().clone() }
    }

    /// The processes in the pods, and their volumes.
    pub(crate) fn brokers(&self) -> MutexGuard<'_, Brokers> {
        self.brokers.lock().expect("no holder panics")
    }

    async fn run(self) {
        let mut changes = self.server.changes();
        let mut timers = Timers::default();
        let (mut seen, mut next) = (0, None);
        loop {
            let now = Instant::now();
            let revision = *changes.borrow_and_update();
            if seen == 0 || next.is_some_and(|next| next <= now) || self.server.read().stirred(seen) {
                next = self.settle(&mut timers).map(|wait| now + wait);
            }
            seen = revision;
            let due = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Lets every controller look until none changes anything; the time until one has something to do again.
    fn settle(&self, timers: &mut Timers) -> Option<Duration> {
        self.server.write(|store| {
            let mut brokers = self.brokers();
            loop {
                let before = store.revision();
                timers.begin(store.now());
                statefulset::step(store);
                claims::step(store, &mut brokers, timers);
                kubelet::step(store, &mut brokers, timers);
                namespaces::step(store);
                garbage::step(store);
                if store.revision() == before {
                    return timers.next();
                }
            }
        })
    }
}

impl Snapshot {
    /// An empty cluster: a namespace to work in, a storage class that grows and one that does not.
    pub(crate) fn empty() -> Self {
        let mut store = Store::new();
        store.create_namespace("shop");
        for (name, grows) in [("grows", true), ("fixed", false)] {
            let class = serde_json::json!({
                "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": name },
                "provisioner": "toy", "allowVolumeExpansion": grows,
            });
            crate::api::created(&mut store, class);
        }
        Self { store, brokers: Brokers::default() }
    }
}

/// When things that take their time are done: each begins when it is first waited for.
#[derive(Default)]
struct Timers {
    now: Timestamp,
    done: BTreeMap<String, Timestamp>,
    asked: Vec<String>,
}

impl Timers {
    fn begin(&mut self, now: Timestamp) {
        let asked = std::mem::take(&mut self.asked);
        self.done.retain(|what, _| asked.contains(what));
        self.now = now;
    }

    /// Whether `what`, which takes `seconds`, is over.
    fn over(&mut self, what: String, seconds: i64) -> bool {
        let end = *self.done.entry(what.clone()).or_insert(self.now + SignedDuration::from_secs(seconds));
        self.asked.push(what);
        end <= self.now
    }

    /// The time until the next end.
    fn next(&self) -> Option<Duration> {
        let next = self.done.values().filter(|end| **end > self.now).min()?;
        Some(Duration::try_from(next.duration_since(self.now)).expect("it is ahead"))
    }
}

/// The objects of a kind, to look at while they are changed.
fn all(store: &Store, kind: &str) -> Vec<Arc<Value>> {
    store.list(named(kind), None).cloned().collect()
}

/// Changes an object that is there, as a controller of the cluster.
fn change(store: &mut Store, object: &Value, status: bool, change: impl FnOnce(&mut Value)) {
    let (namespace, name) = place(object);
    let kind = named(object["kind"].as_str().unwrap_or_default());
    let result = store.change(kind, &namespace, &name, "kubernetes", status, |object| {
        change(object);
        Ok(())
    });
    result.expect("a controller of the cluster writes what is right");
}

fn ends(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}
