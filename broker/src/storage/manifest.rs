//! Checks the manifests of the trees before fjall reads them.
//!
//! A manifest lists the tables of a tree. fjall stores its checksum in the file `current` beside it, but does not compare
//! it when it opens: a flipped bit there loses a table in silence, or ends in an assertion inside a lock, which aborts the
//! process. A tree without that file it takes for half-made, and deletes.

use std::io;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_128;

use super::StoreError;
use super::files::io_error;

/// Numbers of the trees: fjall's own list of trees, then ours in the order in which they were made.
const TREES: [&str; 4] = ["0", "1", "2", "3"];
/// Number of the manifest, its checksum, and which kind of checksum it is.
const CURRENT_BYTES: usize = 8 + 16 + 1;
const CHECKSUM_XXH3: u8 = 0;

/// Checks those that are there; all of them must be when `is_complete`, that is when batches were stored.
pub(super) fn check(db_dir: &Path, is_complete: bool) -> Result<(), StoreError> {
    for tree in TREES {
        let dir = db_dir.join("keyspaces").join(tree);
        match std::fs::read(dir.join("current")) {
            Ok(current) => check_tree(&dir, &current)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_complete => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(damaged(&dir, "the file \"current\" is missing"));
            }
            Err(error) => return Err(io_error("read a manifest", &dir, &error)),
        }
    }
    Ok(())
}

fn check_tree(dir: &Path, current: &[u8]) -> Result<(), StoreError> {
    let current: &[u8; CURRENT_BYTES] =
        current.try_into().map_err(|_| damaged(dir, "the file \"current\" has not the right length"))?;
    let (number, rest) = current.split_first_chunk::<8>().expect("8 of 25 bytes");
    let (checksum, kind) = rest.split_first_chunk::<16>().expect("16 of 17 bytes");
    if kind != [CHECKSUM_XXH3] {
        return Err(damaged(dir, "the file \"current\" is not what it was"));
    }
    let manifest = dir.join(format!("v{}", u64::from_le_bytes(*number)));
    let bytes = match std::fs::read(&manifest) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(damaged(&manifest, "the manifest is missing"));
        }
        Err(error) => return Err(io_error("read a manifest", &manifest, &error)),
    };
    if xxh3_128(&bytes) != u128::from_le_bytes(*checksum) {
        return Err(damaged(&manifest, "the manifest does not fit its checksum"));
    }
    Ok(())
}

fn damaged(place: &Path, what: &str) -> StoreError {
    StoreError::Damaged {
        place: place.display().to_string(),
        detail: format!("{what}. {}", super::REPAIR_ADVICE),
    }
}
