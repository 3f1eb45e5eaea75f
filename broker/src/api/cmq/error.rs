//! The errors of the CMQ protocol: outer code, module code and text, and what each refusal of the service becomes.
//!
//! Texts keep the hosted service's own wording and spelling, since callers compare them.

use std::borrow::Cow;

use crate::service::types::ServiceError;

/// Characters of a caller's own text that an error repeats at most.
const ECHO_CHARS_MAX: usize = 64;

/// Every value that [`Error::code`] takes, after 0 for success; label values of the request metrics.
pub(crate) const OUTER_CODES: [(u32, &str); 15] = [
    (0, "0"),
    (4000, "4000"),
    (4100, "4100"),
    (4400, "4400"),
    (4410, "4410"),
    (4430, "4430"),
    (4440, "4440"),
    (4450, "4450"),
    (4470, "4470"),
    (6000, "6000"),
    (6010, "6010"),
    (6020, "6020"),
    (6040, "6040"),
    (6070, "6070"),
    (7000, "7000"),
];

/// Why a call was not done, as the protocol says it.
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
    /// No message within the waiting time.
    pub(crate) const NO_MESSAGE: Self = Self::fixed(7000, 10200, "no message");
    /// Some, not all, handles of a batch were refused.
    pub(crate) const DELETE_PARTLY_FAILED: Self = Self::fixed(6010, 10150, "delete message partially failed");
    /// All handles of a batch were refused.
    pub(crate) const DELETE_FAILED: Self = Self::fixed(6020, 10290, "batch delete message failed");
    /// The broker met a bug.
    pub(crate) const INTERNAL: Self = Self::fixed(6000, 10050, "server internal error");
    /// The caller's key is known and the signature is not that of the request.
    pub(crate) const AUTHENTICATION_FAILED: Self = Self::fixed(4100, 10030, "authentication failed");
    /// No such key.
    pub(crate) const SECRET_ID_UNKNOWN: Self = Self::fixed(4100, 10270, "secret id is not existed");
    /// A key that cannot be one of CMQ.
    pub(crate) const SECRET_ID_FORM: Self = Self::fixed(4000, 10450, "secret id dosen't begin with AKID");
    /// The request names no action.
    pub(crate) const ACTION_LACKING: Self = Self::fixed(4000, 10280, "action is not existed");
    /// The name breaks the rule for names.
    pub(crate) const QUEUE_NAME: Self = Self::fixed(4000, 10020, "queue name format error");
    /// A message without a byte.
    pub(crate) const BODY_EMPTY: Self = Self::fixed(4000, 10120, "message body can't be empty");
    /// The bodies of a batch are larger than a batch may be.
    pub(crate) const BATCH_TOO_LARGE: Self = Self::fixed(4470, 10300, "total message size exceed 1MB");
    /// A delay that no message can have.
    pub(crate) const DELAY: Self = Self::fixed(4000, 10692, "delay seconds is out of range");
    /// Deleted messages would be kept longer than messages live.
    pub(crate) const REWIND_ABOVE_RETENTION: Self =
        Self::fixed(4000, 10700, "rewindSeconds cannot be greater than msgRetentionSeconds");
    /// `deadLetterPolicy` is not a JSON object.
    pub(crate) const DEAD_LETTER_NOT_JSON: Self =
        Self::fixed(4000, 10710, "dead-letter policy is not JSON text");
    /// `deadLetterPolicy` lacks the number that its rule needs, or holds something else in its place.
    pub(crate) const DEAD_LETTER_POLICY: Self = Self::fixed(4000, 10720, "dead-letter policy error");
    /// `deadLetterPolicy` names no queue.
    pub(crate) const DEAD_LETTER_QUEUE_LACKING: Self =
        Self::fixed(4000, 10760, "dead-letter policy lacks deadLetterQueue");
    /// `deadLetterPolicy` has no rule, or one that does not exist.
    pub(crate) const DEAD_LETTER_RULE: Self = Self::fixed(4000, 10770, "policy must be 0 or 1");

    const fn fixed(code: u32, module: u32, text: &'static str) -> Self {
        Self { code, module, text: Cow::Borrowed(text) }
    }

    fn made(code: u32, module: u32, text: String) -> Self {
        Self { code, module, text: Cow::Owned(text) }
    }

    /// A parameter's name has no number where the protocol wants one.
    pub(crate) fn key_format(name: &str) -> Self {
        Self::made(4000, 10310, format!("error: parameter {} key format error", echo(name)))
    }

    /// A parameter that may stand once stands twice, or with a number.
    pub(crate) fn repeated(name: &str) -> Self {
        Self::made(4000, 10330, format!("parameter {} is NOT a repeatable parameter", echo(name)))
    }

    /// A value outside its range.
    pub(crate) fn out_of_range(name: &str) -> Self {
        Self::made(4000, 10350, format!("parameter {name} value or length is out of range"))
    }

    /// A value that is not a number, or not UTF-8.
    pub(crate) fn wrong_type(name: &str) -> Self {
        Self::made(4000, 10360, format!("parameter {name} error type"))
    }

    /// More elements than a batch may have.
    pub(crate) fn batch_size(name: &str) -> Self {
        Self::made(4000, 10370, format!("{name} parameter batch size is out of range"))
    }

    /// A gap in the numbers of an array parameter.
    pub(crate) fn gap(name: &str) -> Self {
        Self::made(4000, 10380, format!("{name} parameter is not consequent"))
    }

    /// A required parameter is not there.
    pub(crate) fn lacking(name: &str) -> Self {
        Self::made(4000, 10390, format!("lacked of required parameter {name}"))
    }

    /// Neither GET nor POST.
    pub(crate) fn method(method: &str) -> Self {
        let text = format!("unexpected http {} only GET or POST is supported", echo(method));
        Self::made(4000, 10410, text)
    }

    /// The request is larger than the broker takes, or broke off. `part` is what could not be read.
    pub(crate) fn unreadable(part: &str) -> Self {
        Self::made(4000, 10420, format!("cannot parse {part}, or request size is more than 1MB"))
    }

    /// An action that the protocol does not have.
    pub(crate) fn action_unknown(name: &str) -> Self {
        Self::made(4000, 10430, format!("action name {} is not existed", echo(name)))
    }

    /// An action of the protocol that this broker does not have.
    pub(crate) fn action_not_served(name: &str) -> Self {
        Self::made(
            4000,
            10430,
            format!("action name {name} is not existed: this broker does not serve it yet"),
        )
    }

    /// A bound of the broker is reached.
    pub(crate) fn retry(reason: &dyn std::fmt::Display) -> Self {
        Self::made(6000, 10050, format!("server internal error: {reason}"))
    }
}

