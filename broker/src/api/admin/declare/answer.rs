//! What a declare call answers: what was done, what was not, and how far the queues are that were to go.

use cmq_crds::validate::FieldError;
use cmq_engine::attributes::DEAD_LETTER_SOURCES_MAX;
use serde::Serialize;

use super::Object;
use crate::api::admin::error::shortened_to;
use crate::service::declare::{Change, Changed, Declared, Problem, State, Withdrawn};
use crate::service::types::ServiceError;

/// Wrong fields of one object that an answer names.
const FIELDS_TOLD_MAX: usize = 8;
/// Characters that an answer says of one object's problem, and as many of what is allowed.
pub(super) const TOLD_CHARS_MAX: usize = 600;

/// What the call answers.
#[derive(Debug, Default, Serialize)]
pub(in crate::api::admin) struct Answer {
    changed: Vec<ChangedRow>,
    problems: Vec<ProblemRow>,
    withdrawn: Vec<WithdrawnRow>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ChangedRow {
    namespace: String,
    name: String,
    queue_name: String,
    change: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProblemRow {
    namespace: String,
    name: String,
    queue_name: Option<String>,
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct WithdrawnRow {
    namespace: String,
    name: String,
    queue_name: Option<String>,
    state: &'static str,
    messages: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

impl Answer {
    /// An object is not taken. Its name on the wire may be what is wrong.
    pub(super) fn refuse(&mut self, object: Object, code: &'static str, message: &str, allowed: &str) {
        let (message, allowed) =
            (shortened_to(message, TOLD_CHARS_MAX), shortened_to(allowed, TOLD_CHARS_MAX));
        let Object { namespace, name, .. } = object;
        let row = ProblemRow { namespace, name, queue_name: None, code, message, allowed: Some(allowed) };
        self.problems.push(row);
    }

    /// An object is not taken for what its fields say.
    pub(super) fn refuse_fields(&mut self, object: Object, code: &'static str, errors: &[FieldError]) {
        let told = || errors.iter().take(FIELDS_TOLD_MAX);
        let each = |say: fn(&FieldError) -> String| told().map(say).collect::<Vec<_>>().join("; ");
        let mut message = each(|error| format!("{}: {}", error.path, error.problem));
        if errors.len() > FIELDS_TOLD_MAX {
            message = format!("{message}; and {} more", errors.len() - FIELDS_TOLD_MAX);
        }
        let allowed = match errors {
            [error] => error.allowed.clone(),
            _ => each(|error| format!("{}: {}", error.path, error.allowed)),
        };
        self.refuse(object, code, &message, &allowed);
    }

    /// What became of the objects that were taken; `object` knows them by their owner's name.
    pub(super) fn add(&mut self, declared: Declared, object: impl Fn(&str) -> Option<Object>) {
        let Declared { changes, problems, withdrawn } = declared;
        self.changed.extend(changes.into_iter().filter_map(|it| Some(changed_row(object(&it.owner)?, it))));
        self.problems.extend(problems.iter().filter_map(|it| Some(problem_row(object(&it.owner)?, it))));
        self.withdrawn
            .extend(withdrawn.into_iter().filter_map(|it| Some(withdrawn_row(object(&it.owner)?, it))));
    }

    /// Every problem says something.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn check(&self) {
        assert!(self.problems.iter().all(|problem| !problem.message.is_empty()));
    }
}

fn changed_row(object: Object, changed: Changed) -> ChangedRow {
    let change = match changed.change {
        Change::Created => "created",
        Change::Updated => "updated",
        Change::Adopted => "adopted",
    };
    let Object { namespace, name, .. } = object;
    ChangedRow { namespace, name, queue_name: changed.queue.into(), change }
}

fn withdrawn_row(object: Object, withdrawn: Withdrawn) -> WithdrawnRow {
    let (state, messages, reason) = match withdrawn.state {
        State::Gone => ("gone", 0, None),
        State::Kept => ("kept", 0, None),
        State::NotEmpty { messages } => ("waiting", messages, Some("not_empty")),
        State::InUse { messages } => ("waiting", messages, Some("in_use")),
    };
    let Object { namespace, name, .. } = object;
    WithdrawnRow { namespace, name, queue_name: withdrawn.queue.map(Into::into), state, messages, reason }
}

/// The one table from refusals of the service to codes of this call.
fn problem_row(object: Object, problem: &Problem) -> ProblemRow {
    use ServiceError as E;
    let (code, allowed) = match &problem.error {
        E::Declared(..) => {
            ("name_taken", Some("a name that no other object declares, also in another case".into()))
        }
        E::QueueExists(name) if *name == *problem.queue => (
            "exists",
            Some("a name that is free, or adopt: true, which makes the queue this object's".into()),
        ),
        E::QueueExists(_) => ("exists", Some("a name that differs in more than case".into())),
        E::DeadLetterQueueMissing(_) => {
            let allowed = format!(
                "metadata.name of a Queue of namespace {} that is declared, in this call or before",
                object.namespace
            );
            ("dead_letter_missing", Some(allowed))
        }
        E::DeadLetterNesting(_) => ("dead_letter_chain", Some("a queue without deadLetter".into())),
        E::DeadLetterTooManySources(_) => (
            "dead_letter_sources",
            Some(format!("at most {DEAD_LETTER_SOURCES_MAX} sources of one dead-letter queue")),
        ),
        E::DeadLetterKind(_) => (
            "dead_letter_type",
            Some("a FIFO queue for a FIFO queue, a standard queue for a standard queue".into()),
        ),
        E::KindIsFixed(_) => ("immutable", Some("fifo as it was when the queue was created".into())),
        E::RecreatedTooSoon(_) => ("wait", None),
        E::TooManyQueues(_) => ("too_many_queues", None),
        E::RewindAboveRetention(_) | E::RewindFifo(_) | E::TimeToLiveNotBelowRetention(_) => {
            ("invalid", None)
        }
        E::Busy(_) | E::DiskFull | E::Stopping | E::QueueChanged(_) => ("busy", None),
        _ => ("internal", None),
    };
    let message = match (&problem.error, &object.dead_letter) {
        (E::DeadLetterQueueMissing(_), Some(name)) => {
            format!("spec.deadLetter.queueRef.name: {name:?} is not declared")
        }
        (error, _) => error.to_string(),
    };
    let queue_name = Some(problem.queue.to_string());
    ProblemRow { namespace: object.namespace, name: object.name, queue_name, code, message, allowed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_a_code() {
        use ServiceError as E;
        let name = || "orders".to_owned();
        for (error, code) in [
            (E::Declared(name(), "Queue a/b (manifests)".into()), "name_taken"),
            (E::QueueExists(name()), "exists"),
            (E::DeadLetterQueueMissing(name()), "dead_letter_missing"),
            (E::DeadLetterNesting(name()), "dead_letter_chain"),
            (E::DeadLetterTooManySources(name()), "dead_letter_sources"),
            (E::DeadLetterKind(name()), "dead_letter_type"),
            (E::KindIsFixed(name()), "immutable"),
            (E::RecreatedTooSoon(name()), "wait"),
            (E::TooManyQueues(10_000), "too_many_queues"),
            (E::RewindAboveRetention(name()), "invalid"),
            (E::Busy("x"), "busy"),
            (E::DiskFull, "busy"),
            (E::Stopping, "busy"),
            (E::Internal("x".into()), "internal"),
        ] {
            let object = Object { namespace: "shop".into(), name: "orders".into(), dead_letter: None };
            let problem =
                Problem { queue: "orders".into(), owner: "Queue shop/orders (cluster)".into(), error };
            let row = problem_row(object, &problem);
            assert_eq!((row.code, row.message), (code, problem.error.to_string()));
        }
    }
}
