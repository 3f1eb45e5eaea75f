//! What keeps a Broker from being as its spec says, until somebody changes something.

use crate::reason::Reason;

/// Why no further step is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The kind of problem.
    pub reason: Reason,
    /// What is wrong and what is allowed.
    pub message: String,
    /// Whether it may end without a change of the spec: a Secret that comes, a name that becomes free.
    pub recoverable: bool,
}

impl Refusal {
    /// A problem that only a change of the spec ends.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), recoverable: false }
    }

    /// A problem that may end by itself.
    pub fn waiting(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), recoverable: true }
    }
}
