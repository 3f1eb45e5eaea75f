//! Every error that a call can cause: one row of the protocol's table each. `docs/cmq.md` has the same rows, and those that
//! no call can cause.

use std::borrow::Cow;

use super::Error;

/// Makes a constant of each row, and the lists of all rows and of their outer codes.
macro_rules! rows {
    ($($(#[$doc:meta])* $name:ident = $code:literal $module:literal $text:literal;)*) => {
        impl Error {
            $(
                $(#[$doc])*
                pub(crate) const $name: Self =
                    Self { code: $code, module: $module, text: Cow::Borrowed($text) };
            )*
        }

        /// All rows, in the order of their codes.
        #[cfg(test)]
        pub(crate) static ROWS: &[Error] = &[$(Error::$name),*];

        /// The outer code of every row, and how metrics label it.
        const CODES: &[(u32, &str)] = &[$(($code, stringify!($code))),*];
    };
}

rows! {
    /// The name breaks the rule for names.
    QUEUE_NAME = 4000 10020 "queue name format error";
    /// The service refuses what no other row is for.
    REFUSED = 4000 10110 "request parameters error";
    /// A message without a byte.
    BODY_EMPTY = 4000 10120 "message body can't be empty";
    /// The request names no action.
    ACTION_LACKING = 4000 10280 "action is not existed";
    /// A parameter's name has no number where the protocol wants one.
    KEY_FORMAT = 4000 10310 "error: parameter %s key format error";
    /// A parameter that may stand once stands twice, or with a number.
    REPEATED = 4000 10330 "parameter %s is NOT a repeatable parameter";
    /// A value outside its range.
    OUT_OF_RANGE = 4000 10350 "parameter %s value or length is out of range";
    /// A value that is not a number, or not UTF-8.
    WRONG_TYPE = 4000 10360 "parameter %s error type";
    /// More elements than a batch may have.
    BATCH_SIZE = 4000 10370 "%s parameter batch size is out of range";
    /// A gap in the numbers of an array parameter.
    GAP = 4000 10380 "%s parameter is not consequent";
    /// A required parameter is not there.
    LACKING = 4000 10390 "lacked of required parameter %s";
    /// Neither GET nor POST.
    METHOD = 4000 10410 "unexpected http %s only GET or POST is supported";
    /// The request is larger than the broker takes, or broke off.
    UNREADABLE = 4000 10420 "cannot parse %s, or request size is more than 1MB";
    /// An action that the protocol does not have, or this broker.
    ACTION_UNKNOWN = 4000 10430 "action name %s is not existed";
    /// A key that cannot be one of CMQ.
    SECRET_ID_FORM = 4000 10450 "secret id dosen't begin with AKID";
    /// A rewind to a time that cannot be.
    REWIND_TIME = 4000 10680
        "invalid rewind time, you can get the vaild range of that via GetQueueAttributes";
    /// A delay that no message can have.
    DELAY = 4000 10692 "delay seconds is out of range";
    /// Deleted messages would be kept longer than messages live.
    REWIND_ABOVE_RETENTION = 4000 10700 "rewindSeconds cannot be greater than msgRetentionSeconds";
    /// `deadLetterPolicy` is not a JSON object.
    DEAD_LETTER_NOT_JSON = 4000 10710 "dead-letter policy is not JSON text";
    /// `deadLetterPolicy` lacks the number that its rule needs, or holds something else in its place.
    DEAD_LETTER_POLICY = 4000 10720 "dead-letter policy error";
    /// The named dead-letter queue does not exist.
    DEAD_LETTER_QUEUE_MISSING = 4000 10730 "dead-letter queue missing";
    /// A dead-letter queue may not have one itself.
    DEAD_LETTER_NESTING = 4000 10740 "dead-letter nesting";
    /// The queue serves others as dead-letter queue.
    DEAD_LETTER_IN_USE = 4000 10750 "queue is a dead-letter queue, cannot be deleted";
    /// `deadLetterPolicy` names no queue.
    DEAD_LETTER_QUEUE_LACKING = 4000 10760 "dead-letter policy lacks deadLetterQueue";
    /// `deadLetterPolicy` has no rule, or one that does not exist.
    DEAD_LETTER_RULE = 4000 10770 "policy must be 0 or 1";
    /// The dead-letter queue serves as many sources as it may.
    DEAD_LETTER_SOURCES = 4000 10780 "dead-letter queue bound too often";
    /// A queue of this name, or of one that differs only in case, exists.
    QUEUE_EXISTS = 4000 4460 "queue is already existed,case insensitive";
    /// The caller's key is known and the signature is not that of the request.
    AUTHENTICATION_FAILED = 4100 10030 "authentication failed";
    /// No such key.
    SECRET_ID_UNKNOWN = 4100 10270 "secret id is not existed";
    /// A body is larger than the queue allows.
    MESSAGE_TOO_LARGE = 4400 10230 "exceed maximum message size";
    /// The queue holds as many messages as it may.
    HEAP_FULL = 4410 10240 "reach maximum retention number of message";
    /// More calls a second than a queue takes.
    QUEUE_RATE = 4420 10250 "qps throttling";
    /// The handle was not made here, or no longer holds.
    HANDLE = 4430 10260 "receipt handle is invalid";
    /// No queue of this name.
    QUEUE_MISSING = 4440 10100 "queue is not existed, or deleted";
    /// As many queues as the broker takes.
    QUEUES = 4450 10220 "number of queues has reached the limit";
    /// The bodies of a batch are larger than a batch may be.
    BATCH_TOO_LARGE = 4470 10300 "total message size exceed 1MB";
    /// More management calls a second than the broker takes.
    MANAGE_RATE = 4480 10460 "exceed interface frequency limit, please slow down";
    /// A bound of the broker is reached, or it met a bug.
    INTERNAL = 6000 10050 "server internal error";
    /// Some, not all, handles of a batch were refused.
    DELETE_PARTLY_FAILED = 6010 10150 "delete message partially failed";
    /// All handles of a batch were refused.
    DELETE_FAILED = 6020 10290 "batch delete message failed";
    /// The name was in use until a moment ago.
    TOO_SOON = 6040 10660
        "it will take some time to release resources of previous queue, please try again later";
    /// The queue keeps no deleted messages.
    REWIND_OFF = 6050 10670 "your queue cannot be rewinded";
    /// As many messages are out or delayed as the queue allows.
    IN_FLIGHT_OR_DELAYED = 6070 10690 "too many unacked(inactive) messages or delayed messages";
    /// No message within the waiting time.
    NO_MESSAGE = 7000 10200 "no message";
}

/// Every value that [`Error::code`] takes, after 0 for success; label values of the request metrics.
pub(crate) fn outer_codes() -> impl Iterator<Item = (u32, &'static str)> {
    let is_first =
        |&(at, (code, _)): &(usize, &(u32, &str))| CODES[..at].iter().all(|(before, _)| before != code);
    let codes = CODES.iter().enumerate().filter(is_first).map(|(_, &row)| row);
    std::iter::once((0, "0")).chain(codes)
}
