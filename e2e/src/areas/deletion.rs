//! What becomes of queues, messages and volumes when objects are deleted.

use serde_json::{Value, json};

use crate::check;
use crate::command;
use crate::failure::Result;
use crate::kubectl::{self, Kubectl};
use crate::scene::Scene;
use crate::wait;
use crate::wire;

/// Seconds for a deletion that nothing holds up.
const GONE_WITHIN_SECONDS: u64 = 60;

pub(super) fn policies(scene: &Scene<'_>) -> Result<()> {
    let kubectl = &scene.kubectl;
    kubectl.apply(&broker("Delete").to_string())?;
    scene.settle("broker", "shared", 60)?;
    for (name, policy) in [("kept", "Retain"), ("deleted", "Delete"), ("emptied", "DeleteIfEmpty")] {
        kubectl.apply(&queue(name, policy).to_string())?;
        scene.settle("queue", name, 30)?;
        check::same("code of a send", &json!(0), &wire::send(kubectl, "shared", name)?["code"])?;
    }

    // The Broker of queues that are in use is not deleted; pods that go by a deletion in the foreground come back.
    kubectl.run(&["delete", "broker", "shared", "--wait=false", "--cascade=foreground"])?;
    scene.wait_for_reason("broker", "shared", "InUse", 30)?;
    wait::seconds(5);
    let look = || wire::attributes(kubectl, "shared", "kept");
    wait::until("a Broker in use serves on", 60, look, Option::is_some)?;

    for name in ["kept", "deleted", "emptied"] {
        kubectl.run(&["delete", "queue", name, "--wait=false"])?;
    }
    gone(kubectl, "queue", "kept")?;
    gone(kubectl, "queue", "deleted")?;
    check::that(wire::attributes(kubectl, "shared", "kept")?.is_some(), "Retain deleted the queue")?;
    check::that(wire::attributes(kubectl, "shared", "deleted")?.is_none(), "Delete left the queue")?;
    scene.wait_for_reason("queue", "emptied", "NotEmpty", 30)?;
    check::that(
        wire::attributes(kubectl, "shared", "emptied")?.is_some(),
        "DeleteIfEmpty deleted a message",
    )?;
    check::same("code of the last delete", &json!(0), &wire::take(kubectl, "shared", "emptied")?["code"])?;
    kubectl.annotate("queue", "emptied", "cmq.dev/reconcile-at=now")?;
    gone(kubectl, "queue", "emptied")?;

    // Nothing holds the Broker any more; with `Delete` its volume goes too.
    gone(kubectl, "broker", "shared")?;
    gone(kubectl, "pvc", "data-shared-cmq-0")?;
    retained(scene)
}

/// A kept volume serves a later Broker of the name only on order.
fn retained(scene: &Scene<'_>) -> Result<()> {
    let kubectl = &scene.kubectl;
    kubectl.apply(&broker("Retain").to_string())?;
    kubectl.apply(&queue("kept", "Retain").to_string())?;
    scene.settle("queue", "kept", 60)?;
    check::same("code of a send", &json!(0), &wire::send(kubectl, "shared", "kept")?["code"])?;
    kubectl.run(&["delete", "queue", "kept"])?;
    kubectl.run(&["delete", "broker", "shared"])?;
    gone(kubectl, "statefulset", "shared-cmq")?;
    check::that(kubectl.find("pvc", "data-shared-cmq-0")?.is_some(), "Retain deleted the volume")?;

    kubectl.apply(&broker("Delete").to_string())?;
    scene.wait_for_reason("broker", "shared", "VolumesRetained", 30)?;
    kubectl.annotate("broker", "shared", "cmq.dev/adopt=true")?;
    scene.settle("broker", "shared", 60)?;
    check::same(
        "code of the kept message's delete",
        &json!(0),
        &wire::take(kubectl, "shared", "kept")?["code"],
    )
}

pub(super) fn namespace(scene: &Scene<'_>) -> Result<()> {
    let namespace = format!("{}-doomed", scene.kubectl.namespace());
    command::output("kubectl", &["create", "namespace", &namespace])?;
    let doomed = Kubectl::new(&namespace);
    doomed.apply(&broker("Retain").to_string())?;
    doomed.apply(&queue("orders", "DeleteIfEmpty").to_string())?;
    wait::until("the queue is Ready", 60, || doomed.get("queue", "orders"), kubectl::settled)?;
    check::same("code of a send", &json!(0), &wire::send(&doomed, "shared", "orders")?["code"])?;

    command::output("kubectl", &["delete", "namespace", &namespace, "--wait=false"])?;
    let look = || command::output("kubectl", &["get", "namespace", &namespace, "--ignore-not-found"]);
    let (took, _) = wait::until("the namespace is gone", 2 * GONE_WITHIN_SECONDS, look, String::is_empty)?;
    check::fact(format!(
        "gone after {:.0} s, with a Broker and a queue that is not empty",
        took.as_secs_f64()
    ));
    Ok(())
}

fn gone(kubectl: &Kubectl, kind: &str, name: &str) -> Result<()> {
    wait::until(
        &format!("{kind} {name} is gone"),
        GONE_WITHIN_SECONDS,
        || kubectl.find(kind, name),
        Option::is_none,
    )
    .map(drop)
}

fn broker(volumes: &str) -> Value {
    json!({
        "apiVersion": "cmq.dev/v1alpha1",
        "kind": "Broker",
        "metadata": { "name": "shared" },
        "spec": { "storage": { "size": "1Gi", "deletionPolicy": volumes } },
    })
}

fn queue(name: &str, policy: &str) -> Value {
    json!({
        "apiVersion": "cmq.dev/v1alpha1",
        "kind": "Queue",
        "metadata": { "name": name },
        "spec": { "brokerRef": { "name": "shared" }, "deletionPolicy": policy },
    })
}
