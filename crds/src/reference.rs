//! How one object names another.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounds::{
    BROKER_NAME_LENGTH_MAX, BROKER_NAME_PATTERN, NAMESPACE_LENGTH_MAX, NAMESPACE_PATTERN,
    OBJECT_NAME_LENGTH_MAX, OBJECT_NAME_PATTERN, SECRET_KEY_LENGTH_MAX, SECRET_KEY_PATTERN,
};

/// Names a Broker.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BrokerRef {
    /// Name of the Broker, or of the Queue that made it. No counterpart in CMQ and SQS, where the endpoint decides.
    #[schemars(length(min = 1, max = BROKER_NAME_LENGTH_MAX), regex(pattern = BROKER_NAME_PATTERN))]
    pub name: String,
    /// Namespace of the Broker, whose `allowedNamespaces` must consent; left out, the namespace of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = NAMESPACE_LENGTH_MAX), regex(pattern = NAMESPACE_PATTERN))]
    pub namespace: Option<String>,
}

/// Names a Queue in the namespace of the object that holds this reference.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct QueueRef {
    /// `metadata.name` of the Queue, which is not its `queueName`. CMQ: `deadLetterQueue`. SQS: `deadLetterTargetArn`.
    #[schemars(length(min = 1, max = OBJECT_NAME_LENGTH_MAX), regex(pattern = OBJECT_NAME_PATTERN))]
    pub name: String,
}

/// Names a Secret in the namespace of the object that holds this reference.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// `metadata.name` of the Secret.
    #[schemars(length(min = 1, max = OBJECT_NAME_LENGTH_MAX), regex(pattern = OBJECT_NAME_PATTERN))]
    pub name: String,
}

/// Names one key of a Secret in the namespace of the object that holds this reference.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// `metadata.name` of the Secret.
    #[schemars(length(min = 1, max = OBJECT_NAME_LENGTH_MAX), regex(pattern = OBJECT_NAME_PATTERN))]
    pub name: String,
    /// Key of the Secret's data.
    #[schemars(length(min = 1, max = SECRET_KEY_LENGTH_MAX), regex(pattern = SECRET_KEY_PATTERN))]
    pub key: String,
}

/// Names an issuer of cert-manager.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct IssuerRef {
    /// `metadata.name` of the issuer.
    #[schemars(length(min = 1, max = OBJECT_NAME_LENGTH_MAX), regex(pattern = OBJECT_NAME_PATTERN))]
    pub name: String,
    /// Whether the issuer belongs to this namespace or to the cluster.
    #[serde(default)]
    pub kind: IssuerKind,
}

/// The two kinds of issuers of cert-manager.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IssuerKind {
    /// An issuer of this namespace.
    #[default]
    Issuer,
    /// An issuer of the cluster.
    ClusterIssuer,
}
