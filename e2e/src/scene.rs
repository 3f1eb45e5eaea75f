//! What an area works with: a namespace of its own, a queue with a pod of its own, and load on it.

use serde_json::{Value, json};

use crate::check;
use crate::command;
use crate::failure::{Failure, Result};
use crate::flags::Flags;
use crate::kubectl::{self, Kubectl};
use crate::load::Load;
use crate::release::Release;
use crate::wait;

/// Selects the namespaces of areas.
pub(crate) const AREAS: &str = "app.kubernetes.io/part-of=cmq-e2e";
/// The queue of a scene, and its Broker.
pub(crate) const QUEUE: &str = "orders";
/// Seconds from applying to Ready.
pub(crate) const READY_MAX_SECONDS: u64 = 30;
/// Seconds for which a received message is hidden.
const LEASE_SECONDS: u64 = 5;

/// A namespace for one area.
pub(crate) struct Scene<'a> {
    pub(crate) flags: &'a Flags,
    pub(crate) release: &'a Release<'a>,
    pub(crate) kubectl: Kubectl,
    skipped: std::cell::RefCell<Option<String>>,
}

impl<'a> Scene<'a> {
    pub(crate) fn open(flags: &'a Flags, release: &'a Release<'a>, area: &str) -> Result<Self> {
        let namespace = format!("cmq-e2e-{area}");
        command::output("kubectl", &["create", "namespace", &namespace])?;
        // Broker pods must meet the strictest level that Kubernetes knows.
        let level = "pod-security.kubernetes.io/enforce=restricted";
        command::output("kubectl", &["label", "namespace", &namespace, level, AREAS])?;
        Ok(Self { flags, release, kubectl: Kubectl::new(namespace), skipped: None.into() })
    }

    /// Deletes the namespace; a remark if the area did not run.
    pub(crate) fn close(self) -> Result<Option<String>> {
        command::output("kubectl", &["delete", "namespace", self.kubectl.namespace(), "--wait=false"])?;
        Ok(self.skipped.into_inner())
    }

    /// Notes that this cluster cannot do what the area tests.
    pub(crate) fn skip(&self, why: &str) -> Result<()> {
        *self.skipped.borrow_mut() = Some(why.into());
        Ok(())
    }

    /// Applies the queue of the scene with a Broker of its own, and waits until both are settled.
    pub(crate) fn queue_with(&self, broker: Value) -> Result<()> {
        let mut broker = broker;
        if broker.pointer("/storage/size").is_none() {
            broker["storage"]["size"] = json!("1Gi");
        }
        let manifest = json!({
            "apiVersion": "cmq.dev/v1alpha1",
            "kind": "Queue",
            "metadata": { "name": QUEUE },
            "spec": { "broker": broker, "visibilityTimeoutSeconds": LEASE_SECONDS, "deletionPolicy": "Delete" },
        });
        self.kubectl.apply(&manifest.to_string())?;
        let (took, _) = self.settle("queue", QUEUE, READY_MAX_SECONDS)?;
        check::fact(format!("Ready {:.1} s after it was applied", took.as_secs_f64()));
        Ok(())
    }

    /// The same with load on it.
    pub(crate) fn queue_under_load(&self, broker: Value) -> Result<Load> {
        self.queue_with(broker)?;
        self.load(&[])
    }

    /// Load on the queue of the scene.
    pub(crate) fn load(&self, more: &[&str]) -> Result<Load> {
        let queue = self.kubectl.get("queue", QUEUE)?;
        let address = kubectl::text(&queue, "/status/address");
        check::that(!address.is_empty(), format!("no address in the status: {}", queue["status"]))?;
        let lease = LEASE_SECONDS.to_string();
        Load::start(self.flags, address, QUEUE, &[&["--lease", &lease], more].concat())
    }

    /// Waits until the object is Ready for its newest generation with nothing under way.
    pub(crate) fn settle(
        &self,
        kind: &str,
        name: &str,
        seconds: u64,
    ) -> Result<(std::time::Duration, Value)> {
        let look = || self.kubectl.get(kind, name).map(Status);
        wait::until(&format!("{kind} {name} is settled"), seconds, look, |seen| kubectl::settled(&seen.0))
            .map(|(took, seen)| (took, seen.0))
    }

    /// Waits until a condition of the object has this reason.
    pub(crate) fn wait_for_reason(
        &self,
        kind: &str,
        name: &str,
        reason: &str,
        seconds: u64,
    ) -> Result<Value> {
        let look = || self.kubectl.get(kind, name).map(Status);
        let has = |seen: &Status| conditions(&seen.0).any(|condition| condition["reason"] == reason);
        wait::until(&format!("{kind} {name} says {reason}"), seconds, look, has).map(|(_, seen)| seen.0)
    }

    /// The pod of the scene's Broker.
    pub(crate) fn pod(&self) -> Result<Value> {
        self.kubectl.get("pod", &format!("{QUEUE}-cmq-0"))
    }

    pub(crate) fn pod_uid(&self) -> Result<String> {
        Ok(kubectl::text(&self.pod()?, "/metadata/uid").into())
    }

    /// Waits for a Ready pod other than the one with this UID.
    pub(crate) fn wait_for_another_pod(&self, than: &str, seconds: u64) -> Result<Value> {
        let look = || self.pod().map(Status);
        let good = |seen: &Status| kubectl::text(&seen.0, "/metadata/uid") != than && is_ready(&seen.0);
        wait::until("a new pod is Ready", seconds, look, good).map(|(_, seen)| seen.0)
    }

    /// A node that may be crashed, partitioned and drained.
    pub(crate) fn spare_node(&self) -> Result<String> {
        let nodes = self.kubectl.json(&["get", "node"])?;
        let mut names =
            nodes["items"].as_array().into_iter().flatten().map(|node| kubectl::text(node, "/metadata/name"));
        names
            .rfind(|name| *name != self.flags.client_node)
            .map(String::from)
            .ok_or_else(|| Failure::new("no node beside the one of the client"))
    }
}

/// An object of which only the status is worth showing.
pub(crate) struct Status(pub(crate) Value);

impl std::fmt::Debug for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for condition in conditions(&self.0) {
            let of = |part| condition[part].as_str().unwrap_or_default();
            write!(f, "{}={} {} ({}); ", of("type"), of("status"), of("reason"), of("message"))?;
        }
        write!(
            f,
            "generation {} observed {}",
            self.0["metadata"]["generation"], self.0["status"]["observedGeneration"]
        )
    }
}

fn conditions(object: &Value) -> impl Iterator<Item = &Value> {
    object.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten()
}

pub(crate) fn is_ready(pod: &Value) -> bool {
    kubectl::condition(pod, "Ready").is_some_and(|condition| condition["status"] == "True")
}
