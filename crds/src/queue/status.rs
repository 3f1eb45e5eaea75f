//! What the operator saw of a queue; its rules are those of kstatus.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::QueueSpec;
use crate::bounds::{ADDRESS_LENGTH_MAX, OBJECT_NAME_LENGTH_MAX, WIRE_NAME_LENGTH_MAX};

/// What the operator saw of a queue.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueStatus {
    /// The `metadata.generation` that this status speaks of; -1 before the first look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready` always; `Reconciling` and `Stalled` while they hold; and what else a user should know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The Broker whose pods serve the queue, as `namespace/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub broker: Option<String>,
    /// Where clients in the cluster connect, as a URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = ADDRESS_LENGTH_MAX))]
    pub address: Option<String>,
    /// Name by which clients call the queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = WIRE_NAME_LENGTH_MAX))]
    pub queue_name: Option<String>,
    /// The attributes that the broker took last; they trail the spec while a change is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<EffectiveAttributes>,
    /// Messages that wait to be received, to two digits; renewed at most once a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backlog: Option<i64>,
    /// Age of the oldest message that is not deleted, in one coarse unit (`40s`, `7m`, `3h`, `2d`); renewed at most once a
    /// minute. Left out while the queue is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub oldest: Option<String>,
    /// Pods of a queue with pods of its own, for the scale subresource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Label selector of those pods as text, for the scale subresource.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1_024))]
    pub selector: Option<String>,
}

/// The attributes by which a broker runs a queue; what they mean is in the spec.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct EffectiveAttributes {
    /// `spec.delaySeconds` in force.
    pub delay_seconds: i32,
    /// `spec.visibilityTimeoutSeconds` in force.
    pub visibility_timeout_seconds: i32,
    /// `spec.retentionSeconds` in force.
    pub retention_seconds: i32,
    /// `spec.rewindSeconds` in force.
    pub rewind_seconds: i32,
    /// `spec.pollingWaitSeconds` in force.
    pub polling_wait_seconds: i32,
    /// `spec.maxMessageBytes` in force.
    pub max_message_bytes: i32,
    /// `spec.maxMessages` in force.
    pub max_messages: i64,
    /// `spec.maxInFlight` in force.
    pub max_in_flight: i32,
    /// `spec.maxDelayed` in force.
    pub max_delayed: i32,
    /// `metadata.name` of the dead-letter queue; left out while messages have nowhere to move to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = OBJECT_NAME_LENGTH_MAX))]
    pub dead_letter_queue: Option<String>,
}

impl EffectiveAttributes {
    /// The attributes of a spec that a broker took, with or without its dead-letter queue.
    pub fn of(spec: &QueueSpec, with_dead_letters: bool) -> Self {
        let dead_letter = spec.dead_letter.as_ref().filter(|_| with_dead_letters);
        Self {
            delay_seconds: spec.delay_seconds,
            visibility_timeout_seconds: spec.visibility_timeout_seconds,
            retention_seconds: spec.retention_seconds,
            rewind_seconds: spec.rewind_seconds,
            polling_wait_seconds: spec.polling_wait_seconds,
            max_message_bytes: spec.max_message_bytes,
            max_messages: spec.max_messages,
            max_in_flight: spec.max_in_flight,
            max_delayed: spec.max_delayed,
            dead_letter_queue: dead_letter.map(|rule| rule.queue_ref.name.clone()),
        }
    }
}
