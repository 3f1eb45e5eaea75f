//! Queues declared by files: the same objects that a cluster takes, read, checked and put in order. Brokers are checked too, and
//! then of no use: where queues run is a cluster's affair.
//!
//! Reads files and nothing else; what the declarations mean for the queues that exist is the caller's to work out.

use std::path::{Path, PathBuf};

use cmq_crds::broker::Broker;
use cmq_crds::queue::{DeletionPolicy, Queue};
use cmq_engine::attributes::{DeadLetterRule, QueueAttributes, QueueKind};
use xxhash_rust::xxh3::Xxh3;

pub use attributes::deletion;
pub use document::DEPTH_MAX;
pub use error::{ManifestError, Problem};
pub use sent::SentQueue;

use object::{Declared, Object};

mod attributes;
mod document;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod object;
mod resolve;
mod sent;
#[cfg(test)]
mod tests;

/// Bytes of one file.
pub const FILE_BYTES_MAX: u64 = 16 << 20;
/// Files of one directory.
pub const FILES_MAX: usize = 10_000;

/// A queue that a file declares.
#[derive(Clone, Debug, PartialEq)]
pub struct DeclaredQueue {
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub object: String,
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
    pub cluster_warnings: Vec<String>,
}

/// Reads a file, or all `*.yaml`, `*.yml` and `*.json` files of a directory in the order of their names, hidden ones and
/// directories aside.
///
/// # Errors
///
/// A file that cannot be read or is too large; or everything that is wrong in the files, each with file, line, field and
/// what is allowed there. Nothing is declared then.
pub fn load(path: &Path) -> Result<Manifests, ManifestError> {
    parse(&read(path)?)
}

/// What the files said when they were read.
#[derive(Clone, Debug, Default)]
pub struct Texts(Vec<(PathBuf, String)>);

impl Texts {
    /// How many files there are.
    pub fn files(&self) -> usize {
        self.0.len()
    }

    /// Tells one state of the files from another.
    pub fn fingerprint(&self) -> u128 {
        let mut hash = Xxh3::new();
        for (file, text) in &self.0 {
            for part in [file.as_os_str().as_encoded_bytes(), text.as_bytes()] {
                hash.update(&part.len().to_le_bytes());
                hash.update(part);
            }
        }
        hash.digest128()
    }
}

/// Reads the files, whatever they say.
///
/// # Errors
/// A file cannot be read or is too large, or there are too many.
pub fn read(path: &Path) -> Result<Texts, ManifestError> {
    let read = |file: PathBuf| read_file(&file).map(|text| (file, text));
    files(path)?.into_iter().map(read).collect::<Result<_, _>>().map(Texts)
}

/// Makes objects of what the files say.
///
/// # Errors
/// Everything that is wrong in them.
pub fn parse(texts: &Texts) -> Result<Manifests, ManifestError> {
    let mut objects = Vec::new();
    let mut brokers = Vec::new();
    let mut problems = Vec::new();
    for (file, text) in &texts.0 {
        match document::parse(text) {
            Ok(documents) => {
                for document in documents {
                    match object::read(file, document) {
                        Ok(Declared::Queue(object)) => objects.push(object),
                        Ok(Declared::Broker(broker)) => brokers.push(broker),
                        Err(found) => problems.extend(found),
                    }
                }
            }
            Err(error) => problems.push(error.in_file(file)),
        }
    }
    // A reference to an object that could not be read would be reported as missing: first things first.
    if problems.is_empty() {
        problems = resolve::problems(&objects, &brokers);
    }
    if problems.is_empty() {
        Ok(Manifests { objects, brokers })
    } else {
        Err(ManifestError::Invalid(problems))
    }
}

/// Objects that are right, by themselves and together.
#[derive(Debug)]
pub struct Manifests {
    objects: Vec<Object<Queue>>,
    brokers: Vec<Object<Broker>>,
}

/// A queue that exists already, as far as manifests cannot change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Existing {
    /// Name on the wire.
    pub name: Box<str>,
    /// FIFO or not.
    pub kind: QueueKind,
}

impl Manifests {
    /// Checks that no object changes what a cluster would not let it change. `existing` finds the queue that an object of
    /// a namespace and name has declared before, or else the queue that exists under its name on the wire.
    ///
    /// # Errors
    /// Everything that would change.
    pub fn check_changes(
        &self,
        existing: impl Fn(&str, &str, &str) -> Option<Existing>,
    ) -> Result<(), ManifestError> {
        let changed = |object: &Object<Queue>| {
            let found = existing(object.namespace(), object.name(), object.resource.wire_name())?;
            Some(object.changes(&found))
        };
        let problems: Vec<Problem> = self.objects.iter().filter_map(changed).flatten().collect();
        if problems.is_empty() { Ok(()) } else { Err(ManifestError::Invalid(problems)) }
    }

    /// How many Brokers there are.
    pub fn brokers(&self) -> usize {
        self.brokers.len()
    }

    /// The queues, dead-letter queues before their sources, otherwise in the order of the files.
    pub fn into_queues(self) -> Vec<DeclaredQueue> {
        resolve::in_order(self.objects, &self.brokers)
    }
}

/// The files to read.
///
/// # Errors
/// The path cannot be looked at, or there are too many.
pub fn files(path: &Path) -> Result<Vec<PathBuf>, ManifestError> {
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

fn read_file(path: &Path) -> Result<String, ManifestError> {
    let failed = |source| ManifestError::Read { path: path.to_owned(), source };
    let bytes = path.metadata().map_err(failed)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(ManifestError::FileTooLarge { path: path.to_owned(), bytes });
    }
    std::fs::read_to_string(path).map_err(failed)
}
