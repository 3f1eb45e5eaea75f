//! Batches as fjall writes them, found and read.
//!
//! ```text
//! batch   1 | number of items u32 | sequence number u64 | items | 3 | xxh3 of the items u64 | "FJL" 3
//! item    2 | kind u8 | compression u8 | tree u64 | key length u16 | value length u32, twice | key | value
//! ```

use memchr::memchr;
use xxhash_rust::xxh3::xxh3_64;

use super::super::format::{BATCH_KEY, BatchRow};

pub(in crate::storage) const START: u8 = 1;
pub(in crate::storage) const ITEM: u8 = 2;
pub(in crate::storage) const END: u8 = 3;
pub(in crate::storage) const TRAILER: [u8; 4] = *b"FJL\x03";
/// Start mark, number of items, sequence number.
pub(in crate::storage) const HEAD_BYTES: usize = 13;
/// Mark, kind, compression, tree, length of the key, length of the value twice.
const ITEM_HEAD_BYTES: usize = 21;

/// A whole batch: start mark, items, end mark with a checksum that fits.
pub(super) struct Batch {
    /// Bytes from mark to mark.
    pub(super) length: usize,
    /// Sequence number, which has no checksum.
    pub(super) seqno: u64,
    /// The batch row in it.
    pub(super) row: Option<BatchRow>,
}

impl Batch {
    /// Reads the batch at the beginning of `bytes`; None when there is no whole one.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut unbounded = u64::MAX;
        Self::read_within(bytes, &mut unbounded).ok().flatten()
    }

    /// Reads a batch, and takes what it read off `left`.
    fn read_within(bytes: &[u8], left: &mut u64) -> Result<Option<Self>, TooLong> {
        let mut spend = |bytes: usize| {
            *left = left.checked_sub(bytes as u64).ok_or(TooLong)?;
            Ok(())
        };
        let mut reader = Reader { rest: bytes };
        spend(HEAD_BYTES)?;
        let Some((items, seqno)) = reader.head() else { return Ok(None) };
        let mut row = None;
        let content = reader.rest;
        for _ in 0..items {
            spend(ITEM_HEAD_BYTES)?;
            let Some((key, value)) = reader.item() else { return Ok(None) };
            if key == BATCH_KEY {
                row = BatchRow::decode(value);
            }
        }
        let content = &content[..content.len() - reader.rest.len()];
        let Some(checksum) = reader.end() else { return Ok(None) };
        spend(content.len())?;
        let is_whole = xxh3_64(content) == checksum;
        Ok(is_whole.then_some(Self { length: bytes.len() - reader.rest.len(), seqno, row }))
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    /// Number of items and sequence number.
    fn head(&mut self) -> Option<(u32, u64)> {
        (self.u8()? == START).then_some(())?;
        Some((self.u32()?, self.u64()?))
    }

    /// The checksum.
    fn end(&mut self) -> Option<u64> {
        (self.u8()? == END).then_some(())?;
        let checksum = self.u64()?;
        (self.take(TRAILER.len())? == TRAILER).then_some(checksum)
    }

    /// Key and value. We never compress, and never clear a tree.
    fn item(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let (tag, _kind, compression) = (self.u8()?, self.u8()?, self.u8()?);
        if tag != ITEM || compression != 0 {
            return None;
        }
        let _tree = self.u64()?;
        let key_length = u16::from_le_bytes(self.take(2)?.try_into().ok()?);
        let value_length = self.u32()?;
        if self.u32()? != value_length {
            return None;
        }
        Some((self.take(usize::from(key_length))?, self.take(value_length as usize)?))
    }
}

/// The whole batches anywhere in bytes. A message may hold bytes that look like the starts of many batches, each of them
/// long: what is read for all of them together is bounded.
pub(super) struct Search<'a> {
    rest: &'a [u8],
    /// Bytes that may still be read.
    left: u64,
}

/// More would have to be read than is allowed.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::storage) struct TooLong;

impl<'a> Search<'a> {
    pub(super) fn new(bytes: &'a [u8], bytes_max: u64) -> Self {
        Self { rest: bytes, left: bytes_max }
    }

    /// The next one.
    ///
    /// # Errors
    /// It lies behind more bytes than may be read.
    pub(super) fn next(&mut self) -> Result<Option<Batch>, TooLong> {
        while let Some(start) = memchr(START, self.rest) {
            self.rest = &self.rest[start..];
            let batch = Batch::read_within(self.rest, &mut self.left)?;
            self.rest = &self.rest[batch.as_ref().map_or(1, |batch| batch.length)..];
            if batch.is_some() {
                return Ok(batch);
            }
        }
        Ok(None)
    }
}
