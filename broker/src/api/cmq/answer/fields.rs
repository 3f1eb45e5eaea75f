//! The fields of answers, with the JSON types that typed clients insist on: ids and handles are text, counts and times
//! are numbers.

use std::borrow::Cow;

use cmq_engine::attributes::{AttributesPatch, DeadLetterChange, QueueId};
use serde::{Serialize, Serializer};

use super::super::dead_letter;
use super::super::error::Error;
use crate::service::types::{MessageId, QueueDescription, QueuePage, QueueSummary, ReceivedMessage};

/// What every answer has, and then the fields of its action.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer<'a, F> {
    pub(super) code: u32,
    pub(super) message: Text<'a>,
    #[serde(serialize_with = "decimal")]
    pub(super) request_id: u64,
    pub(super) client_request_id: u64,
    #[serde(flatten)]
    pub(super) fields: F,
}

/// The `message` of an error; nothing for success.
pub(super) struct Text<'a>(pub(super) Option<&'a Error>);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            None => serializer.serialize_str(""),
            Some(Error { module, text, .. }) => serializer.collect_str(&format_args!("({module}){text}")),
        }
    }
}

/// For actions that answer with the envelope alone.
#[derive(Serialize)]
pub(super) struct Nothing {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct QueueCreated {
    #[serde(serialize_with = "queue_id")]
    queue_id: QueueId,
}

impl From<QueueId> for QueueCreated {
    fn from(queue_id: QueueId) -> Self {
        Self { queue_id }
    }
}

/// The attributes that a call named.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct QueueChanged {
    #[serde(serialize_with = "queue_id")]
    queue_id: QueueId,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_msg_heap_num: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    polling_wait_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    visibility_timeout: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_msg_size: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    msg_retention_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rewind_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letter_policy: Option<String>,
}

impl From<(QueueId, &AttributesPatch)> for QueueChanged {
    fn from((queue_id, changes): (QueueId, &AttributesPatch)) -> Self {
        Self {
            queue_id,
            max_msg_heap_num: changes.max_messages,
            polling_wait_seconds: changes.polling_wait_seconds,
            visibility_timeout: changes.visibility_timeout_seconds,
            max_msg_size: changes.max_message_bytes,
            msg_retention_seconds: changes.retention_seconds,
            rewind_seconds: changes.rewind_seconds,
            dead_letter_policy: match &changes.dead_letter {
                DeadLetterChange::Bind { queue, rule } => Some(dead_letter::write(queue, *rule)),
                DeadLetterChange::Keep | DeadLetterChange::Unbind => None,
            },
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Queues<'a> {
    total_count: usize,
    queue_list: Vec<QueueRow<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct QueueRow<'a> {
    #[serde(serialize_with = "queue_id")]
    queue_id: QueueId,
    queue_name: &'a str,
}

impl<'a> From<&'a QueuePage> for Queues<'a> {
    fn from(page: &'a QueuePage) -> Self {
        let row = |queue: &'a QueueSummary| QueueRow { queue_id: queue.id, queue_name: &queue.name };
        Self { total_count: page.total, queue_list: page.queues.iter().map(row).collect() }
    }
}

/// Everything about a queue. Every number is always there: some clients fail without. Only the dead-letter policy is left
/// out where there is none.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Queue<'a> {
    #[serde(serialize_with = "queue_id")]
    queue_id: QueueId,
    queue_name: &'a str,
    max_msg_heap_num: u64,
    polling_wait_seconds: u32,
    visibility_timeout: u32,
    max_msg_size: u32,
    msg_retention_seconds: u32,
    rewind_seconds: u32,
    create_time: u64,
    last_modify_time: u64,
    active_msg_num: u64,
    inactive_msg_num: u64,
    delay_msg_num: u64,
    /// `rewindmsgNum` is the documented name; older clients read the other one.
    rewindmsg_num: u64,
    rewind_msg_num: u64,
    /// 0 when every message is deleted.
    min_msg_time: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letter_policy: Option<String>,
}

impl<'a> From<&'a QueueDescription> for Queue<'a> {
    fn from(queue: &'a QueueDescription) -> Self {
        let QueueDescription { attributes, counts, .. } = queue;
        let policy = attributes.dead_letter.zip(queue.dead_letter_queue.as_deref());
        Self {
            queue_id: queue.id,
            queue_name: &queue.name,
            max_msg_heap_num: attributes.max_messages,
            polling_wait_seconds: attributes.polling_wait_seconds,
            visibility_timeout: attributes.visibility_timeout_seconds,
            max_msg_size: attributes.max_message_bytes,
            msg_retention_seconds: attributes.retention_seconds,
            rewind_seconds: attributes.rewind_seconds,
            create_time: seconds(queue.created_ms),
            last_modify_time: seconds(queue.modified_ms),
            active_msg_num: counts.active,
            inactive_msg_num: counts.in_flight,
            delay_msg_num: counts.delayed,
            rewindmsg_num: counts.rewindable,
            rewind_msg_num: counts.rewindable,
            min_msg_time: counts.oldest_ms.map_or(0, seconds),
            dead_letter_policy: policy.map(|(policy, name)| dead_letter::write(name, policy.rule)),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sent {
    #[serde(serialize_with = "decimal")]
    msg_id: u64,
}

impl From<&MessageId> for Sent {
    fn from(id: &MessageId) -> Self {
        Self { msg_id: id.0 }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SentBatch {
    pub(super) msg_list: Vec<Sent>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Message<'a> {
    #[serde(serialize_with = "decimal")]
    msg_id: u64,
    receipt_handle: &'a str,
    /// Sends take only UTF-8, so this borrows.
    msg_body: Cow<'a, str>,
    enqueue_time: u64,
    first_dequeue_time: u64,
    next_visible_time: u64,
    dequeue_count: u32,
}

impl<'a> From<&'a ReceivedMessage> for Message<'a> {
    fn from(message: &'a ReceivedMessage) -> Self {
        Self {
            msg_id: message.id.0,
            receipt_handle: &message.receipt_handle,
            msg_body: String::from_utf8_lossy(&message.body),
            enqueue_time: seconds(message.sent_ms),
            first_dequeue_time: seconds(message.first_received_ms),
            next_visible_time: seconds(message.visible_again_ms),
            dequeue_count: message.receive_count,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReceivedBatch<'a> {
    pub(super) msg_info_list: Vec<Message<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NotDeleted<'a> {
    pub(super) error_list: Vec<Failure<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Failure<'a> {
    code: u32,
    message: Text<'a>,
    receipt_handle: &'a str,
}

impl<'a> From<&'a (String, Error)> for Failure<'a> {
    fn from((handle, error): &'a (String, Error)) -> Self {
        Self { code: error.code, message: Text(Some(error)), receipt_handle: handle }
    }
}

/// A number that the protocol writes as text.
fn decimal<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

/// `queue-` and the number of the queue in eight characters.
fn queue_id<S: Serializer>(id: &QueueId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("queue-{:08x}", id.0))
}

/// The protocol counts whole seconds.
fn seconds(milliseconds: u64) -> u64 {
    milliseconds / 1000
}
