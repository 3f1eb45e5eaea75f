//! One call for many: what is to be declared to the same Broker at about the same time goes as one call.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::breaker::Breaker;
use super::{
    BrokerConnector, CallError, Change, DeclareAnswer, DeclareRequest, DeclaredQueue, PodAddress, Problem,
    Withdrawal, Withdrawn,
};

/// Time in which requests gather before a call; while one is under way they gather for as long as it takes.
const GATHER: Duration = Duration::from_millis(100);
/// Requests in one call at most: even of the largest specs they stay far below what a broker reads.
const BATCH_MAX: usize = 1_000;
/// Requests that wait for one Broker at most.
const WAITING_MAX: usize = 10_000;

/// What became of a queue that was declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Declared {
    /// It was as it should be.
    Unchanged,
    /// It is now.
    Changed(Change),
    /// It could not be made so.
    Refused(Problem),
}

/// Where requests to declare and to withdraw are handed in.
#[derive(Clone)]
pub struct Desk(Arc<Inner>);

struct Inner {
    connector: Arc<dyn BrokerConnector>,
    /// By namespace and name of the Broker; there while it has requests, and for a while after failures.
    counters: Mutex<HashMap<Key, Counter>>,
}

type Key = (String, String);

#[derive(Default)]
struct Counter {
    waiting: Vec<Request>,
    /// A task serves the counter.
    served: bool,
    /// It makes a call right now.
    calling: bool,
    breaker: Breaker,
}

struct Request {
    item: Item,
    pods: Vec<PodAddress>,
    answer: oneshot::Sender<Result<Answer, CallError>>,
}

#[derive(Clone)]
enum Item {
    Declare(Box<DeclaredQueue>),
    Withdraw(Withdrawal),
}

enum Answer {
    Declared(Declared),
    Withdrawn(Withdrawn),
}

impl Desk {
    /// A desk that calls by this connector.
    pub fn new(connector: Arc<dyn BrokerConnector>) -> Self {
        Self(Arc::new(Inner { connector, counters: Mutex::default() }))
    }

    /// Declares one queue to the Broker of these pods; the first pod that answers is asked.
    ///
    /// # Errors
    /// When no pod answers, or the call as a whole is refused.
    pub async fn declare(&self, pods: &[PodAddress], queue: DeclaredQueue) -> Result<Declared, CallError> {
        match self.request(pods, Item::Declare(Box::new(queue))).await? {
            Answer::Declared(declared) => Ok(declared),
            Answer::Withdrawn(_) => Err(mixed_up(pods)),
        }
    }

    /// Withdraws one queue from the Broker of these pods; the first pod that answers is asked.
    ///
    /// # Errors
    /// When no pod answers, or the call as a whole is refused.
    pub async fn withdraw(
        &self,
        pods: &[PodAddress],
        withdrawal: Withdrawal,
    ) -> Result<Withdrawn, CallError> {
        match self.request(pods, Item::Withdraw(withdrawal)).await? {
            Answer::Withdrawn(withdrawn) => Ok(withdrawn),
            Answer::Declared(_) => Err(mixed_up(pods)),
        }
    }

    async fn request(&self, pods: &[PodAddress], item: Item) -> Result<Answer, CallError> {
        let Some(pod) = pods.first() else { return Err(resting("", "it has no pods")) };
        let key = (pod.namespace.clone(), pod.broker.clone());
        let (answer, answered) = oneshot::channel();
        {
            let mut counters = self.0.lock();
            if !counters.contains_key(&key) {
                let now = Instant::now();
                counters.retain(|_, counter| counter.served || !counter.breaker.is_stale(now));
            }
            let counter = counters.entry(key.clone()).or_default();
            if let Err(problem) = counter.breaker.check(Instant::now(), counter.calling) {
                return Err(resting(&format!("{}/{}", key.0, key.1), problem));
            }
            if counter.waiting.len() >= WAITING_MAX {
                return Err(resting(&format!("{}/{}", key.0, key.1), "too many requests wait"));
            }
            counter.waiting.push(Request { item, pods: pods.to_vec(), answer });
            if !counter.served {
                counter.served = true;
                tokio::spawn(self.0.clone().serve(key));
            }
        }
        answered.await.unwrap_or_else(|_| Err(mixed_up(pods)))
    }
}

impl Inner {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Counter>> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes calls until nobody waits any more.
    async fn serve(self: Arc<Self>, key: Key) {
        sleep(GATHER).await;
        while let Some(batch) = self.next_batch(&key) {
            let answered = self.call(batch).await;
            let mut counters = self.lock();
            let counter = counters.entry(key.clone()).or_default();
            counter.calling = false;
            match answered {
                Ok(()) => counter.breaker.answered(),
                Err(error) => {
                    counter.breaker.failed(Instant::now(), &error);
                    // Whoever came meanwhile would wait for a call that is not made before the rest is over.
                    for request in counter.waiting.drain(..) {
                        let _ = request.answer.send(Err(error.clone()));
                    }
                }
            }
        }
    }

