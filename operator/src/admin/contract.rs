//! Requests and answers of the admin API, as JSON. Unknown fields of an answer are left alone: a newer broker may say more.

use cmq_crds::queue::{DeletionPolicy, QueueSpec};
use serde::{Deserialize, Serialize};

/// Queues, and withdrawals, that one declare call names at most.
pub const DECLARE_ITEMS_MAX: usize = 10_000;
/// Bytes of a declare call's body at most.
pub const DECLARE_BYTES_MAX: usize = 16 << 20;
/// Queues on a page of counts.
pub const QUEUES_PAGE: usize = 100;

/// What a broker says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerInfo {
    /// Its version.
    pub version: String,
    /// The id of the cluster that its volume belongs to, hexadecimal.
    pub cluster_id: String,
    /// Shards that it serves.
    pub shards: u16,
    /// Whether it serves.
    pub ready: bool,
    /// Whether it takes sends; false on a full disk.
    pub takes_sends: bool,
    /// Queues on it.
    pub queues: u64,
    /// Bytes free on its volume.
    pub free_bytes: u64,
    /// Bytes of its volume.
    pub volume_bytes: u64,
    /// The certificates it has loaded.
    pub tls: BrokerTls,
}

/// The certificates that a broker has loaded, a port each; nothing where the port speaks plain HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerTls {
    /// Of the admin port.
    pub admin: Option<LoadedCertificate>,
    /// Of the client port.
    pub client: Option<LoadedCertificate>,
}

/// A certificate in use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadedCertificate {
    /// SHA-256 of the leaf's DER, hexadecimal.
    pub leaf_sha256: String,
    /// SHA-256 of the bytes of `ca.crt`, hexadecimal; nothing where there is none.
    pub ca_sha256: Option<String>,
    /// When the leaf ends, Unix milliseconds.
    pub not_after_ms: i64,
}

/// Queues to declare and to withdraw.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeclareRequest {
    /// Queues that should be as their objects say.
    pub queues: Vec<DeclaredQueue>,
    /// Objects whose queues should go.
    pub withdraw: Vec<Withdrawal>,
}

/// One Queue object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeclaredQueue {
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Whether a queue of that name which an API call made is taken over.
    #[serde(default)]
    pub adopt: bool,
    /// Its spec.
    pub spec: QueueSpec,
}

/// One Queue object that is being deleted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Withdrawal {
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// What becomes of the messages; left out, what the queue was last declared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
}

/// What became of a [`DeclareRequest`]; objects that are in none of the lists were as they should be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeclareAnswer {
    /// Queues that were changed.
    pub changed: Vec<ChangedQueue>,
    /// Objects that could not be declared.
    pub problems: Vec<Problem>,
    /// What became of each withdrawal.
    pub withdrawn: Vec<Withdrawn>,
}

/// A queue that a declare call changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangedQueue {
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Name on the wire.
    pub queue_name: String,
    /// What was done.
    pub change: Change,
}

/// What a declare call did to a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It was not there.
    Created,
    /// Attributes changed.
    Updated,
    /// It was there, made by an API call, and belongs to the object now.
    Adopted,
}

/// An object that could not be declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Name on the wire, where the spec could be read.
    #[serde(default)]
    pub queue_name: Option<String>,
    /// What kind of problem.
    pub code: ProblemCode,
    /// What is wrong.
    pub message: String,
    /// What is allowed.
    #[serde(default)]
    pub allowed: Option<String>,
}

/// Kinds of problems of a declare call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemCode {
    /// The spec is not valid.
    Invalid,
    /// Another object declares a queue of that name.
    NameTaken,
    /// An API call made a queue of that name, and adoption was not asked for.
    Exists,
    /// The dead-letter queue does not exist.
    DeadLetterMissing,
    /// The dead-letter queue has a dead-letter queue itself.
    DeadLetterChain,
    /// The dead-letter queue serves as many sources as it can.
    DeadLetterSources,
    /// One of both is FIFO and the other is not.
    DeadLetterType,
    /// A change of what cannot be changed.
    Immutable,
    /// The name is closed for some time after a delete.
    Wait,
    /// Try again.
    Busy,
    /// A code that a newer broker knows.
    #[serde(other)]
    Other,
}

/// What became of a withdrawal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Withdrawn {
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Name on the wire, where a queue is known.
    #[serde(default)]
    pub queue_name: Option<String>,
    /// Where it stands.
    pub state: WithdrawnState,
    /// Messages in the queue.
    #[serde(default)]
    pub messages: u64,
    /// What is waited for.
    #[serde(default)]
    pub reason: Option<WaitReason>,
}

/// Where a withdrawal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WithdrawnState {
    /// The queue does not exist.
    Gone,
    /// The queue stays, as one that no object declares.
    Kept,
    /// The queue takes no sends and goes when what `reason` says is over.
    Waiting,
}

/// What a withdrawal waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitReason {
    /// Messages are left.
    NotEmpty,
    /// It is the dead-letter queue of another.
    InUse,
    /// A reason that a newer broker knows.
    #[serde(other)]
    Other,
}

/// A page of queues in the order of names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueuePage {
    /// The queues.
    pub queues: Vec<QueueEntry>,
    /// Where the next page begins; nothing on the last.
    pub cursor: Option<String>,
}

/// One queue with its counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueEntry {
    /// Name on the wire.
    pub name: String,
    /// The object that declares it, `namespace/name`; nothing for a queue that an API call made.
    pub declared_by: Option<String>,
    /// How many messages it has.
    pub counts: QueueCounts,
}

/// Messages of one queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueCounts {
    /// Can be received.
    pub ready: u64,
    /// Under a lease.
    pub in_flight: u64,
    /// Hidden by a delay.
    pub delayed: u64,
    /// Age of the oldest in milliseconds; nothing for an empty queue.
    pub oldest_age_ms: Option<u64>,
}
