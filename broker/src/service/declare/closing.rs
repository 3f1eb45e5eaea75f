//! The end of queues that nobody declares any more.
//!
//! A queue is closed first and looked at then: once every shard has the change, and knows of no queue that has it as
//! dead-letter queue, none takes a message for it any more, so what is empty stays so, and is deleted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cmq_engine::catalogue::{CatalogueCommand, DeletionPolicy, QueueEntry};
use tokio::time::sleep;

use super::{Problem, Realm, Withdrawal, in_parallel};
use crate::service::Service;
use crate::service::types::ServiceError;

/// Queues in one look at the shards.
const LOOK_QUEUES: usize = 256;
/// Looks at queues that hold nothing, until every shard knows that they are closed.
const LOOKS: usize = 100;
/// Pause between two of them.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// What is left of queues that nobody declares any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Closing {
    /// Queues that were found empty and deleted.
    pub deleted: usize,
    /// Queues that are not empty, or still the dead-letter queue of another.
    pub waiting: usize,
}

/// What became of the queue of an owner that declares it no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withdrawn {
    /// The owner.
    pub owner: Box<str>,
    /// Name on the wire; None: the owner has no queue, or not any more.
    pub queue: Option<Box<str>>,
    /// What became of it.
    pub state: State,
}

/// How far a queue is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It does not exist.
    Gone,
    /// It stays, and nobody declares it.
    Kept,
    /// It takes no messages, and is deleted once it holds none.
    NotEmpty {
        /// How many it holds, in whatever state.
        messages: u64,
    },
    /// It is the dead-letter queue of another.
    InUse {
        /// How many it holds, in whatever state.
        messages: u64,
    },
}

/// What was asked for a queue that is to go, and what the catalogue said.
pub(super) struct Asked {
    pub(super) queue: Arc<QueueEntry>,
    pub(super) deletion: DeletionPolicy,
    pub(super) result: Result<(), ServiceError>,
}

/// What was seen of a queue: whether every shard knows that it takes nothing more, and holds nothing; and how much is held.
type Seen = (bool, u64);

impl Service {
    /// Deletes the queues of a realm that are closed and empty.
    ///
    /// # Errors
    /// The broker cannot take the calls now.
    pub async fn delete_closed(&self, realm: Realm) -> Result<Closing, ServiceError> {
        let is_ours = |entry: &QueueEntry| entry.owner.as_ref().is_some_and(|owner| realm.owns(&owner.name));
        let mut closed = self.queues();
        closed.retain(|entry| entry.attributes.closed && is_ours(entry));
        let mut closing = Closing { deleted: 0, waiting: closed.len() };
        let seen = self.look_at(&closed).await?;
        let drained = closed.into_iter().zip(seen).filter(|(_, (is_drained, _))| *is_drained);
        for (_, state) in self.delete_drained(drained.map(|(entry, _)| entry)).await {
            if state? == Some(State::Gone) {
                closing.deleted += 1;
                closing.waiting -= 1;
            }
        }
        Ok(closing)
    }

