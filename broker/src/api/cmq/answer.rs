//! Answers of the protocol: one JSON object, written in one go into one buffer.

mod fields;

use bytes::Bytes;
use cmq_engine::attributes::{AttributesPatch, QueueId};
use serde::Serialize;

use super::error::Error;
use crate::service::types::{MessageId, QueueDescription, QueuePage, ReceivedMessage};

/// Bytes of an answer besides bodies and lists; rarely more, so that the buffer rarely grows.
const FIELDS_BYTES: usize = 256;
/// Bytes that one entry of a list needs besides its body.
const ENTRY_BYTES: usize = 384;

/// What a call came to.
#[derive(Debug)]
pub(super) enum Outcome {
    Done,
    QueueCreated(QueueId),
    QueueChanged(QueueId, Box<AttributesPatch>),
    Queues(QueuePage),
    Queue(Box<QueueDescription>),
    Sent(MessageId),
    SentBatch(Vec<MessageId>),
    Received(ReceivedMessage),
    ReceivedBatch(Vec<ReceivedMessage>),
    /// Not all messages of a batch were deleted.
    NotDeleted {
        /// What the answer says as a whole.
        error: Error,
        /// The handles that were refused.
        failures: Vec<(String, Error)>,
    },
}

impl Outcome {
    /// What the answer says as a whole; None: all is well.
    pub(super) fn error(&self) -> Option<&Error> {
        match self {
            Self::NotDeleted { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// Numbers that tie an answer to its request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ids {
    /// Made here, for logs and support.
    pub(super) request: u64,
    /// What the caller sent to find its call again; 0 for none.
    pub(super) client_request: u64,
}

/// Writes the answer to a call that came to something.
pub(super) fn outcome(ids: Ids, outcome: &Outcome) -> Bytes {
    match outcome {
        Outcome::Done => object(ids, None, 0, fields::Nothing {}),
        Outcome::QueueCreated(id) => object(ids, None, 0, fields::QueueCreated::from(*id)),
        Outcome::QueueChanged(id, changes) => {
            object(ids, None, ENTRY_BYTES, fields::QueueChanged::from((*id, changes.as_ref())))
        }
        Outcome::Queues(page) => {
            object(ids, None, page.queues.len() * ENTRY_BYTES, fields::Queues::from(page))
        }
        Outcome::Queue(queue) => object(ids, None, 2 * ENTRY_BYTES, fields::Queue::from(queue.as_ref())),
        Outcome::Sent(id) => object(ids, None, 0, fields::Sent::from(id)),
        Outcome::SentBatch(list) => {
            let entries = fields::SentBatch { msg_list: list.iter().map(fields::Sent::from).collect() };
            object(ids, None, list.len() * ENTRY_BYTES, entries)
        }
        Outcome::Received(message) => {
            object(ids, None, ENTRY_BYTES + message.body.len(), fields::Message::from(message))
        }
        Outcome::ReceivedBatch(list) => {
            let bytes = list.iter().map(|message| ENTRY_BYTES + message.body.len()).sum();
            let messages = list.iter().map(fields::Message::from).collect();
            object(ids, None, bytes, fields::ReceivedBatch { msg_info_list: messages })
        }
        Outcome::NotDeleted { error, failures } => {
            let entries =
                fields::NotDeleted { error_list: failures.iter().map(fields::Failure::from).collect() };
            object(ids, Some(error), failures.len() * ENTRY_BYTES, entries)
        }
    }
}

/// Writes the answer to a call that was refused.
pub(super) fn refusal(ids: Ids, error: &Error) -> Bytes {
    object(ids, Some(error), 0, fields::Nothing {})
}

fn object(ids: Ids, error: Option<&Error>, extra_bytes: usize, fields: impl Serialize) -> Bytes {
    let answer = fields::Answer {
        code: error.map_or(0, |error| error.code),
        message: fields::Text(error),
        request_id: ids.request,
        client_request_id: ids.client_request,
        fields,
    };
    let mut buffer = Vec::with_capacity(FIELDS_BYTES + extra_bytes);
    serde_json::to_writer(&mut buffer, &answer).expect("memory takes every write, and every key is text");
    Bytes::from(buffer)
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
