//! Queues declared by files: the same objects that a cluster takes, read, checked and put in order.
//!
//! Reads files and nothing else; what the declarations mean for the queues that exist is the caller's to work out.

use std::path::{Path, PathBuf};

use cmq_crds::queue::DeletionPolicy;
use cmq_engine::attributes::{DeadLetterRule, QueueAttributes};

pub use error::{ManifestError, Problem};

mod attributes;
mod document;
mod error;
mod object;
mod resolve;
#[cfg(test)]
mod tests;

/// Bytes of one file.
pub const FILE_BYTES_MAX: u64 = 16 << 20;
/// Files of one directory.
pub const FILES_MAX: usize = 10_000;

/// A queue that a file declares.
#[derive(Clone, Debug, PartialEq)]
pub struct DeclaredQueue {
    /// Where: `Queue orders in examples/quickstart.yaml:10`, for errors that send the reader there.
    pub source: String,
    /// Name on the wire.
    pub name: String,
    /// The attributes; `dead_letter` is unset here, since a file knows no queue ids.
    pub attributes: QueueAttributes,
    /// Name on the wire of the dead-letter queue, which stands earlier in the order, and when messages move there.
    pub dead_letter: Option<(String, DeadLetterRule)>,
    /// What becomes of the queue when no file declares it any more.
    pub deletion_policy: DeletionPolicy,
    /// The object says where and on what pods the queue runs, which means nothing to a broker that runs alone.
    pub ignored_placement: bool,
    /// Why a cluster would report this object although this broker takes it.
    pub cluster_warning: Option<String>,
}

/// Reads a file, or all `*.yaml`, `*.yml` and `*.json` files of a directory in the order of their names, hidden ones and
/// directories aside. Dead-letter queues come before their sources, otherwise the order of the files is kept.
///
/// # Errors
///
/// A file that cannot be read or is too large; or everything that is wrong in the files, each with file, line, field and
/// what is allowed there. Nothing is declared then.
pub fn load(path: &Path) -> Result<Vec<DeclaredQueue>, ManifestError> {
    let mut objects = Vec::new();
    let mut problems = Vec::new();
    for file in files(path)? {
        let text = read(&file)?;
        match document::parse(&text) {
            Ok(documents) => {
                for document in documents {
                    match object::read(&file, document) {
                        Ok(object) => objects.push(object),
                        Err(found) => problems.extend(found),
                    }
                }
            }
            Err(error) => problems.push(error.in_file(&file)),
        }
    }
    // A reference to an object that could not be read would be reported as missing: first things first.
    if problems.is_empty() {
        problems = resolve::problems(&objects);
    }
    if problems.is_empty() { Ok(resolve::in_order(objects)) } else { Err(ManifestError::Invalid(problems)) }
}

/// The files to read.
fn files(path: &Path) -> Result<Vec<PathBuf>, ManifestError> {
    let failed = |source| ManifestError::Read { path: path.to_owned(), source };
    if !path.metadata().map_err(failed)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in path.read_dir().map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let hidden = file.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        let named = file.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json");
        if named && !hidden && file.is_file() {
            files.push(file);
        }
        if files.len() > FILES_MAX {
            return Err(ManifestError::TooManyFiles { path: path.to_owned() });
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<String, ManifestError> {
    let failed = |source| ManifestError::Read { path: path.to_owned(), source };
    let bytes = path.metadata().map_err(failed)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(ManifestError::FileTooLarge { path: path.to_owned(), bytes });
    }
    std::fs::read_to_string(path).map_err(failed)
}
