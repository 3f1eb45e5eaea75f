//! The settable attributes of a queue, as parameters of a call. Ranges and defaults are those of the protocol, which are
//! narrower in places than what the engine allows.

use std::ops::RangeInclusive;

use cmq_engine::attributes::{
    AttributesPatch, DeadLetterChange, DeadLetterPolicy, DeadLetterRule, MAX_MESSAGE_BYTES, MAX_MESSAGES,
    POLLING_WAIT_SECONDS, QueueAttributes, QueueId, RETENTION_SECONDS, REWIND_SECONDS,
};

use super::dead_letter;
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
/// As [`changes`], or attributes that do not go together.
pub(super) fn for_new_queue(parameters: &Parameters<'_>) -> Result<(QueueAttributes, Option<String>), Error> {
    let mut attributes =
        QueueAttributes { max_message_bytes: MAX_MESSAGE_BYTES_DEFAULT, ..QueueAttributes::default() };
    let changes = changes(parameters)?;
    changes.apply(&mut attributes);
    if attributes.rewind_seconds > attributes.retention_seconds {
        return Err(Error::REWIND_ABOVE_RETENTION);
    }
    let DeadLetterChange::Bind { queue, rule } = changes.dead_letter else { return Ok((attributes, None)) };
    if let DeadLetterRule::MaxTimeToLiveSeconds(seconds) = rule
        && seconds >= attributes.retention_seconds
    {
        return Err(Error::time_to_live());
    }
    attributes.dead_letter = Some(DeadLetterPolicy { queue: QueueId(0), rule });
    Ok((attributes, Some(queue.into())))
}

/// The attributes that a call names.
///
/// # Errors
/// A value outside its range or of a wrong type, or a dead-letter policy that cannot be.
pub(super) fn changes(parameters: &Parameters<'_>) -> Result<AttributesPatch, Error> {
    let dead_letter = match parameters.text("deadLetterPolicy")? {
        None => DeadLetterChange::Keep,
        Some(text) => {
            let (queue, rule) = dead_letter::read(text)?;
            DeadLetterChange::Bind { queue: queue.into(), rule }
        }
    };
    Ok(AttributesPatch {
        visibility_timeout_seconds: read(parameters, "visibilityTimeout", &VISIBILITY_TIMEOUT_SECONDS)?,
        retention_seconds: read(parameters, "msgRetentionSeconds", &RETENTION_SECONDS)?,
        rewind_seconds: read(parameters, "rewindSeconds", &REWIND_SECONDS)?,
        polling_wait_seconds: read(parameters, "pollingWaitSeconds", &POLLING_WAIT_SECONDS)?,
        max_message_bytes: read(parameters, "maxMsgSize", &MAX_MESSAGE_BYTES)?,
        max_messages: read(parameters, "maxMsgHeapNum", &MAX_MESSAGES)?,
        dead_letter,
    })
}

/// A number within its range, of the type that the attribute has.
fn read<T>(parameters: &Parameters<'_>, name: &str, range: &RangeInclusive<T>) -> Result<Option<T>, Error>
where
    T: TryFrom<i64> + PartialOrd + std::fmt::Display,
{
    let Some(value) = parameters.integer(name)? else { return Ok(None) };
    let value = T::try_from(value).ok().filter(|value| range.contains(value));
    value.map(Some).ok_or_else(|| Error::out_of_range(name, range))
}
