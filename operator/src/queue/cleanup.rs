//! What is done before a Queue object may go. It always ends: see [`plan`] for the order in which the cases are looked at.

use std::time::Duration;

use cmq_crds::broker::Broker;
use cmq_crds::broker::storage::VolumeDeletionPolicy;
use cmq_crds::queue::{DeletionPolicy, Queue};
use kube::{Api, ResourceExt};

use super::neighbours::{broker_of, key_of};
use super::verdict::Verdict;
use crate::admin::{CallError, WaitReason, Withdrawal, Withdrawn, WithdrawnState};
use crate::context::Context;
use crate::reason::Reason;
use crate::wakes::Key;
use crate::{finalizer, labels, namespaces};

/// How long a broker that does not answer is waited for, where nothing is lost by not waiting.
const PATIENCE: Duration = Duration::from_secs(60);
/// Names in a message at most.
const NAMES_MAX: usize = 5;

/// How a deletion stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cleanup {
    /// The finalizer can go; what to tell the user.
    Done(Reason, String),
    /// It cannot yet.
    Blocked(Verdict),
}

/// What decides about a deletion before the broker is asked.
#[derive(Clone, Debug)]
struct Facts {
    key: Key,
    broker: Key,
    forced: bool,
    policy: DeletionPolicy,
    own_broker: bool,
    state: BrokerState,
    namespace_goes: bool,
    /// Queues that stay and whose dead letters come here.
    sources: Vec<Key>,
    /// Queues that stay and live on the Broker that goes with this one.
    guests: Vec<Key>,
    /// The same, being deleted.
    leaving: Vec<Key>,
    /// Whether the volumes with the messages outlive the Broker that goes with this one.
    volumes_stay: bool,
    waited: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BrokerState {
    Missing,
    Foreign,
    Deleting,
    Stopped,
    There,
}

/// What to do before the broker is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Finish(Cleanup),
    /// Ask the broker to withdraw the queue; what the answer means hangs on the facts.
    Withdraw,
}

/// Carries a deletion as far as it goes now.
///
/// # Errors
/// When the API server fails or refuses.
pub(super) async fn clean_up(context: &Context, queue: &Queue) -> kube::Result<Cleanup> {
    let facts = facts(context, queue).await?;
    match plan(&facts) {
        Step::Finish(cleanup) => Ok(cleanup),
        Step::Withdraw => Ok(withdraw(context, &facts, queue).await),
    }
}

/// Reads what decides; the Broker and the namespace from the API server, for a view may be behind.
async fn facts(context: &Context, queue: &Queue) -> kube::Result<Facts> {
    let (key, broker_key) = (key_of(queue), broker_of(queue));
    let forced = queue.annotations().get(labels::FORCE_DELETE).is_some_and(|value| value == "true");
    let own_broker = queue.spec.broker.is_some();
    let brokers: Api<Broker> = Api::namespaced(context.client.clone(), &broker_key.namespace);
    let broker = match brokers.get_opt(&broker_key.name).await {
        _ if forced => None,
        // Where the operator does not look after Brokers it cannot have declared anything, and never will.
        Err(kube::Error::Api(status))
            if status.is_forbidden() && !context.settings.scope.covers(&broker_key.namespace) =>
        {
            None
        }
        broker => broker?,
    };
    let namespace_goes = !forced && namespaces::ends(&context.client, &key.namespace).await?;
    let (leaving, guests): (Vec<_>, Vec<_>) = context
        .neighbours
        .on_broker(&broker_key)
        .into_iter()
        .filter(|(other, _)| own_broker && *other != key)
        .partition(|(_, facts)| facts.deleting);
    let sources = context.neighbours.sources(&key).into_iter().filter(|(_, facts)| !facts.deleting);
    let deleted_at =
        queue.metadata.deletion_timestamp.as_ref().map_or_else(|| context.clock.now(), |time| time.0);
    Ok(Facts {
        forced,
        policy: queue.spec.deletion_policy,
        own_broker,
        state: state(broker.as_ref(), own_broker.then(|| queue.uid().unwrap_or_default())),
        namespace_goes,
        sources: sources.map(|(key, _)| key).collect(),
        guests: guests.into_iter().map(|(key, _)| key).collect(),
        leaving: leaving.into_iter().map(|(key, _)| key).collect(),
        volumes_stay: broker
            .is_some_and(|broker| broker.spec.storage.deletion_policy == VolumeDeletionPolicy::Retain),
        waited: context.clock.now().duration_since(deleted_at).try_into().unwrap_or_default(),
        key,
        broker: broker_key,
    })
}

/// `owner` is the UID of a Queue that should own the Broker.
fn state(broker: Option<&Broker>, owner: Option<String>) -> BrokerState {
    let Some(broker) = broker else { return BrokerState::Missing };
    if owner.is_some_and(|uid| !broker.owner_references().iter().any(|owner| owner.uid == uid)) {
        return BrokerState::Foreign;
    }
    if broker.spec.stopped {
        return BrokerState::Stopped;
    }
    // With our finalizer it serves on until its last queue is withdrawn.
    if broker.metadata.deletion_timestamp.is_some() && !finalizer::is_set(broker) {
        return BrokerState::Deleting;
    }
    BrokerState::There
}

