//! Whether an object is one that a cluster would take: its schema, and the CEL rules' twins in Rust.
//!
//! And whether a change is one that a cluster would take: some fields stay as they were made.

use std::fmt;
use std::sync::OnceLock;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::broker::Broker;
use crate::manifest;
use crate::queue::Queue;

mod relations;
mod schema;
#[cfg(test)]
mod tests;
mod transitions;

/// One reason why an object is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The field.
    pub path: FieldPath,
    /// What is wrong with it.
    pub problem: String,
    /// What is allowed instead.
    pub allowed: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; allowed: {}", self.path, self.problem, self.allowed)
    }
}

/// The way from an object's root to a field; displayed as `spec.broker.placement.tolerations[0].key`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldPath(pub Vec<Step>);

/// One step of a [`FieldPath`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Into an object.
    Key(String),
    /// Into a list.
    Index(usize),
}

impl FieldPath {
    /// The path of these keys.
    fn of(keys: &[&str]) -> Self {
        Self(keys.iter().map(|key| Step::Key((*key).to_owned())).collect())
    }

    /// This path and one more step.
    fn join(&self, step: Step) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("(the object)");
        }
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if position == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// A kind whose objects are checked here as a cluster checks them.
pub trait Kind: Serialize + DeserializeOwned {
    /// What `kind` says in an object.
    const NAME: &'static str;
    /// Name, namespace and what else tells an object from others.
    fn metadata(&self) -> &ObjectMeta;
    /// The schema of a whole manifest of this kind.
    #[doc(hidden)]
    fn schema() -> &'static schema::Schema;
    /// Every relation between fields that an object, right by its schema, breaks.
    #[doc(hidden)]
    fn relations(&self) -> Vec<FieldError>;
    /// Every change between two right objects that is refused.
    #[doc(hidden)]
    fn transitions(old: &Self, new: &Self) -> Vec<FieldError>;
}

impl Kind for Queue {
    const NAME: &'static str = "Queue";

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn schema() -> &'static schema::Schema {
        static SCHEMA: OnceLock<schema::Schema> = OnceLock::new();
        SCHEMA.get_or_init(|| schema::Schema::new(manifest::schema(&manifest::queue()), Self::NAME))
    }

    fn relations(&self) -> Vec<FieldError> {
        relations::queue(self)
    }

    fn transitions(old: &Self, new: &Self) -> Vec<FieldError> {
        transitions::queue(old, new)
    }
}

impl Kind for Broker {
    const NAME: &'static str = "Broker";

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn schema() -> &'static schema::Schema {
        static SCHEMA: OnceLock<schema::Schema> = OnceLock::new();
        SCHEMA.get_or_init(|| schema::Schema::new(manifest::schema(&manifest::broker()), Self::NAME))
    }

    fn relations(&self) -> Vec<FieldError> {
        relations::broker(self)
    }

    fn transitions(old: &Self, new: &Self) -> Vec<FieldError> {
        transitions::broker(old, new)
    }
}

/// Reads an object strictly: fields that the schema does not know are errors too. Left-out fields get their defaults.
///
/// # Errors
///
/// Everything that is wrong with the object: first what the schema says, and when that is right, how the fields relate.
pub fn parse<K: Kind>(mut value: Value) -> Result<K, Vec<FieldError>> {
    let errors = K::schema().check(&mut value);
    if !errors.is_empty() {
        return Err(errors);
    }
    let object: K = serde_json::from_value(value).map_err(|error| {
        vec![FieldError {
            path: FieldPath::default(),
            problem: error.to_string(),
            allowed: "what the schema of the kind describes".into(),
        }]
    })?;
    let errors = object.relations();
    if errors.is_empty() { Ok(object) } else { Err(errors) }
}

/// Everything that may not be changed from `old` to `new`, both right by themselves; empty for a change that a cluster
/// would take. The words are those of the cluster.
pub fn validate_change<K: Kind>(old: &K, new: &K) -> Vec<FieldError> {
    K::transitions(old, new)
}

/// Everything that is wrong with an object; empty for one that a cluster would take.
pub fn validate<K: Kind>(object: &K) -> Vec<FieldError> {
    let mut value = serde_json::to_value(object).expect("a resource is plain data with text keys");
    let errors = K::schema().check(&mut value);
    if errors.is_empty() { object.relations() } else { errors }
}
