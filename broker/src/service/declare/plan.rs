//! From what exists to what is wanted: which commands, in which order. No I/O.
//!
//! The catalogue refuses a dead-letter queue that has one itself or that is missing, and deleting one in use. So queues
//! that go and serve nobody come first, then what lets go of a dead-letter queue or needs none, then what takes one,
//! and at last the queues that go and served others. That is right also when a relation is turned round.

mod step;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cmq_engine::attributes::QueueId;
use cmq_engine::catalogue::{Owner, QueueEntry};

use super::{Change, Leaving, Problem, Realm, Takeover, WantedQueue};
use crate::service::types::ServiceError;
use step::Bound;

pub(super) use step::{Settings, Step};

/// The way to what is wanted.
#[derive(Debug, Default)]
pub(super) struct Steps {
    /// One after the other; inside each, in any order.
    pub(super) stages: [Vec<Step>; 4],
    /// What is not tried.
    pub(super) refused: Vec<Problem>,
}

/// What exists.
struct Present<'a> {
    by_name: HashMap<&'a str, &'a Arc<QueueEntry>>,
    by_owner: HashMap<&'a str, &'a Arc<QueueEntry>>,
    by_id: HashMap<QueueId, &'a Arc<QueueEntry>>,
    /// Names in lower case.
    folded: HashMap<String, &'a Arc<QueueEntry>>,
    /// Dead-letter queues of others.
    targets: HashSet<QueueId>,
}

impl<'a> Present<'a> {
    fn new(entries: &'a [Arc<QueueEntry>]) -> Self {
        let owner = |entry: &'a Arc<QueueEntry>| Some((&*entry.owner.as_ref()?.name, entry));
        Self {
            by_name: entries.iter().map(|entry| (&*entry.name, entry)).collect(),
            by_owner: entries.iter().filter_map(owner).collect(),
            by_id: entries.iter().map(|entry| (entry.id, entry)).collect(),
            folded: entries.iter().map(|entry| (entry.name.to_lowercase(), entry)).collect(),
            targets: entries.iter().filter_map(|entry| Some(entry.attributes.dead_letter?.queue)).collect(),
        }
    }

    /// The dead-letter queue that a queue has.
    fn bound(&self, entry: &QueueEntry) -> Option<Bound> {
        let policy = entry.attributes.dead_letter?;
        Some((self.by_id.get(&policy.queue)?.name.clone(), policy.rule))
    }

    /// Why a queue cannot become the wanted one.
    fn refusal(&self, realm: Realm, queue: &WantedQueue) -> Option<ServiceError> {
        let declared = |entry: &QueueEntry, by: &str| {
            Some(ServiceError::Declared(entry.name.to_string(), by.to_owned()))
        };
        let exists = |entry: &QueueEntry| Some(ServiceError::QueueExists(entry.name.to_string()));
        let Some(entry) = self.by_name.get(&*queue.name) else {
            // A name that differs in case only: nothing can take it over, but a file may let go of it in this very call.
            let variant = self.folded.get(&queue.name.to_lowercase());
            let variant = variant.filter(|_| queue.takeover != Takeover::Realm)?;
            return variant.owner.as_ref().map_or_else(|| exists(variant), |by| declared(variant, &by.name));
        };
        match &entry.owner {
            Some(owner) if owner.name == queue.owner.name => None,
            Some(owner) if realm.owns(&owner.name) && queue.takeover == Takeover::Realm => None,
            Some(owner) => declared(entry, &owner.name),
            None if queue.takeover == Takeover::Nothing => exists(entry),
            None => None,
        }
    }
}

