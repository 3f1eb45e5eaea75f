//! Certificates: those by which operator and pods know each other, and the one that clients see.

use serde_json::json;

use crate::check;
use crate::failure::Result;
use crate::kubectl;
use crate::scene::{QUEUE, READY_MAX_SECONDS, Scene};
use crate::wait;

/// Seconds for a rotation: Secrets reach a pod within about a minute, and three states follow each other.
const ROTATED_WITHIN_SECONDS: u64 = 300;

pub(super) fn rotated(scene: &Scene<'_>) -> Result<()> {
    let load = scene.queue_under_load(json!({}))?;
    let uid = scene.pod_uid()?;
    let (authority, leaf) = (secret(scene, "tls", "ca.crt")?, secret(scene, "tls", "tls.crt")?);

    scene.kubectl.annotate("broker", QUEUE, "cmq.dev/rotate-certificates=now")?;
    let look = || Ok((secret(scene, "tls", "ca.crt")?, secret(scene, "tls", "tls.crt")?));
    // For a while the bundle holds both authorities; in the end only the new one.
    let done = |seen: &(String, String)| {
        seen.0 != authority && seen.1 != leaf && seen.0.len() < authority.len() * 3 / 2
    };
    let (took, _) = wait::until("another authority and leaf", ROTATED_WITHIN_SECONDS, look, done)?;
    check::fact(format!("rotated after {:.0} s", took.as_secs_f64()));
    scene.settle("broker", QUEUE, 90)?;

    // The operator still gets through: what it declares arrives.
    scene.kubectl.patch("queue", QUEUE, &json!({ "spec": { "retentionSeconds": 86_400 } }))?;
    scene.settle("queue", QUEUE, READY_MAX_SECONDS)?;
    load.finish("certificates rotated")?.expect_no_failed_call()?;
    check::same("the pod", &uid, &scene.pod_uid()?)
}

pub(super) fn client(scene: &Scene<'_>) -> Result<()> {
    scene.queue_with(json!({ "tls": { "client": {} } }))?;
    let queue = scene.kubectl.get("queue", QUEUE)?;
    check::that(
        kubectl::text(&queue, "/status/address").starts_with("https://"),
        "the address is not https",
    )?;
    let uid = scene.pod_uid()?;

    let load = scene.load(&["--trust-base64", &secret(scene, "client-tls", "ca.crt")?])?;
    let leaf = secret(scene, "client-tls", "tls.crt")?;
    scene.kubectl.annotate("broker", QUEUE, "cmq.dev/rotate-certificates=now")?;
    let look = || secret(scene, "client-tls", "tls.crt");
    wait::until("another certificate for clients", ROTATED_WITHIN_SECONDS, look, |seen| *seen != leaf)?;
    scene.settle("broker", QUEUE, ROTATED_WITHIN_SECONDS)?;
    load.finish("connections over TLS")?.expect_no_failed_call()?;

    // Who connects after that trusts what the Secret now says.
    let load = scene.load(&["--trust-base64", &secret(scene, "client-tls", "ca.crt")?])?;
    load.finish("new connections over TLS")?.expect_no_failed_call()?;
    check::same("the pod", &uid, &scene.pod_uid()?)
}

/// A value of one of the Broker's Secrets, in base64.
fn secret(scene: &Scene<'_>, name: &str, key: &str) -> Result<String> {
    let secret = scene.kubectl.get("secret", &format!("{QUEUE}-cmq-{name}"))?;
    Ok(secret["data"][key].as_str().unwrap_or_default().into())
}
