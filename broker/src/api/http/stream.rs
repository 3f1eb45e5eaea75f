//! A connection's bytes: counted, and closed when the peer does not take its answer.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::limits::READS_ANSWER_WITHIN;
use crate::metrics::PortMetrics;

/// A stream that counts what passes and fails a write that makes no progress for [`READS_ANSWER_WITHIN`].
#[derive(Debug)]
pub(super) struct Guarded<S> {
    stream: S,
    metrics: PortMetrics,
    /// Runs while a write waits for the peer.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Guarded<S> {
    pub(super) fn new(stream: S, metrics: PortMetrics) -> Self {
        Self { stream, metrics, stalled: None }
    }

    fn written(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = wrote {
            self.stalled = None;
            self.metrics.bytes_out.inc_by(*result.as_ref().unwrap_or(&0) as u64);
            return Poll::Ready(result);
        }
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep(READS_ANSWER_WITHIN)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answer")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        self.metrics.bytes_in.inc_by((buffer.filled().len() - before) as u64);
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
        let mut server = Guarded::new(server, metrics.clone());

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
        let mut server = Guarded::new(server, Metrics::new().client_port);
        let writer = tokio::spawn(async move { server.write_all(&[3; 160]).await });
        let mut read = [0; 16];
        for _ in 0..10 {
            tokio::time::sleep(READS_ANSWER_WITHIN / 2).await;
            client.read_exact(&mut read).await.unwrap();
        }
        writer.await.unwrap().unwrap();
    }
}
