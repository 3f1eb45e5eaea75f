//! Looks through fjall's journals before fjall does.
//!
//! On damage in the middle of a journal fjall drops every later batch in silence and truncates the file; on a last batch
//! that a power cut tore it refuses to open. Both are decided here first, while nothing has been changed: a tail is cut
//! off only when no batch after it, and not the side file, says that it had been synced. The format is that of the one
//! fjall version we pin; the tests write journals by fjall and read them here.
//!
//! What stays unnoticed by one volume alone: a loss of the newest synced batches, when it leaves no trace of them and the
//! side file, which is about a second behind, did not know them yet. And a flip of bits in a sequence number, which has no
//! checksum, that keeps the numbers in order and yet moves the batch below what was flushed: only gaps make it possible.

use std::hash::Hasher;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::StoreError;
use super::files::io_error;
use super::format::{BATCH_KEY, BatchRow};

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const TRAILER: [u8; 4] = *b"FJL\x03";

/// What the journals hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct JournalReport {
    /// Number of the oldest batch that they hold.
    pub(super) oldest: Option<u64>,
    /// The newest batch row. None: the journals hold none.
    pub(super) newest: Option<BatchRow>,
    /// Bytes of a torn tail that was cut off.
    pub(super) cut: Option<u64>,
}

/// Checks all journals of the database in `dir`, and cuts a torn tail off the active one. `synced` is the number in the
/// side file.
pub(super) fn check(dir: &Path, synced: u64) -> Result<JournalReport, StoreError> {
    let mut report = JournalReport::default();
    let mut last_seqno = None;
    let paths = journals(dir)?;
    for (at, path) in paths.iter().enumerate() {
        let bytes = std::fs::read(path).map_err(|error| io_error("read a journal", path, &error))?;
        let whole = read_whole_batches(&bytes, path, &mut last_seqno, &mut report)?;
        let tail = &bytes[whole..];
        if tail.iter().all(|byte| *byte == 0) {
            continue;
        }
        let is_active = at + 1 == paths.len();
        if !is_active {
            return Err(damaged(path, whole, "and the journal was complete when it was closed"));
        }
        let held = report.newest.map_or(0, |row| row.number);
        if let Some(later) = synced_after(tail, held) {
            return Err(damaged(
                path,
                whole,
                &format!("but batch {later}, which lies beyond it, had been synced"),
            ));
        }
        if report.newest.is_some() && synced > held {
            return Err(damaged(
                path,
                whole,
                &format!("but batch {synced}, which lies beyond it, had been synced"),
            ));
        }
        cut(path, whole)?;
        tracing::warn!(
            path = %path.display(), offset = whole, last_batch = held,
            "the journal ended in a torn batch that had not been synced; it is cut off"
        );
        report.cut = Some(tail.len() as u64);
    }
    Ok(report)
}

fn damaged(path: &Path, offset: usize, why: &str) -> StoreError {
    StoreError::Damaged {
        place: path.display().to_string(),
        detail: format!("the batch at byte {offset} is not whole, {why}"),
    }
}

/// The journals, oldest first. The last one is active.
fn journals(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let fail = |error: std::io::Error| io_error("list the journals", dir, &error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let number = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_suffix(".jnl"))
            .and_then(|number| number.parse::<u64>().ok());
        found.extend(number.map(|number| (number, path)));
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Where the journals stop being whole, when it is not at their end.
#[derive(Debug)]
pub(super) struct Break {
    /// The journal.
    pub(super) path: PathBuf,
    /// Bytes of whole batches before the break.
    pub(super) offset: usize,
    /// What is wrong there.
    pub(super) why: String,
    /// The newest batch number that anything behind the break names; 0: none does.
    pub(super) beyond: u64,
    /// Journals behind that one.
    pub(super) later: Vec<PathBuf>,
}

/// What the journals hold, read without changing them.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// The newest batch row before a break.
    pub(super) newest: Option<BatchRow>,
    /// Sequence number of the newest whole batch.
    pub(super) seqno: Option<u64>,
    /// The first break.
    pub(super) broken: Option<Break>,
}

/// Looks for the first break in the journals of `dir`.
pub(super) fn survey(dir: &Path) -> Result<Survey, StoreError> {
    let mut survey = Survey::default();
    let mut report = JournalReport::default();
    let paths = journals(dir)?;
    for (at, path) in paths.iter().enumerate() {
        let bytes = std::fs::read(path).map_err(|error| io_error("read a journal", path, &error))?;
        if let Some(broken) = &mut survey.broken {
            broken.later.push(path.clone());
            broken.beyond = broken.beyond.max(newest_in(&bytes));
            continue;
        }
        let (whole, why) = walk(&bytes, &mut survey.seqno, &mut report);
        let tail = &bytes[whole..];
        let why = match why {
            Some(why) => why,
            None if tail.iter().all(|byte| *byte == 0) => continue,
            None if at + 1 < paths.len() => "it was complete when it was closed".to_owned(),
            None => "its last batch is torn".to_owned(),
        };
        let beyond = newest_in(tail);
        survey.broken = Some(Break { path: path.clone(), offset: whole, why, beyond, later: Vec::new() });
    }
    survey.newest = report.newest;
    Ok(survey)
}

