//! The deduplication window: ids that were seen a short while ago, and which message they named.

use std::collections::{BTreeSet, HashMap};

use crate::codec::{DecodeError, Reader, Writer};
use crate::faults::{self, Fault};
use crate::limits::{DEDUPLICATION_SLACK_MS, DEDUPLICATION_WINDOW_MS};
use crate::message::{BodyRef, QueueEpoch};
use crate::row::{Dirty, RowKey};

const FORMAT: u8 = 1;

/// Ids forgotten with each new one, so that the table shrinks without a walk.
const FORGET_PER_INSERT: usize = 2;

#[derive(Clone, Copy, Debug)]
struct Seen {
    expires_ms: u64,
    body: BodyRef,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Deduplication {
    seen: HashMap<u128, Seen>,
    by_expiry: BTreeSet<(u64, u128)>,
}

impl Deduplication {
    pub(crate) fn len(&self) -> usize {
        self.seen.len()
    }

    /// When the first ids should be forgotten.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        self.by_expiry.first().map(|(expires_ms, _)| expires_ms.saturating_add(DEDUPLICATION_SLACK_MS))
    }

    /// The message that had this id, if that was inside the window.
    pub(crate) fn find(&self, hash: u128, stamp_ms: u64) -> Option<BodyRef> {
        let margin_ms =
            if faults::is_active(Fault::ShortDeduplication) { DEDUPLICATION_WINDOW_MS / 2 } else { 0 };
        self.seen
            .get(&hash)
            .filter(|seen| seen.expires_ms.saturating_sub(margin_ms) > stamp_ms)
            .map(|seen| seen.body)
    }

    pub(crate) fn insert(
        &mut self,
        hash: u128,
        body: BodyRef,
        stamp_ms: u64,
        queue: QueueEpoch,
        dirty: &mut Dirty,
    ) {
        self.forget(stamp_ms, FORGET_PER_INSERT, queue, dirty);
        let seen = Seen { expires_ms: stamp_ms.saturating_add(DEDUPLICATION_WINDOW_MS), body };
        if let Some(old) = self.seen.insert(hash, seen) {
            self.by_expiry.remove(&(old.expires_ms, hash));
        }
        self.by_expiry.insert((seen.expires_ms, hash));
        dirty.mark(RowKey::Deduplication(queue, hash));
    }

    /// Forgets up to `limit` ids whose window has ended; answers how many.
    pub(crate) fn forget(
        &mut self,
        stamp_ms: u64,
        limit: usize,
        queue: QueueEpoch,
        dirty: &mut Dirty,
    ) -> usize {
        for forgotten in 0..limit {
            let Some((expires_ms, hash)) = self.by_expiry.first().copied() else { return forgotten };
            if expires_ms > stamp_ms {
                return forgotten;
            }
            self.by_expiry.pop_first();
            self.seen.remove(&hash);
            dirty.mark(RowKey::Deduplication(queue, hash));
        }
        limit
    }

    pub(crate) fn hashes(&self) -> impl Iterator<Item = u128> {
        self.by_expiry.iter().map(|(_, hash)| *hash)
    }

    pub(crate) fn row(&self, hash: u128) -> Option<Vec<u8>> {
        let seen = self.seen.get(&hash)?;
        let mut out = Writer::with_format(FORMAT);
        out.int(seen.expires_ms).int(seen.body.packed());
        Some(out.bytes)
    }

    pub(crate) fn restore(&mut self, hash: u128, row: &[u8]) -> Result<(), DecodeError> {
        let mut from = Reader::with_format(row, FORMAT, "a deduplication row")?;
        let expires_ms = from.int()?;
        let body = BodyRef::checked(from.int()?).ok_or_else(|| from.error())?;
        from.end()?;
        let seen = Seen { expires_ms, body };
        self.seen.insert(hash, seen);
        self.by_expiry.insert((seen.expires_ms, hash));
        Ok(())
    }
}