/// Works out the steps.
pub(super) fn steps(
    realm: Realm,
    present: &[Arc<QueueEntry>],
    wanted: &[WantedQueue],
    leaving: Leaving<'_>,
) -> Steps {
    let mut steps = Steps::default();
    let present = Present::new(present);
    let [early, without, with, late] = &mut steps.stages;

    for (entry, owner) in leaving_queues(realm, &present, wanted, leaving) {
        let stage = if present.targets.contains(&entry.id) { &mut *late } else { &mut *early };
        stage.push(Step::Withdraw { entry: entry.clone(), owner, bound: present.bound(entry) });
    }

    let has_its_queue = |queue: &&WantedQueue| {
        let owner = present.by_name.get(&*queue.name).and_then(|entry| entry.owner.as_ref());
        owner.is_some_and(|owner| owner.name == queue.owner.name)
    };
    // Of two that want one name, the one that has it keeps it; else the first one gets it.
    let mut in_turn: Vec<&WantedQueue> = wanted.iter().collect();
    in_turn.sort_by_key(|queue| !has_its_queue(queue));
    let mut taken: HashMap<String, &WantedQueue> = HashMap::new();
    let mut by_owner: HashMap<&str, &WantedQueue> = HashMap::new();
    let mut refuse = |queue: &WantedQueue, error| {
        let (name, owner) = (queue.name.clone(), queue.owner.name.clone());
        steps.refused.push(Problem { queue: name, owner, error });
    };
    for queue in &in_turn {
        let first = taken.get(&queue.name.to_lowercase());
        let first = first.map(|it| ServiceError::Declared(it.name.to_string(), it.owner.name.to_string()));
        if let Some(error) = first.or_else(|| present.refusal(realm, queue)) {
            refuse(queue, error);
        } else {
            taken.insert(queue.name.to_lowercase(), queue);
            by_owner.insert(&queue.owner.name, queue);
        }
    }

    for queue in in_turn.iter().filter(|queue| by_owner.contains_key(&*queue.owner.name)) {
        let bound = match &queue.dead_letter {
            None => None,
            Some((owner, rule)) => {
                let wanted = by_owner.get(&**owner).map(|target| &target.name);
                let target = wanted.or_else(|| present.by_owner.get(&**owner).map(|entry| &entry.name));
                let Some(target) = target else {
                    refuse(queue, ServiceError::DeadLetterQueueMissing(owner.to_string()));
                    continue;
                };
                Some((target.clone(), *rule))
            }
        };
        let entry = present.by_name.get(&*queue.name);
        let had = entry.and_then(|entry| present.bound(entry));
        if entry.is_some_and(|entry| is_as_wanted(entry, queue, &had, &bound)) {
            continue;
        }
        let change = match entry {
            None => Change::Created,
            Some(entry) if entry.owner.is_none() => Change::Adopted,
            Some(_) => Change::Updated,
        };
        let put = |bound: Option<Bound>| Step::Put {
            queue: queue.name.clone(),
            owner: queue.owner.clone(),
            attributes: queue.attributes.clone(),
            bound,
            change,
        };
        let target = bound.as_ref().map(|(target, _)| target);
        if target.is_none() || had.as_ref().is_some_and(|(had, _)| target != Some(had)) {
            without.push(put(None));
        }
        if bound.is_some() {
            with.push(put(bound));
        }
    }
    steps
}

/// The queues that are not declared any more, each with the owner that it has, and the policy that holds.
fn leaving_queues<'a>(
    realm: Realm,
    present: &Present<'a>,
    wanted: &[WantedQueue],
    leaving: Leaving<'_>,
) -> Vec<(&'a Arc<QueueEntry>, Owner)> {
    let owned = |entry: &'a Arc<QueueEntry>| {
        let owner = entry.owner.as_ref().filter(|owner| realm.owns(&owner.name))?;
        Some((entry, owner.clone()))
    };
    match leaving {
        Leaving::Others => {
            let wanted: HashSet<&str> = wanted.iter().map(|queue| &*queue.name).collect();
            let others = present.by_name.values().filter(|entry| !wanted.contains(&*entry.name));
            others.filter(|entry| !entry.attributes.closed).filter_map(|entry| owned(entry)).collect()
        }
        Leaving::Named(withdrawals) => {
            let queue = |withdrawal: &super::Withdrawal| {
                let (entry, owner) = owned(present.by_owner.get(&*withdrawal.owner)?)?;
                let deletion = withdrawal.deletion.unwrap_or(owner.deletion);
                Some((entry, Owner { deletion, ..owner }))
            };
            withdrawals.iter().filter_map(queue).collect()
        }
    }
}

/// Whether nothing is to be done.
fn is_as_wanted(entry: &QueueEntry, queue: &WantedQueue, had: &Option<Bound>, bound: &Option<Bound>) -> bool {
    let mut attributes = queue.attributes.clone();
    attributes.dead_letter = entry.attributes.dead_letter;
    entry.attributes == attributes && entry.owner.as_ref() == Some(&queue.owner) && had == bound
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
