//! How a look at a Queue ended: what its status says, and when it is looked at again.

use crate::admin::{CallError, Problem, ProblemCode};
use crate::reason::Reason;

/// How far a Queue is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// What kind of state it is in.
    pub kind: Kind,
    /// Why.
    pub reason: Reason,
    /// What it is about; without what to do, which hangs on the reason.
    pub detail: String,
    /// Whether the broker answered; nothing when it was not asked.
    pub reachable: Option<bool>,
}

/// What kind of state a Queue is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// As it should be.
    Settled,
    /// Something comes by itself, and whose coming is watched.
    Waiting,
    /// A call failed; trying again helps, after longer and longer waits.
    Failing,
    /// Somebody switched it off.
    Resting,
    /// A person must change something.
    UserError,
    /// The API server refuses; a person must give a right.
    Forbidden,
}

impl Verdict {
    /// The queue is on the broker as the object says.
    pub(super) fn settled() -> Self {
        Self { kind: Kind::Settled, reason: Reason::Declared, detail: String::new(), reachable: Some(true) }
    }

    /// Something comes by itself.
    pub(super) fn waiting(reason: Reason, detail: impl Into<String>) -> Self {
        Self { kind: Kind::Waiting, reason, detail: detail.into(), reachable: None }
    }

    /// A person must change something.
    pub(super) fn user_error(reason: Reason, detail: impl Into<String>) -> Self {
        Self { kind: Kind::UserError, reason, detail: detail.into(), reachable: None }
    }

    /// Somebody switched it off.
    pub(super) fn resting(reason: Reason, detail: impl Into<String>) -> Self {
        Self { kind: Kind::Resting, reason, detail: detail.into(), reachable: None }
    }

    /// No pod answered, or the call as a whole was refused.
    pub(super) fn of_call(error: &CallError) -> Self {
        let (reason, reachable) = match error {
            CallError::Refused { status: ..500, .. } => (Reason::BrokerRefused, true),
            CallError::Refused { .. } => (Reason::BrokerBusy, true),
            CallError::Unreachable { .. } | CallError::Resting { .. } => (Reason::BrokerUnreachable, false),
        };
        Self { kind: Kind::Failing, reason, detail: error.to_string(), reachable: Some(reachable) }
    }

    /// The broker did not take the declaration.
    pub(super) fn of_problem(problem: &Problem) -> Self {
        let (kind, reason) = match problem.code {
            ProblemCode::Invalid | ProblemCode::Immutable => (Kind::UserError, Reason::Invalid),
            ProblemCode::NameTaken => (Kind::UserError, Reason::NameConflict),
            ProblemCode::Exists => (Kind::UserError, Reason::QueueExists),
            ProblemCode::DeadLetterMissing => (Kind::Waiting, Reason::DeadLetterQueueMissing),
            ProblemCode::DeadLetterChain => (Kind::UserError, Reason::DeadLetterChain),
            ProblemCode::DeadLetterSources => (Kind::UserError, Reason::DeadLetterSources),
            ProblemCode::DeadLetterType => (Kind::UserError, Reason::DeadLetterTypeMismatch),
            ProblemCode::Wait => (Kind::Waiting, Reason::NameClosed),
            ProblemCode::Busy => (Kind::Failing, Reason::BrokerBusy),
            ProblemCode::Other => (Kind::Failing, Reason::BrokerRefused),
        };
        let allowed = problem.allowed.iter().map(|allowed| format!("; allowed: {allowed}"));
        let detail = std::iter::once(problem.message.clone()).chain(allowed).collect();
        Self { kind, reason, detail, reachable: Some(true) }
    }
}
