//! The floor program: the least work a durable queue behind HTTP can do.
//!
//! `POST /append` keeps the body in a file and answers when an fdatasync that covers it has returned. `POST
//! /empty` answers at once: a receive from memory. `GET /stats` tells how many messages and flushes there
//! were. Nothing is parsed, indexed, replicated or read back. The HTTP settings are those of a good server,
//! so that the difference to a broker is the broker's own work.

mod committer;

pub use committer::{Committer, FILE_BYTES_MAX};

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

/// Largest body taken, in bytes: the broker's bound on a request.
pub const BODY_BYTES_MAX: usize = 8 << 20;

/// Longest wait for a complete request head.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Pause after a failed accept (no file descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Serves connections until the task is dropped.
pub async fn serve(listener: TcpListener, committer: Arc<Committer>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, committer.clone()));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn connection(stream: TcpStream, committer: Arc<Committer>) {
    // Without it an answer may wait for the client's delayed acknowledgement.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let service = service_fn(move |request| answer(request, committer.clone()));
    // A client that goes away is no event for a program that only measures.
    let _ended = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .pipeline_flush(true)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    request: Request<Incoming>,
    committer: Arc<Committer>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    Ok(match (&head.method, head.uri.path()) {
        (&Method::POST, "/append") => match Limited::new(body, BODY_BYTES_MAX).collect().await {
            Ok(body) => match committer.append(body.to_bytes()).await {
                Ok(()) => reply(StatusCode::OK, "ok"),
                Err(_) => reply(StatusCode::SERVICE_UNAVAILABLE, "the committer has stopped"),
            },
            Err(_) => reply(StatusCode::PAYLOAD_TOO_LARGE, "the body is incomplete or above 8 MiB"),
        },
        (&Method::POST, "/empty") => reply(StatusCode::OK, "ok"),
        (&Method::GET, "/stats") => stats(&committer),
        _ => reply(StatusCode::NOT_FOUND, "POST /append, POST /empty or GET /stats"),
    })
}

fn reply(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
}

fn stats(committer: &Committer) -> Response<Full<Bytes>> {
    let (messages, flushes) = committer.counts();
    let text = format!("{{\"messages\":{messages},\"flushes\":{flushes}}}");
    let mut response = Response::new(Full::new(Bytes::from(text)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
