//! The bounds of every figure, name and collection in the resources, in one place: the schema, the CEL rules and
//! [`validate`](crate::validate::validate) all read them here.

/// A closed range of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds<T> {
    /// The least value allowed.
    pub min: T,
    /// The greatest value allowed.
    pub max: T,
}

impl<T> Bounds<T> {
    const fn new(min: T, max: T) -> Self {
        Self { min, max }
    }
}

/// Seconds that a message sent without a delay of its own stays hidden.
pub const DELAY_SECONDS: Bounds<i32> = Bounds::new(0, 3_600);
/// Seconds that a received message stays hidden from other receivers.
pub const VISIBILITY_TIMEOUT_SECONDS: Bounds<i32> = Bounds::new(0, 43_200);
/// Seconds after which a message is dropped.
pub const RETENTION_SECONDS: Bounds<i32> = Bounds::new(60, 1_296_000);
/// Seconds for which a deleted message can be brought back.
pub const REWIND_SECONDS: Bounds<i32> = Bounds::new(0, 1_296_000);
/// Seconds that a receive waits for a message when the call does not say.
pub const POLLING_WAIT_SECONDS: Bounds<i32> = Bounds::new(0, 30);
/// Bytes of one message.
pub const MAX_MESSAGE_BYTES: Bounds<i32> = Bounds::new(1_024, 1_048_576);
/// Messages that a queue holds.
pub const MAX_MESSAGES: Bounds<i64> = Bounds::new(1_000_000, 1_000_000_000);
/// Messages that are out under a lease at once.
pub const MAX_IN_FLIGHT: Bounds<i32> = Bounds::new(1, 120_000);
/// Messages that are hidden by a delay at once.
pub const MAX_DELAYED: Bounds<i32> = Bounds::new(1, 120_000);
/// Receives after which a message moves to the dead-letter queue.
pub const MAX_RECEIVE_COUNT: Bounds<i32> = Bounds::new(1, 1_000);
/// Seconds of age at which a message moves to the dead-letter queue.
pub const MAX_TIME_TO_LIVE_SECONDS: Bounds<i32> = Bounds::new(300, 43_200);
/// Sources that one dead-letter queue serves at most (CMQ 10780).
pub const DEAD_LETTER_SOURCES_MAX: usize = 6;

/// Pods of a Broker.
pub const REPLICAS: Bounds<i32> = Bounds::new(1, 32);
/// Shards of a Broker; they are few by design, never one for a queue.
pub const SHARDS: Bounds<i32> = Bounds::new(1, 64);
/// Seconds for which the name of a deleted queue, or a purged queue, is closed to the same call.
pub const CLOSED_SECONDS: Bounds<i32> = Bounds::new(0, 60);

/// Characters of a queue's name on the wire (SQS; CMQ allows 64).
pub const WIRE_NAME_LENGTH_MAX: u32 = 80;
/// What a name on the wire is made of: the union of what CMQ and SQS allow.
pub const WIRE_NAME_PATTERN: &str = r"^[A-Za-z0-9_-]+(\.fifo)?$";
/// Characters of a Broker's name, so that the names of its children stay inside a DNS label.
pub const BROKER_NAME_LENGTH_MAX: u32 = 45;
/// A DNS label that begins with a letter, which the name of a Service must.
pub const BROKER_NAME_PATTERN: &str = "^[a-z]([-a-z0-9]*[a-z0-9])?$";
/// Characters of an object's name.
pub const OBJECT_NAME_LENGTH_MAX: u32 = 253;
/// A DNS subdomain.
pub const OBJECT_NAME_PATTERN: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// Characters of a namespace's name.
pub const NAMESPACE_LENGTH_MAX: u32 = 63;
/// A DNS label.
pub const NAMESPACE_PATTERN: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// Characters of a key in a Secret.
pub const SECRET_KEY_LENGTH_MAX: u32 = 253;
/// What a key in a Secret is made of.
pub const SECRET_KEY_PATTERN: &str = "^[-._a-zA-Z0-9]+$";
/// Characters of an image reference.
pub const IMAGE_LENGTH_MAX: u32 = 512;
/// Characters of a size in bytes.
pub const BYTE_SIZE_LENGTH_MAX: u32 = 16;
/// A size in bytes as a Kubernetes quantity: a whole number with a binary or decimal suffix.
pub const BYTE_SIZE_PATTERN: &str = "^[1-9][0-9]{0,14}(Ki|Mi|Gi|Ti|k|M|G|T)?$";
/// Characters of a resource quantity.
pub const QUANTITY_LENGTH_MAX: u32 = 32;
/// A Kubernetes quantity that is not negative.
pub const QUANTITY_PATTERN: &str =
    r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?[0-9]+)?$";
/// Bytes of a volume at least: the journal, the largest compaction and the ballast file must fit beside the messages.
pub const STORAGE_BYTES_MIN: u64 = 1 << 30;
/// Characters of a URL in a status.
pub const ADDRESS_LENGTH_MAX: u32 = 512;
/// Characters of a string that has no bound of its own, such as the value of a label.
pub const STRING_LENGTH_MAX: u32 = 1_024;
/// Entries of a list that has no bound of its own.
pub const LIST_ITEMS_MAX: u32 = 64;
/// Entries of a map that has no bound of its own.
pub const MAP_ENTRIES_MAX: u32 = 64;
