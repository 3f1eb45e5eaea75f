//! What the operator saw of a Broker; its rules are those of kstatus.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounds::BYTE_SIZE_LENGTH_MAX;

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
    /// Where clients in the cluster connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub address: Option<String>,
    /// Version that the broker says it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub version: Option<String>,
    /// Queues that objects declare on this Broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queues: Option<i32>,
    /// A change of the pods under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// The volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageStatus>,
    /// When the certificates that pods and operator know each other by end (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub certificates_expire: Option<String>,
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
    #[schemars(length(max = 32))]
    pub smallest_capacity: Option<String>,
}
