//! The HTTP server under both ports: takes connections, bounds what they may use, stops without cutting calls off.

pub mod limits;

pub(crate) mod body;
mod connection;
mod stream;

use std::future::Future;
use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, StatusCode};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use crate::metrics::PortMetrics;
use crate::tls::Tls;
use connection::{Connection, Protocols};
use limits::{ACCEPT_PAUSE, Limits};

/// An answer: one chunk with its length announced.
pub(crate) type Response = hyper::Response<Full<Bytes>>;

/// An answer that people read.
pub(crate) fn text(status: StatusCode, text: impl Into<Bytes>) -> Response {
    const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}

/// What a connection above the bound is told.
const TOO_MANY_CONNECTIONS: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\n\
    retry-after: 1\r\nconnection: close\r\ncontent-length: 28\r\n\r\ntoo many connections; retry\n";

/// What a port does with requests.
pub(crate) trait Handler: Clone + Send + Sync + 'static {
    /// Answers one request. Dropped when the client goes away first.
    fn handle(self, request: Request<Incoming>) -> impl Future<Output = Response> + Send + 'static;

    /// The answer to a request above the bound of calls at once.
    fn busy(&self) -> Response;

    /// The answer to a request that made [`Self::handle`] panic.
    fn panicked(&self) -> Response;
}

/// Serves a port until `stop` turns true or its sender is gone; then takes no more connections and lets calls in flight
/// end, for as long as the limits allow. With `tls` nothing else is spoken.
pub(crate) async fn serve<H: Handler>(
    listener: TcpListener,
    handler: H,
    limits: Limits,
    metrics: PortMetrics,
    tls: Option<Tls>,
    stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let protocols = Arc::new(Protocols::new(limits.calls));
    let mut stopped = stop.clone();
    let mut is_failing = false;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopped.wait_for(|stop| *stop) => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) if concerns_the_peer(&error) => continue,
            Err(error) => {
                // One line for as long as it lasts: it is tried again twenty times a second.
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(%error, "cannot take connections; more file descriptors may help");
                }
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        is_failing = false;
        let Ok(place) = places.clone().try_acquire_owned() else {
            metrics.refused.inc();
            if tls.is_none() {
                turn_away(stream);
            }
            continue;
        };
        metrics.accepted.inc();
        // A connection that does not take this option is as good as gone; serving it will tell.
        let _ = stream.set_nodelay(true);
        let connection = Connection {
            protocols: protocols.clone(),
            handler: handler.clone(),
            metrics: metrics.clone(),
            stop: stop.clone(),
        };
        // Agreeing on TLS is the connection's own matter: a slow peer holds up nobody else.
        tokio::spawn(connection.serve(stream, tls.as_ref().map(Tls::config), place));
    }
    drop(listener);
    let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    if timeout(limits.stop_within, places.acquire_many(all)).await.is_err() {
        let open = limits.connections - places.available_permits();
        tracing::warn!(connections = open, "calls in flight did not end in time");
    }
}

/// Best effort: the peer may be gone, and may not even have sent its request.
fn turn_away(stream: TcpStream) {
    if let Ok(mut stream) = stream.into_std() {
        let _ = stream.write(TOO_MANY_CONNECTIONS);
    }
}

/// Whether taking a connection failed because its peer is gone already.
fn concerns_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "http_tls_tests.rs"]
mod tls_tests;
