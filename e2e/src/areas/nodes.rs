//! Nodes that are drained, crash, or are off the network.

use serde_json::{Value, json};

use crate::check;
use crate::command;
use crate::failure::Result;
use crate::kubectl;
use crate::scene::{QUEUE, Scene, is_ready};
use crate::wait;

/// Seconds until the cluster calls a lost node lost.
const NOT_READY_WITHIN_SECONDS: u64 = 90;

pub(super) fn drained(scene: &Scene<'_>) -> Result<()> {
    scene.queue_with(json!({}))?;
    for round in 1..=3 {
        let pod = scene.pod()?;
        let (node, uid) = (kubectl::text(&pod, "/spec/nodeName"), kubectl::text(&pod, "/metadata/uid"));
        let load = scene.load(&[])?;
        let drain = ["drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s"];
        let drained = command::output("kubectl", &drain).and_then(|_| placed(scene, uid));
        command::output("kubectl", &["uncordon", node])?;
        if !drained? {
            check::fact(format!("the volume is on {node}: its pod waits for the node"));
        }
        scene.wait_for_another_pod(uid, 90)?;
        load.wait_until_sending()?;
        load.finish(&format!("drain {round} of {node}"))?;
    }
    scene.release.wait_for_pods(1)?;
    scene.settle("queue", QUEUE, 60).map(drop)
}

/// Waits until there is another pod than the one with this UID, and whether it found a node: with a volume that is on the drained
/// node it must not.
fn placed(scene: &Scene<'_>, than: &str) -> Result<bool> {
    let look = || {
        let pod = scene.pod()?;
        let scheduled = kubectl::condition(&pod, "PodScheduled").map(|seen| seen["status"] == "True");
        Ok(scheduled.filter(|_| kubectl::text(&pod, "/metadata/uid") != than))
    };
    let (_, placed) = wait::until("another pod is scheduled, or cannot be", 90, look, Option::is_some)?;
    Ok(placed.unwrap_or(false))
}

pub(super) fn crashed(scene: &Scene<'_>) -> Result<()> {
    let (Some(stop), Some(start)) = (&scene.flags.node_stop, &scene.flags.node_start) else {
        return scene.skip("needs a way to crash a node (--node-stop, --node-start)");
    };
    lost_and_back(scene, "node crashed", stop, start)
}

pub(super) fn partitioned(scene: &Scene<'_>) -> Result<()> {
    let (Some(isolate), Some(rejoin)) = (&scene.flags.node_isolate, &scene.flags.node_rejoin) else {
        return scene.skip("needs a way to partition a node (--node-isolate, --node-rejoin)");
    };
    lost_and_back(scene, "node partitioned", isolate, rejoin)
}

/// A pod of one replica is away as long as its node is: nobody else may serve its volume. What counts is that nothing is lost,
/// that the status says so, and that all is well when the node is back.
fn lost_and_back(scene: &Scene<'_>, scenario: &str, lose: &str, bring_back: &str) -> Result<()> {
    let node = scene.spare_node()?;
    let load = scene
        .queue_under_load(json!({ "placement": { "nodeSelector": { "kubernetes.io/hostname": node } } }))?;
    command::shell(lose, "NODE", &node)?;
    let seen = wait::until(
        "the node is not Ready",
        NOT_READY_WITHIN_SECONDS,
        || is_node_ready(&node),
        |ready| !ready,
    )
    .and_then(|_| scene.wait_for_reason("broker", QUEUE, "MemberUnreachable", 30))
    .inspect(|broker| tell("Broker", broker))
    .and_then(|_| wait::until("the queue says so", 90, || scene.kubectl.get("queue", QUEUE), not_ready));
    // Whatever was seen, the node must come back.
    command::shell(bring_back, "NODE", &node)?;
    let (_, queue) = seen?;
    tell("Queue", &queue);
    wait::until("the node is Ready", 120, || is_node_ready(&node), |ready| *ready)?;
    wait::until("the pod is Ready", 120, || scene.pod(), is_ready)?;
    load.wait_until_sending()?;
    load.finish(scenario)?;
    scene.settle("queue", QUEUE, 60).map(drop)
}

/// What the status says of readiness.
fn tell(kind: &str, object: &Value) {
    if let Some(ready) = kubectl::condition(object, "Ready") {
        let [status, reason, message] =
            ["status", "reason", "message"].map(|part| kubectl::text(ready, &format!("/{part}")));
        check::fact(format!("meanwhile the {kind} says Ready={status} {reason}: {message}"));
    }
}

fn is_node_ready(node: &str) -> Result<bool> {
    let node: Value =
        serde_json::from_str(&command::output("kubectl", &["get", "node", node, "-o", "json"])?)?;
    Ok(is_ready(&node))
}

fn not_ready(queue: &Value) -> bool {
    kubectl::condition(queue, "Ready").is_some_and(|ready| ready["status"] != "True")
}
