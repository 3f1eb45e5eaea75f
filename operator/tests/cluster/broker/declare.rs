//! `POST /api/v1/declare` on one volume.

use std::collections::BTreeMap;

use cmq_crds::queue::DeletionPolicy;
use cmq_operator::admin::{
    Change, ChangedQueue, DeclareAnswer, DeclareRequest, DeclaredQueue, Problem, ProblemCode, WaitReason,
    Withdrawal, Withdrawn, WithdrawnState,
};

use super::{Queue, policy};

/// Sources of one dead-letter queue at most.
const SOURCES_MAX: usize = 6;

type Queues = BTreeMap<String, Queue>;

/// Declares and withdraws; what goes with messages in it without being told to is added to `lost`.
pub(super) fn declare(
    queues: &mut Queues,
    request: &DeclareRequest,
    lost: &mut Vec<String>,
) -> DeclareAnswer {
    let mut answer = DeclareAnswer::default();
    for item in &request.withdraw {
        answer.withdrawn.push(withdraw(queues, item, lost));
    }
    // Those without a dead-letter queue first, so that the others find theirs.
    let (first, second): (Vec<_>, Vec<_>) =
        request.queues.iter().partition(|item| item.spec.dead_letter.is_none());
    for item in first.into_iter().chain(second) {
        let queue_name = wire_name(item);
        let (namespace, name) = (item.namespace.clone(), item.name.clone());
        match put(queues, item, &queue_name) {
            Ok(Some(change)) => answer.changed.push(ChangedQueue { namespace, name, queue_name, change }),
            Ok(None) => {}
            Err(code) => {
                let message = format!("{queue_name} cannot be declared: {code:?}");
                let queue_name = Some(queue_name);
                answer.problems.push(Problem { namespace, name, queue_name, code, message, allowed: None });
            }
        }
    }
    answer
}

fn wire_name(item: &DeclaredQueue) -> String {
    item.spec.queue_name.clone().unwrap_or_else(|| item.name.clone())
}

fn put(queues: &mut Queues, item: &DeclaredQueue, wire_name: &str) -> Result<Option<Change>, ProblemCode> {
    let declared_by = (item.namespace.clone(), item.name.clone());
    let dead_letter = item.spec.dead_letter.as_ref().map(|dead_letter| &dead_letter.queue_ref.name);
    let dead_letter = dead_letter.map(|target| target_of(queues, item, wire_name, target)).transpose()?;
    let wanted = Queue {
        declared_by: Some(declared_by.clone()),
        spec: item.spec.clone(),
        messages: 0,
        closed: false,
        dead_letter,
    };
    let Some(found) = queues.get_mut(wire_name) else {
        queues.insert(wire_name.into(), wanted);
        return Ok(Some(Change::Created));
    };
    let change = match &found.declared_by {
        Some(by) if *by != declared_by => return Err(ProblemCode::NameTaken),
        Some(_) if found.closed => return Err(ProblemCode::Wait),
        Some(_) => Change::Updated,
        None if !item.adopt => return Err(ProblemCode::Exists),
        None => Change::Adopted,
    };
    if found.declared_by.is_some() && found.spec.fifo.is_some() != item.spec.fifo.is_some() {
        return Err(ProblemCode::Immutable);
    }
    let wanted = Queue { messages: found.messages, ..wanted };
    if *found == wanted {
        return Ok(None);
    }
    *found = wanted;
    Ok(Some(change))
}

/// The name on the wire of a dead-letter queue, found among the declared ones.
fn target_of(
    queues: &Queues,
    item: &DeclaredQueue,
    source: &str,
    target: &str,
) -> Result<String, ProblemCode> {
    let is_target =
        |queue: &Queue| queue.declared_by.as_ref().is_some_and(|by| by.0 == item.namespace && by.1 == target);
    let (name, found) = queues.iter().find(|(_, q)| is_target(q)).ok_or(ProblemCode::DeadLetterMissing)?;
    if found.dead_letter.is_some() || queues.values().any(|q| q.dead_letter.as_deref() == Some(source)) {
        return Err(ProblemCode::DeadLetterChain);
    }
    if found.spec.fifo.is_some() != item.spec.fifo.is_some() {
        return Err(ProblemCode::DeadLetterType);
    }
    let sources = queues.iter().filter(|(other, q)| *other != source && q.dead_letter.as_ref() == Some(name));
    if sources.count() >= SOURCES_MAX {
        return Err(ProblemCode::DeadLetterSources);
    }
    Ok(name.clone())
}

fn withdraw(queues: &mut Queues, item: &Withdrawal, lost: &mut Vec<String>) -> Withdrawn {
    let by = Some((item.namespace.clone(), item.name.clone()));
    let found = queues
        .iter()
        .find(|(_, queue)| queue.declared_by == by)
        .map(|(name, queue)| (name.clone(), queue.clone()));
    let Some((queue_name, queue)) = found else {
        return answer(item, None, WithdrawnState::Gone, 0, None);
    };
    let messages = queue.messages;
    let used = queues.values().any(|other| other.dead_letter.as_ref() == Some(&queue_name));
    let policy = policy(&queue, item.deletion_policy);
    let entry = queues.get_mut(&queue_name).expect("it was found");
    if policy == DeletionPolicy::Retain {
        entry.declared_by = None;
        return answer(item, Some(queue_name), WithdrawnState::Kept, messages, None);
    }
    let waits_for = match policy {
        _ if used => Some(WaitReason::InUse),
        DeletionPolicy::DeleteIfEmpty if messages > 0 => Some(WaitReason::NotEmpty),
        _ => None,
    };
    if waits_for.is_some() {
        entry.closed = true;
        return answer(item, Some(queue_name), WithdrawnState::Waiting, messages, waits_for);
    }
    // The policy that the object had is the user's word; a call that names another is the operator's alone.
    if messages > 0 && queue.spec.deletion_policy != DeletionPolicy::Delete {
        lost.push(format!("queue {queue_name} with {messages} messages"));
    }
    queues.remove(&queue_name);
    answer(item, Some(queue_name), WithdrawnState::Gone, 0, None)
}

fn answer(
    item: &Withdrawal,
    queue_name: Option<String>,
    state: WithdrawnState,
    messages: u64,
    reason: Option<WaitReason>,
) -> Withdrawn {
    let (namespace, name) = (item.namespace.clone(), item.name.clone());
    Withdrawn { namespace, name, queue_name, state, messages, reason }
}
