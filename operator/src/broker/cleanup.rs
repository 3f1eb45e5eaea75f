//! The end of a Broker: what still needs it, and what becomes of its volumes.

use cmq_crds::broker::Broker;
use cmq_crds::broker::storage::VolumeDeletionPolicy;
use cmq_crds::queue::Queue;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{ListParams, PropagationPolicy};
use kube::{Api, ResourceExt};

use super::observe::Observed;
use super::refusal::Refusal;
use crate::apply;
use crate::context::Context;
use crate::labels::FORCE_DELETE;
use crate::reason::Reason;
use crate::watch::api;
use crate::{finalizer, names, namespaces};

/// Queues that are named in a message.
const NAMED_MAX: usize = 5;

/// What is seen when a Broker is deleted.
#[derive(Clone, Debug, Default)]
pub(super) struct Leaving {
    /// Whether nothing may hold it up: by the user's order, or because the namespace goes.
    pub(super) forced: bool,
    /// Queues that refer to it.
    pub(super) users: Vec<String>,
    /// Whether volumes go too.
    pub(super) with_volumes: bool,
    /// Whether the StatefulSet is there.
    pub(super) set: bool,
    /// Whether there are pods.
    pub(super) pods: bool,
    /// Claims of this very Broker: names and UIDs.
    pub(super) claims: Vec<(String, String)>,
}

/// What is done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Others need it.
    Blocked(Refusal),
    /// Stop the pods, so that their claims can go.
    RemoveSet,
    /// Wait for the pods to end.
    Wait,
    /// Delete the claims.
    RemoveClaims,
    /// Take the finalizer off.
    Finish,
}

/// What is done next.
pub(super) fn step(leaving: &Leaving) -> Step {
    if !leaving.forced && !leaving.users.is_empty() {
        let named = leaving.users.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
        let more = leaving.users.len().saturating_sub(NAMED_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let message = format!("Queues refer to this Broker: {named}{more}; delete them first");
        return Step::Blocked(Refusal::waiting(Reason::InUse, message));
    }
    if !leaving.with_volumes || (leaving.claims.is_empty() && !leaving.set) {
        return Step::Finish;
    }
    match (leaving.set, leaving.pods && !leaving.forced) {
        (true, _) => Step::RemoveSet,
        (false, true) => Step::Wait,
        (false, false) => Step::RemoveClaims,
    }
}

/// Takes the next step. Says what blocks the deletion, and whether the Broker is free to go.
///
/// # Errors
/// As the API server says.
pub(super) async fn advance(context: &Context, broker: &Broker, observed: &Observed) -> kube::Result<Step> {
    let namespace = broker.namespace().unwrap_or_default();
    let uid = broker.uid().unwrap_or_default();
    let reference = apply::owner_reference(broker);
    let own_set =
        observed.set.as_ref().filter(|set| apply::owned(&set.metadata, "StatefulSet", &reference).is_ok());
    let users = users(context, broker).await?;
    let forced = broker.annotations().get(FORCE_DELETE).is_some_and(|value| value == "true")
        || (!users.is_empty() && namespaces::ends(&context.client, &namespace).await?);
    let own_claims =
        observed.claims.iter().filter(|claim| claim.broker_uid.as_deref() == Some(&uid) && !claim.ending);
    let leaving = Leaving {
        forced,
        users,
        with_volumes: broker.spec.storage.deletion_policy == VolumeDeletionPolicy::Delete,
        set: own_set.is_some(),
        pods: !observed.pods.is_empty(),
        claims: own_claims.map(|claim| (claim.name.clone(), claim.uid.clone())).collect(),
    };
    let step = step(&leaving);
    match &step {
        Step::RemoveSet => {
            let sets: Api<StatefulSet> = Api::namespaced(context.client.clone(), &namespace);
            if let Some(set) = own_set.filter(|set| set.metadata.deletion_timestamp.is_none()) {
                let uid = set.uid().unwrap_or_default();
                apply::delete(&sets, &names::child(&broker.name_any()), &uid, PropagationPolicy::Background)
                    .await?;
            }
        }
        Step::RemoveClaims => {
            let claims: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), &namespace);
            for (name, uid) in &leaving.claims {
                apply::delete(&claims, name, uid, PropagationPolicy::Background).await?;
                tracing::info!(namespace, claim = name, "deleted the volume of a Broker");
            }
        }
        Step::Finish => {
            let brokers: Api<Broker> = Api::namespaced(context.client.clone(), &namespace);
            finalizer::take(&brokers, broker).await?;
        }
        Step::Blocked(_) | Step::Wait => {}
    }
    Ok(step)
}

