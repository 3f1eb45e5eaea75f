//! The settable attributes of a queue, as parameters of a call. Ranges and defaults are those of the protocol, which are
//! narrower in places than what the engine allows.

use std::ops::RangeInclusive;

use cmq_engine::attributes::{
    MAX_MESSAGE_BYTES, MAX_MESSAGES, POLLING_WAIT_SECONDS, QueueAttributes, RETENTION_SECONDS, REWIND_SECONDS,
};

use super::dead_letter::{self, DeadLetter};
use super::error::Error;
use super::parameters::Parameters;

/// Seconds that a received message stays hidden. The engine also allows 0, which CMQ does not have.
const VISIBILITY_TIMEOUT_SECONDS: RangeInclusive<u32> = 1..=43_200;
/// Bytes of one message where the call does not say. Manifests have a larger default.
const MAX_MESSAGE_BYTES_DEFAULT: u32 = 65_536;

/// Attributes for a new queue, and the name of its dead-letter queue where one is asked for. The id of that queue in the
/// attributes is a placeholder: only the service knows it.
///
/// # Errors
/// A value outside its range or of a wrong type, or a dead-letter policy that cannot be.
pub(super) fn for_new_queue(parameters: &Parameters<'_>) -> Result<(QueueAttributes, Option<String>), Error> {
    let mut attributes =
        QueueAttributes { max_message_bytes: MAX_MESSAGE_BYTES_DEFAULT, ..QueueAttributes::default() };
    if let Some(value) = read(parameters, "maxMsgHeapNum", &MAX_MESSAGES)? {
        attributes.max_messages = value;
    }
    for (name, range, field) in [
        ("pollingWaitSeconds", POLLING_WAIT_SECONDS, &mut attributes.polling_wait_seconds),
        ("visibilityTimeout", VISIBILITY_TIMEOUT_SECONDS, &mut attributes.visibility_timeout_seconds),
        ("maxMsgSize", MAX_MESSAGE_BYTES, &mut attributes.max_message_bytes),
        ("msgRetentionSeconds", RETENTION_SECONDS, &mut attributes.retention_seconds),
        ("rewindSeconds", REWIND_SECONDS, &mut attributes.rewind_seconds),
    ] {
        if let Some(value) = read(parameters, name, &range)? {
            *field = value;
        }
    }
    if attributes.rewind_seconds > attributes.retention_seconds {
        return Err(Error::REWIND_ABOVE_RETENTION);
    }
    let Some(text) = parameters.text("deadLetterPolicy")? else { return Ok((attributes, None)) };
    let DeadLetter { queue, policy } = dead_letter::read(text, attributes.retention_seconds)?;
    attributes.dead_letter = Some(policy);
    Ok((attributes, Some(queue)))
}

/// A number within its range, of the type that the attribute has.
fn read<T>(parameters: &Parameters<'_>, name: &str, range: &RangeInclusive<T>) -> Result<Option<T>, Error>
where
    T: TryFrom<i64> + PartialOrd,
{
    let Some(value) = parameters.integer(name)? else { return Ok(None) };
    let value = T::try_from(value).ok().filter(|value| range.contains(value));
    value.map(Some).ok_or_else(|| Error::out_of_range(name))
}
