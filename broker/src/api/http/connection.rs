//! One connection, from its first byte to its last.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use pin_project_lite::pin_project;
use prometheus::IntCounter;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::body::{Budget, Reservation};
use super::limits::{
    BUFFER_BYTES_MAX, CONNECTION_WINDOW_BYTES, FIRST_BYTES_WITHIN, HANDSHAKE_WITHIN, HEADER_LIST_BYTES_MAX,
    HEADERS_MAX, LARGE_HEADS_BYTES_MAX, NEXT_REQUEST_WITHIN, PING_EVERY, RESETS_MAX, STREAM_SEND_BYTES_MAX,
    STREAM_WINDOW_BYTES, STREAMS_MAX,
};
use super::stream::{Guarded, Head};
use super::{Handler, Response};
use crate::metrics::PortMetrics;
use crate::tls::PeerCertificates;

/// What every connection of HTTP/2 begins with, up to where no method of HTTP/1 is the same.
const HTTP2_BEGINS: &[u8] = b"PRI";
/// What a peer is told that speaks plain HTTP to a port of TLS.
const SPEAKS_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\n\
    content-length: 32\r\n\r\nthis port speaks TLS: use https\n";
/// Pause before looking again at a connection that has sent a part of [`HTTP2_BEGINS`].
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// How connections are served, and what all of them share.
#[derive(Clone, Debug)]
pub(super) struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    calls: Budget,
    large_heads: Budget,
}

impl Protocols {
    /// Serves at most `calls` at once.
    pub(super) fn new(calls: usize) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(NEXT_REQUEST_WITHIN)
            .max_buf_size(BUFFER_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            // Head and body of an answer go into one buffer and out in one write.
            .writev(false);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
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
        Self { http1, http2, calls: Budget::new(calls), large_heads: Budget::new(LARGE_HEADS_BYTES_MAX) }
    }
}

/// What one connection is served with.
pub(super) struct Connection<H> {
    pub(super) protocols: Arc<Protocols>,
    pub(super) handler: H,
    pub(super) metrics: PortMetrics,
    pub(super) stop: watch::Receiver<bool>,
}

impl<H: Handler> Connection<H> {
    /// Serves a connection until the peer or the stop ends it. After the stop the call in flight is still answered.
    /// `_place` is held for as long.
    ///
    /// A broker has thousands of these that wait: what they hold is kept small.
    pub(super) async fn serve(
        self,
        stream: TcpStream,
        tls: Option<Arc<ServerConfig>>,
        _place: OwnedSemaphorePermit,
    ) {
        let _open = self.metrics.open();
        match tls {
            None => self.serve_plain(stream).await,
            // Apart, so that plain connections do not hold what TLS needs.
            Some(tls) => Box::pin(self.serve_tls(stream, tls)).await,
        }
    }

    async fn serve_plain(mut self, stream: TcpStream) {
        let begun = tokio::select! {
            _ = self.stop.wait_for(|stop| *stop) => return,
            begun = timeout(FIRST_BYTES_WITHIN, begins_http2(&stream)) => begun,
        };
        let Ok(Ok(is_http2)) = begun else { return };
        let is_head_complete = Arc::new(AtomicBool::new(false));
        let head = Head::new(self.protocols.large_heads.clone(), is_head_complete.clone(), true);
        let io = Guarded::new(stream, self.metrics.clone(), (!is_http2).then_some(head));
        self.serve_http(io, is_http2, is_head_complete, None).await;
    }

