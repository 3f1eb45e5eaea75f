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

pub(super) mod batch;

use std::path::{Path, PathBuf};

use super::StoreError;
use super::files::io_error;
use super::format::BatchRow;
use batch::{Batch, Search, TooLong};

/// Bytes that are read at most to find a batch behind a break: eight times what all journals may hold. Where nobody made
/// the bytes up for it, each is read about once.
pub const SEARCH_BYTES_MAX: u64 = 2 << 30;

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
        let held = held(&report);
        match synced_after(tail, held, SEARCH_BYTES_MAX) {
            Ok(None) => {}
            Ok(Some(later)) => {
                return Err(damaged(
                    path,
                    whole,
                    &format!("but batch {later}, which lies beyond it, had been synced"),
                ));
            }
            Err(TooLong) => {
                return Err(damaged(
                    path,
                    whole,
                    "and what lies beyond it looks like too many batches to tell whether one had been synced",
                ));
            }
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
            broken.beyond = broken.beyond.max(newest_in(&bytes, held(&report), SEARCH_BYTES_MAX));
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
        let beyond = newest_in(tail, held(&report), SEARCH_BYTES_MAX);
        survey.broken = Some(Break { path: path.clone(), offset: whole, why, beyond, later: Vec::new() });
    }
    survey.newest = report.newest;
    Ok(survey)
}

/// The newest batch that is held in front of a break.
fn held(report: &JournalReport) -> u64 {
    report.newest.map_or(0, |row| row.number)
}

/// The newest batch that whole batches anywhere in these bytes are, or name as synced. Where that would take too long
/// there may be one beyond those `held`.
fn newest_in(bytes: &[u8], held: u64, bytes_max: u64) -> u64 {
    let mut search = Search::new(bytes, bytes_max);
    let mut newest = 0;
    loop {
        match search.next() {
            Ok(Some(batch)) => {
                newest = batch.row.map_or(newest, |row| newest.max(row.number).max(row.synced))
            }
            Ok(None) => return newest,
            Err(TooLong) => return newest.max(held.saturating_add(1)),
        }
    }
}

/// Walks whole batches from the start; answers where they end.
pub(super) fn read_whole_batches(
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
            if let Some(newest) =
                report.newest.filter(|newest| newest.number.checked_add(1) != Some(row.first))
            {
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
pub(super) fn synced_after(tail: &[u8], held: u64, bytes_max: u64) -> Result<Option<u64>, TooLong> {
    let mut search = Search::new(tail, bytes_max);
    while let Some(batch) = search.next()? {
        if let Some(row) = batch.row.filter(|row| row.synced > held) {
            return Ok(Some(row.synced));
        }
    }
    Ok(None)
}

fn cut(path: &Path, length: usize) -> Result<(), StoreError> {
    let cut = || {
        let file = std::fs::File::options().write(true).open(path)?;
        file.set_len(length as u64)?;
        file.sync_all()
    };
    cut().map_err(|error| io_error("cut a torn tail off a journal", path, &error))
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

#[cfg(test)]
mod tests;
