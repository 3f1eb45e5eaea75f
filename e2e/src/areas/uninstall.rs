//! The end of a release.

use serde_json::json;

use crate::check;
use crate::command;
use crate::failure::Result;
use crate::inventory::Inventory;
use crate::kubectl::{self, Kubectl};
use crate::release::Release;
use crate::scene::AREAS;
use crate::wait;

/// What stays on purpose, and what the API server makes of it.
const DEFINITIONS: [&str; 3] = [
    "CustomResourceDefinition /brokers.cmq.dev",
    "CustomResourceDefinition /queues.cmq.dev",
    "APIService /v1alpha1.cmq.dev",
];

/// Refused while there is a Broker; then everything goes but the definitions, which this removes in the end.
pub(crate) fn run(release: &Release<'_>, before: &Inventory) -> Result<()> {
    let namespace = "cmq-e2e-last";
    command::output("kubectl", &["create", "namespace", namespace])?;
    let last = Kubectl::new(namespace);
    let broker = json!({
        "apiVersion": "cmq.dev/v1alpha1",
        "kind": "Broker",
        "metadata": { "name": "last" },
        "spec": { "storage": { "size": "1Gi" } },
    });
    last.apply(&broker.to_string())?;
    wait::until("the Broker is Ready", 60, || last.get("broker", "last"), kubectl::settled)?;

    let areas = || command::output("kubectl", &["get", "namespaces", "--selector", AREAS, "--output=name"]);
    wait::until("the namespaces of the areas are gone", 120, areas, String::is_empty)?;
    check::that(release.uninstall().is_err(), "helm uninstall succeeded while there was a Broker")?;
    let log = release.kubectl.run(&["logs", "job/cmq-operator-uninstall"])?;
    check::that(log.contains("cmq-e2e-last/last"), format!("the refusal does not name the Broker: {log}"))?;
    release.wait_for_pods(1)?;

    last.run(&["delete", "broker", "last", "--timeout=60s"])?;
    let claims = last.run(&["get", "pvc", "--output=name"])?;
    check::same("claims that are kept", &"persistentvolumeclaim/data-last-cmq-0", &claims.trim())?;
    command::output("kubectl", &["delete", "namespace", namespace, "--timeout=90s"])?;
    release.uninstall()?;
    command::output("kubectl", &["delete", "namespace", release.kubectl.namespace(), "--timeout=90s"])?;

    let left = || Ok(Inventory::take()?.beyond(before));
    let good = |left: &Vec<String>| left.iter().all(|object| DEFINITIONS.contains(&object.as_str()));
    let (_, left) = wait::until("nothing is left but the definitions", 120, left, good)?;
    check::fact(format!("left: {}", left.join(", ")));
    let missing = before.missing_from(&Inventory::take()?);
    check::that(missing.is_empty(), format!("gone that was there before: {missing:?}"))?;
    let definitions =
        ["delete", "crd", "brokers.cmq.dev", "queues.cmq.dev", "--ignore-not-found", "--timeout=60s"];
    command::output("kubectl", &definitions).map(drop)
}
