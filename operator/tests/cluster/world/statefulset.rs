//! The StatefulSet controller: pods and claims by ordinal, revisions, updates by partition.
//!
//! An update waits for every pod that is not ready, also one of the revision before (`MaxUnavailableStatefulSet`, on by
//! default from Kubernetes 1.35): a stuck pod stays until somebody deletes it.

use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::api::kinds::named;
use crate::api::store::{Deletion, Store, owners, place};

use super::{all, change, ends, uid};

pub(super) fn step(store: &mut Store) {
    for set in all(store, "StatefulSet").into_iter().filter(|set| !ends(set)) {
        Set::read(&set).reconcile(store);
    }
}

struct Set<'a> {
    object: &'a Value,
    namespace: String,
    name: String,
    replicas: i64,
    partition: i64,
}

impl<'a> Set<'a> {
    fn read(object: &'a Value) -> Self {
        let (namespace, name) = place(object);
        let spec = &object["spec"];
        let partition = spec["updateStrategy"]["rollingUpdate"]["partition"].as_i64().unwrap_or_default();
        Self { object, namespace, name, replicas: spec["replicas"].as_i64().unwrap_or(1), partition }
    }

    fn reconcile(&self, store: &mut Store) {
        self.adopt(store, "Pod");
        self.adopt(store, "ControllerRevision");
        let update = self.revision(store);
        let current = match self.object["status"]["currentRevision"].as_str() {
            Some(current) => current.to_owned(),
            // A set that was made anew counts what it finds as current.
            None => update.clone(),
        };
        for ordinal in 0..self.replicas {
            self.claims(store, ordinal);
            if self.pod(store, ordinal).is_none() {
                let revision = if ordinal >= self.partition { &update } else { &current };
                self.create(store, ordinal, revision);
            }
        }
        self.scale_down(store);
        self.roll(store, &update);
        self.status(store, current, update);
    }

    fn owner(&self) -> Value {
        json!([{
            "apiVersion": "apps/v1", "kind": "StatefulSet", "name": self.name, "uid": uid(self.object), "controller": true,
            "blockOwnerDeletion": true,
        }])
    }

    /// Takes over what fits the selector and has no owner, as after a set is deleted with its pods left.
    fn adopt(&self, store: &mut Store, kind: &str) {
        let labels = self.object["spec"]["selector"]["matchLabels"].as_object();
        let orphans: Vec<Arc<Value>> = store
            .list(named(kind), Some(&self.namespace))
            .filter(|object| owners(object).next().is_none() && !ends(object))
            .filter(|object| {
                labels.into_iter().flatten().all(|(key, value)| object["metadata"]["labels"][key] == *value)
            })
            .cloned()
            .collect();
        for orphan in orphans {
            change(store, &orphan, false, |orphan| orphan["metadata"]["ownerReferences"] = self.owner());
        }
    }

    /// The revision of the present template, recorded if it is new.
    fn revision(&self, store: &mut Store) -> String {
        let template = &self.object["spec"]["template"];
        let hash = Sha256::digest(template.to_string());
        let name = format!("{}-{:02x}{:02x}{:02x}{:02x}", self.name, hash[0], hash[1], hash[2], hash[3]);
        let kind = named("ControllerRevision");
        let known = || store.list(kind, Some(&self.namespace)).filter(|revision| self.owns(revision));
        let newest = known().filter_map(|revision| revision["revision"].as_i64()).max().unwrap_or_default();
        match store.get(kind, &self.namespace, &name).cloned() {
            Some(revision) if revision["revision"].as_i64() == Some(newest) => {}
            Some(revision) => {
                change(store, &revision, false, |revision| revision["revision"] = json!(newest + 1))
            }
            None => {
                let revision = json!({
                    "apiVersion": "apps/v1", "kind": "ControllerRevision",
                    "metadata": {
                        "name": name, "namespace": self.namespace, "labels": template["metadata"]["labels"],
                        "ownerReferences": self.owner(),
                    },
                    "data": { "spec": { "template": template } }, "revision": newest + 1,
                });
                store.create(kind, revision, "kubernetes").expect("a revision is right");
            }
        }
        name
    }

    fn owns(&self, object: &Value) -> bool {
        owners(object).any(|owner| owner["uid"] == uid(self.object).as_str())
    }

    fn pod(&self, store: &Store, ordinal: i64) -> Option<Arc<Value>> {
        store.get(named("Pod"), &self.namespace, &format!("{}-{ordinal}", self.name)).cloned()
    }

