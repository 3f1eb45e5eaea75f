//! Changes of single attributes, which leave the others as they are at that moment.

use super::{DeadLetterRule, QueueAttributes};
use crate::codec::{DecodeError, Reader, Writer};

/// Changes of single attributes; None leaves one as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttributesPatch {
    /// See [`super::VISIBILITY_TIMEOUT_SECONDS`].
    pub visibility_timeout_seconds: Option<u32>,
    /// See [`super::RETENTION_SECONDS`].
    pub retention_seconds: Option<u32>,
    /// See [`super::REWIND_SECONDS`]; 0 turns rewinding off.
    pub rewind_seconds: Option<u32>,
    /// See [`super::POLLING_WAIT_SECONDS`].
    pub polling_wait_seconds: Option<u32>,
    /// See [`super::MAX_MESSAGE_BYTES`].
    pub max_message_bytes: Option<u32>,
    /// See [`super::MAX_MESSAGES`].
    pub max_messages: Option<u64>,
    /// Where undeliverable messages go.
    pub dead_letter: DeadLetterChange,
}

/// What becomes of a queue's dead-letter policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeadLetterChange {
    /// It stays as it is.
    #[default]
    Keep,
    /// The queue has none from now on.
    Unbind,
    /// The queue has this one from now on.
    Bind {
        /// Name of the dead-letter queue.
        queue: Box<str>,
        /// When a message moves.
        rule: DeadLetterRule,
    },
}

impl AttributesPatch {
    /// Changes everything but the dead-letter policy, which hangs on names.
    pub fn apply(&self, attributes: &mut QueueAttributes) {
        for (new, field) in [
            (self.visibility_timeout_seconds, &mut attributes.visibility_timeout_seconds),
            (self.retention_seconds, &mut attributes.retention_seconds),
            (self.rewind_seconds, &mut attributes.rewind_seconds),
            (self.polling_wait_seconds, &mut attributes.polling_wait_seconds),
            (self.max_message_bytes, &mut attributes.max_message_bytes),
        ] {
            *field = new.unwrap_or(*field);
        }
        attributes.max_messages = self.max_messages.unwrap_or(attributes.max_messages);
    }

    pub(crate) fn encode(&self, out: &mut Writer) {
        for value in [
            self.visibility_timeout_seconds,
            self.retention_seconds,
            self.rewind_seconds,
            self.polling_wait_seconds,
            self.max_message_bytes,
        ] {
            out.int_option(value.map(u64::from));
        }
        out.int_option(self.max_messages);
        match &self.dead_letter {
            DeadLetterChange::Keep => _ = out.u8(0),
            DeadLetterChange::Unbind => _ = out.u8(1),
            DeadLetterChange::Bind { queue, rule } => {
                rule.encode(out.u8(2).blob(queue.as_bytes()));
            }
        }
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut int32_option = || match from.int_option()?.map(u32::try_from) {
            None => Ok(None),
            Some(Ok(value)) => Ok(Some(value)),
            Some(Err(_)) => Err(from.error()),
        };
        Ok(Self {
            visibility_timeout_seconds: int32_option()?,
            retention_seconds: int32_option()?,
            rewind_seconds: int32_option()?,
            polling_wait_seconds: int32_option()?,
            max_message_bytes: int32_option()?,
            max_messages: from.int_option()?,
            dead_letter: match from.u8()? {
                0 => DeadLetterChange::Keep,
                1 => DeadLetterChange::Unbind,
                2 => {
                    DeadLetterChange::Bind { queue: from.text()?.into(), rule: DeadLetterRule::decode(from)? }
                }
                _ => return Err(from.error()),
            },
        })
    }
}
