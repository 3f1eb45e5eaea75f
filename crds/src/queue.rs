//! `Queue`: one queue, and either the Broker it lives on or the pods of its own.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounds::{
    DELAY_SECONDS, MAX_DELAYED, MAX_IN_FLIGHT, MAX_MESSAGE_BYTES, MAX_MESSAGES, MAX_RECEIVE_COUNT,
    MAX_TIME_TO_LIVE_SECONDS, POLLING_WAIT_SECONDS, RETENTION_SECONDS, REWIND_SECONDS,
    VISIBILITY_TIMEOUT_SECONDS, WIRE_NAME_LENGTH_MAX, WIRE_NAME_PATTERN,
};
use crate::broker::BrokerSpec;
use crate::reference::{BrokerRef, QueueRef};

pub(crate) mod rules;
pub mod status;

pub use status::QueueStatus;

/// What a queue is and where it lives. Left-out attributes have the defaults of CMQ, with the larger message size of SQS.
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "cmq.dev",
    version = "v1alpha1",
    kind = "Queue",
    plural = "queues",
    shortname = "cq",
    category = "cmq",
    namespaced,
    doc = "A message queue that clients use by the CMQ and SQS protocols.",
    status = "QueueStatus",
    derive = "PartialEq",
    selectable = ".spec.brokerRef.name",
    scale(
        spec_replicas_path = ".spec.broker.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(
        name = "Backlog",
        type_ = "integer",
        json_path = ".status.backlog",
        description = "Messages that wait, to two digits, at most a minute old"
    ),
    printcolumn(
        name = "Oldest",
        type_ = "string",
        json_path = ".status.oldest",
        description = "Age of the oldest message, coarse, at most a minute old"
    ),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.replicas"),
    printcolumn(name = "Address", type_ = "string", json_path = ".status.address"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Broker",
        type_ = "string",
        json_path = ".status.broker",
        description = "The Broker whose pods serve the queue",
        priority = 1
    ),
    printcolumn(name = "Deletion policy", type_ = "string", json_path = ".spec.deletionPolicy", priority = 1),
    printcolumn(name = "Queue name", type_ = "string", json_path = ".spec.queueName", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    ),
    validation = rules::wire_name(),
    validation = rules::fifo_name(),
    validation = rules::own_pods_name(),
    validation = rules::dead_letter_elsewhere()
)]
#[schemars(extend("x-kubernetes-validations" = [
    rules::one_broker(),
    rules::broker_kept(),
    rules::queue_name_kept(),
    rules::fifo_kept(),
    rules::rewind_within_retention(),
    rules::no_rewind_of_fifo(),
    rules::dead_letter_within_retention(),
    rules::kept_queue_keeps_volumes()
]))]
#[serde(rename_all = "camelCase", default)]
pub struct QueueSpec {
    /// The Broker whose pods this queue shares. Exactly one of `brokerRef` and `broker`; cannot be changed. No counterpart
    /// in CMQ and SQS, where the endpoint decides. A broker that runs alone ignores it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_ref: Option<BrokerRef>,
    /// Pods of its own: a Broker with the name of this queue is made, and deleted with it. `{}` is the least. Whether there
    /// is one cannot be changed. Exactly one of
    /// `brokerRef` and `broker`. No counterpart in CMQ and SQS. A broker that runs alone ignores it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker: Option<BrokerSpec>,
    /// Name on the wire where it cannot be `metadata.name`, which is the default: CMQ allows 64 letters, digits, `-` and
    /// `_`, SQS 80; the name of a FIFO queue ends in `.fifo`. Cannot be changed. CMQ: `queueName`. SQS: `QueueName`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = WIRE_NAME_LENGTH_MAX), regex(pattern = WIRE_NAME_PATTERN))]
    pub queue_name: Option<String>,
    /// What becomes of the queue and its messages when this object is deleted. With pods of its own `Retain` needs volumes that
    /// are retained too. No counterpart in CMQ and SQS, where the call deletes at once.
    pub deletion_policy: DeletionPolicy,
    /// Seconds that a message sent without a delay of its own stays hidden. CMQ: `delaySeconds` of a send, no queue
    /// attribute. SQS: `DelaySeconds`.
    #[schemars(range(min = DELAY_SECONDS.min, max = DELAY_SECONDS.max))]
    pub delay_seconds: i32,
    /// Seconds that a received message stays hidden from other receivers. CMQ: `visibilityTimeout`. SQS:
    /// `VisibilityTimeout`.
    #[schemars(range(min = VISIBILITY_TIMEOUT_SECONDS.min, max = VISIBILITY_TIMEOUT_SECONDS.max))]
    pub visibility_timeout_seconds: i32,
    /// Seconds after which a message is dropped, received or not. CMQ: `msgRetentionSeconds`. SQS:
    /// `MessageRetentionPeriod`.
    #[schemars(range(min = RETENTION_SECONDS.min, max = RETENTION_SECONDS.max))]
    pub retention_seconds: i32,
    /// Seconds for which a deleted message can be brought back by a rewind, at most `retentionSeconds`; 0 turns rewinding
    /// off, and is the only value of a FIFO queue. CMQ: `rewindSeconds`. SQS: no counterpart.
    #[schemars(range(min = REWIND_SECONDS.min, max = REWIND_SECONDS.max))]
    pub rewind_seconds: i32,
    /// Seconds that a receive waits for a message when the call does not say. CMQ: `pollingWaitSeconds`. SQS:
    /// `ReceiveMessageWaitTimeSeconds`.
    #[schemars(range(min = POLLING_WAIT_SECONDS.min, max = POLLING_WAIT_SECONDS.max))]
    pub polling_wait_seconds: i32,
    /// Bytes of one message, beyond which a send is refused. CMQ: `maxMsgSize`. SQS: `MaximumMessageSize`.
    #[schemars(range(min = MAX_MESSAGE_BYTES.min, max = MAX_MESSAGE_BYTES.max))]
    pub max_message_bytes: i32,
    /// Messages that the queue holds, beyond which sends are refused. CMQ: `maxMsgHeapNum`. SQS: no counterpart.
    #[schemars(range(min = MAX_MESSAGES.min, max = MAX_MESSAGES.max))]
    pub max_messages: i64,
    /// Messages that are received and neither deleted nor visible again, beyond which a receive gets none. CMQ: the limit
    /// behind error 10690, no attribute. SQS: the in-flight quota behind `OverLimit`, no attribute.
    #[schemars(range(min = MAX_IN_FLIGHT.min, max = MAX_IN_FLIGHT.max))]
    pub max_in_flight: i32,
    /// Messages that are hidden by a delay, beyond which a delayed send is refused. CMQ: the limit behind error 10690, no
    /// attribute. SQS: no counterpart.
    #[schemars(range(min = MAX_DELAYED.min, max = MAX_DELAYED.max))]
    pub max_delayed: i32,
    /// Makes this a FIFO queue, with strict order inside a message group; `{}` is the least. Whether a queue is FIFO cannot
    /// be changed, and its name on the wire ends in `.fifo`. CMQ: no counterpart. SQS: `FifoQueue`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fifo: Option<Fifo>,
    /// Where messages go that nobody manages to process; left out, they are delivered until they are deleted or expire. CMQ:
    /// `deadLetterPolicy`. SQS: `RedrivePolicy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<DeadLetter>,
}

