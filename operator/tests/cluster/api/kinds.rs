//! The kinds that the server serves.

use std::fmt;

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Namespace, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::StorageClass;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// One kind, by the static entry of [`KINDS`] that describes it.
pub(crate) struct Kind {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) name: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) namespaced: bool,
    /// Whether `/status` exists, beside which writes do not touch the status.
    pub(crate) status: bool,
    /// The object as its type reads and writes it; kinds of custom resources that are not ours are not read.
    pub(crate) typed: fn(Value) -> Result<Value, String>,
}

impl Kind {
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.into() } else { format!("{}/{}", self.group, self.version) }
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        (self.group, self.name) == (other.group, other.name)
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Every kind. Custom resources that a cluster may lack can be taken away from a server (`Server::without`).
pub(crate) static KINDS: &[Kind] = &[
    kind("", "v1", "Namespace", "namespaces", false, true, typed::<Namespace>),
    kind("", "v1", "Pod", "pods", true, true, typed::<Pod>),
    kind("", "v1", "Service", "services", true, true, typed::<Service>),
    kind("", "v1", "Secret", "secrets", true, false, typed::<Secret>),
    kind("", "v1", "ConfigMap", "configmaps", true, false, typed::<ConfigMap>),
    kind("", "v1", "ServiceAccount", "serviceaccounts", true, false, typed::<ServiceAccount>),
    kind(
        "",
        "v1",
        "PersistentVolumeClaim",
        "persistentvolumeclaims",
        true,
        true,
        typed::<PersistentVolumeClaim>,
    ),
    kind("apps", "v1", "StatefulSet", "statefulsets", true, true, typed::<StatefulSet>),
    kind("apps", "v1", "ControllerRevision", "controllerrevisions", true, false, typed::<ControllerRevision>),
    kind(
        "policy",
        "v1",
        "PodDisruptionBudget",
        "poddisruptionbudgets",
        true,
        true,
        typed::<PodDisruptionBudget>,
    ),
    kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", true, false, typed::<NetworkPolicy>),
    kind("coordination.k8s.io", "v1", "Lease", "leases", true, false, typed::<Lease>),
    kind("events.k8s.io", "v1", "Event", "events", true, false, typed::<Event>),
    kind("storage.k8s.io", "v1", "StorageClass", "storageclasses", false, false, typed::<StorageClass>),
    kind("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors", true, false, untyped),
    kind("cert-manager.io", "v1", "Certificate", "certificates", true, true, untyped),
    kind("cmq.dev", "v1alpha1", "Broker", "brokers", true, true, untyped),
    kind("cmq.dev", "v1alpha1", "Queue", "queues", true, true, untyped),
];

/// The kind of this name; the tests' own code asks only for kinds that exist.
pub(crate) fn named(name: &str) -> &'static Kind {
    KINDS.iter().find(|kind| kind.name == name).unwrap_or_else(|| panic!("no kind {name}"))
}

const fn kind(
    group: &'static str,
    version: &'static str,
    name: &'static str,
    plural: &'static str,
    namespaced: bool,
    status: bool,
    typed: fn(Value) -> Result<Value, String>,
) -> Kind {
    Kind { group, version, name, plural, namespaced, status, typed }
}

fn typed<K: Serialize + DeserializeOwned>(value: Value) -> Result<Value, String> {
    let object: K = serde_json::from_value(value).map_err(|error| error.to_string())?;
    serde_json::to_value(object).map_err(|error| error.to_string())
}

fn untyped(value: Value) -> Result<Value, String> {
    Ok(value)
}
