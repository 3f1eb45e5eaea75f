//! One object that a call brought instead of a file: right by itself; what it is to others is the caller's to work out.

use cmq_crds::queue::Queue;
use cmq_crds::validate::{self, FieldError};
use cmq_crds::{GROUP, VERSION};
use cmq_engine::attributes::{DeadLetterRule, QueueAttributes};
use cmq_engine::catalogue::DeletionPolicy;
use serde_json::{Value, json};

use super::{Existing, attributes, object};

/// A Queue without a place.
#[derive(Clone, Debug)]
pub struct SentQueue(Queue);

impl SentQueue {
    /// Reads the `spec` of an object as strictly as that of a file.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(namespace: &str, name: &str, spec: Value) -> Result<Self, Vec<FieldError>> {
        let object = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": "Queue",
            "metadata": { "namespace": namespace, "name": name },
            "spec": spec,
        });
        validate::parse(object).map(Self)
    }

    /// Name on the wire.
    pub fn wire_name(&self) -> &str {
        self.0.wire_name()
    }

    /// What it would change of the queue that the object has already, and may not.
    pub fn changes(&self, existing: &Existing) -> Vec<FieldError> {
        object::changes(&self.0, existing)
    }

    /// The attributes; `dead_letter` is unset.
    pub fn attributes(&self) -> QueueAttributes {
        attributes::of(&self.0.spec)
    }

    /// Name of the object of the dead-letter queue, in the same namespace, and when messages move there.
    pub fn dead_letter(&self) -> Option<(&str, DeadLetterRule)> {
        let dead_letter = self.0.spec.dead_letter.as_ref()?;
        Some((&dead_letter.queue_ref.name, attributes::rule(dead_letter)))
    }

    /// What becomes of the queue when the object is gone.
    pub fn deletion(&self) -> DeletionPolicy {
        attributes::deletion(self.0.spec.deletion_policy)
    }
}
