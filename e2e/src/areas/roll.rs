//! Pods that are replaced by the operator.

use serde_json::json;

use crate::check;
use crate::failure::Result;
use crate::kubectl;
use crate::scene::{QUEUE, Scene};

pub(super) fn run(scene: &Scene<'_>) -> Result<()> {
    scene.queue_with(json!({}))?;

    let load = scene.load(&[])?;
    let uid = scene.pod_uid()?;
    scene.kubectl.annotate("broker", QUEUE, "cmq.dev/restart-at=now")?;
    scene.wait_for_another_pod(&uid, 90)?;
    load.wait_until_sending()?;
    load.finish("restart on order")?.expect_gap_within_bound()?;
    scene.settle("broker", QUEUE, 60)?;

    let load = scene.load(&[])?;
    let uid = scene.pod_uid()?;
    let image = format!("cmq-broker:{}", scene.flags.next_tag);
    let broker = json!({ "image": image, "resources": { "requests": { "cpu": "20m" } } });
    scene.kubectl.patch("queue", QUEUE, &json!({ "spec": { "broker": broker } }))?;
    let pod = scene.wait_for_another_pod(&uid, 90)?;
    check::same("image", &image.as_str(), &kubectl::text(&pod, "/spec/containers/0/image"))?;
    load.wait_until_sending()?;
    load.finish("another image and other resources")?.expect_gap_within_bound()?;
    scene.settle("queue", QUEUE, 60).map(drop)
}

/// With one replica the bad pod takes the place of the good one, so there is a gap until the operator takes the image back.
pub(super) fn bad_image(scene: &Scene<'_>) -> Result<()> {
    let load = scene.queue_under_load(json!({}))?;
    let good = kubectl::text(&scene.pod()?, "/spec/containers/0/image").to_owned();
    let image = |name: &str| json!({ "spec": { "broker": { "image": name } } });

    scene.kubectl.patch("queue", QUEUE, &image("cmq-broker:no-such-tag"))?;
    scene.wait_for_reason("broker", QUEUE, "RolloutStuck", 120)?;
    load.wait_until_sending()?;
    check::same("image", &good.as_str(), &kubectl::text(&scene.pod()?, "/spec/containers/0/image"))?;
    load.finish("bad image")?;
    // It stays so until the user says something else.
    scene.wait_for_reason("broker", QUEUE, "RolloutStuck", 5)?;

    let load = scene.load(&[])?;
    let uid = scene.pod_uid()?;
    scene.kubectl.patch("queue", QUEUE, &image(&format!("cmq-broker:{}", scene.flags.next_tag)))?;
    scene.wait_for_another_pod(&uid, 90)?;
    load.wait_until_sending()?;
    load.finish("a good image after it")?.expect_gap_within_bound()?;
    scene.settle("broker", QUEUE, 60).map(drop)
}
