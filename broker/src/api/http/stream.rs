//! A connection's bytes: counted, closed when the peer does not take its answer, and bounded before a request is complete.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::body::{Budget, Reservation};
use super::limits::{BUFFER_BYTES_MAX, READ_BUFFER_BYTES, READS_ANSWER_WITHIN};
use crate::metrics::PortMetrics;

/// What the sender of a long head is told when too many others are sending one.
const TOO_MANY_LARGE_HEADS: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\n\
    retry-after: 1\r\nconnection: close\r\ncontent-length: 35\r\n\r\ntoo many long heads at once; retry\n";

/// The head of a request of HTTP/1 that is on its way: a long one takes a share of the memory for long heads.
#[derive(Debug)]
pub(super) struct Head {
    budget: Budget,
    is_complete: Arc<AtomicBool>,
    bytes: usize,
    share: Option<Reservation>,
    /// Whether its sender can read an answer that is not encrypted.
    is_plain: bool,
}

impl Head {
    /// `is_complete` turns true when a head has become a call.
    pub(super) fn new(budget: Budget, is_complete: Arc<AtomicBool>, is_plain: bool) -> Self {
        Self { budget, is_complete, bytes: 0, share: None, is_plain }
    }

    /// Takes note of bytes that were read; whether there is room for them.
    fn grow(&mut self, bytes: usize) -> bool {
        if self.is_complete.load(Ordering::Relaxed) {
            (self.bytes, self.share) = (0, None);
            return true;
        }
        self.bytes += bytes;
        if self.bytes > READ_BUFFER_BYTES && self.share.is_none() {
            self.share = self.budget.reserve(BUFFER_BYTES_MAX).ok();
            return self.share.is_some();
        }
        true
    }

    /// The call is being answered: what comes next is another head.
    fn answered(&mut self) {
        self.is_complete.store(false, Ordering::Relaxed);
        (self.bytes, self.share) = (0, None);
    }
}

/// A stream that counts what passes and fails a write that makes no progress for [`READS_ANSWER_WITHIN`].
#[derive(Debug)]
pub(super) struct Guarded<S> {
    stream: S,
    metrics: PortMetrics,
    /// Runs while a write waits for the peer.
    stalled: Option<Pin<Box<Sleep>>>,
    /// None where one connection has many calls at once; HTTP/2 bounds what each may send.
    head: Option<Head>,
}

impl<S> Guarded<S> {
    pub(super) fn new(stream: S, metrics: PortMetrics, head: Option<Head>) -> Self {
        Self { stream, metrics, stalled: None, head }
    }

    /// What comes from here on is not a head of HTTP/1.
    pub(super) fn without_head(&mut self) {
        self.head = None;
    }

    fn written(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = wrote {
            self.stalled = None;
            self.head.iter_mut().for_each(Head::answered);
            self.metrics.bytes_out.inc_by(*result.as_ref().unwrap_or(&0) as u64);
            return Poll::Ready(result);
        }
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep(READS_ANSWER_WITHIN)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answer")))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        let bytes = buffer.filled().len() - before;
        self.metrics.bytes_in.inc_by(bytes as u64);
        if self.head.as_mut().is_some_and(|head| !head.grow(bytes)) {
            self.metrics.refused.inc();
            if self.head.as_ref().is_some_and(|head| head.is_plain) {
                // As much of it as the socket takes: whoever sends half a head may not read.
                let _ = Pin::new(&mut self.stream).poll_write(cx, TOO_MANY_LARGE_HEADS);
            }
            return Poll::Ready(Err(io::Error::other("too many long heads at once")));
        }
        Poll::Ready(result)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.written(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;
    use crate::metrics::Metrics;

    #[tokio::test(start_paused = true)]
    async fn counts_and_gives_up_on_a_peer_that_does_not_read() {
        let metrics = Metrics::new().client_port;
        let (server, mut client) = duplex(16);
        let mut server = Guarded::new(server, metrics.clone(), None);

        client.write_all(b"question").await.unwrap();
        let mut question = [0; 8];
        server.read_exact(&mut question).await.unwrap();
        server.write_all(&[1; 16]).await.unwrap();
        assert_eq!((metrics.bytes_in.get(), metrics.bytes_out.get()), (8, 16));

        let started = tokio::time::Instant::now();
        let error = server.write_all(&[2; 16]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(started.elapsed().as_secs(), READS_ANSWER_WITHIN.as_secs());
        assert_eq!(metrics.bytes_out.get(), 16);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_served_as_long_as_it_reads() {
        let (server, mut client) = duplex(16);
        let mut server = Guarded::new(server, Metrics::new().client_port, None);
        let writer = tokio::spawn(async move { server.write_all(&[3; 160]).await });
        let mut read = [0; 16];
        for _ in 0..10 {
            tokio::time::sleep(READS_ANSWER_WITHIN / 2).await;
            client.read_exact(&mut read).await.unwrap();
        }
        writer.await.unwrap().unwrap();
    }
}
