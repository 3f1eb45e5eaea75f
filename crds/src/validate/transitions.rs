//! What cannot be changed: the twins in Rust of the CEL rules that look at the old object.

use super::FieldError;
use super::relations::wrong;
use crate::broker::{Broker, BrokerSpec, SHARDS_NEVER_SHRINK};
use crate::queue::Queue;
use crate::queue::rules::{BROKER_KEPT, FIFO_KEPT, QUEUE_NAME_KEPT};

/// Every change of a Queue from `old` to `new`, both right by themselves, that is refused.
pub(super) fn queue(old: &Queue, new: &Queue) -> Vec<FieldError> {
    let own_pods = old.spec.broker.as_ref().zip(new.spec.broker.as_ref());
    [broker_kept(old, new), queue_name_kept(old, new), fifo_kept(old, new)]
        .into_iter()
        .chain(own_pods.map(|(old, new)| shards_never_shrink(&["spec", "broker", "shards"], old, new)))
        .flatten()
        .collect()
}

/// Every change of a Broker from `old` to `new`, both right by themselves, that is refused.
pub(super) fn broker(old: &Broker, new: &Broker) -> Vec<FieldError> {
    shards_never_shrink(&["spec", "shards"], &old.spec, &new.spec).into_iter().collect()
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

fn shards_never_shrink(field: &[&str], old: &BrokerSpec, new: &BrokerSpec) -> Option<FieldError> {
    let (old, new) = old.shards.zip(new.shards)?;
    let allowed = format!("at least {old}, as many as before");
    (new < old).then(|| wrong(field, SHARDS_NEVER_SHRINK.into(), allowed))
}
