//! Bodies within their bounds, and what is said of those that are not.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use hyper::body::{Frame, SizeHint};
use tokio::time::Instant;

use super::super::limits::BODY_BYTES_MAX;
use super::*;

/// A body that comes in the given pieces; None is a client that stops sending.
struct Pieces {
    pieces: VecDeque<Option<Bytes>>,
    announced: Option<u64>,
}

impl Pieces {
    fn new<const N: usize>(announced: Option<u64>, pieces: [Option<Bytes>; N]) -> Self {
        Self { pieces: pieces.into(), announced }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.pieces.front() == Some(&None) {
            return Poll::Pending;
        }
        Poll::Ready(self.pieces.pop_front().flatten().map(|piece| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        self.announced.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

fn piece(text: &str) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(text.as_bytes()))
}

fn free(budget: &Budget) -> usize {
    budget.free.load(Ordering::Relaxed)
}

#[tokio::test]
async fn joins_pieces_and_keeps_a_single_one_as_it_is() {
    let budget = Budget::new(100);
    let (whole, _) =
        read(&mut Pieces::new(Some(6), [piece("ab"), piece("cd"), piece("ef")]), BODY_BYTES_MAX, &budget)
            .await
            .unwrap();
    assert_eq!(whole, "abcdef");
    let (chunked, _) =
        read(&mut Pieces::new(None, [piece("ab"), piece(""), piece("cd")]), BODY_BYTES_MAX, &budget)
            .await
            .unwrap();
    assert_eq!(chunked, "abcd");
    let (empty, _) = read(&mut Pieces::new(Some(0), []), BODY_BYTES_MAX, &budget).await.unwrap();
    assert!(empty.is_empty());

    let sent = Bytes::from_static(b"alone");
    let (alone, _) =
        read(&mut Pieces::new(Some(5), [Some(sent.clone())]), BODY_BYTES_MAX, &budget).await.unwrap();
    assert_eq!(alone.as_ptr(), sent.as_ptr());
}

#[tokio::test]
async fn memory_is_given_back() {
    let budget = Budget::new(10);
    let (_, announced) =
        read(&mut Pieces::new(Some(4), [piece("abcd")]), BODY_BYTES_MAX, &budget).await.unwrap();
    let (_, chunked) =
        read(&mut Pieces::new(None, [piece("ab"), piece("cde")]), BODY_BYTES_MAX, &budget).await.unwrap();
    assert_eq!(free(&budget), 1);
    let too_much = read(&mut Pieces::new(Some(2), [piece("ab")]), BODY_BYTES_MAX, &budget).await;
    assert_eq!(too_much.unwrap_err(), Error::Busy);
    let too_much = read(&mut Pieces::new(None, [piece("a"), piece("b")]), BODY_BYTES_MAX, &budget).await;
    assert_eq!(too_much.unwrap_err(), Error::Busy);
    assert_eq!(free(&budget), 1);
    drop((announced, chunked));
    assert_eq!(free(&budget), 10);
}

#[tokio::test]
async fn too_large_is_refused_before_it_is_read() {
    let budget = Budget::new(usize::MAX);
    let limit = BODY_BYTES_MAX as u64;
    let mut announced = Pieces::new(Some(limit + 1), [piece("never read")]);
    assert_eq!(
        read(&mut announced, BODY_BYTES_MAX, &budget).await.unwrap_err(),
        Error::TooLarge(BODY_BYTES_MAX)
    );
    assert_eq!(announced.pieces.len(), 1);

    let half = || Some(Bytes::from(vec![b'a'; BODY_BYTES_MAX / 2]));
    let mut chunked = Pieces::new(None, [half(), half(), piece("x")]);
    assert_eq!(
        read(&mut chunked, BODY_BYTES_MAX, &budget).await.unwrap_err(),
        Error::TooLarge(BODY_BYTES_MAX)
    );
    let mut largest = Pieces::new(Some(limit), [half(), half()]);
    assert_eq!(read(&mut largest, BODY_BYTES_MAX, &budget).await.unwrap().0.len(), BODY_BYTES_MAX);
}

#[tokio::test]
async fn what_is_only_announced_takes_no_memory() {
    let budget = Budget::new(10);
    let slow = &mut Pieces::new(Some(10), [piece("ab"), None]);
    let mut slow = pin!(read(slow, BODY_BYTES_MAX, &budget));
    assert!(poll_fn(|cx| Poll::Ready(slow.as_mut().poll(cx).is_pending())).await);
    assert_eq!(free(&budget), 8);
    read(&mut Pieces::new(Some(8), [piece("12345678")]), BODY_BYTES_MAX, &budget).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_is_given_up() {
    let budget = Budget::new(100);
    let started = Instant::now();
    let slow = read(&mut Pieces::new(Some(6), [piece("ab"), None]), BODY_BYTES_MAX, &budget).await;
    assert_eq!(slow.unwrap_err(), Error::Slow);
    assert_eq!(started.elapsed(), BODY_WITHIN);
    assert_eq!(free(&budget), 100);
}

#[tokio::test(start_paused = true)]
async fn draining_ends() {
    let started = Instant::now();
    drain(&mut Pieces::new(None, [piece("ab"), piece("cd")])).await;
    assert_eq!(started.elapsed(), Duration::ZERO);

    let mut stuck = Pieces::new(None, [piece("ab"), None]);
    drain(&mut stuck).await;
    assert_eq!(started.elapsed(), BODY_WITHIN);

    let large = Bytes::from(vec![b'a'; DRAINED_BYTES_MAX]);
    let mut endless = Pieces::new(None, [Some(large), piece("x"), piece("y")]);
    drain(&mut endless).await;
    assert_eq!(endless.pieces.len(), 1);
}