impl Default for QueueSpec {
    /// The attributes of an object that sets none; not a valid object, since it names no Broker.
    fn default() -> Self {
        Self {
            broker_ref: None,
            broker: None,
            queue_name: None,
            deletion_policy: DeletionPolicy::default(),
            delay_seconds: 0,
            visibility_timeout_seconds: 30,
            retention_seconds: 345_600,
            rewind_seconds: 0,
            polling_wait_seconds: 0,
            max_message_bytes: 1_048_576,
            max_messages: 100_000_000,
            max_in_flight: 120_000,
            max_delayed: 20_000,
            fifo: None,
            dead_letter: None,
        }
    }
}

impl Queue {
    /// The name by which clients call this queue: `spec.queueName`, else `metadata.name`, else nothing.
    pub fn wire_name(&self) -> &str {
        self.spec.queue_name.as_deref().or(self.metadata.name.as_deref()).unwrap_or_default()
    }
}

/// What becomes of a queue when its object is deleted.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeletionPolicy {
    /// The queue and its messages stay; from then on calls may change or delete it.
    Retain,
    /// The queue is deleted with its messages.
    Delete,
    /// The queue is deleted once it holds no message; until then the deletion waits.
    #[default]
    DeleteIfEmpty,
}

/// What makes a queue FIFO.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Fifo {
    /// Where a deduplication id is unique; cannot be changed. CMQ: no counterpart. SQS: `DeduplicationScope`.
    pub deduplication_scope: DeduplicationScope,
    /// Whether a message sent without a deduplication id gets the SHA-256 of its body as one; otherwise such a send is
    /// refused. CMQ: no counterpart. SQS: `ContentBasedDeduplication`.
    pub content_based_deduplication: bool,
}

/// Where a deduplication id is unique.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeduplicationScope {
    /// In the whole queue. SQS: `queue`.
    #[default]
    Queue,
    /// In each message group. SQS: `messageGroup`.
    MessageGroup,
}

/// Where undeliverable messages go, and when.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[schemars(extend("x-kubernetes-validations" = [rules::one_dead_letter_rule()]))]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// The dead-letter queue: a Queue of this namespace on the same Broker and of the same type (FIFO or not), which has no
    /// dead-letter queue itself and serves at most six sources. CMQ: `deadLetterQueue`. SQS: `deadLetterTargetArn`.
    pub queue_ref: QueueRef,
    /// A message moves at the receive that would be one more than this many. Exactly one of this and
    /// `maxTimeToLiveSeconds`. CMQ: `maxReceiveCount` with `policy` 0. SQS: `maxReceiveCount`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = MAX_RECEIVE_COUNT.min, max = MAX_RECEIVE_COUNT.max))]
    pub max_receive_count: Option<i32>,
    /// A message that is not deleted moves at this age in seconds, which is less than `retentionSeconds`. Exactly one of
    /// this and `maxReceiveCount`. CMQ: `maxTimeToLive` with `policy` 1. SQS: no counterpart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = MAX_TIME_TO_LIVE_SECONDS.min, max = MAX_TIME_TO_LIVE_SECONDS.max))]
    pub max_time_to_live_seconds: Option<i32>,
}
