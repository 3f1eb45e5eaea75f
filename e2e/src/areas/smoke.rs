//! The quickstart file, as it is.

use crate::check;
use crate::failure::Result;
use crate::kubectl;
use crate::load::Load;
use crate::scene::{READY_MAX_SECONDS, Scene};
use crate::wait;

pub(super) fn run(scene: &Scene<'_>) -> Result<()> {
    let file = scene.flags.quickstart.to_string_lossy().into_owned();
    scene.kubectl.run(&["apply", "--filename", &file])?;
    let (took, orders) = scene.settle("queue", "orders", READY_MAX_SECONDS)?;
    check::fact(format!("queue/orders Ready {:.1} s after it was applied", took.as_secs_f64()));
    scene.settle("queue", "orders-dead", READY_MAX_SECONDS)?;
    scene.settle("broker", "orders", READY_MAX_SECONDS)?;

    let address = kubectl::text(&orders, "/status/address").to_owned();
    check::same("address", &format!("http://orders-cmq.{}.svc:9324", scene.kubectl.namespace()), &address)?;
    let load = Load::start(scene.flags, &address, "orders", &["--lease", "30"])?;
    wait::seconds(3);
    load.finish("quickstart")?.expect_no_failed_call()?;

    // Applied again, nothing changes.
    let uid = scene.pod_uid()?;
    scene.kubectl.run(&["apply", "--filename", &file])?;
    scene.settle("queue", "orders", READY_MAX_SECONDS)?;
    check::same("the pod", &uid, &scene.pod_uid()?)?;

    let table = scene.kubectl.run(&["get", "cmq"])?;
    for line in table.lines() {
        check::fact(line);
    }
    check::that(
        table.contains("orders-dead") && table.contains(&address),
        "kubectl get cmq shows no queue or no address",
    )
}
