//! The operator dead, killed, doubled and upgraded.

use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::check;
use crate::failure::Result;
use crate::release::PODS;
use crate::scene::{QUEUE, READY_MAX_SECONDS, Scene};
use crate::wait;

/// Seconds after which another pod leads: the duration of the Lease, a retry, and its start.
const SUCCESSION_MAX_SECONDS: u64 = 45;

pub(super) fn dead(scene: &Scene<'_>) -> Result<()> {
    let load = scene.queue_under_load(json!({}))?;
    scene.release.scale(0)?;
    wait::seconds(10);
    scene.kubectl.patch("queue", QUEUE, &retention(90_000))?;
    scene.release.scale(1)?;
    scene.settle("queue", QUEUE, SUCCESSION_MAX_SECONDS)?;
    load.finish("no operator for a while")?.expect_no_failed_call()
}

pub(super) fn killed(scene: &Scene<'_>) -> Result<()> {
    let load = scene.queue_under_load(json!({}))?;
    let mut random = Random(scene.flags.seed);
    check::fact(format!("seed {}", scene.flags.seed));
    for round in 0..8 {
        // What is under way when the operator dies: a change of a queue, a roll, a second queue, one that goes.
        match round % 4 {
            0 => scene.kubectl.patch("queue", QUEUE, &retention(90_000 + round))?,
            1 => scene.kubectl.annotate("broker", QUEUE, &format!("cmq.dev/restart-at={round}"))?,
            2 => scene.kubectl.apply(&second_queue().to_string())?,
            _ => scene.kubectl.run(&["delete", "queue", "second", "--wait=false"]).map(drop)?,
        }
        sleep(Duration::from_millis(random.below(3_000)));
        scene.release.kill()?;
        sleep(Duration::from_millis(random.below(3_000)));
    }
    scene.release.wait_for_pods(1)?;
    scene.settle("queue", QUEUE, 2 * SUCCESSION_MAX_SECONDS)?;
    scene.settle("broker", QUEUE, SUCCESSION_MAX_SECONDS)?;
    let look = || scene.kubectl.find("queue", "second");
    wait::until("the second queue is gone", SUCCESSION_MAX_SECONDS, look, Option::is_none)?;
    load.finish("operator killed eight times")?.expect_gap_within_bound()
}

pub(super) fn two(scene: &Scene<'_>) -> Result<()> {
    scene.release.upgrade(&["replicas=2"])?;
    scene.release.wait_for_pods(2)?;
    let load = scene.queue_under_load(json!({}))?;
    let leader = scene.release.leader()?;
    scene.release.kubectl.run(&["delete", "pod", &leader, "--grace-period=0", "--force", "--wait=false"])?;
    let (took, next) = successor(scene, &leader)?;
    check::fact(format!("{next} leads {took:.1} s after {leader} was killed"));
    scene.kubectl.patch("queue", QUEUE, &retention(90_000))?;
    scene.settle("queue", QUEUE, READY_MAX_SECONDS)?;
    // One that ends in peace hands over at once.
    scene.release.kubectl.run(&["delete", "pod", &next, "--wait=false"])?;
    let (took, _) = successor(scene, &next)?;
    check::fact(format!("handed over after {took:.1} s"));
    load.finish("leader killed")?.expect_no_failed_call()?;
    scene.release.upgrade(&["replicas=1"])
}

/// Seconds until another pod than this leads, and its name.
fn successor(scene: &Scene<'_>, of: &str) -> Result<(f64, String)> {
    let good = |seen: &String| !seen.is_empty() && seen != of;
    let (took, next) =
        wait::until("another leader", SUCCESSION_MAX_SECONDS, || scene.release.leader(), good)?;
    Ok((took.as_secs_f64(), next))
}

pub(super) fn upgraded(scene: &Scene<'_>) -> Result<()> {
    let load = scene.queue_under_load(json!({}))?;
    let uid = scene.pod_uid()?;
    let images = || -> Result<Vec<String>> {
        let pods = scene.release.kubectl.list("pod", PODS)?;
        Ok(pods
            .iter()
            .map(|pod| pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default().into())
            .collect())
    };
    let before = images()?;
    scene.release.upgrade(&[&format!("operator.image.tag={}", scene.flags.next_tag)])?;
    wait::until("only pods of the new image", 60, images, |seen| seen.len() == 1 && *seen != before)?;
    scene.kubectl.patch("queue", QUEUE, &retention(90_000))?;
    scene.settle("queue", QUEUE, SUCCESSION_MAX_SECONDS)?;
    scene.release.rollback()?;
    wait::until("only pods of the old image", 60, images, |seen| *seen == before)?;
    scene.kubectl.patch("queue", QUEUE, &retention(90_001))?;
    scene.settle("queue", QUEUE, SUCCESSION_MAX_SECONDS)?;
    load.finish("helm upgrade and rollback")?.expect_no_failed_call()?;
    check::same("the pod", &uid, &scene.pod_uid()?)
}

fn retention(seconds: u64) -> Value {
    json!({ "spec": { "retentionSeconds": seconds } })
}

fn second_queue() -> Value {
    json!({
        "apiVersion": "cmq.dev/v1alpha1",
        "kind": "Queue",
        "metadata": { "name": "second" },
        "spec": { "brokerRef": { "name": QUEUE }, "deletionPolicy": "Delete" },
    })
}

/// Random enough for moments (xorshift), and the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.max(1);
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