    /// The pods with their ordinals, ending ones too.
    fn pods(&self, store: &Store) -> Vec<(i64, Arc<Value>)> {
        let pods = store.list(named("Pod"), Some(&self.namespace)).filter(|pod| self.owns(pod));
        let mut pods: Vec<_> = pods
            .filter_map(|pod| {
                let ordinal = place(pod).1.rsplit('-').next()?.parse().ok()?;
                Some((ordinal, pod.clone()))
            })
            .collect();
        pods.sort_by_key(|(ordinal, _)| *ordinal);
        pods
    }

    fn claims(&self, store: &mut Store, ordinal: i64) {
        for template in self.object["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten() {
            let name = format!("{}-{}-{ordinal}", place(template).1, self.name);
            if store.get(named("PersistentVolumeClaim"), &self.namespace, &name).is_some() {
                continue;
            }
            let mut claim = template.clone();
            claim["metadata"]["name"] = json!(name);
            claim["metadata"]["namespace"] = json!(self.namespace);
            for (key, value) in
                self.object["spec"]["selector"]["matchLabels"].as_object().into_iter().flatten()
            {
                claim["metadata"]["labels"][key] = value.clone();
            }
            // A namespace that ends takes nothing new.
            let _ = store.create(named("PersistentVolumeClaim"), claim, "kubernetes");
        }
    }

    fn create(&self, store: &mut Store, ordinal: i64, revision: &str) {
        let found = store.get(named("ControllerRevision"), &self.namespace, revision);
        let Some(mut pod) = found.map(|revision| revision["data"]["spec"]["template"].clone()) else {
            return;
        };
        let name = format!("{}-{ordinal}", self.name);
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["name"] = json!(name);
        pod["metadata"]["namespace"] = json!(self.namespace);
        pod["metadata"]["ownerReferences"] = self.owner();
        pod["metadata"]["labels"]["controller-revision-hash"] = json!(revision);
        pod["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"] = json!(name);
        pod["spec"]["hostname"] = json!(name);
        pod["spec"]["subdomain"] = self.object["spec"]["serviceName"].clone();
        for template in self.object["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten() {
            let volume = place(template).1;
            let claim = json!({ "name": volume, "persistentVolumeClaim": { "claimName": format!("{volume}-{name}") } });
            match pod["spec"]["volumes"].as_array_mut() {
                Some(volumes) => volumes.push(claim),
                None => pod["spec"]["volumes"] = json!([claim]),
            }
        }
        let _ = store.create(named("Pod"), pod, "kubernetes");
    }

    fn scale_down(&self, store: &mut Store) {
        for (_, pod) in self.pods(store).into_iter().filter(|(ordinal, _)| *ordinal >= self.replicas) {
            self.delete(store, &pod);
        }
    }

    fn delete(&self, store: &mut Store, pod: &Value) {
        if !ends(pod) {
            store
                .delete(named("Pod"), &self.namespace, &place(pod).1, &Deletion::default())
                .expect("it is there");
        }
    }

    /// Replaces one pod of an older revision, the highest ordinal first, while all pods are ready.
    fn roll(&self, store: &mut Store, update: &str) {
        if self.object["spec"]["updateStrategy"]["type"] != "RollingUpdate" {
            return;
        }
        let pods = self.pods(store);
        let whole = pods.len() as i64 == self.replicas && pods.iter().all(|(_, pod)| ready(pod));
        let outdated =
            pods.iter().rev().find(|(ordinal, pod)| *ordinal >= self.partition && revision_of(pod) != update);
        if let Some((_, pod)) = outdated.filter(|_| whole) {
            self.delete(store, pod);
        }
    }

    fn status(&self, store: &mut Store, current: String, update: String) {
        let pods = self.pods(store);
        let count = |wanted: &dyn Fn(&Value) -> bool| pods.iter().filter(|(_, pod)| wanted(pod)).count();
        let (total, serving) = (pods.len(), count(&ready));
        let updated = count(&|pod| revision_of(pod) == update && !ends(pod));
        let done =
            updated == total && serving == total && total as i64 == self.replicas && self.partition == 0;
        let current = if done { update.clone() } else { current };
        let status = json!({
            "observedGeneration": self.object["metadata"]["generation"], "replicas": total, "readyReplicas": serving,
            "availableReplicas": serving, "updatedReplicas": updated,
            "currentReplicas": count(&|pod| revision_of(pod) == current && !ends(pod)),
            "currentRevision": current, "updateRevision": update, "collisionCount": 0,
        });
        change(store, self.object, true, |set| set["status"] = status);
    }
}

fn revision_of(pod: &Value) -> &str {
    pod["metadata"]["labels"]["controller-revision-hash"].as_str().unwrap_or_default()
}

/// Whether a pod serves and stays.
pub(super) fn ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    !ends(pod) && conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}
