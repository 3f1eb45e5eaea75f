//! Attributes of a declared queue.

use serde_json::json;

use crate::check;
use crate::failure::Result;
use crate::scene::{QUEUE, READY_MAX_SECONDS, Scene};
use crate::wire;

pub(super) fn run(scene: &Scene<'_>) -> Result<()> {
    let load = scene.queue_under_load(json!({}))?;
    let uid = scene.pod_uid()?;
    for seconds in [9, 7, 5] {
        let spec = json!({ "visibilityTimeoutSeconds": seconds, "retentionSeconds": 86_400 + seconds });
        scene.kubectl.patch("queue", QUEUE, &json!({ "spec": spec }))?;
        let (took, _) = scene.settle("queue", QUEUE, READY_MAX_SECONDS)?;
        check::fact(format!("in sync {:.1} s after the change", took.as_secs_f64()));
        let attributes = wire::attributes(&scene.kubectl, QUEUE, QUEUE)?.unwrap_or_default();
        check::same("visibilityTimeout", &json!(seconds), &attributes["visibilityTimeout"])?;
        check::same("msgRetentionSeconds", &json!(86_400 + seconds), &attributes["msgRetentionSeconds"])?;
    }
    // A client may not change what an object declares.
    let change = [("queueName", QUEUE), ("visibilityTimeout", "60")];
    let answer = wire::call(&scene.kubectl, QUEUE, "SetQueueAttributes", &change)?;
    check::same("code of SetQueueAttributes", &json!(4000), &answer["code"])?;
    load.finish("attributes changed")?.expect_no_failed_call()?;
    check::same("the pod", &uid, &scene.pod_uid()?)
}
