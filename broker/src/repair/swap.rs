//! Puts a database that was written beside the old one in its place. At each step a crash leaves a directory that a broker
//! refuses: the file of the durable batch is the last thing to change.

use std::path::{Path, PathBuf};

use crate::storage::StoreError;
use crate::storage::offline::{database, sync_names};

/// Where the new volume is written.
pub(super) fn fresh(dir: &Path) -> PathBuf {
    dir.join("repaired")
}

/// Whether a crash came between the steps of an exchange.
pub(super) fn is_half_done(dir: &Path) -> bool {
    let fresh = fresh(dir);
    fresh.join("durable").exists() && (!database(dir).exists() || !database(&fresh).exists())
}

/// Puts the new volume in the place of the old one; answers where the old one is kept.
pub(super) fn exchange(dir: &Path) -> Result<PathBuf, StoreError> {
    let kept = (1..).map(|number| dir.join(format!("damaged-{number}"))).find(|path| !path.exists());
    let kept = kept.expect("some number is free");
    let fail = |error: std::io::Error| failure(dir, &error);
    std::fs::create_dir(&kept).map_err(fail)?;
    let side_file = dir.join("durable");
    if side_file.exists() {
        std::fs::copy(&side_file, kept.join("durable")).map_err(fail)?;
    } else {
        // A directory with neither file nor database would pass for a new one.
        crate::storage::offline::write_side_file(dir, u64::MAX)?;
    }
    sync_names(&kept)?;
    std::fs::rename(database(dir), database(&kept)).map_err(fail)?;
    sync_names(dir)?;
    finish(dir)?;
    Ok(kept)
}

/// The steps after the old database is out of the way.
pub(super) fn finish(dir: &Path) -> Result<(), StoreError> {
    let (fresh, fail) = (fresh(dir), |error: std::io::Error| failure(dir, &error));
    if database(&fresh).exists() {
        std::fs::rename(database(&fresh), database(dir)).map_err(fail)?;
        sync_names(dir)?;
    }
    std::fs::rename(fresh.join("durable"), dir.join("durable")).map_err(fail)?;
    sync_names(dir)?;
    std::fs::remove_dir_all(&fresh).map_err(fail)
}

fn failure(dir: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Io("exchange the databases", format!("{}: {error}", dir.display()))
}
