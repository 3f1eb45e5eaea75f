//! The port of probes, monitors and operators: `/livez`, `/readyz`, `/metrics`, and the admin API below `/api/v1/`.

mod answer;
mod broker;
mod calls;
pub mod declare;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod guard;
mod query;
mod route;
#[cfg(test)]
mod testing;

use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, EXPECT, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use prometheus::{TEXT_FORMAT, TextEncoder};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::http::body::{self, Budget};
use super::http::limits::Limits;
use super::http::{self, Handler, Response, text};
use crate::metrics::Metrics;

use error::ApiError;

pub use calls::{Console, Volume};

/// Connections at once at most.
pub const CONNECTIONS_MAX: usize = 256;
/// Calls at once at most.
pub const CALLS_MAX: usize = 64;
/// Bytes of a request's body at most, but for a declare call.
pub const BODY_BYTES_MAX: usize = 4 << 10;
/// Bytes of answers of the admin API that clients have not read yet; the largest page has room in it.
pub const ANSWERS_BYTES_MAX: usize = 32 << 20;
/// What the port serves, for callers who ask for something else.
const PATHS: &str = "this port serves GET /livez, /readyz and /metrics, and the admin API below /api/v1/\n";

/// Serves the admin port until `stop` turns true or its sender is gone. `ready` says whether clients may be sent here.
pub async fn serve(
    listener: TcpListener,
    metrics: &Metrics,
    console: Arc<Console>,
    ready: watch::Receiver<bool>,
    stop: watch::Receiver<bool>,
) {
    let tls = console.tls();
    let port = Port {
        metrics: metrics.clone(),
        console,
        bodies: Budget::new(CALLS_MAX * BODY_BYTES_MAX),
        declarations: Budget::new(declare::BODY_BYTES_MAX),
        answers: Budget::new(ANSWERS_BYTES_MAX),
        ready,
    };
    let limits = Limits { connections: CONNECTIONS_MAX, calls: CALLS_MAX, ..Limits::default() };
    http::serve(listener, port, limits, metrics.admin_port.clone(), tls, stop).await;
}

#[derive(Clone)]
struct Port {
    metrics: Metrics,
    console: Arc<Console>,
    bodies: Budget,
    /// For the bodies of declare calls.
    declarations: Budget,
    answers: Budget,
    ready: watch::Receiver<bool>,
}

impl Handler for Port {
    async fn handle(self, request: Request<Incoming>) -> Response {
        if request.uri().path().starts_with("/api/") {
            let (head, mut body) = request.into_parts();
            let answer = self.call(&head, &mut body).await;
            return self.hold(answer).await;
        }
        if request.uri().path() != "/metrics" {
            return self.answer(request.method(), request.uri().path());
        }
        self.metrics.set_ready(*self.ready.borrow());
        self.metrics.node.refresh().await;
        let page = self.clone();
        // Thousands of series take milliseconds to write, in which a worker would serve no client.
        let written = tokio::task::spawn_blocking(move || page.answer(request.method(), "/metrics"));
        written.await.unwrap_or_else(|_| self.panicked())
    }

    fn busy(&self) -> Response {
        text(StatusCode::SERVICE_UNAVAILABLE, "too many calls at once; retry\n")
    }

    fn panicked(&self) -> Response {
        text(StatusCode::INTERNAL_SERVER_ERROR, "internal error; the broker's log has more\n")
    }
}

impl Port {
    /// Answers a call below `/api/`. Who may not make it, or asks for what is not there, costs no memory for a body.
    async fn call(&self, head: &Parts, body: &mut Incoming) -> Response {
        let read = match self.console.admit(head) {
            Err(error) => Err(error),
            Ok(admitted) => {
                let (max, budget) = match admitted.is_declaration() {
                    true => (declare::BODY_BYTES_MAX, &self.declarations),
                    false => (BODY_BYTES_MAX, &self.bodies),
                };
                let read = body::read(body, max, budget).await;
                read.map(|(bytes, in_use)| (admitted, bytes, in_use)).map_err(|error| unreadable(&error))
            }
        };
        match read {
            Ok((admitted, body, in_use)) => {
                let is_ready = *self.ready.borrow();
                let answer = self.console.answer(admitted, head, body, in_use, is_ready).await;
                answer.unwrap_or_else(|error| error.response())
            }
            Err(error) => {
                // A client that waits for a word before it sends its body just gets this answer instead.
                if !head.headers.contains_key(EXPECT) {
                    body::drain(body).await;
                }
                error.response()
            }
        }
    }

