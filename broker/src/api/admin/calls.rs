//! Doing the calls of the admin API.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hyper::StatusCode;
use hyper::http::request::Parts;
use serde::Deserialize;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::JoinError;

use super::answer::{Done, Messages, Queue, QueueDone, Queues};
use super::broker::Broker;
use super::declare::Declaration;
use super::error::{ApiError, json};
use super::route::{self, Call};
use super::{guard, query};
use crate::api::http::Response;
use crate::api::http::body::Reservation;
use crate::service::Service;
use crate::service::operator::MessageName;
use crate::service::reference::MessageRef;
use crate::service::types::MessageId;
use crate::tls::{OPERATOR_NAME, PeerCertificates, Tls};

/// What the admin API works on, once the broker is open.
pub struct Console {
    opened: OnceLock<Opened>,
    shows_bodies: bool,
    admin_tls: Option<Tls>,
    client_tls: Option<Tls>,
    /// Held by the one declare call that may run.
    declaring: Arc<Mutex<()>>,
}

struct Opened {
    service: Service,
    volume: Box<dyn Fn() -> Volume + Send + Sync>,
}

/// Room on the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Whether it has room for more messages.
    pub takes_sends: bool,
    /// Bytes that are free.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").field("admin_tls", &self.admin_tls).finish_non_exhaustive()
    }
}

/// A call that may be made.
pub(super) struct Admitted {
    call: Call,
    /// Nobody else declares meanwhile.
    declaring: Option<OwnedMutexGuard<()>>,
}

impl Admitted {
    pub(super) fn is_declaration(&self) -> bool {
        self.declaring.is_some()
    }
}

impl Console {
    /// One without a broker yet; `shows_bodies` says whether operators may look into messages. With `admin_tls` the port
    /// speaks TLS, and calls below `/api/` need the operator's certificate; `client_tls` is only told of.
    pub fn new(shows_bodies: bool, admin_tls: Option<Tls>, client_tls: Option<Tls>) -> Self {
        Self { opened: OnceLock::new(), shows_bodies, admin_tls, client_tls, declaring: Arc::default() }
    }

    /// Says that the broker is open. The first one stays.
    pub fn open(&self, service: Service, volume: impl Fn() -> Volume + Send + Sync + 'static) {
        // A process has one broker.
        let _ = self.opened.set(Opened { service, volume: Box::new(volume) });
    }

    pub(super) fn tls(&self) -> Option<Tls> {
        self.admin_tls.clone()
    }

    /// Says whether a call below `/api/` may be made, before its body is read.
    pub(super) fn admit(&self, head: &Parts) -> Result<Admitted, ApiError> {
        if let Some(tls) = &self.admin_tls {
            let nobody = PeerCertificates::default();
            let peer = head.extensions.get().unwrap_or(&nobody);
            tls.check_operator(peer).map_err(|stranger| {
                ApiError::new(StatusCode::FORBIDDEN, "certificate_not_allowed", stranger.to_string())
                    .allowing(format!(
                        "a client certificate of the authority in ca.crt with the DNS name {OPERATOR_NAME}"
                    ))
            })?;
        }
        guard::check(head)?;
        let call = route::call(&head.method, head.uri.path())?;
        self.opened()?;
        let declaring = match call {
            Call::Declare => Some(self.declaring.clone().try_lock_owned().map_err(|_| {
                let message = "another declare call is under way; retry";
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
            })?),
            _ => None,
        };
        Ok(Admitted { call, declaring })
    }

    fn opened(&self) -> Result<&Opened, ApiError> {
        let starting =
            || ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "starting", "the broker is starting; retry");
        self.opened.get().ok_or_else(starting)
    }

    /// Answers a call. `_in_use` is the memory of the body.
    pub(super) async fn answer(
        &self,
        admitted: Admitted,
        head: &Parts,
        body: Bytes,
        in_use: Reservation,
        is_ready: bool,
    ) -> Result<Response, ApiError> {
        let parameters = head.uri.query().unwrap_or_default();
        let Opened { service, volume } = self.opened()?;
        match admitted.call {
            Call::Broker => {
                query::none(parameters)?;
                let id = service.cluster_id().await?;
                let tls = [&self.admin_tls, &self.client_tls].map(|tls| tls.as_ref().map(Tls::facts));
                let queues = service.queue_count();
                let broker = Broker::new(id, service.shards(), is_ready, queues, volume(), tls);
                Ok(json(StatusCode::OK, &broker))
            }
            Call::Declare => {
                query::none(parameters)?;
                let (service, declaring) = (service.clone(), admitted.declaring);
                // Goes on to its end when the caller leaves: half of it and the next call would mix.
                let work = tokio::spawn(async move {
                    let _alone = declaring;
                    let present = service.queues();
                    // Thousands of objects take a while, in which a worker would serve no client.
                    let reading = tokio::task::spawn_blocking(move || {
                        let declaration = Declaration::read(&body, present.iter().map(AsRef::as_ref));
                        drop((body, in_use));
                        declaration
                    });
                    let declaration = reading.await.map_err(bug)??;
                    Ok(json(StatusCode::OK, &declaration.carry_out(&service).await))
                });
                work.await.map_err(bug)?
            }
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
                service.rewind_queue(&name, start_of(&body)?).await?;
                Ok(json(StatusCode::OK, &QueueDone::new(&name, "rewound")))
            }
        }
    }
}

/// A part of a call that panicked.
fn bug(error: JoinError) -> ApiError {
    tracing::error!(%error, "a declare call made the broker panic; the caller got an internal error");
    let message = "internal error; the broker's log has more";
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
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
