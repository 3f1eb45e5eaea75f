//! Refusals, with the status codes and reasons of the real server.

use bytes::Bytes;
use serde_json::{Value, json};

use super::kinds::Kind;

/// Why a call is refused.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Refusal {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into() }
    }

    pub(crate) fn not_found(kind: &Kind, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{}.{} \"{name}\" not found", kind.plural, kind.group))
    }

    pub(crate) fn no_such_path(path: &str) -> Self {
        Self::new(404, "NotFound", format!("the server could not find the requested resource: {path}"))
    }

    pub(crate) fn already_exists(kind: &Kind, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{}.{} \"{name}\" already exists", kind.plural, kind.group))
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(409, "Conflict", message)
    }

    pub(crate) fn invalid(kind: &Kind, name: &str, problems: impl AsRef<str>) -> Self {
        Self::new(422, "Invalid", format!("{} \"{name}\" is invalid: {}", kind.name, problems.as_ref()))
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(403, "Forbidden", message)
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn expired() -> Self {
        Self::new(410, "Expired", "too old resource version")
    }

    pub(crate) fn internal() -> Self {
        Self::new(500, "InternalError", "Internal error occurred: a fault of the test")
    }

    /// The `Status` object that says so.
    pub(crate) fn status(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Status", "metadata": {},
            "status": "Failure", "code": self.code, "reason": self.reason, "message": self.message,
        })
    }

    pub(crate) fn body(&self) -> Bytes {
        Bytes::from(self.status().to_string())
    }
}
