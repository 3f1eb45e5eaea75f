//! Typed calls, made from the parameters of a request.

use std::time::Duration;

use bytes::Bytes;
use cmq_engine::attributes::{AttributesPatch, DELAY_SECONDS, POLLING_WAIT_SECONDS, QueueAttributes};

use super::action::Action;
use super::attributes;
use super::error::Error;
use super::parameters::Parameters;
use crate::service::types::{BATCH_MESSAGES_MAX, LIST_PAGE_MAX, Outgoing};

/// Characters of a queue's name at most.
const NAME_CHARS_MAX: usize = 64;
/// Rows of a listing where the call does not say.
const LIST_ROWS_DEFAULT: i64 = 20;
/// Bytes of all bodies of a batch at most.
const BATCH_BYTES_MAX: usize = 1_048_576;

/// A call of the protocol with everything checked that needs no queue.
#[derive(Debug)]
pub(super) enum Call {
    CreateQueue {
        queue: String,
        attributes: QueueAttributes,
        dead_letter_queue: Option<String>,
    },
    ListQueue {
        page: Page,
    },
    GetQueueAttributes {
        queue: String,
    },
    SetQueueAttributes {
        queue: String,
        changes: AttributesPatch,
    },
    DeleteQueue {
        queue: String,
    },
    UnbindDeadLetterQueue {
        queue: String,
    },
    ListDeadLetterSourceQueues {
        queue: String,
        page: Page,
    },
    ClearQueue {
        queue: String,
    },
    /// `start` in Unix seconds.
    RewindQueue {
        queue: String,
        start: u64,
    },
    QueryQueueRoute {
        queue: String,
    },
    SendMessage {
        queue: String,
        messages: Outgoing,
    },
    BatchSendMessage {
        queue: String,
        messages: Outgoing,
    },
    ReceiveMessage {
        queue: String,
        wait: Option<Duration>,
    },
    BatchReceiveMessage {
        queue: String,
        max: usize,
        wait: Option<Duration>,
    },
    DeleteMessage {
        queue: String,
        handle: String,
    },
    BatchDeleteMessage {
        queue: String,
        handles: Vec<String>,
    },
}

/// Which rows of a listing are asked for.
#[derive(Debug)]
pub(super) struct Page {
    /// What names contain.
    pub(super) search: String,
    pub(super) offset: usize,
    pub(super) limit: usize,
}

impl Call {
    /// Whether it is about queues rather than messages.
    pub(super) fn is_management(&self) -> bool {
        use Call as C;
        !matches!(
            self,
            C::SendMessage { .. }
                | C::BatchSendMessage { .. }
                | C::ReceiveMessage { .. }
                | C::BatchReceiveMessage { .. }
                | C::DeleteMessage { .. }
                | C::BatchDeleteMessage { .. }
        )
    }

    /// Reads the parameters of an action. Parameters that it does not have are ignored: clients send some of their own.
    ///
    /// # Errors
    /// A parameter is lacking, repeated, malformed or out of its range.
    pub(super) fn read(action: Action, parameters: &mut Parameters<'_>) -> Result<Self, Error> {
        if action == Action::ListQueue {
            return Ok(Self::ListQueue { page: page(parameters)? });
        }
        let named_by = match action {
            Action::ListDeadLetterSourceQueues => "deadLetterQueueName",
            _ => "queueName",
        };
        let queue = queue_name(parameters, named_by)?;
        Ok(match action {
            Action::CreateQueue => {
                let (attributes, dead_letter_queue) = attributes::for_new_queue(parameters)?;
                Self::CreateQueue { queue, attributes, dead_letter_queue }
            }
            Action::ListQueue => unreachable!("a listing names no queue; it was read above"),
            Action::GetQueueAttributes => Self::GetQueueAttributes { queue },
            Action::SetQueueAttributes => {
                Self::SetQueueAttributes { queue, changes: attributes::changes(parameters)? }
            }
            Action::UnbindDeadLetterQueue => Self::UnbindDeadLetterQueue { queue },
            Action::ListDeadLetterSourceQueues => {
                Self::ListDeadLetterSourceQueues { queue, page: page(parameters)? }
            }
            Action::ClearQueue => Self::ClearQueue { queue },
            Action::RewindQueue => Self::RewindQueue { queue, start: rewind_start(parameters)? },
            Action::QueryQueueRoute => Self::QueryQueueRoute { queue },
            Action::DeleteQueue => Self::DeleteQueue { queue },
            Action::SendMessage => Self::SendMessage { queue, messages: message(parameters)? },
            Action::BatchSendMessage => Self::BatchSendMessage { queue, messages: messages(parameters)? },
            Action::ReceiveMessage => Self::ReceiveMessage { queue, wait: polling_wait(parameters)? },
            Action::BatchReceiveMessage => {
                let max = parameters.integer_in("numOfMsg", &(1..=BATCH_MESSAGES_MAX as i64))?;
                let max = max.ok_or_else(|| Error::lacking("numOfMsg"))? as usize;
                Self::BatchReceiveMessage { queue, max, wait: polling_wait(parameters)? }
            }
            Action::DeleteMessage => {
                Self::DeleteMessage { queue, handle: parameters.required_text("receiptHandle")?.to_owned() }
            }
            Action::BatchDeleteMessage => Self::BatchDeleteMessage { queue, handles: handles(parameters)? },
        })
    }
}

