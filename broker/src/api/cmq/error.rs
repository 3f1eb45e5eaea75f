//! The errors of the CMQ protocol: outer code, module code and text, and what each refusal of the service becomes.
//!
//! Texts keep the hosted service's own wording and spelling, since callers compare them. What is said beyond them, such as
//! the range that is allowed, follows after a colon.

mod rows;

use std::borrow::Cow;
use std::fmt::Display;
use std::ops::RangeInclusive;

use cmq_engine::attributes::{DELAY_SECONDS, MAX_TIME_TO_LIVE_SECONDS};

use crate::access::Repeated;
use crate::service::types::{BATCH_MESSAGES_MAX, ServiceError};

#[cfg(test)]
pub(crate) use rows::ROWS;
pub(crate) use rows::outer_codes;

/// Characters of a caller's own text that an error repeats at most.
const ECHO_CHARS_MAX: usize = 64;

/// Why a call was not done, as the protocol says it: a row of its table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code} ({module}){text}")]
pub struct Error {
    /// The `code` of the answer.
    pub code: u32,
    /// The number in the prefix of the answer's `message`.
    pub module: u32,
    /// What `message` says after the prefix.
    pub text: Cow<'static, str>,
}

impl Error {
    /// A row that speaks of something of the caller's.
    fn about(self, name: &str) -> Self {
        Self { text: Cow::Owned(self.text.replace("%s", &echo(name))), ..self }
    }

    /// Says more than the row does.
    pub(crate) fn because(self, reason: &dyn Display) -> Self {
        Self { text: Cow::Owned(format!("{}: {reason}", self.text)), ..self }
    }

    /// A parameter's name has no number where the protocol wants one.
    pub(crate) fn key_format(name: &str) -> Self {
        Self::KEY_FORMAT.about(name)
    }

    /// A parameter that may stand once stands twice, or with a number.
    pub(crate) fn repeated(name: &str) -> Self {
        Self::REPEATED.about(name)
    }

    /// The name breaks the rule for names.
    pub(crate) fn queue_name(chars: usize) -> Self {
        let allowed = "a letter, then letters, digits, '-' and '_'";
        Self::QUEUE_NAME.because(&format_args!("{allowed} are allowed, {chars} characters in all"))
    }

    /// The TCP protocol is not served.
    pub(crate) fn no_route() -> Self {
        Self::REFUSED.because(&"this broker does not serve the TCP protocol; call it over HTTP")
    }

    /// A value outside its range.
    pub(crate) fn out_of_range(name: &str, allowed: &RangeInclusive<impl Display>) -> Self {
        Self::OUT_OF_RANGE.about(name).because(&format_args!(
            "{} to {} is allowed",
            allowed.start(),
            allowed.end()
        ))
    }

    /// A text that is too long.
    pub(crate) fn too_long(name: &str, chars: usize) -> Self {
        Self::OUT_OF_RANGE.about(name).because(&format_args!("{chars} characters are allowed"))
    }

    /// A negative number where none can be.
    pub(crate) fn negative(name: &str) -> Self {
        Self::OUT_OF_RANGE.about(name).because(&"0 and more is allowed")
    }

    /// Messages would go to a dead-letter queue when they are too young, too old or expired.
    pub(crate) fn time_to_live() -> Self {
        let (least, most) = MAX_TIME_TO_LIVE_SECONDS.into_inner();
        let allowed = format_args!("{least} to {most}, and less than msgRetentionSeconds, is allowed");
        Self::OUT_OF_RANGE.about("maxTimeToLive").because(&allowed)
    }

    /// A delay that no message can have.
    pub(crate) fn delay() -> Self {
        let (least, most) = DELAY_SECONDS.into_inner();
        Self::DELAY.because(&format_args!("{least} to {most} is allowed"))
    }

    /// A value that is not a number, or not UTF-8.
    pub(crate) fn wrong_type(name: &str) -> Self {
        Self::WRONG_TYPE.about(name)
    }

    /// More elements than a batch may have.
    pub(crate) fn batch_size(name: &str) -> Self {
        Self::BATCH_SIZE.about(name).because(&format_args!("1 to {BATCH_MESSAGES_MAX} is allowed"))
    }

