//! Volumes that grow, that cannot, and that are full.

use serde_json::{Value, json};

use crate::check;
use crate::failure::Result;
use crate::kubectl;
use crate::scene::{QUEUE, Scene};
use crate::wait;

const NEEDS_A_CLASS: &str = "needs a storage class whose volumes grow (--growing-class)";

pub(super) fn grown(scene: &Scene<'_>) -> Result<()> {
    let Some(class) = &scene.flags.growing_class else { return scene.skip(NEEDS_A_CLASS) };
    let load = scene.queue_under_load(json!({ "storage": { "storageClassName": class } }))?;
    let uid = scene.pod_uid()?;
    scene.kubectl.patch("queue", QUEUE, &size("2Gi"))?;
    let (took, _) = wait::until("the volume has 2Gi", 90, || capacity(scene), |seen| seen == "2Gi")?;
    check::fact(format!("2Gi after {:.1} s", took.as_secs_f64()));
    scene.settle("broker", QUEUE, 60)?;
    load.finish("volume grown")?.expect_no_failed_call()?;
    check::same("the pod", &uid, &scene.pod_uid()?)?;
    let set = scene.kubectl.get("statefulset", &format!("{QUEUE}-cmq"))?;
    let template = kubectl::text(&set, "/spec/volumeClaimTemplates/0/spec/resources/requests/storage");
    check::same("size in the StatefulSet", &"2Gi", &template)?;
    refused(scene)
}

/// A class that cannot grow: shown, and well again when the size is taken back.
fn refused(scene: &Scene<'_>) -> Result<()> {
    let Some(class) = &scene.flags.fixed_class else { return Ok(()) };
    let broker = |size: &str| {
        json!({
            "apiVersion": "cmq.dev/v1alpha1",
            "kind": "Broker",
            "metadata": { "name": "fixed" },
            "spec": { "storage": { "size": size, "storageClassName": class } },
        })
    };
    scene.kubectl.apply(&broker("1Gi").to_string())?;
    scene.settle("broker", "fixed", 60)?;
    scene.kubectl.apply(&broker("2Gi").to_string())?;
    let seen = scene.wait_for_reason("broker", "fixed", "ResizeRefused", 30)?;
    check::that(
        kubectl::condition(&seen, "Ready").is_some_and(|ready| ready["status"] == "True"),
        "no longer Ready",
    )?;
    scene.kubectl.apply(&broker("1Gi").to_string())?;
    scene.settle("broker", "fixed", 60).map(drop)
}

pub(super) fn full(scene: &Scene<'_>) -> Result<()> {
    let Some(class) = &scene.flags.growing_class else { return scene.skip(NEEDS_A_CLASS) };
    scene.queue_with(json!({ "storage": { "storageClassName": class } }))?;
    let uid = scene.pod_uid()?;
    let load = scene.load(&["--hold", "--bytes", "500000", "--rate", "60", "--drain", "240"])?;
    let report = load.wait_for("sends are refused", 240, |report| report.refused > 0)?;
    check::fact(format!("full after {} messages of 500,000 bytes", report.sent));
    scene.kubectl.patch("queue", QUEUE, &size("2Gi"))?;
    wait::until("the volume has 2Gi", 90, || capacity(scene), |seen| seen == "2Gi")?;
    load.wait_until_sending()?;
    load.finish("volume full, then grown")?;
    scene.settle("broker", QUEUE, 60)?;
    check::same("the pod", &uid, &scene.pod_uid()?)
}

fn size(size: &str) -> Value {
    json!({ "spec": { "broker": { "storage": { "size": size } } } })
}

fn capacity(scene: &Scene<'_>) -> Result<String> {
    let claim = scene.kubectl.get("pvc", &format!("data-{QUEUE}-cmq-0"))?;
    Ok(kubectl::text(&claim, "/status/capacity/storage").into())
}
