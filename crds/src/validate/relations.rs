//! How fields must relate: the twins in Rust of the CEL rules that need no old object.

use super::{FieldError, FieldPath};
use crate::bounds::{
    BROKER_NAME_LENGTH_MAX, BROKER_NAME_PATTERN, STORAGE_BYTES_MIN, WIRE_NAME_LENGTH_MAX, WIRE_NAME_PATTERN,
};
use crate::broker::storage::{VolumeDeletionPolicy, byte_size};
use crate::broker::{Broker, BrokerSpec};
use crate::queue::{DeletionPolicy, Queue};

/// Every relation that a Queue, right by its schema, breaks.
pub(super) fn queue(queue: &Queue) -> Vec<FieldError> {
    [
        one_broker(queue),
        own_pods_name(queue),
        wire_name(queue),
        fifo_name(queue),
        rewind_within_retention(queue),
        no_rewind_of_fifo(queue),
        one_dead_letter_rule(queue),
        dead_letter_within_retention(queue),
        dead_letter_elsewhere(queue),
        kept_queue_keeps_volumes(queue),
    ]
    .into_iter()
    .flatten()
    .chain(queue.spec.broker.iter().flat_map(|spec| broker_spec(&["spec", "broker"], spec)))
    .collect()
}

/// Every relation that a Broker, right by its schema, breaks.
pub(super) fn broker(broker: &Broker) -> Vec<FieldError> {
    broker_name(broker).into_iter().chain(broker_spec(&["spec"], &broker.spec)).collect()
}

fn broker_name(broker: &Broker) -> Option<FieldError> {
    let name = broker.metadata.name.as_deref().unwrap_or_default();
    let allowed = format!("at most {BROKER_NAME_LENGTH_MAX} characters that match {BROKER_NAME_PATTERN}");
    (!is_broker_name(name)).then(|| wrong(&["metadata", "name"], format!("is {name:?}"), allowed))
}

/// An error in the field that these keys lead to.
pub(super) fn wrong(keys: &[&str], problem: String, allowed: impl Into<String>) -> FieldError {
    FieldError { path: FieldPath::of(keys), problem, allowed: allowed.into() }
}

fn one_broker(queue: &Queue) -> Option<FieldError> {
    let problem = match (&queue.spec.broker_ref, &queue.spec.broker) {
        (Some(_), Some(_)) => "has both brokerRef and broker",
        (None, None) => "has neither brokerRef nor broker",
        (Some(_), None) | (None, Some(_)) => return None,
    };
    let allowed =
        "exactly one of brokerRef (shares a Broker's pods) and broker (pods of its own; {} is the least)";
    Some(wrong(&["spec"], problem.into(), allowed))
}

fn own_pods_name(queue: &Queue) -> Option<FieldError> {
    let name = queue.metadata.name.as_deref().unwrap_or_default();
    if queue.spec.broker.is_none() || is_broker_name(name) {
        return None;
    }
    let allowed = format!(
        "for a queue with pods of its own at most {BROKER_NAME_LENGTH_MAX} characters that match \
         {BROKER_NAME_PATTERN}; spec.queueName holds any other name"
    );
    Some(wrong(&["metadata", "name"], format!("is {name:?}"), allowed))
}

