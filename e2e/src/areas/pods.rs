//! Pods that go away.

use serde_json::json;

use crate::check;
use crate::failure::Result;
use crate::kubectl;
use crate::scene::{QUEUE, Scene};

pub(super) fn killed(scene: &Scene<'_>) -> Result<()> {
    scene.queue_with(json!({}))?;
    let claim = claim_uid(scene)?;
    for (scenario, force) in [("pod killed", true), ("pod deleted", false)] {
        let load = scene.load(&[])?;
        let uid = scene.pod_uid()?;
        let pod = format!("{QUEUE}-cmq-0");
        let mut delete = vec!["delete", "pod", pod.as_str(), "--wait=false"];
        if force {
            delete.extend(["--force", "--grace-period=0"]);
        }
        scene.kubectl.run(&delete)?;
        scene.wait_for_another_pod(&uid, 60)?;
        load.wait_until_sending()?;
        load.finish(scenario)?.expect_gap_within_bound()?;
    }
    check::same("the claim", &claim, &claim_uid(scene)?)
}

fn claim_uid(scene: &Scene<'_>) -> Result<String> {
    let claim = scene.kubectl.get("pvc", &format!("data-{QUEUE}-cmq-0"))?;
    Ok(kubectl::text(&claim, "/metadata/uid").into())
}
