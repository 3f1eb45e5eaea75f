//! Who may refer to a Broker, reach its pods and read their metrics.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounds::{NAMESPACE_LENGTH_MAX, NAMESPACE_PATTERN};

/// Namespaces by name, by label, or both: one that either selects is selected.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespaceSelection {
    /// Names of namespaces.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        inner(length(min = 1, max = NAMESPACE_LENGTH_MAX), regex(pattern = NAMESPACE_PATTERN)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub names: Vec<String>,
    /// Labels of namespaces; `{}` selects every namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// Who reaches the pods. The Broker's own pods and the operator always do.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkPolicy {
    /// Namespaces beside the Broker's own whose pods reach the client port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clients: Option<NamespaceSelection>,
    /// Namespaces whose pods read `/metrics`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<NamespaceSelection>,
}

/// How Prometheus finds the pods.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PodMonitor {
    /// Labels of the PodMonitor, by which a Prometheus selects it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}
