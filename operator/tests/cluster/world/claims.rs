//! Volumes: bound after a second, grown after three, gone with their claim once no pod uses it.

use serde_json::{Value, json};

use crate::api::admission::bytes;
use crate::api::kinds::named;
use crate::api::store::{Store, place};
use crate::broker::Brokers;

use super::{Timers, all, change, ends, uid};

pub(super) fn step(store: &mut Store, brokers: &mut Brokers, timers: &mut Timers) {
    for claim in all(store, "PersistentVolumeClaim") {
        let requested = &claim["spec"]["resources"]["requests"]["storage"];
        let capacity = &claim["status"]["capacity"]["storage"];
        if ends(&claim) {
            if !in_use(store, &claim) {
                change(store, &claim, false, |claim| claim["metadata"]["finalizers"] = json!([]));
            }
        } else if capacity.is_null() {
            if timers.over(format!("bind {}", uid(&claim)), 1) {
                let name = format!("pv-{}", uid(&claim));
                change(store, &claim, false, |claim| claim["spec"]["volumeName"] = json!(name));
                change(store, &claim, true, |claim| {
                    claim["status"] = json!({ "phase": "Bound", "capacity": { "storage": requested } });
                });
            }
        } else if bytes(requested) > bytes(capacity)
            && timers.over(format!("grow {} {requested}", uid(&claim)), 3)
        {
            change(store, &claim, true, |claim| claim["status"]["capacity"]["storage"] = requested.clone());
        }
    }
    let kept = all(store, "PersistentVolumeClaim").iter().map(|claim| uid(claim)).collect();
    brokers.keep_volumes(&kept);
}

/// Whether a pod that was put on a node mounts a claim; one that waits for a node does not hold it.
fn in_use(store: &Store, claim: &Value) -> bool {
    let (namespace, name) = place(claim);
    let mut pods = store.list(named("Pod"), Some(&namespace));
    pods.any(|pod| claim_of(pod) == Some(&name) && pod["status"]["phase"] == "Running")
}

/// The claim that a broker pod mounts.
pub(super) fn claim_of(pod: &Value) -> Option<&str> {
    let volumes = pod["spec"]["volumes"].as_array()?;
    volumes.iter().find_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str())
}
