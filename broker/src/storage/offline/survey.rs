//! What the files of a volume say by themselves.

use std::path::{Path, PathBuf};

use super::super::fjall_store::open::FJALL_MARKER;
use super::super::side_file::SideFile;
use super::super::{StoreError, journal, manifest};
use super::database;

/// The files of a volume.
#[derive(Debug)]
pub struct Survey {
    /// Whether there is a database.
    pub has_database: bool,
    /// The file of the newest durable batch.
    pub side_file: SideFileState,
    /// Bytes of the ballast; None: there is none.
    pub ballast_bytes: Option<u64>,
    /// The newest batch in the journals, before the first break.
    pub journal_batch: Option<u64>,
    /// Where the journals stop being whole.
    pub journal_break: Option<JournalBreak>,
    /// Trees whose list of tables cannot be trusted.
    pub tree_faults: Vec<TreeFault>,
}

/// What the file of the newest durable batch says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SideFileState {
    /// This batch, and all before it, had been synced.
    Number(u64),
    /// There is no file.
    Missing,
    /// Neither slot is whole.
    Unreadable,
}

/// A place where a journal stops being whole.
#[derive(Clone, Debug)]
pub struct JournalBreak {
    /// The journal.
    pub path: PathBuf,
    /// Bytes before the break.
    pub offset: u64,
    /// What is wrong.
    pub why: String,
    /// Sequence number of the newest whole batch before it.
    pub(super) seqno: Option<u64>,
    /// The newest batch that is known to have been written behind the break; 0: none.
    pub beyond: u64,
    /// Journals behind it.
    pub later: Vec<PathBuf>,
    /// Whether nothing that had been synced lies behind it, so that a broker cuts it off by itself.
    pub is_harmless: bool,
}

/// A tree whose list of tables is missing or damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeFault {
    /// The folder of the tree.
    pub path: PathBuf,
    /// The tree.
    pub tree: &'static str,
    /// What is wrong.
    pub what: String,
    /// Whether the list itself is there and whole, so that the file that names it can be written anew.
    pub is_mendable: bool,
}

impl Survey {
    /// Looks at the files in `dir`.
    ///
    /// # Errors
    /// When the operating system refuses; damage is part of the answer.
    pub fn of(dir: &Path) -> Result<Self, StoreError> {
        let db = database(dir);
        let has_database = db.join(FJALL_MARKER).exists();
        let path = dir.join("durable");
        let side_file = match SideFile::read(&path) {
            Ok(Some(number)) => SideFileState::Number(number),
            Ok(None) => SideFileState::Missing,
            Err(StoreError::Damaged { .. }) => SideFileState::Unreadable,
            Err(error) => return Err(error),
        };
        let ballast_bytes = std::fs::metadata(dir.join("ballast")).ok().map(|file| file.len());
        let journals = if has_database { journal::survey(&db)? } else { journal::Survey::default() };
        let held = journals.newest.map_or(0, |row| row.number);
        let synced = match side_file {
            SideFileState::Number(number) => number,
            SideFileState::Missing | SideFileState::Unreadable => 0,
        };
        let journal_break = journals.broken.map(|broken| JournalBreak {
            is_harmless: broken.later.is_empty()
                && broken.beyond <= held
                && (journals.newest.is_none() || synced <= held),
            path: broken.path,
            offset: broken.offset as u64,
            why: broken.why,
            seqno: journals.seqno,
            beyond: broken.beyond.max(if synced > held { synced } else { 0 }),
            later: broken.later,
        });
        let tree_faults = if has_database { manifest::faults(&db, synced > 0)? } else { Vec::new() };
        let journal_batch = journals.newest.map(|row| row.number);
        Ok(Self { has_database, side_file, ballast_bytes, journal_batch, journal_break, tree_faults })
    }

    /// The newest batch that is known to have been durable.
    pub fn synced(&self) -> u64 {
        match self.side_file {
            SideFileState::Number(number) => number,
            SideFileState::Missing | SideFileState::Unreadable => 0,
        }
    }
}