/// The one table from refusals of the service to codes and texts of the protocol.
impl From<ServiceError> for Error {
    fn from(refusal: ServiceError) -> Self {
        use ServiceError as R;
        match refusal {
            R::QueueMissing(_) => Self::fixed(4440, 10100, "queue is not existed, or deleted"),
            R::QueueExists(_) => Self::fixed(4000, 4460, "queue is already existed,case insensitive"),
            R::TooManyQueues(_) => Self::fixed(4450, 10220, "number of queues has reached the limit"),
            R::RecreatedTooSoon(_) => Self::fixed(
                6040,
                10660,
                "it will take some time to release resources of previous queue, please try again later",
            ),
            R::InUseAsDeadLetterQueue(_) => {
                Self::fixed(4000, 10750, "queue is a dead-letter queue, cannot be deleted")
            }
            R::DeadLetterQueueMissing(_) => Self::fixed(4000, 10730, "dead-letter queue missing"),
            R::DeadLetterNesting(_) => Self::fixed(4000, 10740, "dead-letter nesting"),
            R::DeadLetterTooManySources(_) => Self::fixed(4000, 10780, "dead-letter queue bound too often"),
            R::RewindAboveRetention(_) => Self::REWIND_ABOVE_RETENTION,
            R::TimeToLiveNotBelowRetention(_) => Self::out_of_range("maxTimeToLive"),
            R::Declared(..) | R::DeadLetterKind(_) | R::KindIsFixed(_) | R::RewindFifo(_) => {
                Self::made(4000, 10110, format!("request parameters error: {refusal}"))
            }
            R::RewindOff(_) => Self::fixed(6050, 10670, "your queue cannot be rewinded"),
            R::RewindTime { .. } => Self::made(4000, 10680, format!("invalid rewind time: {refusal}")),
            R::PurgedTooSoon(_) => Self::retry(&refusal),
            R::MessageTooLarge { .. } => Self::fixed(4400, 10230, "exceed maximum message size"),
            R::HeapFull => Self::fixed(4410, 10240, "reach maximum retention number of message"),
            R::TooManyInFlightOrDelayed => {
                Self::fixed(6070, 10690, "too many unacked(inactive) messages or delayed messages")
            }
            R::HandleInvalid | R::HandleStale => Self::fixed(4430, 10260, "receipt handle is invalid"),
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
mod tests {
    use super::*;

    /// One refusal of every kind, with what the caller must read.
    #[test]
    fn refusals_have_the_codes_of_the_protocol() {
        use ServiceError as R;
        let name = || "orders".to_owned();
        for (refusal, said) in [
            (R::QueueMissing(name()), "4440 (10100)queue is not existed, or deleted"),
            (R::QueueExists(name()), "4000 (4460)queue is already existed,case insensitive"),
            (R::TooManyQueues(1000), "4450 (10220)number of queues has reached the limit"),
            (
                R::RecreatedTooSoon(name()),
                "6040 (10660)it will take some time to release resources of previous queue, please try again later",
            ),
            (
                R::InUseAsDeadLetterQueue(name()),
                "4000 (10750)queue is a dead-letter queue, cannot be deleted",
            ),
            (R::DeadLetterQueueMissing(name()), "4000 (10730)dead-letter queue missing"),
            (R::DeadLetterNesting(name()), "4000 (10740)dead-letter nesting"),
            (R::DeadLetterTooManySources(name()), "4000 (10780)dead-letter queue bound too often"),
            (
                R::Declared(name(), "Queue default/orders".to_owned()),
                "4000 (10110)request parameters error: queue orders is declared by Queue default/orders; \
                 change it there",
            ),
            (
                R::KindIsFixed(name()),
                "4000 (10110)request parameters error: queue orders exists, and FIFO or not cannot be changed",
            ),
            (
                R::DeadLetterKind(name()),
                "4000 (10110)request parameters error: dead-letter queue orders is FIFO and the queue is not, \
                 or the other way round",
            ),
            (R::MessageTooLarge { size: 9, limit: 8 }, "4400 (10230)exceed maximum message size"),
            (R::HeapFull, "4410 (10240)reach maximum retention number of message"),
            (
                R::TooManyInFlightOrDelayed,
                "6070 (10690)too many unacked(inactive) messages or delayed messages",
            ),
            (R::HandleInvalid, "4430 (10260)receipt handle is invalid"),
            (R::HandleStale, "4430 (10260)receipt handle is invalid"),
            (R::Busy("inbox"), "6000 (10050)server internal error: the broker is busy: inbox; retry"),
            (
                R::DiskFull,
                "6000 (10050)server internal error: the disk is full; retry when messages have been deleted",
            ),
            (R::Stopping, "6000 (10050)server internal error: the broker is stopping; retry"),
            (R::Internal("a secret of the house".to_owned()), "6000 (10050)server internal error"),
        ] {
            let error = Error::from(refusal);
            assert_eq!(error.to_string(), said);
            assert!(OUTER_CODES.iter().any(|&(code, _)| code == error.code), "{error} has no metric label");
        }
    }

    #[test]
    fn long_echoes_are_cut() {
        let name = "你".repeat(1000);
        let text = Error::action_unknown(&name).text;
        assert_eq!(text, format!("action name {}… is not existed", "你".repeat(64)));
    }
}