/// The newest batch that whole batches anywhere in these bytes are, or name as synced.
fn newest_in(bytes: &[u8]) -> u64 {
    let (mut at, mut newest) = (0, 0);
    while let Some(skip) = bytes[at..].iter().position(|byte| *byte == START) {
        at += skip;
        match Batch::read(&bytes[at..]) {
            Some(batch) => {
                newest = batch.row.map_or(newest, |row| newest.max(row.number).max(row.synced));
                at += batch.length;
            }
            None => at += 1,
        }
    }
    newest
}

/// Walks whole batches from the start; answers where they end.
fn read_whole_batches(
    bytes: &[u8],
    path: &Path,
    last_seqno: &mut Option<u64>,
    report: &mut JournalReport,
) -> Result<usize, StoreError> {
    match walk(bytes, last_seqno, report) {
        (whole, None) => Ok(whole),
        (offset, Some(why)) => Err(damaged(path, offset, &why)),
    }
}

/// Walks whole batches; answers where they end, and why it stopped before a batch that is whole.
fn walk(bytes: &[u8], last_seqno: &mut Option<u64>, report: &mut JournalReport) -> (usize, Option<String>) {
    let mut rest = bytes;
    while let Some(batch) = Batch::read(rest) {
        let offset = bytes.len() - rest.len();
        // The sequence number stands outside fjall's checksum; it gives it away by falling out of line.
        if last_seqno.is_some_and(|last| batch.seqno <= last) {
            return (offset, Some("for its sequence number is out of order".to_owned()));
        }
        if let Some(row) = batch.row {
            if let Some(newest) = report.newest.filter(|newest| row.first != newest.number + 1) {
                let why = format!("for it starts with batch {}, after batch {}", row.first, newest.number);
                return (offset, Some(why));
            }
            report.oldest.get_or_insert(row.first);
            report.newest = Some(row);
        }
        *last_seqno = Some(batch.seqno);
        rest = &rest[batch.length..];
    }
    (bytes.len() - rest.len(), None)
}

/// Looks for a whole batch anywhere in the bytes after the break, and for its word that batches beyond `held` had been
/// synced.
fn synced_after(tail: &[u8], held: u64) -> Option<u64> {
    let mut at = 0;
    while let Some(skip) = tail[at..].iter().position(|byte| *byte == START) {
        at += skip;
        match Batch::read(&tail[at..]) {
            Some(Batch { row: Some(row), .. }) if row.synced > held => return Some(row.synced),
            Some(batch) => at += batch.length,
            None => at += 1,
        }
    }
    None
}

fn cut(path: &Path, length: usize) -> Result<(), StoreError> {
    let cut = || {
        let file = std::fs::File::options().write(true).open(path)?;
        file.set_len(length as u64)?;
        file.sync_all()
    };
    cut().map_err(|error| io_error("cut a torn tail off a journal", path, &error))
}

/// A whole batch: start mark, items, end mark with a checksum that fits.
struct Batch {
    length: usize,
    seqno: u64,
    row: Option<BatchRow>,
}

impl Batch {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader { rest: bytes };
        if reader.u8()? != START {
            return None;
        }
        let items = reader.u32()?;
        let seqno = reader.u64()?;
        let mut row = None;
        let mut hasher = Xxh3::new();
        for _ in 0..items {
            let before = reader.rest;
            let (key, value) = reader.item()?;
            hasher.update(&before[..before.len() - reader.rest.len()]);
            if key == BATCH_KEY {
                row = BatchRow::decode(value);
            }
        }
        let is_whole = reader.u8()? == END && reader.u64()? == hasher.finish() && reader.take(4)? == TRAILER;
        is_whole.then_some(Self { length: bytes.len() - reader.rest.len(), seqno, row })
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

/// Where each whole batch of a journal starts.
#[cfg(test)]
pub(super) fn offsets(bytes: &[u8]) -> Vec<usize> {
    let mut offsets = Vec::new();
    let mut at = 0;
    while let Some(batch) = Batch::read(&bytes[at..]) {
        offsets.push(at);
        at += batch.length;
    }
    offsets
}
