//! A volume that no broker serves: what its files say, and its rows as far as they can be read, without changing a byte.
//!
//! fjall writes when it opens a database: it truncates journals, flushes, compacts. So it is given a copy. Tables, which
//! never change, are links in the copy; everything else is small and copied. What cannot be read is told, never left out.

mod image;
mod survey;

use std::fs::File;
use std::path::{Path, PathBuf};

pub use image::{Gap, Image};
pub use survey::{JournalBreak, SideFileState, Survey, TreeFault};

use super::files::{io_error, sync_dir};
use super::side_file::SideFile;
use super::{StoreError, manifest};

/// Keeps brokers, and other tools, off a volume.
#[derive(Debug)]
pub struct Guard {
    _lock: Option<File>,
}

impl Guard {
    /// Takes the lock of a data directory if it has one; makes nothing.
    ///
    /// # Errors
    /// When the directory is none, or a process uses it.
    pub fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("lock");
        if !dir.is_dir() {
            let detail = format!("{} is no directory", dir.display());
            return Err(StoreError::Io("look at the data directory", detail));
        }
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self { _lock: None }),
            Err(error) => return Err(io_error("open the lock", &path, &error)),
        };
        match file.try_lock() {
            Ok(()) => Ok(Self { _lock: Some(file) }),
            Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::InUse(dir.display().to_string())),
            Err(std::fs::TryLockError::Error(error)) => {
                Err(io_error("lock the data directory", &path, &error))
            }
        }
    }
}

/// Makes the side file of a volume that has none, or an unreadable one.
///
/// # Errors
/// When it cannot be written.
pub fn write_side_file(dir: &Path, number: u64) -> Result<(), StoreError> {
    let path = dir.join("durable");
    SideFile::create(&path)?;
    let stored = SideFile::open(&path)?.store(number);
    stored.map_err(|error| io_error("write the file of the last durable batch", &path, &error))
}

/// The database of a data directory.
pub fn database(dir: &Path) -> PathBuf {
    dir.join("db")
}

/// Makes the names in a directory durable.
///
/// # Errors
/// When the system refuses.
pub fn sync_names(dir: &Path) -> Result<(), StoreError> {
    sync_dir(dir)
}

/// Writes the file anew that names the list of tables of a tree.
///
/// # Errors
/// When there is no list, or the file cannot be written.
pub fn mend_tree(fault: &TreeFault) -> Result<(), StoreError> {
    manifest::mend(&fault.path)
}
