//! The CEL rules of `Queue`. Each has its twin in [`crate::validate`]; a test gives both the same cases.

use kube::core::Rule;

use crate::bounds::{BROKER_NAME_LENGTH_MAX, BROKER_NAME_PATTERN, WIRE_NAME_LENGTH_MAX, WIRE_NAME_PATTERN};
use crate::rule::rule;

/// What is said of a queue that would move.
pub(crate) const BROKER_KEPT: &str =
    "a queue cannot move to another Broker: brokerRef, and whether there is a broker, cannot be changed";
/// What is said of another name on the wire.
pub(crate) const QUEUE_NAME_KEPT: &str = "queueName cannot be changed";
/// What is said of another kind.
pub(crate) const FIFO_KEPT: &str = "whether a queue is FIFO, and its deduplicationScope, cannot be changed";

/// The name on the wire, seen from the root of the object.
const WIRE_NAME: &str = "(has(self.spec.queueName) ? self.spec.queueName : self.metadata.name)";

pub(super) fn wire_name() -> Rule {
    let pattern = WIRE_NAME_PATTERN.replace('\\', r"\\");
    rule(
        &format!("{WIRE_NAME}.size() <= {WIRE_NAME_LENGTH_MAX} && {WIRE_NAME}.matches('{pattern}')"),
        &format!(
            "the name on the wire (spec.queueName, else metadata.name) has at most {WIRE_NAME_LENGTH_MAX} letters, \
             digits, '-' and '_', and may end in '.fifo'; set spec.queueName where metadata.name cannot be it"
        ),
    )
}

pub(super) fn fifo_name() -> Rule {
    rule(
        &format!("{WIRE_NAME}.endsWith('.fifo') == has(self.spec.fifo)"),
        "the name on the wire (spec.queueName, else metadata.name) ends in '.fifo' for a queue with spec.fifo, and only \
         for such a queue",
    )
}

pub(super) fn own_pods_name() -> Rule {
    rule(
        &format!(
            "!has(self.spec.broker) || (self.metadata.name.size() <= {BROKER_NAME_LENGTH_MAX} && \
             self.metadata.name.matches('{BROKER_NAME_PATTERN}'))"
        ),
        &format!(
            "metadata.name of a queue with spec.broker names its pods: at most {BROKER_NAME_LENGTH_MAX} lower-case \
             letters, digits and '-', a letter first and no '-' at the end; spec.queueName holds any other name"
        ),
    )
}

pub(super) fn dead_letter_elsewhere() -> Rule {
    rule(
        "!has(self.spec.deadLetter) || self.spec.deadLetter.queueRef.name != self.metadata.name",
        "spec.deadLetter.queueRef.name names another queue than this one",
    )
}

pub(super) fn one_broker() -> Rule {
    rule("has(self.brokerRef) != has(self.broker)", "exactly one of brokerRef and broker")
}

pub(super) fn broker_kept() -> Rule {
    rule(
        "has(self.broker) == has(oldSelf.broker) && \
         (!has(self.brokerRef) || !has(oldSelf.brokerRef) || self.brokerRef == oldSelf.brokerRef)",
        BROKER_KEPT,
    )
}

pub(super) fn queue_name_kept() -> Rule {
    rule(
        "has(self.queueName) == has(oldSelf.queueName) && (!has(self.queueName) || self.queueName == oldSelf.queueName)",
        QUEUE_NAME_KEPT,
    )
    .field_path(".queueName")
}

pub(super) fn fifo_kept() -> Rule {
    rule(
        "has(self.fifo) == has(oldSelf.fifo) && \
         (!has(self.fifo) || self.fifo.deduplicationScope == oldSelf.fifo.deduplicationScope)",
        FIFO_KEPT,
    )
    .field_path(".fifo")
}

pub(super) fn rewind_within_retention() -> Rule {
    rule("self.rewindSeconds <= self.retentionSeconds", "rewindSeconds is at most retentionSeconds")
        .field_path(".rewindSeconds")
}

pub(super) fn no_rewind_of_fifo() -> Rule {
    rule("!has(self.fifo) || self.rewindSeconds == 0", "rewindSeconds is 0 for a FIFO queue")
        .field_path(".rewindSeconds")
}

pub(super) fn dead_letter_within_retention() -> Rule {
    rule(
        "!has(self.deadLetter) || !has(self.deadLetter.maxTimeToLiveSeconds) || \
         self.deadLetter.maxTimeToLiveSeconds < self.retentionSeconds",
        "deadLetter.maxTimeToLiveSeconds is less than retentionSeconds",
    )
    .field_path(".deadLetter.maxTimeToLiveSeconds")
}

pub(super) fn one_dead_letter_rule() -> Rule {
    rule(
        "has(self.maxReceiveCount) != has(self.maxTimeToLiveSeconds)",
        "exactly one of maxReceiveCount and maxTimeToLiveSeconds",
    )
}

pub(super) fn kept_queue_keeps_volumes() -> Rule {
    rule(
        "!has(self.broker) || self.deletionPolicy != 'Retain' || self.broker.storage.deletionPolicy == 'Retain'",
        "broker.storage.deletionPolicy is Retain where deletionPolicy is Retain: else what is to stay would be deleted",
    )
    .field_path(".broker.storage.deletionPolicy")
}
