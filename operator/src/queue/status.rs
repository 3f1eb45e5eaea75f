//! The status of a Queue from what was found. Pure.

use std::time::Duration;

use cmq_crds::broker::Broker;
use cmq_crds::queue::status::EffectiveAttributes;
use cmq_crds::queue::{Queue, QueueStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::coarse::Coarse;
use super::neighbours::broker_of;
use super::verdict::{Kind, Verdict};
use crate::condition::{self, ConditionType, Finding, State};
use crate::names;
use crate::reason::Reason;

/// A queue that was ready stays so for this long while its broker does not answer: a pod that restarts is no news.
pub(super) const GRACE: Duration = Duration::from_secs(60);

/// What was found.
#[derive(Clone, Debug)]
pub(super) struct Found<'a> {
    /// How far the queue is.
    pub verdict: &'a Verdict,
    /// For how long calls fail already.
    pub failing_for: Duration,
    /// Whether the object is being deleted, and the verdict says what keeps it.
    pub deleting: bool,
    /// The Broker that it is on.
    pub broker: Option<&'a Broker>,
    /// What is in the queue, where that is known.
    pub coarse: Option<Coarse>,
}

/// The status to write.
pub(super) fn status(queue: &Queue, found: &Found<'_>, now: Timestamp) -> QueueStatus {
    let before = queue.status.clone().unwrap_or_default();
    let generation = queue.metadata.generation.unwrap_or_default();
    let broker = found.broker.filter(|_| found.verdict.reason != Reason::NamespaceNotAllowed);
    let own = broker.filter(|_| queue.spec.broker.is_some()).and_then(|broker| broker.status.as_ref());
    let coarse = found
        .coarse
        .clone()
        .or_else(|| Some(Coarse { backlog: before.backlog?, oldest: before.oldest.clone() }));
    let findings = findings(&before.conditions, found);
    QueueStatus {
        observed_generation: Some(generation),
        conditions: condition::merge(&before.conditions, &findings, generation, now),
        broker: broker.map(|_| broker_of(queue).to_string()),
        address: broker.map(|broker| address(broker, queue)),
        queue_name: broker.map(|_| queue.wire_name().to_owned()),
        attributes: attributes(queue, found.verdict).or(before.attributes),
        backlog: coarse.as_ref().filter(|_| broker.is_some()).map(|coarse| coarse.backlog),
        oldest: coarse.filter(|_| broker.is_some()).and_then(|coarse| coarse.oldest),
        replicas: own.and_then(|status| status.replicas),
        selector: own.and_then(|status| status.selector.clone()),
    }
}

/// The attributes that the broker has just taken, if it took any.
fn attributes(queue: &Queue, verdict: &Verdict) -> Option<EffectiveAttributes> {
    match (verdict.kind, verdict.reason) {
        (Kind::Settled, _) => Some(EffectiveAttributes::of(&queue.spec, true)),
        (_, Reason::DeadLetterQueueMissing) if verdict.reachable == Some(true) => {
            Some(EffectiveAttributes::of(&queue.spec, false))
        }
        _ => None,
    }
}

/// The status of a Queue that is paused: as before, with the word that nothing is written.
pub(super) fn paused(queue: &Queue, now: Timestamp) -> QueueStatus {
    let before = queue.status.clone().unwrap_or_default();
    let generation = queue.metadata.generation.unwrap_or_default();
    let serves = if serves(&before.conditions) { State::True } else { State::Unknown };
    let message = told(Reason::Paused, "");
    let findings = [
        Finding::new(ConditionType::Ready, serves, Reason::Paused, message.clone()),
        Finding::new(ConditionType::Paused, State::True, Reason::Paused, message),
    ];
    let conditions = condition::merge(&before.conditions, &findings, generation, now);
    QueueStatus { observed_generation: Some(generation), conditions, ..before }
}

/// Whether the broker has the queue, as far as its status knows.
pub(super) fn is_on_broker(queue: &Queue) -> bool {
    let conditions = queue.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    serves(conditions) || is_true(conditions, ConditionType::InSync)
}

/// Whether the broker had the queue as this generation of the object says.
pub(super) fn was_in_sync(queue: &Queue) -> bool {
    let conditions = queue.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let in_sync = find(conditions, ConditionType::InSync);
    in_sync.is_some_and(|found| {
        found.status == State::True.as_str() && found.observed_generation == queue.metadata.generation
    })
}

fn find(conditions: &[Condition], kind: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == kind.as_str())
}

fn is_true(conditions: &[Condition], kind: ConditionType) -> bool {
    find(conditions, kind).is_some_and(|condition| condition.status == State::True.as_str())
}

fn serves(conditions: &[Condition]) -> bool {
    is_true(conditions, ConditionType::Ready)
}

/// Where clients in the cluster connect.
pub(super) fn address(broker: &Broker, queue: &Queue) -> String {
    let key = broker_of(queue);
    let scheme = if broker.spec.tls.client.is_some() { "https" } else { "http" };
    format!("{scheme}://{}:{}", names::client_host(&key.name, &key.namespace), names::CLIENT_PORT)
}

fn findings(before: &[Condition], found: &Found<'_>) -> Vec<Finding> {
    let Verdict { kind, reason, detail, reachable } = found.verdict;
    let message = told(*reason, detail);
    let finding = |condition, state| Finding::new(condition, state, *reason, message.clone());
    let mut findings = vec![finding(ConditionType::Ready, ready(before, found))];
    match kind {
        Kind::Waiting | Kind::Failing => findings.push(finding(ConditionType::Reconciling, State::True)),
        Kind::UserError | Kind::Forbidden => findings.push(finding(ConditionType::Stalled, State::True)),
        Kind::Settled | Kind::Resting => {}
    }
    if found.deleting {
        findings.push(finding(ConditionType::DeletionBlocked, State::True));
    } else {
        let in_sync = if *kind == Kind::Settled { State::True } else { State::False };
        findings.push(finding(ConditionType::InSync, in_sync));
    }
    match reachable {
        Some(true) => findings.push(Finding::new(
            ConditionType::BrokerReachable,
            State::True,
            Reason::Answering,
            Reason::Answering.meaning(),
        )),
        Some(false) => findings.push(finding(ConditionType::BrokerReachable, State::False)),
        None => {}
    }
    findings
}

/// Whether clients are served.
fn ready(before: &[Condition], found: &Found<'_>) -> State {
    let verdict = found.verdict;
    let served = serves(before);
    match (verdict.kind, verdict.reason) {
        _ if found.deleting => State::False,
        (Kind::Settled, _) => State::True,
        (Kind::Resting, _) => State::False,
        (_, Reason::BrokerNotFound | Reason::BrokerDeleting) => State::False,
        // The queue as it was goes on while the broker serves; that something else is wanted of it is in the reason.
        (_, Reason::BrokerNotReady | Reason::BrokerUnreachable) if !(served && found.failing_for < GRACE) => {
            if verdict.reason == Reason::BrokerUnreachable && verdict.reachable == Some(false) {
                State::Unknown
            } else {
                State::False
            }
        }
        _ if served => State::True,
        _ => State::False,
    }
}

/// What a condition is about, and what to do.
pub(super) fn told(reason: Reason, detail: &str) -> String {
    let detail = if detail.is_empty() { reason.meaning().trim_end_matches('.') } else { detail };
    let room = condition::MESSAGE_BYTES_MAX - reason.remedy().len() - 2;
    let detail = &detail[..detail.floor_char_boundary(room)];
    match reason.remedy() {
        "Nothing to do." | "Wait." => format!("{detail}."),
        remedy => format!("{detail}. {remedy}"),
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
