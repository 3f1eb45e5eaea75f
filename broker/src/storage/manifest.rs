//! Checks the manifests of the trees before fjall reads them.
//!
//! A manifest lists the tables of a tree. fjall stores its checksum in the file `current` beside it, but does not compare
//! it when it opens: a flipped bit there loses a table in silence, or ends in an assertion inside a lock, which aborts the
//! process. A tree without that file it takes for half-made, and deletes.

use std::io;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_128;

use super::StoreError;
use super::files::{io_error, write_whole};
use super::offline::TreeFault;

/// Numbers of the trees: fjall's own list of trees, then ours in the order in which they were made.
const TREES: [&str; 4] = ["0", "1", "2", "3"];
/// Number of the manifest, its checksum, and which kind of checksum it is.
const CURRENT_BYTES: usize = 8 + 16 + 1;
const CHECKSUM_XXH3: u8 = 0;
/// Either of the two files may be the damaged one.
const NO_FIT: &str = "the manifest does not fit its checksum";

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

/// What is wrong with each tree, and whether [`mend`] can help.
pub(super) fn faults(db_dir: &Path, is_complete: bool) -> Result<Vec<TreeFault>, StoreError> {
    let mut faults = Vec::new();
    for (tree, name) in TREES.into_iter().zip(["the list of trees", "log", "state", "meta"]) {
        let path = db_dir.join("keyspaces").join(tree);
        let checked = match std::fs::read(path.join("current")) {
            Ok(current) => check_tree(&path, &current),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_complete => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(damaged(&path, "the file \"current\" is missing"))
            }
            Err(error) => return Err(io_error("read a manifest", &path, &error)),
        };
        match checked {
            Ok(()) => {}
            Err(StoreError::Damaged { detail, .. }) => {
                let is_mendable = newest_manifest(&path).is_some() && !detail.contains(NO_FIT);
                faults.push(TreeFault { path, tree: name, what: detail, is_mendable });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(faults)
}

/// Writes the file `current` of a tree anew, so that it names the newest manifest. A manifest has no checksum but
/// the one in `current`; fjall reads it whole when it opens.
pub(super) fn mend(dir: &Path) -> Result<(), StoreError> {
    let Some((number, bytes)) = newest_manifest(dir) else {
        return Err(damaged(dir, "no manifest is there"));
    };
    let mut current = number.to_le_bytes().to_vec();
    current.extend(xxh3_128(&bytes).to_le_bytes());
    current.push(CHECKSUM_XXH3);
    write_whole(&dir.join("current"), &current)
}

/// The newest manifest of a tree. What older ones list that it does not is still in the journals, or merged.
fn newest_manifest(dir: &Path) -> Option<(u64, Vec<u8>)> {
    let manifests = std::fs::read_dir(dir).ok()?.filter_map(|entry| {
        let path = entry.ok()?.path();
        let number = path.file_name()?.to_str()?.strip_prefix('v')?.parse::<u64>().ok()?;
        Some((number, path))
    });
    let (number, path) = manifests.max()?;
    Some((number, std::fs::read(path).ok()?))
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
            return Err(damaged(&manifest, "the manifest that the file \"current\" names is missing"));
        }
        Err(error) => return Err(io_error("read a manifest", &manifest, &error)),
    };
    if xxh3_128(&bytes) != u128::from_le_bytes(*checksum) {
        return Err(damaged(&manifest, NO_FIT));
    }
    Ok(())
}

fn damaged(place: &Path, what: &str) -> StoreError {
    StoreError::Damaged { place: place.display().to_string(), detail: what.to_owned() }
}
