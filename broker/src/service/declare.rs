//! Declared queues: an owner says what all of its queues are, in one call, and the broker makes them so.
//!
//! Whoever reads the declarations, files here or objects of a cluster, only states what is wanted; the difference to
//! what exists is worked out in `plan`, and asked of the catalogue with many commands to an entry of its log.

mod plan;

use std::collections::HashSet;
use std::sync::Arc;

use cmq_engine::attributes::{DeadLetterRule, QueueAttributes};
use cmq_engine::catalogue::{CatalogueCommand, Owner, QueueEntry};
use tokio::task::JoinSet;

use super::Service;
use super::types::ServiceError;

/// Commands that are on their way at once.
const COMMANDS_AT_ONCE: usize = 1_024;

/// Where declarations come from. Each source sees to its own queues and leaves those of the other alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Realm {
    /// Files that the broker reads.
    Manifests,
    /// Objects of a cluster.
    Cluster,
}

impl Realm {
    /// The name of the owner that an object of this realm is: `Queue default/orders (manifests)`.
    pub fn owner(self, namespace: &str, name: &str) -> Box<str> {
        format!("Queue {namespace}/{name}{}", self.mark()).into()
    }

    /// Whether an owner's name is one of this realm.
    pub fn owns(self, owner: &str) -> bool {
        owner.ends_with(self.mark())
    }

    /// What no name of an object can end with.
    fn mark(self) -> &'static str {
        match self {
            Self::Manifests => " (manifests)",
            Self::Cluster => " (cluster)",
        }
    }
}

/// What a queue is to be.
#[derive(Clone, Debug, PartialEq)]
pub struct WantedQueue {
    /// Name on the wire.
    pub name: Box<str>,
    /// Who declares it, by [`Realm::owner`], and what becomes of it when that ends.
    pub owner: Owner,
    /// The attributes; what they say of a dead-letter queue is ignored.
    pub attributes: QueueAttributes,
    /// Name on the wire of the dead-letter queue, and when messages move there.
    pub dead_letter: Option<(Box<str>, DeadLetterRule)>,
}

/// What became of declarations.
#[derive(Debug, Default)]
pub struct Declared {
    /// Changes of queues that were made.
    pub changes: usize,
    /// Queues that are not what is wanted of them, and why. The same call may help later.
    pub problems: Vec<Problem>,
}

/// A queue that could not be made what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Name on the wire.
    pub queue: Box<str>,
    /// Who declares it, or did.
    pub owner: Box<str>,
    /// Why not.
    pub error: ServiceError,
}

/// What is left of queues that nobody declares any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Closing {
    /// Queues that were found empty and deleted.
    pub deleted: usize,
    /// Queues that are not empty, or still the dead-letter queue of another.
    pub waiting: usize,
}

impl Service {
    /// All queues, in the order of their names.
    pub fn queues(&self) -> Vec<Arc<QueueEntry>> {
        self.inner.directory.all()
    }

    /// Makes the queues of a realm what is wanted: creates, changes, and carries out the deletion policy of those that
    /// are not among the wanted any more. What cannot be done is reported and does not stop the rest. Doing it again
    /// does only what is left.
    pub async fn declare(&self, realm: Realm, wanted: &[WantedQueue]) -> Declared {
        let mut declared = Declared::default();
        let steps = plan::steps(realm, &self.queues(), wanted);
        declared.problems.extend(steps.refused);
        let settings = plan::Settings {
            recreate_wait_ms: self.inner.waits.recreate.as_millis() as u64,
            shards: self.inner.shards,
        };
        for stage in steps.stages {
            let mut stage = stage.into_iter();
            loop {
                let mut on_their_way = JoinSet::new();
                for step in stage.by_ref().take(COMMANDS_AT_ONCE) {
                    let (service, command) = (self.clone(), step.command(settings));
                    on_their_way.spawn(async move {
                        let target = step.dead_letter_queue().unwrap_or_default();
                        let result = service.change_catalogue(command, step.queue(), target).await;
                        (step, result)
                    });
                }
                if on_their_way.is_empty() {
                    break;
                }
                while let Some(done) = on_their_way.join_next().await {
                    let Ok((step, result)) = done else { continue };
                    match result {
                        Ok(_) => {
                            declared.changes += 1;
                            step.log();
                        }
                        Err(error) => declared.problems.push(step.problem(error)),
                    }
                }
            }
        }
        // One queue may fail in two stages; the first reason is the cause.
        let mut seen = HashSet::new();
        declared.problems.retain(|problem| seen.insert(problem.queue.clone()));
        declared.problems.sort_by(|one, other| one.queue.cmp(&other.queue));
        declared
    }

    /// Deletes the queues of a realm that are closed and empty. A queue is closed first and looked at then: once every
    /// shard has the change, none takes a message for it any more, so what is empty stays so.
    ///
    /// # Errors
    /// The broker cannot take the calls now.
    pub async fn delete_closed(&self, realm: Realm) -> Result<Closing, ServiceError> {
        let closed: Vec<Arc<QueueEntry>> = self
            .queues()
            .into_iter()
            .filter(|entry| entry.attributes.closed)
            .filter(|entry| entry.owner.as_ref().is_some_and(|owner| realm.owns(&owner.name)))
            .collect();
        let mut closing = Closing { deleted: 0, waiting: closed.len() };
        if closed.is_empty() {
            return Ok(closing);
        }
        let looked_at = closed.clone();
        let drained = self.inner.node.look(move |driver| {
            looked_at.iter().map(|entry| driver.is_drained(entry.id, entry.revision)).collect::<Vec<_>>()
        });
        let drained = drained.await.ok_or(ServiceError::Stopping)?;
        for (entry, _) in closed.iter().zip(drained).filter(|(_, is_drained)| *is_drained) {
            let command =
                CatalogueCommand::DeleteClosed { name: entry.name.clone(), revision: entry.revision };
            match self.change_catalogue(command, &entry.name, "").await {
                Ok(_) => {
                    closing.deleted += 1;
                    closing.waiting -= 1;
                    tracing::info!(
                        queue = &*entry.name,
                        "queue deleted: it was empty, and nobody declares it"
                    );
                }
                // A source of it is there still, or it was declared again.
                Err(ServiceError::InUseAsDeadLetterQueue(_) | ServiceError::QueueChanged(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(closing)
    }
}