    async fn serve_tls(self, stream: TcpStream, tls: Arc<ServerConfig>) {
        let is_head_complete = Arc::new(AtomicBool::new(false));
        let mut stop = self.stop.clone();
        let agreed = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            agreed = timeout(HANDSHAKE_WITHIN, self.agree(stream, tls, is_head_complete.clone())) => agreed,
        };
        let agreed = agreed.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)));
        let mut io = match agreed {
            Ok(Some(io)) => io,
            Ok(None) => return,
            Err(error) => {
                self.metrics.handshake_errors.inc();
                tracing::debug!(%error, "no TLS agreed on");
                return;
            }
        };
        let (guarded, session) = io.get_mut();
        let is_http2 = session.alpn_protocol() == Some(b"h2");
        if is_http2 {
            guarded.without_head();
        }
        let peer = session.peer_certificates().map(|chain| PeerCertificates(chain.into()));
        self.serve_http(io, is_http2, is_head_complete, peer).await;
    }

    /// The handshake. None: the peer left without a word.
    async fn agree(
        &self,
        stream: TcpStream,
        tls: Arc<ServerConfig>,
        is_head_complete: Arc<AtomicBool>,
    ) -> io::Result<Option<TlsStream<Guarded<TcpStream>>>> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Ok(None);
        }
        if first[0].is_ascii_uppercase() {
            // What is left unread when a socket closes takes the answer with it; a few kilobytes are most requests.
            let _ = stream.try_read(&mut [0; 4096]);
            // As much of it as the socket takes.
            let _ = stream.try_write(SPEAKS_TLS);
            return Err(io::Error::other("the peer speaks HTTP without TLS"));
        }
        // What is read for the handshake is bounded like a head.
        let head = Head::new(self.protocols.large_heads.clone(), is_head_complete, false);
        let guarded = Guarded::new(stream, self.metrics.clone(), Some(head));
        TlsAcceptor::from(tls).accept(guarded).await.map(Some)
    }

    async fn serve_http<I>(
        self,
        io: I,
        is_http2: bool,
        is_head_complete: Arc<AtomicBool>,
        peer: Option<PeerCertificates>,
    ) where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { protocols, handler, metrics, stop } = self;
        let panics = metrics.panics;
        let calls = protocols.calls.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            is_head_complete.store(true, Ordering::Relaxed);
            if let Some(peer) = &peer {
                request.extensions_mut().insert(peer.clone());
            }
            let place = calls.reserve(1).ok();
            Caught {
                call: place.is_some().then(|| handler.clone().handle(request)),
                place,
                handler: handler.clone(),
                panics: panics.clone(),
            }
        });
        let io = TokioIo::new(io);
        if is_http2 {
            drive(Box::pin(protocols.http2.serve_connection(io, service)), stop).await;
        } else {
            drive(Box::pin(protocols.http1.serve_connection(io, service)), stop).await;
        }
    }
}

/// Looks at the first bytes and leaves them where they are, so that hyper reads a request in one go into a buffer of the
/// size it begins with.
async fn begins_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut bytes = [0; HTTP2_BEGINS.len()];
    loop {
        let seen = stream.peek(&mut bytes).await?;
        if seen == 0 || seen == bytes.len() || !HTTP2_BEGINS.starts_with(&bytes[..seen]) {
            return Ok(bytes == HTTP2_BEGINS);
        }
        sleep(LOOK_PAUSE).await;
    }
}

async fn drive<C>(mut connection: Pin<Box<C>>, mut stop: watch::Receiver<bool>)
where
    C: GracefulConnection<Error = hyper::Error>,
{
    let early = tokio::select! {
        biased;
        ended = connection.as_mut() => Some(ended),
        _ = stop.wait_for(|stop| *stop) => None,
    };
    let ended = match early {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}

pin_project! {
    /// A call whose panic is a bug of ours: its caller gets an error, everybody else goes on.
    struct Caught<H, F> {
        // None: there was no place for it.
        #[pin]
        call: Option<F>,
        place: Option<Reservation>,
        handler: H,
        panics: IntCounter,
    }
}

impl<H: Handler, F: Future<Output = Response>> Future for Caught<H, F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(call) = this.call.as_pin_mut() else { return Poll::Ready(Ok(this.handler.busy())) };
        // What a panic leaves half done is dropped with the call.
        let polled = catch_unwind(AssertUnwindSafe(|| call.poll(cx)));
        polled.map(|poll| poll.map(Ok)).unwrap_or_else(|_| {
            this.panics.inc();
            tracing::error!("a request made the broker panic; the caller got an internal error");
            Poll::Ready(Ok(this.handler.panicked()))
        })
    }
}
