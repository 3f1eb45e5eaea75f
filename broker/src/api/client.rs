//! The port that queue clients call.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, EXPECT, HOST, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode, Version};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::cmq::{self, Parameters};
use super::http::body::{self, Budget, Reservation};
use super::http::limits::{BODY_BYTES_MAX, Limits};
use super::http::{self, Handler, Response, text};
use super::route::{self, Route};
use super::sqs;
use crate::access::Access;
use crate::metrics::{CallMetrics, Metrics};
use crate::service::Service;
use crate::tls::Tls;

/// What a caller reads who asks for a path that no protocol has.
const NOWHERE: &str = "nothing here: CMQ clients call /v2/index.php or /\n";

/// Serves clients until `stop` turns true or its sender is gone; then takes no more connections and lets calls in flight
/// end. Long polls end when the service ends them. Call it once for one set of metrics.
pub async fn serve(
    listener: TcpListener,
    service: Service,
    access: Access,
    metrics: &Metrics,
    limits: Limits,
    tls: Option<Tls>,
    stop: watch::Receiver<bool>,
) {
    let actions = cmq::SERVED.map(|(_, name)| name);
    let port = Port(Arc::new(Shared {
        service,
        access,
        bodies: Budget::new(limits.body_bytes),
        answers: Budget::new(limits.body_bytes),
        calls: CallMetrics::new(metrics.registry(), "cmq", actions, cmq::outer_codes()),
        next_request_id: AtomicU64::new(first_request_id()),
    }));
    http::serve(listener, port, limits, metrics.client_port.clone(), tls, stop).await;
}

#[derive(Clone)]
struct Port(Arc<Shared>);

struct Shared {
    service: Service,
    access: Access,
    bodies: Budget,
    /// Answers that are on their way, for as long as a slow client takes to read them.
    answers: Budget,
    calls: CallMetrics,
    next_request_id: AtomicU64,
}

impl Handler for Port {
    fn handle(self, request: Request<Incoming>) -> impl Future<Output = Response> + Send + 'static {
        let started = Instant::now();
        let (head, mut body) = request.into_parts();
        async move {
            let read = self.read(&head, &mut body).await;
            // One connection of HTTP/2 may leave many answers unread.
            let counted_from = if head.version == Version::HTTP_2 { 0 } else { ANSWER_COUNTED_BYTES_MIN };
            // A long poll keeps nothing of its request.
            drop((head, body));
            let answer = match read {
                Read::Cmq(request, _in_use) => request.serve(&self.0.service).await,
                Read::Refused(answer) => answer,
                Read::Elsewhere(response) => return response,
            };
            self.0.calls.record(answer.action.map(|action| action as usize), answer.code, started.elapsed());
            json(self.hold(answer.body, counted_from))
        }
    }

    fn busy(&self) -> Response {
        let refused = self.refuse(&cmq::Error::retry(&"the broker is busy: too many calls at once; retry"));
        self.0.calls.record(None, refused.code, Duration::ZERO);
        json(refused.body)
    }

    fn panicked(&self) -> Response {
        json(self.refuse(&cmq::Error::INTERNAL).body)
    }
}

/// Answers below this many bytes are not counted on HTTP/1: the bound of connections bounds them.
pub const ANSWER_COUNTED_BYTES_MIN: usize = 16 << 10;

/// A request after its head and its body were read.
enum Read {
    /// With the memory that its messages take.
    Cmq(cmq::Request, Option<Reservation>),
    /// A CMQ request that broke a rule before it could be read.
    Refused(cmq::Answer),
    /// Not CMQ.
    Elsewhere(Response),
}

impl Port {
    fn request_id(&self) -> u64 {
        self.0.next_request_id.fetch_add(1, Ordering::Relaxed)
    }

    fn refuse(&self, error: &cmq::Error) -> cmq::Answer {
        cmq::refuse(self.request_id(), error)
    }

    /// Counts an answer of at least so many bytes against the memory for answers until its client has read it. Messages in an answer that
    /// finds no room come back when their lease ends.
    fn hold(&self, body: Bytes, counted_from: usize) -> Bytes {
        if body.len() < counted_from {
            return body;
        }
        match self.0.answers.reserve(body.len()) {
            Ok(share) => share.hold(body),
            Err(error) => self.refuse(&error.into()).body,
        }
    }

    async fn read(&self, head: &Parts, body: &mut Incoming) -> Read {
        let route = route::by_head(head);
        let is_post = head.method == Method::POST;
        let form = match route {
            Route::SqsJson => Err(Read::Elsewhere(sqs::not_served_json())),
            Route::SqsQuery => Err(Read::Elsewhere(sqs::not_served_query())),
            Route::Nowhere => Err(Read::Elsewhere(text(StatusCode::NOT_FOUND, NOWHERE))),
            Route::Cmq | Route::Parameters if is_post => body::read(body, BODY_BYTES_MAX, &self.0.bodies)
                .await
                .map(|(form, in_use)| (form, Some(in_use)))
                .map_err(|error| Read::Refused(self.refuse(&error.into()))),
            Route::Cmq | Route::Parameters if head.method == Method::GET => Ok((Bytes::new(), None)),
            Route::Cmq | Route::Parameters => {
                Err(Read::Refused(self.refuse(&cmq::Error::method(head.method.as_str()))))
            }
        };
        let (form, in_use) = match form {
            Ok(form) => form,
            Err(refused) => {
                // A client that waits for a word before it sends its body just gets this answer instead.
                if !head.headers.contains_key(EXPECT) {
                    body::drain(body).await;
                }
                return refused;
            }
        };
        let parameters = match Parameters::parse(head.uri.query().unwrap_or_default(), &form) {
            Ok(parameters) => parameters,
            Err(error) => return Read::Refused(self.refuse(&error)),
        };
        if route == Route::Parameters && route::by_parameters(&parameters) == Route::SqsQuery {
            return Read::Elsewhere(sqs::not_served_query());
        }
        let cmq_head = cmq::Head {
            method: head.method.as_str(),
            host: host(head),
            path: head.uri.path(),
            now_s: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        };
        let request = cmq::Request::read(self.request_id(), &self.0.access, &cmq_head, parameters);
        let in_use = in_use.filter(|_| request.brings_messages());
        Read::Cmq(request, in_use)
    }
}

/// The host as the caller named it, with its port.
fn host(head: &Parts) -> &str {
    let named = head.headers.get(HOST).and_then(|host| host.to_str().ok());
    named.or_else(|| head.uri.authority().map(|authority| authority.as_str())).unwrap_or_default()
}

fn json(body: Bytes) -> Response {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// Request ids count up from a number that no other process is likely to be near, and stay below 63 bits.
fn first_request_id() -> u64 {
    let mut random = [0; 4];
    // Without randomness ids still tell the requests of one process apart.
    let _ = getrandom::fill(&mut random);
    u64::from(u32::from_le_bytes(random) >> 9) << 40
}

impl From<body::Error> for cmq::Error {
    fn from(error: body::Error) -> Self {
        match error {
            body::Error::Busy => Self::retry(&error),
            body::Error::TooLarge(_) | body::Error::Slow | body::Error::Broken => Self::unreadable("body"),
        }
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