/// The queue that a call is about: a letter, then letters, digits, `-` and `_`, at most 64.
fn queue_name(parameters: &Parameters<'_>, named_by: &str) -> Result<String, Error> {
    let name = parameters.required_text(named_by)?;
    let is_good = name.len() <= NAME_CHARS_MAX
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|character| character.is_ascii_alphanumeric() || matches!(character, b'-' | b'_'));
    if is_good { Ok(name.to_owned()) } else { Err(Error::queue_name(NAME_CHARS_MAX)) }
}

fn page(parameters: &Parameters<'_>) -> Result<Page, Error> {
    let search = parameters.text("searchWord")?.unwrap_or_default();
    if search.chars().count() > NAME_CHARS_MAX {
        return Err(Error::too_long("searchWord", NAME_CHARS_MAX));
    }
    let offset = parameters.integer_in("offset", &(0..=i64::from(u32::MAX)))?.unwrap_or(0);
    let limit = parameters.integer_in("limit", &(0..=LIST_PAGE_MAX as i64))?.unwrap_or(LIST_ROWS_DEFAULT);
    Ok(Page { search: search.to_owned(), offset: offset as usize, limit: limit as usize })
}

fn rewind_start(parameters: &Parameters<'_>) -> Result<u64, Error> {
    const NAME: &str = "startConsumeTime";
    let start = parameters.integer(NAME)?.ok_or_else(|| Error::lacking(NAME))?;
    u64::try_from(start).map_err(|_| Error::REWIND_TIME)
}

fn message(parameters: &mut Parameters<'_>) -> Result<Outgoing, Error> {
    let delay = delay(parameters)?;
    let position = parameters.position("msgBody")?.ok_or_else(|| Error::lacking("msgBody"))?;
    Ok(Outgoing { bodies: vec![body(parameters, position)?], delay })
}

fn messages(parameters: &mut Parameters<'_>) -> Result<Outgoing, Error> {
    let delay = delay(parameters)?;
    let positions = parameters.array("msgBody")?;
    if positions.is_empty() {
        return Err(Error::lacking("msgBody"));
    }
    let bodies: Vec<Bytes> =
        positions.into_iter().map(|position| body(parameters, position)).collect::<Result<_, _>>()?;
    if bodies.iter().map(Bytes::len).sum::<usize>() > BATCH_BYTES_MAX {
        return Err(Error::BATCH_TOO_LARGE);
    }
    Ok(Outgoing { bodies, delay })
}

fn body(parameters: &mut Parameters<'_>, position: usize) -> Result<Bytes, Error> {
    let body = parameters.take(position)?;
    if body.is_empty() { Err(Error::BODY_EMPTY) } else { Ok(body) }
}

fn delay(parameters: &Parameters<'_>) -> Result<Option<Duration>, Error> {
    let Some(seconds) = parameters.integer("delaySeconds")? else { return Ok(None) };
    let seconds = u32::try_from(seconds).ok().filter(|seconds| DELAY_SECONDS.contains(seconds));
    seconds.map(|seconds| Some(Duration::from_secs(seconds.into()))).ok_or_else(Error::delay)
}

/// How long to wait for a message. Too much counts as the longest wait: a public client turns a negative wait of its caller
/// into 30000.
fn polling_wait(parameters: &Parameters<'_>) -> Result<Option<Duration>, Error> {
    const NAME: &str = "pollingWaitSeconds";
    let Some(seconds) = parameters.integer(NAME)? else { return Ok(None) };
    let seconds = u64::try_from(seconds).map_err(|_| Error::out_of_range(NAME, &POLLING_WAIT_SECONDS))?;
    Ok(Some(Duration::from_secs(seconds.min(u64::from(*POLLING_WAIT_SECONDS.end())))))
}

fn handles(parameters: &Parameters<'_>) -> Result<Vec<String>, Error> {
    let positions = parameters.array("receiptHandle")?;
    if positions.is_empty() {
        return Err(Error::lacking("receiptHandle"));
    }
    positions.into_iter().map(|position| parameters.text_at(position).map(str::to_owned)).collect()
}

#[cfg(test)]
#[path = "call_tests.rs"]
mod tests;
