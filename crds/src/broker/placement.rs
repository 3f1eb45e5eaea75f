//! Where broker pods run.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, Toleration, TopologySpreadConstraint};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounds::{OBJECT_NAME_LENGTH_MAX, OBJECT_NAME_PATTERN};

/// On which nodes the pods run.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Placement {
    /// How strictly the pods are kept on different nodes and in different zones.
    pub spread: Spread,
    /// Labels that a node must have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Further rules about nodes and about pods nearby.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Taints of nodes that the pods bear.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Rules in place of those that `spread` makes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Priority class of the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = OBJECT_NAME_LENGTH_MAX), regex(pattern = OBJECT_NAME_PATTERN))]
    pub priority_class_name: Option<String>,
}

/// How strictly pods are kept apart.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spread {
    /// Where the nodes allow it.
    #[default]
    Prefer,
    /// Always: a pod that finds no node of its own waits.
    Require,
}
