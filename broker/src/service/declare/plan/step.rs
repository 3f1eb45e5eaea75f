//! One step on the way to what is wanted, and the commands that it takes.

use std::collections::HashMap;
use std::sync::Arc;

use cmq_engine::attributes::{DeadLetterPolicy, DeadLetterRule, QueueAttributes, QueueId};
use cmq_engine::catalogue::{CatalogueCommand, DeletionPolicy, Owner, PutMode, QueueEntry};

use crate::service::declare::{Change, Changed, Problem};
use crate::service::types::ServiceError;

/// What every command needs that creates a queue.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Settings {
    pub(in super::super) recreate_wait_ms: u64,
    pub(in super::super) shards: u16,
}

/// A dead-letter queue by its name on the wire, and when messages move there.
pub(super) type Bound = (Box<str>, DeadLetterRule);

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) enum Step {
    /// The queue as it is wanted.
    Put { queue: Box<str>, owner: Owner, attributes: QueueAttributes, bound: Option<Bound>, change: Change },
    /// The queue is not declared any more.
    Withdraw { entry: Arc<QueueEntry>, owner: Owner, bound: Option<Bound> },
}

impl Step {
    /// The queue that it is about.
    pub(in super::super) fn queue(&self) -> &str {
        match self {
            Self::Put { queue, .. } => queue,
            Self::Withdraw { entry, .. } => &entry.name,
        }
    }

    fn owner(&self) -> &Owner {
        match self {
            Self::Put { owner, .. } | Self::Withdraw { owner, .. } => owner,
        }
    }

    fn bound(&self) -> Option<&Bound> {
        match self {
            Self::Put { bound, .. } | Self::Withdraw { bound, .. } => bound.as_ref(),
        }
    }

    /// The dead-letter queue that it names.
    pub(in super::super) fn dead_letter_queue(&self) -> Option<&str> {
        self.bound().map(|(target, _)| &**target)
    }

    /// Why there is no use in trying it after other steps failed: a queue of its dead-letter queue's name may be
    /// somebody else's then.
    pub(in super::super) fn lacks(&self, failed: &HashMap<Box<str>, ServiceError>) -> Option<ServiceError> {
        let Self::Put { bound: Some((target, _)), .. } = self else { return None };
        Some(match failed.get(target)? {
            busy @ (ServiceError::Busy(_) | ServiceError::DiskFull | ServiceError::Stopping) => busy.clone(),
            _ => ServiceError::DeadLetterQueueMissing(target.to_string()),
        })
    }

    /// What is asked of the catalogue, one after the other.
    pub(in super::super) fn commands(&self, settings: Settings) -> Vec<CatalogueCommand> {
        match self {
            Self::Put { queue, owner, attributes, bound, change } => {
                // Who creates a queue takes none that a client made a moment ago.
                let mode = if *change == Change::Created { PutMode::Create } else { PutMode::Declare };
                vec![put(queue, mode, owner, attributes.clone(), bound.as_ref(), settings)]
            }
            Self::Withdraw { entry, owner, bound } => {
                let withdraw =
                    CatalogueCommand::Withdraw { name: entry.name.clone(), owner: owner.name.clone() };
                if entry.owner.as_ref() == Some(owner) {
                    return vec![withdraw];
                }
                // Another policy than the queue was declared with: declared with it first, and a queue that is to stay is
                // open again.
                let closed = entry.attributes.closed && owner.deletion != DeletionPolicy::Retain;
                let attributes = QueueAttributes { closed, ..entry.attributes.clone() };
                let declare = put(&entry.name, PutMode::Declare, owner, attributes, bound.as_ref(), settings);
                vec![declare, withdraw]
            }
        }
    }

    /// What it did, where that is worth telling.
    pub(in super::super) fn changed(&self) -> Option<Changed> {
        let Self::Put { queue, owner, change, .. } = self else { return None };
        Some(Changed { queue: queue.clone(), owner: owner.name.clone(), change: *change })
    }

    /// What went wrong with it.
    pub(in super::super) fn problem(&self, error: ServiceError) -> Problem {
        Problem { queue: self.queue().into(), owner: self.owner().name.clone(), error }
    }

    /// Says that it is done.
    pub(in super::super) fn log(&self) {
        let (queue, owner) = (self.queue(), &*self.owner().name);
        match (self, self.owner().deletion) {
            (Self::Put { .. }, _) => tracing::info!(queue, owner, "queue is in place"),
            (Self::Withdraw { .. }, DeletionPolicy::Retain) => {
                tracing::info!(
                    queue,
                    owner,
                    "nobody declares the queue any more: it stays, and calls may change it"
                );
            }
            (Self::Withdraw { .. }, DeletionPolicy::Delete) => {
                tracing::info!(
                    queue,
                    owner,
                    "nobody declares the queue any more: it is deleted with its messages"
                );
            }
            // Asked for again while it waits: said before.
            (Self::Withdraw { entry, .. }, DeletionPolicy::DeleteIfEmpty) if entry.attributes.closed => {}
            (Self::Withdraw { .. }, DeletionPolicy::DeleteIfEmpty) => {
                tracing::info!(
                    queue,
                    owner,
                    "nobody declares the queue any more: it takes no messages, and is deleted once it is empty"
                );
            }
        }
    }
}

fn put(
    queue: &str,
    mode: PutMode,
    owner: &Owner,
    attributes: QueueAttributes,
    bound: Option<&Bound>,
    settings: Settings,
) -> CatalogueCommand {
    // The catalogue puts in the number that belongs to the name.
    let dead_letter = bound.map(|(_, rule)| DeadLetterPolicy { queue: QueueId(0), rule: *rule });
    CatalogueCommand::Put {
        name: queue.into(),
        mode,
        attributes: QueueAttributes { dead_letter, ..attributes },
        dead_letter_queue: bound.map(|(target, _)| target.clone()),
        owner: Some(owner.clone()),
        recreate_wait_ms: settings.recreate_wait_ms,
        shards: settings.shards,
    }
}
