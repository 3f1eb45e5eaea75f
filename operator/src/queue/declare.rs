//! Telling the broker what a queue should be.

use cmq_crds::broker::Broker;
use cmq_crds::queue::{Queue, QueueSpec};
use cmq_crds::reference::BrokerRef;
use kube::ResourceExt;

use super::neighbours::{broker_of, key_of};
use super::status;
use super::validate::DeadLetters;
use super::verdict::Verdict;
use crate::admin::{Change, Declared, DeclaredQueue, Problem, ProblemCode};
use crate::context::Context;
use crate::labels;
use crate::reason::Reason;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// How far the queue is.
    pub verdict: Verdict,
    /// What changed on the broker, for the user to know.
    pub news: Option<(Reason, String)>,
}

/// Whether the Broker can be asked, from its object alone. Pure.
///
/// # Errors
/// Why it cannot.
pub(super) fn gate(queue: &Queue, broker: &Broker) -> Result<(), Verdict> {
    let key = broker_of(queue);
    if broker.metadata.deletion_timestamp.is_some() {
        return Err(Verdict::waiting(Reason::BrokerDeleting, format!("Broker {key} is being deleted")));
    }
    if broker.spec.stopped {
        return Err(Verdict::resting(Reason::BrokerStopped, format!("Broker {key} is stopped")));
    }
    if broker.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or_default() == 0 {
        return Err(Verdict::waiting(Reason::BrokerNotReady, format!("no pod of Broker {key} serves yet")));
    }
    Ok(())
}

/// What the broker is told. Pods are none of its business: every queue is declared as one on a shared Broker. Pure.
pub(super) fn request(queue: &Queue, with_dead_letters: bool) -> DeclaredQueue {
    let (key, broker) = (key_of(queue), broker_of(queue));
    let dead_letter = queue.spec.dead_letter.clone().filter(|_| with_dead_letters);
    let broker_ref =
        BrokerRef { name: broker.name.to_string(), namespace: Some(broker.namespace.to_string()) };
    let spec = QueueSpec { broker: None, broker_ref: Some(broker_ref), dead_letter, ..queue.spec.clone() };
    let adopt = queue.annotations().get(labels::ADOPT).is_some_and(|value| value == "true");
    DeclaredQueue { namespace: key.namespace.to_string(), name: key.name.to_string(), adopt, spec }
}

/// Declares a queue; without its dead-letter rule while the dead-letter queue is not there.
pub(super) async fn declare(context: &Context, queue: &Queue, dead_letters: &DeadLetters) -> Outcome {
    let pods = match context.pods(&broker_of(queue)).await {
        Ok(pods) => pods,
        Err(error) => return Outcome { verdict: Verdict::of_call(&error), news: None },
    };
    let mut missing = match dead_letters {
        DeadLetters::AsDeclared => None,
        DeadLetters::Missing(target) => Some(format!("Queue {target} does not exist")),
    };
    let mut answer = context.desk.declare(&pods, request(queue, missing.is_none())).await;
    if missing.is_none()
        && let Ok(Declared::Refused(Problem { code: ProblemCode::DeadLetterMissing, message, .. })) = &answer
    {
        missing = Some(message.clone());
        answer = context.desk.declare(&pods, request(queue, false)).await;
    }
    match answer {
        Ok(declared) => outcome(queue, missing, &declared),
        Err(error) => {
            context.call_failed(&broker_of(queue), &error);
            Outcome { verdict: Verdict::of_call(&error), news: None }
        }
    }
}

/// What the broker's word means. Pure.
fn outcome(queue: &Queue, missing: Option<String>, declared: &Declared) -> Outcome {
    let change = match declared {
        Declared::Refused(problem) => return Outcome { verdict: Verdict::of_problem(problem), news: None },
        Declared::Changed(change) => Some(*change),
        Declared::Unchanged => None,
    };
    // What was in sync with this same generation and is no more was changed by somebody else.
    let drifted = status::was_in_sync(queue) && missing.is_none();
    let name = queue.wire_name();
    let news = match change {
        Some(Change::Created) if drifted => Some((
            Reason::DriftCorrected,
            format!("{name} was not on the broker any more, and was made anew"),
        )),
        Some(Change::Updated) if drifted => {
            Some((Reason::DriftCorrected, format!("{name} was not as declared, and is again")))
        }
        Some(Change::Created) => Some((Reason::Declared, format!("{name} was made on the broker"))),
        Some(Change::Adopted) => {
            Some((Reason::Adopted, format!("{name} existed on the broker and was taken over")))
        }
        Some(Change::Updated) | None => None,
    };
    let verdict = match missing {
        Some(detail) => {
            Verdict { reachable: Some(true), ..Verdict::waiting(Reason::DeadLetterQueueMissing, detail) }
        }
        None => Verdict::settled(),
    };
    Outcome { verdict, news }
}

#[cfg(test)]
#[path = "declare_tests.rs"]
mod tests;
