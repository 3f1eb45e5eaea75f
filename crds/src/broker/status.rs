//! What the operator saw of a Broker; its rules are those of kstatus.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounds::{ADDRESS_LENGTH_MAX, BYTE_SIZE_LENGTH_MAX, QUANTITY_LENGTH_MAX};

/// What the operator saw of a Broker.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerStatus {
    /// The `metadata.generation` that this status speaks of; -1 before the first look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready` always; `Reconciling` and `Stalled` while they hold; and what else a user should know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Pods that exist, for the scale subresource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Pods that serve, are of the wanted revision and are not ending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// Label selector of the pods as text, for the scale subresource.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1_024))]
    pub selector: Option<String>,
    /// Where clients in the cluster connect, as a URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = ADDRESS_LENGTH_MAX))]
    pub address: Option<String>,
    /// Every port that is served in the cluster: `client`, and `admin` with `/metrics`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub endpoints: Vec<Endpoint>,
    /// Version that the broker says it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub version: Option<String>,
    /// Id of the cluster that the volumes belong to; a pod whose volume is empty or another cluster's does not start. Left out
    /// until the first pod has told it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub cluster_id: Option<String>,
    /// Queues that objects declare on this Broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queues: Option<i32>,
    /// A change of the pods under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// The volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageStatus>,
    /// The certificates in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificates: Option<CertificatesStatus>,
}

/// A port that is served in the cluster.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Name of the port.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Where it is served, as a URL.
    #[schemars(length(max = ADDRESS_LENGTH_MAX))]
    pub address: String,
}

/// A change of the pods, one at a time.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Rollout {
    /// Revision of the StatefulSet that the pods change to.
    #[schemars(length(max = 253))]
    pub target_revision: String,
    /// Pods of this revision that serve.
    pub updated: i32,
    /// Pods there should be of it.
    pub total: i32,
}

/// The volumes of a Broker.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct StorageStatus {
    /// What each volume should hold.
    #[schemars(length(max = BYTE_SIZE_LENGTH_MAX))]
    pub requested: String,
    /// What the smallest one does hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = QUANTITY_LENGTH_MAX))]
    pub smallest_capacity: Option<String>,
}

/// The certificates in use.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificatesStatus {
    /// When the certificate ends by which pods and operator know each other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub internal_not_after: Option<Time>,
    /// When the client port's certificate ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_not_after: Option<Time>,
}
