//! What can be wrong with manifests.

use std::fmt;
use std::path::PathBuf;

use super::{FILE_BYTES_MAX, FILES_MAX};

/// Problems that the text of an error lists; the rest is counted.
const LISTED_MAX: usize = 50;

/// Why manifests were not taken.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A file or directory cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is larger than any sensible manifest.
    #[error("{}: has {bytes} bytes; allowed: at most {FILE_BYTES_MAX}", path.display())]
    FileTooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// A directory holds more files than any sensible set of manifests.
    #[error("{}: has too many files; allowed: at most {FILES_MAX}", path.display())]
    TooManyFiles {
        /// The directory.
        path: PathBuf,
    },
    /// A directory without a manifest, though queues of it exist: it may be a volume that is not mounted.
    #[error(
        "{}: holds no *.yaml, *.yml or *.json file, and queues were declared here before; allowed: an empty file, to \
         declare none", path.display()
    )]
    NoFiles {
        /// The directory.
        path: PathBuf,
    },
    /// Everything that is wrong in the files, in their order.
    #[error("{}", list(.0))]
    Invalid(Vec<Problem>),
}

/// One thing that is wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: u64,
    /// The field, as `spec.deadLetter.queueRef.name`.
    pub field: String,
    /// What is wrong.
    pub problem: String,
    /// What is allowed instead.
    pub allowed: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, field, problem, allowed } = self;
        write!(f, "{}:{line}: {field}: {problem}; allowed: {allowed}", file.display())
    }
}

/// One problem a line.
fn list(problems: &[Problem]) -> String {
    let mut lines: Vec<String> = problems.iter().take(LISTED_MAX).map(Problem::to_string).collect();
    if problems.len() > LISTED_MAX {
        lines.push(format!("and {} more", problems.len() - LISTED_MAX));
    }
    lines.join("\n")
}
