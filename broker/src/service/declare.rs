//! Declared queues: an owner says what its queues are, many in one call, and the broker makes them so.
//!
//! Whoever reads the declarations, files here or objects of a cluster, only states what is wanted; the difference to
//! what exists is worked out in `plan`, and asked of the catalogue with many commands to an entry of its log.

mod closing;
mod plan;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;

use cmq_engine::attributes::{DeadLetterRule, QueueAttributes};
use cmq_engine::catalogue::{DeletionPolicy, Owner, QueueEntry};
use tokio::task::JoinSet;

use super::Service;
use super::types::ServiceError;
use closing::Asked;
use plan::{Settings, Step};

pub use closing::{Closing, State, Withdrawn};

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
    /// The owner that declares the dead-letter queue, now or before, and when messages move there.
    pub dead_letter: Option<(Box<str>, DeadLetterRule)>,
    /// Which queue of this name may become this one.
    pub takeover: Takeover,
}

/// Which queue of the wanted name a declaration takes, beside one that its owner declared before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takeover {
    /// None: the name must be free.
    Nothing,
    /// One that nobody declares, made by a call.
    Undeclared,
    /// One that nobody declares, or that another owner of the realm does.
    Realm,
}

/// Which queues of a realm are not declared any more.
#[derive(Clone, Copy, Debug)]
pub enum Leaving<'a> {
    /// All that are not among the wanted.
    Others,
    /// Those of these owners.
    Named(&'a [Withdrawal]),
}

/// An owner that declares its queue no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withdrawal {
    /// Its name, by [`Realm::owner`].
    pub owner: Box<str>,
    /// What becomes of the queue; None: what its last declaration said.
    pub deletion: Option<DeletionPolicy>,
}

/// What became of declarations.
#[derive(Debug, Default)]
pub struct Declared {
    /// Queues that were created or changed, in the order of their names. Not those that were withdrawn.
    pub changes: Vec<Changed>,
    /// Queues that are not what is wanted of them, and why. The same call may help later.
    pub problems: Vec<Problem>,
    /// What became of the queues of [`Leaving::Named`], but for those among the problems.
    pub withdrawn: Vec<Withdrawn>,
}

/// A queue that was made what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Name on the wire.
    pub queue: Box<str>,
    /// Who declares it.
    pub owner: Box<str>,
    /// What was done.
    pub change: Change,
}

/// What was done to a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Created,
    /// It was declared before, and is something else now.
    Updated,
    /// It was there, and nobody declared it.
    Adopted,
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

impl Service {
    /// All queues, in the order of their names.
    pub fn queues(&self) -> Vec<Arc<QueueEntry>> {
        self.inner.directory.all()
    }

    /// Makes the queues of a realm what is wanted: creates and changes, and carries out the deletion policy of those that
    /// leave. What cannot be done is reported and does not stop the rest. Doing it again does only what is left.
    ///
    /// Calls of one realm must come one after the other: each goes by what it found when it began.
    pub async fn declare(&self, realm: Realm, wanted: &[WantedQueue], leaving: Leaving<'_>) -> Declared {
        let mut declared = Declared::default();
        let steps = plan::steps(realm, &self.queues(), wanted, leaving);
        declared.problems.extend(steps.refused);
        let settings = Settings {
            recreate_wait_ms: self.inner.rules.waits.recreate.as_millis() as u64,
            shards: self.inner.shards,
        };
        let mut failed: HashMap<Box<str>, ServiceError> = HashMap::new();
        let mut asked: HashMap<Box<str>, Asked> = HashMap::new();
        for stage in steps.stages {
            let (hopeless, tried): (Vec<_>, Vec<_>) =
                stage.into_iter().partition(|step| step.lacks(&failed).is_some());
            let hopeless = hopeless.into_iter().filter_map(|step| Some(step.problem(step.lacks(&failed)?)));
            declared.problems.extend(hopeless);
            let done = in_parallel(tried, |step: Step| {
                let service = self.clone();
                async move {
                    let result = service.carry_out(&step, settings).await;
                    (step, result)
                }
            });
            for (step, result) in done.await {
                if result.is_ok() {
                    step.log();
                    declared.changes.extend(step.changed());
                }
                match (step, result, leaving) {
                    (Step::Withdraw { entry: queue, owner, .. }, result, Leaving::Named(_)) => {
                        asked.insert(owner.name, Asked { queue, deletion: owner.deletion, result });
                    }
                    (_, Ok(()), _) => {}
                    (step, Err(error), _) => {
                        failed.insert(step.queue().into(), error.clone());
                        declared.problems.push(step.problem(error));
                    }
                }
            }
        }
        if let Leaving::Named(withdrawals) = leaving {
            let (withdrawn, problems) = self.settle(withdrawals, asked).await;
            declared.withdrawn = withdrawn;
            declared.problems.extend(problems);
        }
        // One queue may change, or fail, in two stages; the first reason is the cause.
        let mut seen = HashSet::new();
        declared.problems.retain(|problem| seen.insert((problem.queue.clone(), problem.owner.clone())));
        declared.problems.sort_by(|one, other| one.queue.cmp(&other.queue));
        let mut seen = HashSet::new();
        declared.changes.retain(|change| seen.insert(change.queue.clone()));
        declared.changes.sort_by(|one, other| one.queue.cmp(&other.queue));
        declared
    }

    async fn carry_out(&self, step: &Step, settings: Settings) -> Result<(), ServiceError> {
        let target = step.dead_letter_queue().unwrap_or_default();
        for command in step.commands(settings) {
            self.change_catalogue(command, step.queue(), target).await?;
        }
        Ok(())
    }
}

/// Works on many at once, so that their commands share entries of the log; in any order.
async fn in_parallel<T, R: Send + 'static, F>(
    items: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> F,
) -> Vec<R>
where
    F: Future<Output = R> + Send + 'static,
{
    let mut items = items.into_iter();
    let mut on_their_way = JoinSet::new();
    let mut done = Vec::new();
    loop {
        while on_their_way.len() < COMMANDS_AT_ONCE
            && let Some(item) = items.next()
        {
            on_their_way.spawn(work(item));
        }
        match on_their_way.join_next().await {
            None => return done,
            // A panic is a bug, and is shown as one.
            Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            Some(Ok(result)) => done.push(result),
        }
    }
}
