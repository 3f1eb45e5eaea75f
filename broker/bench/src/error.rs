//! What can go wrong in a measurement.

use std::io;
use std::time::Duration;

/// Why a measurement could not be taken. A missed gate is not an error, it is part of the report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file, socket or process could not be used.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The server's answer is not what this client's small HTTP parser takes.
    #[error("unexpected HTTP answer: {0}")]
    Http(String),
    /// A CMQ call was answered with an error code.
    #[error("{call} was refused: {answer}")]
    Refused {
        /// The action.
        call: &'static str,
        /// The body of the answer, cut to a readable length.
        answer: String,
    },
    /// A server could not be started, or ended early.
    #[error("{0}")]
    Server(String),
    /// Something took longer than its bound.
    #[error("{what} took longer than {} s", limit.as_secs_f64())]
    Timeout {
        /// What was waited for.
        what: String,
        /// The bound.
        limit: Duration,
    },
    /// Parameters that make no sense together.
    #[error("{0}")]
    Usage(String),
}

impl Error {
    /// Wraps a system error with what was tried.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
        let what = what.into();
        move |source| Error::Io { what, source }
    }

    /// A refused call with the start of its answer.
    #[must_use]
    pub fn refused(call: &'static str, body: &[u8]) -> Error {
        const SHOWN_MAX: usize = 300;
        let answer = String::from_utf8_lossy(&body[..body.len().min(SHOWN_MAX)]).into_owned();
        Error::Refused { call, answer }
    }
}

/// Result of a measurement step.
pub type Result<T> = std::result::Result<T, Error>;
