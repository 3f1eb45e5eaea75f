//! Errors of the admin API: `{"error": {"code", "message", "allowed"}}` and a status.

use bytes::Bytes;
use http_body_util::Full;
use hyper::StatusCode;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use serde::Serialize;

use crate::api::http::Response;
use crate::service::operator::OperatorError;
use crate::service::types::ServiceError;

/// Why a call was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
    /// What would be taken instead.
    pub(super) allowed: Option<String>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), allowed: None }
    }

    pub(super) fn allowing(self, allowed: impl Into<String>) -> Self {
        Self { allowed: Some(allowed.into()), ..self }
    }

    /// A parameter that is not what it may be.
    pub(super) fn parameter(name: &str, value: &str, allowed: impl Into<String>) -> Self {
        let message = format!("{name}={} is not allowed", shortened(value));
        Self::new(StatusCode::BAD_REQUEST, "invalid_parameter", message).allowing(allowed)
    }

    pub(super) fn response(&self) -> Response {
        #[derive(Serialize)]
        struct Outer<'a> {
            error: Inner<'a>,
        }
        #[derive(Serialize)]
        struct Inner<'a> {
            code: &'a str,
            message: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            allowed: Option<&'a str>,
        }
        let inner = Inner { code: self.code, message: &self.message, allowed: self.allowed.as_deref() };
        let mut response = json(self.status, &Outer { error: inner });
        let headers = response.headers_mut();
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE => _ = headers.insert(RETRY_AFTER, HeaderValue::from_static("1")),
            StatusCode::METHOD_NOT_ALLOWED => {
                let allow = self.allowed.as_deref().and_then(|methods| HeaderValue::from_str(methods).ok());
                headers.extend(allow.map(|methods| (ALLOW, methods)));
            }
            _ => {}
        }
        response
    }
}

/// Characters of a caller's value that an error repeats.
const REPEATED_MAX: usize = 80;

pub(super) fn shortened(value: &str) -> String {
    shortened_to(value, REPEATED_MAX)
}

/// A text without control characters and with an end.
pub(super) fn shortened_to(value: &str, chars: usize) -> String {
    let mut shown: String =
        value.chars().take(chars).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if value.chars().nth(chars).is_some() {
        shown.push('…');
    }
    shown
}

/// An answer in JSON. What it shows changes by itself, so nobody may keep it.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let body = serde_json::to_vec(value).expect("these structures have only text keys and finite numbers");
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert("cache-control", HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

impl From<OperatorError> for ApiError {
    fn from(error: OperatorError) -> Self {
        let message = error.to_string();
        let (status, code) = match error {
            OperatorError::Service(error) => return error.into(),
            OperatorError::CursorElsewhere => (StatusCode::BAD_REQUEST, "invalid_parameter"),
            OperatorError::CursorOutdated => (StatusCode::CONFLICT, "cursor_outdated"),
            OperatorError::MessageMissing => (StatusCode::NOT_FOUND, "message_not_found"),
            OperatorError::NotFoundWithinBound => (StatusCode::NOT_FOUND, "message_not_found_within_bound"),
            OperatorError::WrongState => (StatusCode::CONFLICT, "wrong_state"),
        };
        Self::new(status, code, message)
    }
}

impl From<ServiceError> for ApiError {
    fn from(error: ServiceError) -> Self {
        let (status, code) = match &error {
            ServiceError::QueueMissing(_) => (StatusCode::NOT_FOUND, "queue_not_found"),
            ServiceError::Busy(_) | ServiceError::DiskFull => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            ServiceError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
            ServiceError::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
            _ => (StatusCode::CONFLICT, "refused"),
        };
        Self::new(status, code, error.to_string())
    }
}
