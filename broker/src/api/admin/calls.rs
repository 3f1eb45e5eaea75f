//! Doing the calls of the admin API.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::StatusCode;
use hyper::http::request::Parts;
use serde::Deserialize;

use super::answer::{Done, Messages, Queue, QueueDone, Queues};
use super::error::{ApiError, json};
use super::route::{self, Call};
use super::{guard, query};
use crate::api::http::{Response, body};
use crate::service::Service;
use crate::service::operator::MessageName;
use crate::service::reference::MessageRef;
use crate::service::types::MessageId;

/// What the admin API works on, once the broker is open.
#[derive(Debug)]
pub struct Console {
    service: OnceLock<Service>,
    shows_bodies: bool,
}

impl Console {
    /// One without a broker yet; `shows_bodies` says whether operators may look into messages.
    pub fn new(shows_bodies: bool) -> Self {
        Self { service: OnceLock::new(), shows_bodies }
    }

    /// Says that the broker is open. The first one stays.
    pub fn open(&self, service: Service) {
        // A process has one broker.
        let _ = self.service.set(service);
    }

    /// Answers a call below `/api/`.
    pub(super) async fn answer(&self, head: &Parts, body: &[u8]) -> Response {
        match self.try_answer(head, body).await {
            Ok(response) => response,
            Err(error) => error.response(),
        }
    }

    /// Answers a call whose body was not read.
    pub(super) fn unreadable(error: &body::Error) -> Response {
        let (status, code) = match error {
            body::Error::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            body::Error::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "unreadable_body"),
            body::Error::Slow | body::Error::Broken => (StatusCode::BAD_REQUEST, "unreadable_body"),
        };
        ApiError::new(status, code, error.to_string()).response()
    }

    /// Answers a call for whose real answer there is no memory.
    pub(super) fn busy() -> Response {
        let message = "the broker is busy: answers that clients have not read yet; retry";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message).response()
    }

    async fn try_answer(&self, head: &Parts, body: &[u8]) -> Result<Response, ApiError> {
        guard::check(head)?;
        let call = route::call(&head.method, head.uri.path())?;
        let parameters = head.uri.query().unwrap_or_default();
        let service = self.service.get().ok_or_else(|| {
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "starting", "the broker is starting; retry")
        })?;
        match call {
            Call::Queues => {
                let list = query::queues(parameters)?;
                let found = service.overview(&list.search, list.after.as_deref(), list.limit).await?;
                Ok(json(StatusCode::OK, &Queues::new(found.0, found.1, now_ms())))
            }
            Call::Queue(name) => {
                query::none(parameters)?;
                let description = service.describe_queue(&name).await?;
                let details = service.details(&name).await?;
                Ok(json(StatusCode::OK, &Queue::new(description, details, now_ms())))
            }
            Call::Messages(name) => {
                let query = query::messages(parameters, self.shows_bodies)?;
                let part = query.body;
                let page = service.messages(&name, query).await?;
                Ok(json(StatusCode::OK, &Messages::new(page, part)))
            }
            Call::DeleteMessage(name, message) => {
                query::none(parameters)?;
                let message = service.remove_message(&name, named(&message)?).await?;
                Ok(json(StatusCode::OK, &Done::new(&message, "deleted")))
            }
            Call::ReturnMessage(name, message) => {
                query::none(parameters)?;
                let message = service.return_message(&name, named(&message)?).await?;
                Ok(json(StatusCode::OK, &Done::new(&message, "returned")))
            }
            Call::Purge(name) => {
                query::none(parameters)?;
                service.purge_queue(&name).await?;
                Ok(json(StatusCode::OK, &QueueDone::new(&name, "purged")))
            }
            Call::Rewind(name) => {
                query::none(parameters)?;
                service.rewind_queue(&name, start_of(body)?).await?;
                Ok(json(StatusCode::OK, &QueueDone::new(&name, "rewound")))
            }
        }
    }
}

/// The start of a rewind, in Unix seconds.
fn start_of(body: &[u8]) -> Result<u64, ApiError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Rewind {
        start: u64,
    }
    // Only an object: a list of fields without names would do too otherwise.
    let object: Result<serde_json::Map<_, _>, _> = serde_json::from_slice(body);
    let rewind = object.and_then(|object| Rewind::deserialize(serde_json::Value::Object(object)));
    rewind.map(|rewind: Rewind| rewind.start).map_err(|error| {
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_body", error.to_string())
            .allowing("{\"start\": Unix time in seconds}")
    })
}

/// What a path means as a message: its `ref`, or its number.
fn named(text: &str) -> Result<MessageName, ApiError> {
    if let Some(reference) = MessageRef::decode(text) {
        return Ok(MessageName::Reference(reference));
    }
    let number = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    match number {
        Some(id) if id <= u64::MAX >> 1 => Ok(MessageName::Id(MessageId(id))),
        _ => Err(ApiError::parameter("message", text, "the ref of a listed message, or a message id")),
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
