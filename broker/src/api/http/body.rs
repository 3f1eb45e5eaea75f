//! Reading of request bodies within bounds of size, time and memory.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::time::timeout;

use super::limits::{BODY_WITHIN, DRAINED_BYTES_MAX};

/// Bytes that are set aside at first for a body that comes in pieces; what needs more grows by doubling.
const JOINED_BYTES_FIRST: usize = 256 << 10;

/// A bounded amount of something, such as the memory for the bodies of a port; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    free: Arc<AtomicUsize>,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { free: Arc::new(AtomicUsize::new(bytes)) }
    }

    /// Takes a share, or says that there is not enough left.
    pub(crate) fn reserve(&self, bytes: usize) -> Result<Reservation, Error> {
        let take = |free: usize| free.checked_sub(bytes);
        match self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => Ok(Reservation { budget: self.clone(), bytes }),
            Err(_) => Err(Error::Busy),
        }
    }
}

/// A share of the budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Budget,
    bytes: usize,
}

impl Reservation {
    fn grow(&mut self, bytes: usize) -> Result<(), Error> {
        let mut more = self.budget.reserve(bytes)?;
        self.bytes += std::mem::take(&mut more.bytes);
        Ok(())
    }

    /// The same bytes, with the share until the last of them is dropped.
    pub(crate) fn hold(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Held { bytes, _share: self })
    }
}

struct Held {
    bytes: Bytes,
    _share: Reservation,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.free.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// Larger than any call needs.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// Too much is on its way already.
    #[error("the broker is busy: bodies on their way; retry")]
    Busy,
    /// The client was too slow.
    #[error("the body did not come within {} s", BODY_WITHIN.as_secs())]
    Slow,
    /// The client went away, or sent something that is not HTTP.
    #[error("the body broke off")]
    Broken,
}

/// Reads a body of up to `max` bytes. One that came with the head is a slice of the connection's buffer, a longer one has memory of its own. The
/// announced length is checked before anything is read.
pub(crate) async fn read<B>(body: &mut B, max: usize, budget: &Budget) -> Result<(Bytes, Reservation), Error>
where
    B: Body<Data = Bytes> + Unpin,
{
    let announced = body.size_hint().upper().map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    if announced.is_some_and(|bytes| bytes > max) {
        return Err(Error::TooLarge(max));
    }
    // Memory is taken as bytes come: what a client only announces keeps nothing from others.
    let mut reservation = budget.reserve(0)?;
    let bytes = {
        let mut collected = pin!(collect(body, max, announced, &mut reservation));
        // Most bodies are there already; those need no timer.
        let first = poll_fn(|cx| Poll::Ready(collected.as_mut().poll(cx))).await;
        match first {
            Poll::Ready(result) => result?,
            Poll::Pending => timeout(BODY_WITHIN, collected).await.map_err(|_| Error::Slow)??,
        }
    };
    Ok((bytes, reservation))
}

async fn collect<B>(
    body: &mut B,
    max: usize,
    announced: Option<usize>,
    reservation: &mut Reservation,
) -> Result<Bytes, Error>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Error::Broken)?.into_data() else { continue };
        let so_far = first.len() + joined.len() + data.len();
        if so_far > max {
            return Err(Error::TooLarge(max));
        }
        reservation.grow(data.len())?;
        if so_far == data.len() {
            first = data;
        } else {
            if joined.is_empty() {
                joined.reserve(announced.unwrap_or(so_far).clamp(so_far, JOINED_BYTES_FIRST.max(so_far)));
                joined.extend_from_slice(&first);
                first = Bytes::new();
            }
            joined.extend_from_slice(&data);
        }
        if announced == Some(so_far) {
            break;
        }
    }
    Ok(if joined.is_empty() { first } else { joined.freeze() })
}

/// Reads what is left of a refused body and forgets it: many clients look for an answer only after they have sent all,
/// and would see a broken connection instead. Stops where that would be no small favour any more.
pub(crate) async fn drain<B>(body: &mut B)
where
    B: Body<Data = Bytes> + Unpin,
{
    let drained = async {
        let mut left = DRAINED_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            let Some(rest) = left.checked_sub(bytes) else { return };
            left = rest;
        }
    };
    // Too slow is one more reason to stop.
    let _ = timeout(BODY_WITHIN, drained).await;
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
