//! One connection, from its first byte to its last.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::sleep;

use super::limits::{
    BUFFER_BYTES_MAX, CONNECTION_WINDOW_BYTES, FIRST_REQUEST_WITHIN, HEADER_LIST_BYTES_MAX, HEADERS_MAX,
    NEXT_REQUEST_WITHIN, PING_EVERY, RESETS_MAX, STREAM_SEND_BYTES_MAX, STREAM_WINDOW_BYTES, STREAMS_MAX,
};
use super::stream::Guarded;
use super::{Handler, Response};
use crate::metrics::PortMetrics;

/// How connections of HTTP/1.1 and of HTTP/2, told apart by their first bytes, are served.
pub(super) fn protocols() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(NEXT_REQUEST_WITHIN)
        .max_buf_size(BUFFER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .pipeline_flush(true)
        // Head and body of an answer go into one buffer and out in one write.
        .writev(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(STREAM_SEND_BYTES_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_EVERY);
    builder
}

/// Serves a connection until the peer or the stop ends it. After the stop the call in flight is still answered.
pub(super) async fn serve<H: Handler>(
    stream: TcpStream,
    protocols: Builder<TokioExecutor>,
    handler: H,
    metrics: PortMetrics,
    mut stop: watch::Receiver<bool>,
) {
    let asked = Arc::new(AtomicBool::new(false));
    let service = {
        let (asked, metrics) = (asked.clone(), metrics.clone());
        service_fn(move |request| {
            asked.store(true, Ordering::Relaxed);
            let (handler, metrics) = (handler.clone(), metrics.clone());
            async move { Ok::<_, Infallible>(answer(handler, request, &metrics).await) }
        })
    };
    let io = TokioIo::new(Guarded::new(stream, metrics));
    let mut connection = pin!(protocols.serve_connection(io, service));
    let mut stopped = pin!(stop.wait_for(|stop| *stop));
    let mut first_request = pin!(sleep(FIRST_REQUEST_WITHIN));
    let (mut waits_for_stop, mut waits_for_request) = (true, true);
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended early");
                }
                return;
            }
            _ = stopped.as_mut(), if waits_for_stop => {
                waits_for_stop = false;
                connection.as_mut().graceful_shutdown();
            }
            () = first_request.as_mut(), if waits_for_request => {
                waits_for_request = false;
                if !asked.load(Ordering::Relaxed) {
                    return;
                }
            }
        }
    }
}

/// Handles a request. A panic is a bug of ours: the caller gets an error, everybody else goes on.
async fn answer<H: Handler>(handler: H, request: Request<Incoming>, metrics: &PortMetrics) -> Response {
    let handled = {
        let mut handling = pin!(handler.handle(request));
        poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| handling.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Some),
            Err(_) => Poll::Ready(None),
        })
        .await
    };
    handled.unwrap_or_else(|| {
        metrics.panics.inc();
        tracing::error!("a request made the broker panic; the caller got an internal error");
        handler.panicked()
    })
}