    /// Counts an answer against the memory for answers until its client has read it.
    async fn hold(&self, response: Response) -> Response {
        let (head, body) = response.into_parts();
        let Ok(body) = body.collect().await;
        let body = body.to_bytes();
        match self.answers.reserve(body.len()) {
            Ok(share) => Response::from_parts(head, Full::new(share.hold(body))),
            Err(_) => {
                let message = "the broker is busy: answers that clients have not read yet; retry";
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message).response()
            }
        }
    }

    fn answer(&self, method: &Method, path: &str) -> Response {
        let page: fn(&Self) -> Response = match path {
            "/livez" => |_| text(StatusCode::OK, "ok\n"),
            "/readyz" => Self::readiness,
            "/metrics" => Self::metrics_page,
            _ => return text(StatusCode::NOT_FOUND, PATHS),
        };
        if method != Method::GET && method != Method::HEAD {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, PATHS);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        page(self)
    }

    fn readiness(&self) -> Response {
        if *self.ready.borrow() {
            text(StatusCode::OK, "ok\n")
        } else {
            text(
                StatusCode::SERVICE_UNAVAILABLE,
                "not ready: the broker is starting, recovering or stopping\n",
            )
        }
    }

    fn metrics_page(&self) -> Response {
        match TextEncoder::new().encode_to_string(&self.metrics.registry().gather()) {
            Ok(page) => {
                let mut response = text(StatusCode::OK, page);
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(TEXT_FORMAT));
                response
            }
            Err(error) => {
                tracing::error!(%error, "cannot write the metrics page");
                self.panicked()
            }
        }
    }
}

/// What the sender of a body that was not read is told.
fn unreadable(error: &body::Error) -> ApiError {
    let (status, code) = match error {
        body::Error::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
        body::Error::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "unreadable_body"),
        body::Error::Slow | body::Error::Broken => (StatusCode::BAD_REQUEST, "unreadable_body"),
    };
    ApiError::new(status, code, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(ready: bool, answers: usize) -> Port {
        Port {
            metrics: Metrics::new(),
            console: Arc::new(Console::new(true, None, None)),
            bodies: Budget::new(BODY_BYTES_MAX),
            declarations: Budget::new(BODY_BYTES_MAX),
            answers: Budget::new(answers),
            ready: watch::channel(ready).1,
        }
    }

    fn check(ready: bool, method: &Method, path: &str, status: u16) -> Response {
        let port = port(ready, 0);
        let response = port.answer(method, path);
        assert_eq!(response.status().as_u16(), status, "{method} {path}");
        response
    }

    #[tokio::test]
    async fn unread_answers_are_bounded() {
        let port = port(true, 10);
        let first = port.hold(text(StatusCode::OK, "123456")).await;
        assert_eq!(port.hold(text(StatusCode::OK, "12345")).await.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(first.into_body().collect().await.unwrap().to_bytes(), "123456");
        assert_eq!(port.hold(text(StatusCode::OK, "12345")).await.status(), StatusCode::OK);
    }

    #[test]
    fn pages() {
        check(false, &Method::GET, "/livez", 200);
        check(false, &Method::GET, "/readyz", 503);
        check(true, &Method::GET, "/readyz", 200);
        check(true, &Method::HEAD, "/readyz", 200);
        let metrics = check(false, &Method::GET, "/metrics", 200);
        assert_eq!(metrics.headers()[CONTENT_TYPE], TEXT_FORMAT);
        check(true, &Method::GET, "/", 404);
        check(true, &Method::POST, "/v2/index.php", 404);
        let refused = check(true, &Method::POST, "/metrics", 405);
        assert_eq!(refused.headers()[ALLOW], "GET, HEAD");
    }
}

#[cfg(test)]
#[path = "admin_tests.rs"]
mod api_tests;

#[cfg(test)]
#[path = "admin_tls_tests.rs"]
mod tls_tests;