    /// A gap in the numbers of an array parameter.
    pub(crate) fn gap(name: &str) -> Self {
        Self::GAP.about(name)
    }

    /// A required parameter is not there.
    pub(crate) fn lacking(name: &str) -> Self {
        Self::LACKING.about(name)
    }

    /// Neither GET nor POST.
    pub(crate) fn method(method: &str) -> Self {
        Self::METHOD.about(method)
    }

    /// The request is larger than the broker takes, or broke off. `part` is what could not be read.
    pub(crate) fn unreadable(part: &str) -> Self {
        Self::UNREADABLE.about(part)
    }

    /// An action that the protocol does not have.
    pub(crate) fn action_unknown(name: &str) -> Self {
        Self::ACTION_UNKNOWN.about(name)
    }

    /// An action of the protocol that this broker does not have.
    pub(crate) fn action_not_served(name: &str) -> Self {
        Self::ACTION_UNKNOWN.about(name).because(&"this broker does not serve it yet")
    }

    /// A signed call from another time. All in Unix seconds.
    pub(crate) fn clock(timestamp_s: u64, now_s: u64, allowed_s: u64) -> Self {
        let side = if timestamp_s < now_s { "behind" } else { "ahead of" };
        Self::AUTHENTICATION_FAILED.because(&format_args!(
            "Timestamp {timestamp_s} is {} seconds {side} the broker's clock, which says {now_s}; at most {allowed_s} \
             are allowed",
            timestamp_s.abs_diff(now_s)
        ))
    }

    /// A signed call that does not count, since it may be a repetition.
    pub(crate) fn repeated_call(repeated: Repeated) -> Self {
        Self::AUTHENTICATION_FAILED.because(&repeated)
    }

    /// A bound of the broker is reached.
    pub(crate) fn retry(reason: &dyn Display) -> Self {
        Self::INTERNAL.because(reason)
    }
}

/// The one table from refusals of the service to codes and texts of the protocol.
impl From<ServiceError> for Error {
    fn from(refusal: ServiceError) -> Self {
        use ServiceError as R;
        match refusal {
            R::QueueMissing(_) => Self::QUEUE_MISSING,
            R::QueueExists(_) => Self::QUEUE_EXISTS,
            R::TooManyQueues(_) => Self::QUEUES,
            R::RecreatedTooSoon(_) => Self::TOO_SOON,
            R::InUseAsDeadLetterQueue(_) => Self::DEAD_LETTER_IN_USE,
            R::DeadLetterQueueMissing(_) => Self::DEAD_LETTER_QUEUE_MISSING,
            R::DeadLetterNesting(_) => Self::DEAD_LETTER_NESTING,
            R::DeadLetterTooManySources(_) => Self::DEAD_LETTER_SOURCES,
            R::RewindAboveRetention(_) => Self::REWIND_ABOVE_RETENTION,
            R::TimeToLiveNotBelowRetention(_) => Self::time_to_live(),
            R::Declared(..)
            | R::QueuesAreDeclared(_)
            | R::QueueChanged(_)
            | R::QueueClosed(_)
            | R::DeadLetterKind(_)
            | R::KindIsFixed(_)
            | R::RewindFifo(_) => Self::REFUSED.because(&refusal),
            R::RewindOff(_) => Self::REWIND_OFF,
            R::RewindTime { .. } => Self::REWIND_TIME.because(&refusal),
            R::PurgedTooSoon(_) => Self::retry(&refusal),
            R::MessageTooLarge { limit, .. } => {
                Self::MESSAGE_TOO_LARGE.because(&format_args!("the queue allows {limit} bytes"))
            }
            R::HeapFull => Self::HEAP_FULL,
            R::TooManyInFlightOrDelayed => Self::IN_FLIGHT_OR_DELAYED,
            R::QueueRate => Self::QUEUE_RATE,
            R::ManageRate => Self::MANAGE_RATE,
            R::HandleInvalid | R::HandleStale => Self::HANDLE,
            R::Busy(_) | R::DiskFull | R::Stopping => Self::retry(&refusal),
            R::Internal(_) => Self::INTERNAL,
        }
    }
}

/// What the caller sent, cut to a length that is safe to send back.
fn echo(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(ECHO_CHARS_MAX) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
    }
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