/// The order matters: what lets the object go for certain comes first, then what protects others, then the broker's word.
fn plan(facts: &Facts) -> Step {
    let done = |reason, detail: String| Step::Finish(Cleanup::Done(reason, detail));
    let blocked = |verdict| Step::Finish(Cleanup::Blocked(verdict));
    let broker = &facts.broker;
    match facts.state {
        _ if facts.forced => {
            return done(Reason::ForceDeleted, format!("whatever is on Broker {broker} was left as it is"));
        }
        BrokerState::Missing => return done(Reason::BrokerGone, format!("Broker {broker} does not exist")),
        BrokerState::Foreign => {
            return done(Reason::BrokerGone, format!("Broker {broker} belongs to somebody else"));
        }
        BrokerState::Deleting => {
            return done(Reason::BrokerGone, format!("Broker {broker} is being deleted"));
        }
        BrokerState::Stopped => return done(Reason::BrokerGone, format!("Broker {broker} is stopped")),
        BrokerState::There => {}
    }
    if facts.namespace_goes {
        return Step::Withdraw;
    }
    if !facts.sources.is_empty() {
        let detail = format!("the dead letters of {} come here", named(&facts.sources));
        return blocked(Verdict::waiting(Reason::InUse, detail));
    }
    if !facts.guests.is_empty() {
        let detail = format!("{} on the Broker that goes with this one", live(&facts.guests));
        return blocked(Verdict::waiting(Reason::InUse, detail));
    }
    Step::Withdraw
}

/// Asks the broker, and weighs its answer.
async fn withdraw(context: &Context, facts: &Facts, queue: &Queue) -> Cleanup {
    let pods = match context.pods(&facts.broker).await {
        Ok(pods) => pods,
        Err(error) => return unanswered(facts, &error),
    };
    let ask = |policy| Withdrawal {
        namespace: facts.key.namespace.to_string(),
        name: facts.key.name.to_string(),
        deletion_policy: Some(policy),
    };
    let answer = context.desk.withdraw(&pods, ask(facts.policy)).await;
    // The namespace goes whether or not the queue is empty: it stays, and is not closed to sends for ever.
    let answer = match answer {
        Ok(Withdrawn { state: WithdrawnState::Waiting, .. }) if facts.namespace_goes => {
            context.desk.withdraw(&pods, ask(DeletionPolicy::Retain)).await
        }
        answer => answer,
    };
    match answer {
        Ok(withdrawn) => answered(facts, queue, &withdrawn),
        Err(error) => {
            context.call_failed(&facts.broker, &error);
            unanswered(facts, &error)
        }
    }
}

/// What the broker's word means.
fn answered(facts: &Facts, queue: &Queue, withdrawn: &Withdrawn) -> Cleanup {
    let wire_name = queue.wire_name();
    let blocked = |reason, detail: String| {
        Cleanup::Blocked(Verdict { reachable: Some(true), ..Verdict::waiting(reason, detail) })
    };
    match withdrawn.state {
        WithdrawnState::Gone | WithdrawnState::Kept if !facts.leaving.is_empty() && !facts.namespace_goes => {
            blocked(
                Reason::Deleting,
                format!("{} on the Broker that goes with this one", live(&facts.leaving)),
            )
        }
        WithdrawnState::Gone => {
            Cleanup::Done(Reason::Withdrawn, format!("{wire_name} is not on the broker any more"))
        }
        WithdrawnState::Kept => {
            Cleanup::Done(Reason::Retained, format!("{wire_name} stays on the broker with its messages"))
        }
        WithdrawnState::Waiting if facts.namespace_goes => Cleanup::Done(
            Reason::NamespaceGone,
            format!("{wire_name} is not empty and stays on Broker {}", facts.broker),
        ),
        WithdrawnState::Waiting => match withdrawn.reason {
            Some(WaitReason::InUse) => blocked(
                Reason::InUse,
                format!("{wire_name} is still the dead-letter queue of another queue on the broker"),
            ),
            Some(WaitReason::NotEmpty) | Some(WaitReason::Other) | None => {
                blocked(Reason::NotEmpty, format!("{wire_name} holds messages"))
            }
        },
    }
}

/// No word from the broker: waited for where that can save messages, and not for ever where it cannot.
fn unanswered(facts: &Facts, error: &CallError) -> Cleanup {
    if facts.namespace_goes {
        return Cleanup::Done(
            Reason::NamespaceGone,
            format!("the queue may stay on Broker {}: {error}", facts.broker),
        );
    }
    let nothing_to_lose = facts.policy == DeletionPolicy::Retain
        || (facts.own_broker && (facts.policy == DeletionPolicy::Delete || facts.volumes_stay));
    if nothing_to_lose && facts.waited >= PATIENCE && facts.leaving.is_empty() {
        return Cleanup::Done(Reason::BrokerGone, format!("the broker was not told: {error}"));
    }
    Cleanup::Blocked(Verdict::of_call(error))
}

/// The first few names.
fn named(keys: &[Key]) -> String {
    let mut names: Vec<_> = keys.iter().take(NAMES_MAX).map(|key| format!("Queue {key}")).collect();
    if keys.len() > NAMES_MAX {
        names.push(format!("{} more", keys.len() - NAMES_MAX));
    }
    names.join(", ")
}

fn live(keys: &[Key]) -> String {
    format!("{} {}", named(keys), if keys.len() == 1 { "is" } else { "are" })
}

#[cfg(test)]
#[path = "cleanup_tests.rs"]
mod tests;