/// Queues that need a Broker, sorted: those that refer to it, and whichever is being deleted and still has to be withdrawn from it, also
/// the one that made it. Read from the API server.
async fn users(context: &Context, broker: &Broker) -> kube::Result<Vec<String>> {
    let (namespace, name) = (broker.namespace().unwrap_or_default(), broker.name_any());
    let leaves = |queue: &Queue| queue.metadata.deletion_timestamp.is_some();
    let parameters = ListParams::default().fields(&format!("spec.brokerRef.name={name}"));
    let mut users = Vec::new();
    for part in context.settings.scope.parts() {
        let queues = api::<Queue>(&context.client, part).list(&parameters).await?;
        let refers = queues.items.into_iter().filter(|queue| refers(queue, &namespace, &name));
        users.extend(refers.filter(|queue| !leaves(queue) || finalizer::is_set(queue)));
    }
    for owner in broker.owner_references() {
        let maker = api::<Queue>(&context.client, Some(&namespace)).get_opt(&owner.name).await?;
        let maker = maker.filter(|maker| maker.uid().as_ref() == Some(&owner.uid));
        users.extend(maker.filter(|maker| leaves(maker) && finalizer::is_set(maker)));
    }
    let mut users: Vec<_> = users
        .iter()
        .map(|queue| format!("{}/{}", queue.namespace().unwrap_or_default(), queue.name_any()))
        .collect();
    users.sort();
    Ok(users)
}

/// Whether a Queue refers to this Broker.
pub(super) fn refers(queue: &Queue, namespace: &str, broker: &str) -> bool {
    queue.spec.broker_ref.as_ref().is_some_and(|reference| {
        let there = reference.namespace.as_deref().or(queue.metadata.namespace.as_deref());
        reference.name == broker && there == Some(namespace)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_go_last_and_only_when_asked_for() {
        let claims = vec![("data-orders-cmq-0".to_owned(), "u".to_owned())];
        let all = Leaving { with_volumes: true, set: true, pods: true, claims, ..Leaving::default() };
        let users = vec!["shop/a".to_owned()];
        for (what, leaving, expected) in [
            ("kept", Leaving { with_volumes: false, ..all.clone() }, Step::Finish),
            ("pods run", all.clone(), Step::RemoveSet),
            ("pods end", Leaving { set: false, ..all.clone() }, Step::Wait),
            ("pods are gone", Leaving { set: false, pods: false, ..all.clone() }, Step::RemoveClaims),
            ("claims are gone", Leaving { set: false, claims: vec![], ..all.clone() }, Step::Finish),
            (
                "forced",
                Leaving { set: false, forced: true, users: users.clone(), ..all.clone() },
                Step::RemoveClaims,
            ),
            ("forced, kept", Leaving { with_volumes: false, forced: true, users, ..all }, Step::Finish),
        ] {
            assert_eq!(step(&leaving), expected, "{what}");
        }
    }

    #[test]
    fn users_block_and_are_named() {
        let users: Vec<_> = (0..7).map(|n| format!("shop/q{n}")).collect();
        let Step::Blocked(refusal) = step(&Leaving { users, ..Leaving::default() }) else {
            panic!("not blocked")
        };
        assert_eq!(refusal.reason, Reason::InUse);
        assert!(
            refusal.message.contains("shop/q0, shop/q1, shop/q2, shop/q3, shop/q4 and 2 more"),
            "{}",
            refusal.message
        );
    }
}
