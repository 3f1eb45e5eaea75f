//! Small helpers for files: whole writes that survive a crash, the lock of a directory, errors that name the file.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::Path;

use super::StoreError;

/// An error of the operating system, with the file it is about.
pub(super) fn io_error(what: &'static str, path: &Path, error: &io::Error) -> StoreError {
    StoreError::Io(what, format!("{}: {error}", path.display()))
}

/// Writes a file so that after a crash it is there whole or not at all.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let fail = |error: io::Error| io_error("write a file", path, &error);
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary).map_err(fail)?;
    file.write_all(bytes).map_err(fail)?;
    file.sync_all().map_err(fail)?;
    std::fs::rename(&temporary, path).map_err(fail)?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| io_error("sync a directory", dir, &error))
}

/// Takes the lock of a data directory. It goes with the file handle, also when the process is killed.
pub(super) fn lock_dir(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("lock");
    let fail = |error: &io::Error| io_error("lock the data directory", &path, error);
    let file =
        File::options().create(true).truncate(false).write(true).open(&path).map_err(|error| fail(&error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(dir.display().to_string())),
        Err(TryLockError::Error(error)) => Err(fail(&error)),
    }
}
