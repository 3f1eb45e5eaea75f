//! What the admin API shows, as JSON. Times are Unix milliseconds; numbers that may be larger than a script can hold exactly are
//! text.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use cmq_engine::attributes::{DeadLetterRule, DeduplicationScope, QueueAttributes, QueueKind};
use cmq_engine::browse::MessageState;
use cmq_engine::shard::Counts;
use serde::Serialize;

use crate::replication::browse::LookedUp;
use crate::service::operator::{BodyPart, MessagePage, QueueDetails, QueueOverview, SeenMessage};
use crate::service::reference::MessageRef;
use crate::service::types::QueueDescription;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Queues {
    queues: Vec<QueueRow>,
    cursor: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct QueueRow {
    name: String,
    kind: &'static str,
    declared_by: Option<String>,
    counts: MessageCounts,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MessageCounts {
    ready: u64,
    in_flight: u64,
    delayed: u64,
    rewindable: u64,
    oldest_sent_ms: Option<u64>,
    oldest_age_ms: Option<u64>,
}

impl MessageCounts {
    fn new(counts: &Counts, now_ms: u64) -> Self {
        Self {
            ready: counts.active,
            in_flight: counts.in_flight,
            delayed: counts.delayed,
            rewindable: counts.rewindable,
            oldest_sent_ms: counts.oldest_ms,
            oldest_age_ms: counts.oldest_ms.map(|sent_ms| now_ms.saturating_sub(sent_ms)),
        }
    }
}

fn kind(attributes: &QueueAttributes) -> &'static str {
    match attributes.kind {
        QueueKind::Standard => "standard",
        QueueKind::Fifo { .. } => "fifo",
    }
}

impl Queues {
    pub(super) fn new(queues: Vec<QueueOverview>, has_more: bool, now_ms: u64) -> Self {
        let last = queues.last().filter(|_| has_more);
        let cursor = last.map(|queue| URL_SAFE_NO_PAD.encode(&queue.name));
        let row = |queue: QueueOverview| QueueRow {
            kind: kind(&queue.attributes),
            counts: MessageCounts::new(&queue.counts, now_ms),
            name: queue.name,
            declared_by: queue.owner,
        };
        Self { queues: queues.into_iter().map(row).collect(), cursor }
    }
}

/// The name behind which the next page of queues begins.
pub(super) fn queue_cursor(cursor: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Queue {
    name: String,
    id: u32,
    kind: &'static str,
    declared_by: Option<String>,
    created_ms: u64,
    modified_ms: u64,
    attributes: Attributes,
    dead_letter: Option<DeadLetter>,
    dead_letter_sources: Vec<String>,
    counts: MessageCounts,
    shards: Vec<ShardCounts>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Attributes {
    delay_seconds: u32,
    visibility_timeout_seconds: u32,
    retention_seconds: u32,
    rewind_seconds: u32,
    polling_wait_seconds: u32,
    max_message_bytes: u32,
    max_messages: u64,
    max_in_flight: u32,
    max_delayed: u32,
    content_based_deduplication: bool,
    deduplication_scope: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeadLetter {
    queue: Option<String>,
    max_receive_count: Option<u32>,
    max_time_to_live_seconds: Option<u32>,
}

#[derive(Serialize)]
struct ShardCounts {
    shard: u16,
    counts: MessageCounts,
}

impl Queue {
    pub(super) fn new(queue: QueueDescription, details: QueueDetails, now_ms: u64) -> Self {
        let attributes = &queue.attributes;
        let dead_letter = attributes.dead_letter.map(|policy| {
            let (max_receive_count, max_time_to_live_seconds) = match policy.rule {
                DeadLetterRule::MaxReceiveCount(count) => (Some(count), None),
                DeadLetterRule::MaxTimeToLiveSeconds(seconds) => (None, Some(seconds)),
            };
            DeadLetter { queue: queue.dead_letter_queue.clone(), max_receive_count, max_time_to_live_seconds }
        });
        let shards = details.shards.iter().map(|(shard, counts)| ShardCounts {
            shard: shard.0,
            counts: MessageCounts::new(counts, now_ms),
        });
        Self {
            id: queue.id.0,
            kind: kind(attributes),
            declared_by: details.owner,
            created_ms: queue.created_ms,
            modified_ms: queue.modified_ms,
            attributes: Attributes::new(attributes),
            dead_letter,
            dead_letter_sources: details.dead_letter_sources,
            counts: MessageCounts::new(&details.counts, now_ms),
            shards: shards.collect(),
            name: queue.name,
        }
    }
}

impl Attributes {
    fn new(attributes: &QueueAttributes) -> Self {
        let deduplication_scope = match attributes.kind {
            QueueKind::Standard => None,
            QueueKind::Fifo { deduplication: DeduplicationScope::Queue } => Some("queue"),
            QueueKind::Fifo { deduplication: DeduplicationScope::MessageGroup } => Some("messageGroup"),
        };
        Self {
            delay_seconds: attributes.delay_seconds,
            visibility_timeout_seconds: attributes.visibility_timeout_seconds,
            retention_seconds: attributes.retention_seconds,
            rewind_seconds: attributes.rewind_seconds,
            polling_wait_seconds: attributes.polling_wait_seconds,
            max_message_bytes: attributes.max_message_bytes,
            max_messages: attributes.max_messages,
            max_in_flight: attributes.max_in_flight,
            max_delayed: attributes.max_delayed,
            content_based_deduplication: attributes.content_based_deduplication,
            deduplication_scope,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Messages {
    messages: Vec<Message>,
    cursor: Option<String>,
    looked_at: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    id: String,
    #[serde(rename = "ref")]
    reference: String,
    shard: u16,
    state: &'static str,
    sent_ms: u64,
    bytes: u32,
    receive_count: u32,
    first_received_ms: Option<u64>,
    visible_again_ms: Option<u64>,
    due_ms: Option<u64>,
    group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Body>,
}

/// A body, or the part of it that was asked for: as text where it is UTF-8, else in base64.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Body {
    Text(String),
    Base64(String),
    Damaged(String),
}

impl Messages {
    pub(super) fn new(page: MessagePage, part: BodyPart) -> Self {
        let messages = page.messages.into_iter().map(|message| Message::new(message, part));
        Self {
            messages: messages.collect(),
            cursor: page.cursor.map(|cursor| cursor.encode()),
            looked_at: page.looked_at,
        }
    }
}

impl Message {
    fn new(seen: SeenMessage, part: BodyPart) -> Self {
        let glimpse = &seen.glimpse;
        let (visible_again_ms, due_ms) = match glimpse.state {
            MessageState::Ready => (None, None),
            MessageState::InFlight { until_ms } => (Some(until_ms), None),
            MessageState::Delayed { due_ms } => (None, Some(due_ms)),
        };
        Self {
            id: seen.id.0.to_string(),
            reference: seen.reference.encode(),
            shard: seen.reference.shard.0,
            state: seen.state(),
            sent_ms: glimpse.slot.sent_ms,
            bytes: glimpse.slot.bytes,
            receive_count: glimpse.receive_count,
            first_received_ms: (glimpse.receive_count > 0).then_some(glimpse.first_received_ms),
            visible_again_ms,
            due_ms,
            group: glimpse.group.as_deref().map(str::to_owned),
            body: seen.body.and_then(|body| Body::new(body, part)),
        }
    }
}

impl Body {
    fn new(body: LookedUp, part: BodyPart) -> Option<Self> {
        match body {
            LookedUp::Gone => None,
            LookedUp::Damaged(detail) => Some(Self::Damaged(detail)),
            LookedUp::Found(bytes) => Some(match std::str::from_utf8(&bytes) {
                Ok(text) => Self::Text(text.to_owned()),
                // The end of a prefix may lie inside of a character.
                Err(error) if part != BodyPart::Whole && error.error_len().is_none() => {
                    Self::Text(String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned())
                }
                Err(_) => Self::Base64(STANDARD.encode(&bytes)),
            }),
        }
    }
}

/// What was done to a message.
#[derive(Serialize)]
pub(super) struct Done {
    #[serde(rename = "ref")]
    reference: String,
    done: &'static str,
}

impl Done {
    pub(super) fn new(message: &MessageRef, done: &'static str) -> Self {
        Self { reference: message.encode(), done }
    }
}

/// What was done to a queue.
#[derive(Serialize)]
pub(super) struct QueueDone<'a> {
    queue: &'a str,
    done: &'static str,
}

impl<'a> QueueDone<'a> {
    pub(super) fn new(queue: &'a str, done: &'static str) -> Self {
        Self { queue, done }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_text_where_they_can_be() {
        let body = |bytes: &'static [u8], part| Body::new(LookedUp::Found(bytes.into()), part).unwrap();
        assert_eq!(body("héé".as_bytes(), BodyPart::Whole), Body::Text("héé".into()));
        assert_eq!(body(b"h\xc3", BodyPart::Prefix(2)), Body::Text("h".into()));
        assert_eq!(body(b"h\xc3", BodyPart::Whole), Body::Base64("aMM=".into()));
        assert_eq!(body(b"\xff\x00", BodyPart::Prefix(2)), Body::Base64("/wA=".into()));
    }
}
