//! What cannot be changed: the twins in Rust of the CEL rules that look at the old object.

use super::FieldError;
use super::relations::wrong;
use crate::broker::storage::STORAGE_CLASS_KEPT;
use crate::broker::{Broker, BrokerSpec, SHARDS_NEVER_SHRINK};
use crate::queue::Queue;
use crate::queue::rules::{BROKER_KEPT, FIFO_KEPT, QUEUE_NAME_KEPT};

/// Every change of a Queue from `old` to `new`, both right by themselves, that is refused.
pub(super) fn queue(old: &Queue, new: &Queue) -> Vec<FieldError> {
    let own_pods = old.spec.broker.as_ref().zip(new.spec.broker.as_ref());
    [broker_kept(old, new), queue_name_kept(old, new), fifo_kept(old, new)]
        .into_iter()
        .flatten()
        .chain(own_pods.into_iter().flat_map(|(old, new)| broker_spec(&["spec", "broker"], old, new)))
        .collect()
}

/// Every change of a Broker from `old` to `new`, both right by themselves, that is refused.
pub(super) fn broker(old: &Broker, new: &Broker) -> Vec<FieldError> {
    broker_spec(&["spec"], &old.spec, &new.spec)
}

fn broker_kept(old: &Queue, new: &Queue) -> Option<FieldError> {
    let (old, new) = (&old.spec, &new.spec);
    let is_moved = match (&old.broker_ref, &new.broker_ref) {
        (Some(old), Some(new)) => old != new,
        _ => false,
    };
    let allowed = match &old.broker_ref {
        Some(broker) => format!("brokerRef with the name {}, as before", broker.name),
        None => "broker, as before".to_owned(),
    };
    (is_moved || old.broker.is_some() != new.broker.is_some())
        .then(|| wrong(&["spec"], BROKER_KEPT.into(), allowed))
}

fn queue_name_kept(old: &Queue, new: &Queue) -> Option<FieldError> {
    let (old, new) = (&old.spec.queue_name, &new.spec.queue_name);
    let allowed = match old {
        Some(name) => format!("{name:?}, as before"),
        None => "none, as before".to_owned(),
    };
    (old != new).then(|| wrong(&["spec", "queueName"], QUEUE_NAME_KEPT.into(), allowed))
}

fn fifo_kept(old: &Queue, new: &Queue) -> Option<FieldError> {
    let scope = |queue: &Queue| queue.spec.fifo.as_ref().map(|fifo| fifo.deduplication_scope);
    let allowed = match scope(old) {
        Some(scope) => format!("fifo with deduplicationScope {scope:?}, as before"),
        None => "no fifo, as before".to_owned(),
    };
    (scope(old) != scope(new)).then(|| wrong(&["spec", "fifo"], FIFO_KEPT.into(), allowed))
}

/// What cannot be changed inside a BrokerSpec that stands under `keys`.
fn broker_spec(keys: &[&str], old: &BrokerSpec, new: &BrokerSpec) -> Vec<FieldError> {
    let under =
        |field: &[&str], problem: &str, allowed| wrong(&[keys, field].concat(), problem.into(), allowed);
    let shards =
        shards_never_shrink(old, new).map(|allowed| under(&["shards"], SHARDS_NEVER_SHRINK, allowed));
    let class = storage_class_kept(old, new)
        .map(|allowed| under(&["storage", "storageClassName"], STORAGE_CLASS_KEPT, allowed));
    shards.into_iter().chain(class).collect()
}

/// What is allowed instead of these shards.
fn shards_never_shrink(old: &BrokerSpec, new: &BrokerSpec) -> Option<String> {
    let (is_right, allowed) = match old.shards {
        Some(old) => (new.shards.is_some_and(|new| new >= old), format!("at least {old}, as many as before")),
        None => (
            new.shards.is_none_or(|new| new >= old.replicas),
            format!("none, or at least {}, as many as replicas before", old.replicas),
        ),
    };
    (!is_right).then_some(allowed)
}

/// What is allowed instead of this storage class.
fn storage_class_kept(old: &BrokerSpec, new: &BrokerSpec) -> Option<String> {
    let (old, new) = (&old.storage.storage_class_name, &new.storage.storage_class_name);
    let allowed =
        old.as_ref().map_or_else(|| "none, as before".to_owned(), |name| format!("{name}, as before"));
    (old != new).then_some(allowed)
}
