//! The form of every CEL rule in the schemas.

use kube::core::{Reason, Rule};

/// A rule that an object breaks with the reason `FieldValueInvalid` and this message.
pub(crate) fn rule(expression: &str, message: &str) -> Rule {
    Rule::new(expression).message(message).reason(Reason::FieldValueInvalid)
}