    /// Says what became of queues that owners were just asked to give up, by the name of the owner, and deletes those
    /// that are closed and empty.
    pub(super) async fn settle(
        &self,
        withdrawals: &[Withdrawal],
        mut asked: HashMap<Box<str>, Asked>,
    ) -> (Vec<Withdrawn>, Vec<Problem>) {
        let (mut withdrawn, mut problems, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        for Withdrawal { owner, .. } in withdrawals {
            let Some(Asked { queue, deletion, result }) = asked.remove(owner) else {
                withdrawn.push(Withdrawn { owner: owner.clone(), queue: None, state: State::Gone });
                continue;
            };
            let name = queue.name.clone();
            let state = match (result, deletion) {
                (Err(ServiceError::QueueMissing(_)), _) | (Ok(()), DeletionPolicy::Delete) => State::Gone,
                (Ok(()), DeletionPolicy::Retain) => State::Kept,
                (Ok(()), DeletionPolicy::DeleteIfEmpty)
                | (Err(ServiceError::InUseAsDeadLetterQueue(_)), _) => {
                    match self.inner.directory.find(&name) {
                        Some(queue) => {
                            waiting.push(queue);
                            continue;
                        }
                        None => State::Gone,
                    }
                }
                (Err(error), _) => {
                    problems.push(Problem { queue: name, owner: owner.clone(), error });
                    continue;
                }
            };
            withdrawn.push(Withdrawn { owner: owner.clone(), queue: Some(name), state });
        }
        for looks_left in (0..LOOKS).rev() {
            let (settled, behind) = self.settle_once(waiting, looks_left == 0).await;
            for (queue, result) in settled {
                let owner = queue.owner.as_ref().map(|owner| owner.name.clone()).unwrap_or_default();
                let name = queue.name.clone();
                match result {
                    Ok(state) => withdrawn.push(Withdrawn { owner, queue: Some(name), state }),
                    Err(error) => problems.push(Problem { queue: name, owner, error }),
                }
            }
            waiting = behind;
            if waiting.is_empty() {
                break;
            }
            sleep(LOOK_PAUSE).await;
        }
        (withdrawn, problems)
    }

    /// Looks at queues that are to go: what became of each, and those about which another look may say more.
    async fn settle_once(
        &self,
        waiting: Vec<Arc<QueueEntry>>,
        is_last: bool,
    ) -> (Vec<(Arc<QueueEntry>, Result<State, ServiceError>)>, Vec<Arc<QueueEntry>>) {
        let seen = match self.look_at(&waiting).await {
            Ok(seen) => seen,
            Err(error) => {
                return (waiting.into_iter().map(|queue| (queue, Err(error.clone()))).collect(), Vec::new());
            }
        };
        let (mut settled, mut behind, mut drained) = (Vec::new(), Vec::new(), Vec::new());
        for (queue, (is_drained, messages)) in waiting.into_iter().zip(seen) {
            match queue.attributes.closed {
                false => settled.push((queue, Ok(State::InUse { messages }))),
                true if is_drained => drained.push(queue),
                true if messages > 0 => settled.push((queue, Ok(State::NotEmpty { messages }))),
                true if self.has_sources(&queue) => settled.push((queue, Ok(State::InUse { messages }))),
                true if is_last => settled.push((queue, Ok(State::NotEmpty { messages }))),
                true => behind.push(queue),
            }
        }
        for (queue, state) in self.delete_drained(drained).await {
            match state {
                Ok(Some(state)) => settled.push((queue, Ok(state))),
                Ok(None) => settled.push((queue, Ok(State::NotEmpty { messages: 0 }))),
                Err(error) => settled.push((queue, Err(error))),
            }
        }
        (settled, behind)
    }

    fn has_sources(&self, queue: &QueueEntry) -> bool {
        self.inner.directory.list_sources(queue.id, "", 0, 1).total > 0
    }

    async fn look_at(&self, queues: &[Arc<QueueEntry>]) -> Result<Vec<Seen>, ServiceError> {
        let mut seen = Vec::with_capacity(queues.len());
        for page in queues.chunks(LOOK_QUEUES) {
            let page: Vec<_> = page.iter().map(|entry| entry.id).collect();
            let looked = self.inner.node.look(move |driver| {
                let look = |id| {
                    let counts = driver.counts(id).unwrap_or_default();
                    (driver.is_drained(id), counts.active + counts.in_flight + counts.delayed)
                };
                page.into_iter().map(look).collect::<Vec<Seen>>()
            });
            seen.extend(looked.await.ok_or(ServiceError::Stopping)?);
        }
        Ok(seen)
    }

    /// Deletes queues that are closed and were found empty. None: the queue was declared again meanwhile.
    async fn delete_drained(
        &self,
        drained: impl IntoIterator<Item = Arc<QueueEntry>>,
    ) -> Vec<(Arc<QueueEntry>, Result<Option<State>, ServiceError>)> {
        let done = in_parallel(drained, |queue: Arc<QueueEntry>| {
            let service = self.clone();
            async move {
                let name = queue.name.clone();
                let command = CatalogueCommand::DeleteClosed { name, revision: queue.revision };
                let state = match service.change_catalogue(command, &queue.name, "").await {
                    Ok(_) => {
                        tracing::info!(
                            queue = &*queue.name,
                            "queue deleted: it was empty, and nobody declares it"
                        );
                        Ok(Some(State::Gone))
                    }
                    Err(ServiceError::QueueMissing(_)) => Ok(Some(State::Gone)),
                    Err(ServiceError::InUseAsDeadLetterQueue(_)) => Ok(Some(State::InUse { messages: 0 })),
                    Err(ServiceError::QueueChanged(_)) => Ok(None),
                    Err(error) => Err(error),
                };
                (queue, state)
            }
        });
        done.await
    }
}