/// Whether a name matches [`BROKER_NAME_PATTERN`] within its length.
fn is_broker_name(name: &str) -> bool {
    name.len() <= BROKER_NAME_LENGTH_MAX as usize
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// Whether a name matches [`WIRE_NAME_PATTERN`] within its length.
fn is_wire_name(name: &str) -> bool {
    let stem = name.strip_suffix(".fifo").unwrap_or(name);
    name.len() <= WIRE_NAME_LENGTH_MAX as usize
        && !stem.is_empty()
        && stem.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// The field that holds the name on the wire.
fn wire_name_field(queue: &Queue) -> &'static [&'static str] {
    if queue.spec.queue_name.is_some() { &["spec", "queueName"] } else { &["metadata", "name"] }
}

fn wire_name(queue: &Queue) -> Option<FieldError> {
    let name = queue.wire_name();
    let allowed = format!(
        "as name on the wire at most {WIRE_NAME_LENGTH_MAX} characters that match {WIRE_NAME_PATTERN}; \
         spec.queueName holds it where metadata.name cannot"
    );
    (!is_wire_name(name)).then(|| wrong(wire_name_field(queue), format!("is {name:?}"), allowed))
}

fn fifo_name(queue: &Queue) -> Option<FieldError> {
    let name = queue.wire_name();
    let allowed = match (name.ends_with(".fifo"), queue.spec.fifo.is_some()) {
        (false, true) => "a name that ends in .fifo, for spec.fifo is set; spec.queueName can hold it",
        (true, false) => "a name that does not end in .fifo, for spec.fifo is not set",
        (true, true) | (false, false) => return None,
    };
    Some(wrong(wire_name_field(queue), format!("is {name:?}"), allowed))
}

fn rewind_within_retention(queue: &Queue) -> Option<FieldError> {
    let (rewind, retention) = (queue.spec.rewind_seconds, queue.spec.retention_seconds);
    let allowed = format!("at most spec.retentionSeconds, which is {retention}");
    (rewind > retention).then(|| wrong(&["spec", "rewindSeconds"], format!("is {rewind}"), allowed))
}

fn no_rewind_of_fifo(queue: &Queue) -> Option<FieldError> {
    let rewind = queue.spec.rewind_seconds;
    let allowed = "0 for a FIFO queue, whose messages cannot be brought back";
    (queue.spec.fifo.is_some() && rewind > 0)
        .then(|| wrong(&["spec", "rewindSeconds"], format!("is {rewind}"), allowed))
}

fn one_dead_letter_rule(queue: &Queue) -> Option<FieldError> {
    let dead_letter = queue.spec.dead_letter.as_ref()?;
    let problem = match (dead_letter.max_receive_count, dead_letter.max_time_to_live_seconds) {
        (Some(_), Some(_)) => "has both maxReceiveCount and maxTimeToLiveSeconds",
        (None, None) => "has neither maxReceiveCount nor maxTimeToLiveSeconds",
        (Some(_), None) | (None, Some(_)) => return None,
    };
    let allowed = "exactly one of maxReceiveCount and maxTimeToLiveSeconds";
    Some(wrong(&["spec", "deadLetter"], problem.into(), allowed))
}

fn dead_letter_within_retention(queue: &Queue) -> Option<FieldError> {
    let age = queue.spec.dead_letter.as_ref()?.max_time_to_live_seconds?;
    let retention = queue.spec.retention_seconds;
    let allowed = format!("less than spec.retentionSeconds, which is {retention}");
    let keys = ["spec", "deadLetter", "maxTimeToLiveSeconds"];
    (age >= retention).then(|| wrong(&keys, format!("is {age}"), allowed))
}

fn dead_letter_elsewhere(queue: &Queue) -> Option<FieldError> {
    let name = &queue.spec.dead_letter.as_ref()?.queue_ref.name;
    let keys = ["spec", "deadLetter", "queueRef", "name"];
    (queue.metadata.name.as_ref() == Some(name))
        .then(|| wrong(&keys, format!("is {name:?}, this queue itself"), "another queue"))
}

fn kept_queue_keeps_volumes(queue: &Queue) -> Option<FieldError> {
    let volumes = queue.spec.broker.as_ref()?.storage.deletion_policy;
    let keys = ["spec", "broker", "storage", "deletionPolicy"];
    let is_lost =
        queue.spec.deletion_policy == DeletionPolicy::Retain && volumes == VolumeDeletionPolicy::Delete;
    is_lost.then(|| wrong(&keys, "is Delete".into(), "Retain, for spec.deletionPolicy is Retain"))
}

/// The relations inside a BrokerSpec that stands under `keys`.
fn broker_spec(keys: &[&str], spec: &BrokerSpec) -> Vec<FieldError> {
    [one_replica(spec), storage_size(spec), client_certificate(spec), image(spec)]
        .into_iter()
        .flatten()
        .map(|(field, problem, allowed)| wrong(&[keys, field].concat(), problem, allowed))
        .collect()
}

/// A field below a BrokerSpec, what is wrong with it, and what is allowed.
type SpecError = (&'static [&'static str], String, String);

fn one_replica(spec: &BrokerSpec) -> Option<SpecError> {
    let allowed = "1: brokers of several pods are not served yet".to_owned();
    (spec.replicas != 1).then(|| (&["replicas"][..], format!("is {}", spec.replicas), allowed))
}

fn storage_size(spec: &BrokerSpec) -> Option<SpecError> {
    let size = &spec.storage.size;
    let allowed = format!("at least {}Gi", STORAGE_BYTES_MIN >> 30);
    byte_size(size)
        .is_none_or(|bytes| bytes < STORAGE_BYTES_MIN)
        .then(|| (&["storage", "size"][..], format!("is {size:?}"), allowed))
}

fn client_certificate(spec: &BrokerSpec) -> Option<SpecError> {
    let client = spec.tls.client.as_ref()?;
    (client.secret_ref.is_some() && client.issuer_ref.is_some()).then(|| {
        (&["tls", "client"][..], "has both secretRef and issuerRef".into(), "at most one of them".into())
    })
}

fn image(spec: &BrokerSpec) -> Option<SpecError> {
    let image = spec.image.as_ref()?;
    image
        .ends_with(":latest")
        .then(|| (&["image"][..], format!("is {image:?}"), "a version or a digest, not latest".into()))
}
