//! What is shown on a real cluster, area by area, each in a namespace of its own.

use crate::failure::Result;
use crate::scene::Scene;

mod attributes;
mod certificates;
mod deletion;
mod nodes;
mod operator;
mod pods;
mod roll;
mod smoke;
pub(crate) mod uninstall;
mod volumes;

/// One area.
pub(crate) struct Area {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// Whether it is among those that every change must pass.
    pub(crate) core: bool,
    pub(crate) run: fn(&Scene<'_>) -> Result<()>,
}

/// All areas, in the order in which they run.
pub(crate) const AREAS: &[Area] = &[
    area("smoke", "the quickstart file: Ready, send and receive, `kubectl get cmq`", true, smoke::run),
    area(
        "attributes",
        "attributes of a queue change under load: no new pod, no failed call",
        true,
        attributes::run,
    ),
    area("pod-killed", "a pod is killed, and another one is deleted, under load", true, pods::killed),
    area("roll", "a restart on order, and other resources, under load", true, roll::run),
    area(
        "bad-image",
        "an image that does not exist stops at the first pod and goes back",
        true,
        roll::bad_image,
    ),
    area(
        "certificates",
        "the authority of a Broker is rotated under load: no failed call",
        true,
        certificates::rotated,
    ),
    area("client-tls", "clients over TLS, and their certificate replaced", false, certificates::client),
    area("volume-grown", "a volume grows under load; one that cannot says so", true, volumes::grown),
    area(
        "volume-full",
        "a full volume takes no sends, hands out what it has, and grows",
        false,
        volumes::full,
    ),
    area("operator-dead", "no operator: no failed call", true, operator::dead),
    area(
        "operator-killed",
        "the operator is killed at random moments while things change",
        false,
        operator::killed,
    ),
    area("two-operators", "two pods of the operator, and the leader is killed", false, operator::two),
    area("upgrade", "helm upgrade and rollback of the operator restart no broker", true, operator::upgraded),
    area("drain", "the node of a pod is drained under load, three times", false, nodes::drained),
    area("node-crashed", "the node of a pod crashes and comes back", false, nodes::crashed),
    area(
        "node-partitioned",
        "the node of a pod is off the network and comes back",
        false,
        nodes::partitioned,
    ),
    area("deletion", "each deletion policy of queues and of volumes", true, deletion::policies),
    area("namespace", "a namespace with a full queue is deleted", true, deletion::namespace),
];

const fn area(name: &'static str, what: &'static str, core: bool, run: fn(&Scene<'_>) -> Result<()>) -> Area {
    Area { name, what, core, run }
}
