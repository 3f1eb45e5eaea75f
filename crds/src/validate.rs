//! Whether an object is one that a cluster would take: its schema, and the CEL rules' twins in Rust.
//!
//! And whether a change is one that a cluster would take: some fields stay as they were made.

use std::fmt;

use serde_json::Value;

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

/// Reads a Queue strictly: fields that the schema does not know are errors too. Left-out fields get their defaults.
///
/// # Errors
///
/// Everything that is wrong with the object: first what the schema says, and when that is right, how the fields relate.
pub fn parse(mut value: Value) -> Result<Queue, Vec<FieldError>> {
    let errors = schema::queue().check(&mut value);
    if !errors.is_empty() {
        return Err(errors);
    }
    let queue: Queue = serde_json::from_value(value).map_err(|error| {
        vec![FieldError {
            path: FieldPath::default(),
            problem: error.to_string(),
            allowed: "what the schema of Queue describes".into(),
        }]
    })?;
    let errors = relations::check(&queue);
    if errors.is_empty() { Ok(queue) } else { Err(errors) }
}

/// Everything that may not be changed from `old` to `new`, both right by themselves; empty for a change that a cluster
/// would take. The words are those of the cluster.
pub fn validate_change(old: &Queue, new: &Queue) -> Vec<FieldError> {
    transitions::check(old, new)
}

/// Everything that is wrong with a Queue; empty for one that a cluster would take.
pub fn validate(queue: &Queue) -> Vec<FieldError> {
    let mut value = serde_json::to_value(queue).expect("a resource is plain data with text keys");
    let errors = schema::queue().check(&mut value);
    if errors.is_empty() { relations::check(queue) } else { errors }
}