    /// The requests of the next call; nothing when nobody waits, and then the counter is not served any more.
    fn next_batch(&self, key: &Key) -> Option<Vec<Request>> {
        let mut counters = self.lock();
        let counter = counters.get_mut(key)?;
        // A reconcile that was cut off does not wait any more; what it asked for is asked again by the next one.
        counter.waiting.retain(|request| !request.answer.is_closed());
        if counter.waiting.is_empty() {
            counter.served = false;
            if counter.breaker.check(Instant::now(), true).is_ok() {
                counters.remove(key);
            }
            return None;
        }
        let rest = counter.waiting.split_off(counter.waiting.len().min(BATCH_MAX));
        counter.calling = true;
        Some(std::mem::replace(&mut counter.waiting, rest))
    }

    /// Gives each request its answer; the error is one that no pod answered with.
    async fn call(&self, batch: Vec<Request>) -> Result<(), CallError> {
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            match self.ask(&part).await {
                Ok(answer) => settle(part, answer),
                // One request that the broker cannot read at all must not keep the others from being declared.
                Err(CallError::Refused { status: 400..500, .. }) if part.len() > 1 => {
                    let mut first = part;
                    parts.push(first.split_off(first.len() / 2));
                    parts.push(first);
                }
                Err(error) => {
                    let refused = matches!(error, CallError::Refused { status: ..500, .. });
                    fail(part, &error);
                    if !refused {
                        parts.into_iter().for_each(|part| fail(part, &error));
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    /// Asks one pod after the other until one answers.
    async fn ask(&self, batch: &[Request]) -> Result<DeclareAnswer, CallError> {
        let mut body = DeclareRequest::default();
        for request in batch {
            match &request.item {
                Item::Declare(queue) => body.queues.push((**queue).clone()),
                Item::Withdraw(withdrawal) => body.withdraw.push(withdrawal.clone()),
            }
        }
        // The latest request knows the pods best.
        let pods = batch.last().map_or(&[][..], |request| &request.pods);
        let mut result = Err(resting("", "it has no pods"));
        for pod in pods {
            result = self.connector.declare(pod, &body).await;
            if !matches!(
                result,
                Err(CallError::Unreachable { .. } | CallError::Refused { status: 500.., .. })
            ) {
                break;
            }
        }
        result
    }
}

/// Hands the parts of an answer to those who asked.
fn settle(batch: Vec<Request>, answer: DeclareAnswer) {
    let key = |namespace: &str, name: &str| (namespace.to_owned(), name.to_owned());
    let mut problems: HashMap<_, _> = answer
        .problems
        .into_iter()
        .map(|problem| (key(&problem.namespace, &problem.name), problem))
        .collect();
    let changed: HashMap<_, _> = answer
        .changed
        .into_iter()
        .map(|changed| (key(&changed.namespace, &changed.name), changed.change))
        .collect();
    let mut withdrawn: HashMap<_, _> = answer
        .withdrawn
        .into_iter()
        .map(|withdrawn| (key(&withdrawn.namespace, &withdrawn.name), withdrawn))
        .collect();
    for request in batch {
        let answer = match &request.item {
            Item::Declare(queue) => {
                let key = key(&queue.namespace, &queue.name);
                Ok(Answer::Declared(match (problems.remove(&key), changed.get(&key)) {
                    (Some(problem), _) => Declared::Refused(problem),
                    (None, Some(change)) => Declared::Changed(*change),
                    (None, None) => Declared::Unchanged,
                }))
            }
            Item::Withdraw(withdrawal) => withdrawn
                .remove(&key(&withdrawal.namespace, &withdrawal.name))
                .map(Answer::Withdrawn)
                .ok_or_else(|| mixed_up(&request.pods)),
        };
        // A reconcile that was cut off asks again.
        let _ = request.answer.send(answer);
    }
}

fn fail(batch: Vec<Request>, error: &CallError) {
    for request in batch {
        let _ = request.answer.send(Err(error.clone()));
    }
}

fn resting(broker: &str, problem: &str) -> CallError {
    CallError::Resting { broker: broker.to_owned(), problem: problem.to_owned() }
}

/// The broker said nothing about a request. Trying again is harmless.
fn mixed_up(pods: &[PodAddress]) -> CallError {
    let pod = pods.first().map(|pod| crate::names::pod(&pod.broker, pod.ordinal)).unwrap_or_default();
    let message = "the answer says nothing about this queue".to_owned();
    CallError::Refused { pod, status: 200, code: "incomplete_answer".into(), message }
}

#[cfg(test)]
#[path = "desk_tests.rs"]
mod tests;
