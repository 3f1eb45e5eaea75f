//! From what exists to what is wanted: which commands, in which order. No I/O.
//!
//! The catalogue refuses a dead-letter queue that has one itself or that is missing, and deleting one in use. So queues
//! that go and serve nobody come first, then what lets go of a dead-letter queue or needs none, then what takes one,
//! and at last the queues that go and served others. That is right also when a relation is turned round.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cmq_engine::attributes::{DeadLetterPolicy, QueueId};
use cmq_engine::catalogue::{CatalogueCommand, DeletionPolicy, PutMode, QueueEntry};

use super::{Problem, Realm, WantedQueue};
use crate::service::types::ServiceError;

/// What every command needs that creates a queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) recreate_wait_ms: u64,
    pub(super) shards: u16,
}

/// One command.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// The queue as it is wanted.
    Put(WantedQueue),
    /// The queue is not declared any more.
    Withdraw { queue: Box<str>, owner: Box<str>, deletion: DeletionPolicy },
}

/// The way to what is wanted.
#[derive(Debug, Default)]
pub(super) struct Steps {
    /// One after the other; inside each, in any order.
    pub(super) stages: [Vec<Step>; 4],
    /// What is not tried.
    pub(super) refused: Vec<Problem>,
}

/// Works out the steps.
pub(super) fn steps(realm: Realm, present: &[Arc<QueueEntry>], wanted: &[WantedQueue]) -> Steps {
    let mut steps = Steps::default();
    let by_name: HashMap<&str, &Arc<QueueEntry>> =
        present.iter().map(|entry| (&*entry.name, entry)).collect();
    let names: HashMap<QueueId, &str> = present.iter().map(|entry| (entry.id, &*entry.name)).collect();
    let targets: HashSet<QueueId> =
        present.iter().filter_map(|entry| Some(entry.attributes.dead_letter?.queue)).collect();
    let [leaving, without, with, left] = &mut steps.stages;

    let wanted_names: HashSet<&str> = wanted.iter().map(|queue| &*queue.name).collect();
    for entry in present.iter().filter(|entry| !wanted_names.contains(&*entry.name)) {
        let Some(owner) = entry.owner.as_ref().filter(|owner| realm.owns(&owner.name)) else { continue };
        if entry.attributes.closed {
            continue;
        }
        let (queue, owner, deletion) = (entry.name.clone(), owner.name.clone(), owner.deletion);
        let stage = if targets.contains(&entry.id) { &mut *left } else { &mut *leaving };
        stage.push(Step::Withdraw { queue, owner, deletion });
    }

    for queue in wanted {
        let entry = by_name.get(&*queue.name);
        let other = entry.and_then(|entry| entry.owner.as_ref()).filter(|owner| !realm.owns(&owner.name));
        if let Some(other) = other {
            let (name, owner) = (queue.name.to_string(), other.name.to_string());
            let error = ServiceError::Declared(name, owner);
            let (queue, owner) = (queue.name.clone(), queue.owner.name.clone());
            steps.refused.push(Problem { queue, owner, error });
            continue;
        }
        let bound = entry.and_then(|entry| {
            let policy = entry.attributes.dead_letter?;
            Some((*names.get(&policy.queue)?, policy.rule))
        });
        if entry.is_some_and(|entry| is_as_wanted(entry, bound, queue)) {
            continue;
        }
        let target = queue.dead_letter.as_ref().map(|(target, _)| &**target);
        let lets_go = bound.is_some_and(|(bound, _)| target != Some(bound));
        if target.is_none() || lets_go {
            without.push(Step::Put(WantedQueue { dead_letter: None, ..queue.clone() }));
        }
        if target.is_some() {
            with.push(Step::Put(queue.clone()));
        }
    }
    steps
}

/// Whether nothing is to be done. `bound` is the dead-letter queue that it has.
fn is_as_wanted(
    entry: &QueueEntry,
    bound: Option<(&str, cmq_engine::attributes::DeadLetterRule)>,
    queue: &WantedQueue,
) -> bool {
    let mut attributes = queue.attributes.clone();
    attributes.dead_letter = entry.attributes.dead_letter;
    entry.attributes == attributes
        && entry.owner.as_ref() == Some(&queue.owner)
        && bound == queue.dead_letter.as_ref().map(|(target, rule)| (&**target, *rule))
}

impl Step {
    /// The queue that it is about.
    pub(super) fn queue(&self) -> &str {
        match self {
            Self::Put(queue) => &queue.name,
            Self::Withdraw { queue, .. } => queue,
        }
    }

    fn owner(&self) -> &str {
        match self {
            Self::Put(queue) => &queue.owner.name,
            Self::Withdraw { owner, .. } => owner,
        }
    }

    /// The dead-letter queue that it names.
    pub(super) fn dead_letter_queue(&self) -> Option<&str> {
        match self {
            Self::Put(queue) => queue.dead_letter.as_ref().map(|(target, _)| &**target),
            Self::Withdraw { .. } => None,
        }
    }

    /// What is asked of the catalogue.
    pub(super) fn command(&self, settings: Settings) -> CatalogueCommand {
        match self {
            Self::Put(queue) => {
                let mut attributes = queue.attributes.clone();
                // The catalogue puts in the number that belongs to the name.
                attributes.dead_letter = queue
                    .dead_letter
                    .as_ref()
                    .map(|(_, rule)| DeadLetterPolicy { queue: QueueId(0), rule: *rule });
                CatalogueCommand::Put {
                    name: queue.name.clone(),
                    mode: PutMode::Declare,
                    attributes,
                    dead_letter_queue: self.dead_letter_queue().map(Into::into),
                    owner: Some(queue.owner.clone()),
                    recreate_wait_ms: settings.recreate_wait_ms,
                    shards: settings.shards,
                }
            }
            Self::Withdraw { queue, owner, .. } => {
                CatalogueCommand::Withdraw { name: queue.clone(), owner: owner.clone() }
            }
        }
    }

    /// What went wrong with it.
    pub(super) fn problem(&self, error: ServiceError) -> Problem {
        Problem { queue: self.queue().into(), owner: self.owner().into(), error }
    }

    /// Says that it is done.
    pub(super) fn log(&self) {
        let (queue, owner) = (self.queue(), self.owner());
        match self {
            Self::Put(_) => tracing::info!(queue, owner, "queue is in place"),
            Self::Withdraw { deletion: DeletionPolicy::Retain, .. } => {
                tracing::info!(
                    queue,
                    owner,
                    "nobody declares the queue any more: it stays, and calls may change it"
                );
            }
            Self::Withdraw { deletion: DeletionPolicy::Delete, .. } => {
                tracing::info!(
                    queue,
                    owner,
                    "nobody declares the queue any more: it is deleted with its messages"
                );
            }
            Self::Withdraw { deletion: DeletionPolicy::DeleteIfEmpty, .. } => {
                tracing::info!(
                    queue,
                    owner,
                    "nobody declares the queue any more: it takes no messages, and is deleted once it is empty"
                );
            }
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
