//! The controller of `Queue`.
//!
//! One look at a Queue: read what it refers to, validate, put the finalizer, make its own Broker if it has one, declare it at
//! the desk, write the status. What is looked at again, and when, hangs on the `verdict`.

use std::sync::Arc;
use std::time::Duration;

use cmq_crds::broker::Broker;
use cmq_crds::queue::{Queue, QueueStatus};
use futures_util::{StreamExt, future};
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::reflector::store::Writer;
use kube::{Api, ResourceExt};
use tokio::time::timeout;

use crate::condition::State;
use crate::context::Context;
use crate::reason::Reason;
use crate::{apply, finalizer, labels, retry, watch};
use cleanup::Cleanup;
use neighbours::{Part, broker_of, key_of};
use own_broker::OwnBrokerError;
use status::Found;
use verdict::{Kind, Verdict};

mod cleanup;
mod coarse;
pub mod counts;
mod declare;
mod dereference;
#[cfg(test)]
mod fixtures;
pub mod neighbours;
mod own_broker;
mod status;
mod validate;
mod verdict;

/// Queues looked at at once, all parts of the scope together. Most of them wait at the desk, where the calls of one Broker become one.
const CONCURRENCY: u16 = 256;
/// Queues looked at at once in one part of the scope, however many parts there are.
const CONCURRENCY_MIN: u16 = 4;
/// Changes of an object that come so close to each other are looked at as one.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// Time that one look may take.
const TIME_MAX: Duration = Duration::from_secs(60);
/// Wait at most before a broker that does not answer is asked about a queue again.
const BROKER_WAIT_MAX: Duration = Duration::from_secs(60);
/// Wait before a queue that is not empty is withdrawn again.
const NOT_EMPTY_WAIT: Duration = Duration::from_secs(30);

/// Runs until `stop`, then ends once running reconciles have ended.
pub async fn controller(
    context: Arc<Context>,
    writers: Vec<Writer<Queue>>,
    stop: impl Future<Output = ()> + Clone + Send + Sync + 'static,
) {
    let parts = context.settings.scope.parts();
    let concurrency =
        (CONCURRENCY / u16::try_from(parts.len()).unwrap_or(u16::MAX).max(1)).max(CONCURRENCY_MIN);
    let config = Config::default().concurrency(concurrency).debounce(DEBOUNCE);
    let controllers =
        parts.into_iter().zip(writers).zip(&context.queue_wakes).map(|((part, writer), wakes)| {
            let (store, seen) = (writer.as_reader(), context.clone());
            let mut listed = Part::new(part);
            let queues = watch::own_kind(&context.client, part, writer, move |event| {
                seen.tell(seen.neighbours.queue_event(&mut listed, event));
            });
            Controller::for_stream(queues, store)
                .reconcile_on(wakes.clone().stream())
                .with_config(config.clone())
                .graceful_shutdown_on(stop.clone())
                .run(reconcile, |_, error, _| match *error {}, context.clone())
                .for_each(|result| async {
                    if let Err(error) = result {
                        tracing::debug!(%error, "a queue was not looked at");
                    }
                })
        });
    future::select(Box::pin(future::join_all(controllers)), Box::pin(counts::keep(context.clone()))).await;
}

/// Never fails: what goes wrong is in the status of the object, in the log and in the metrics, and decides about the next look.
async fn reconcile(queue: Arc<Queue>, context: Arc<Context>) -> Result<Action, std::convert::Infallible> {
    let reconcile = context.metrics.reconcile("queue");
    let (namespace, name) = (queue.namespace().unwrap_or_default(), queue.name_any());
    // Neighbours in other namespaces, and Brokers, count only when all of them are known.
    let ready = future::try_join(context.brokers.filled(), context.queues.filled());
    let look = async {
        if ready.await.is_err() {
            return Ok(Action::requeue(retry::WAITING));
        }
        look(&queue, &context).await
    };
    let error = match timeout(TIME_MAX, look).await {
        Ok(Ok(action)) => {
            reconcile.done();
            return Ok(action);
        }
        Ok(Err(error)) => error,
        Err(_) => {
            reconcile.failed("timeout");
            tracing::warn!(namespace, name, "a look at a queue took too long and was cut off");
            return Ok(Action::requeue(context.queue_failures.note(&namespace, &name).backoff()));
        }
    };
    let failing = context.queue_failures.note(&namespace, &name);
    if let kube::Error::Api(status) = &error
        && status.is_forbidden()
    {
        reconcile.failed("forbidden");
        let verdict = Verdict {
            kind: Kind::Forbidden,
            ..Verdict::user_error(Reason::Forbidden, status.message.clone())
        };
        tracing::warn!(namespace, name, error = status.message, "the API server refuses a call");
        // Without the right to write the status nothing is left but the log.
        let _ = report(&queue, &context, &verdict, None).await;
        return Ok(Action::requeue(retry::FORBIDDEN));
    }
    let wait = failing.backoff();
    reconcile.failed("api");
    tracing::warn!(namespace, name, %error, attempts = failing.attempts, "a look at a queue failed; trying again");
    Ok(Action::requeue(wait))
}

async fn look(queue: &Queue, context: &Context) -> kube::Result<Action> {
    if queue.metadata.deletion_timestamp.is_some() {
        return delete(queue, context).await;
    }
    if queue.annotations().get(labels::PAUSED).is_some_and(|value| value == "true") {
        let status = status::paused(queue, context.clock.now());
        write_status(queue, context, status).await?;
        return Ok(Action::requeue(retry::jittered(retry::SETTLED)));
    }
    let (verdict, broker) = advance(queue, context).await?;
    report(queue, context, &verdict, broker.as_deref()).await
}

/// Does what can be done now, and says how far the queue is.
async fn advance(queue: &Queue, context: &Context) -> kube::Result<(Verdict, Option<Arc<Broker>>)> {
    let world = dereference::dereference(context, queue).await?;
    let dead_letters = match validate::validate(queue, &world) {
        Ok(dead_letters) => dead_letters,
        Err(verdict) => return Ok((verdict, world.broker)),
    };
    let own = match own_broker::apply(context, queue).await {
        Ok(own) => own,
        Err(OwnBrokerError::Verdict(verdict)) => return Ok((verdict, None)),
        Err(OwnBrokerError::Api(error)) => return Err(error),
    };
    let Some(broker) = own.or(world.broker) else {
        let detail = format!("Broker {} does not exist", broker_of(queue));
        return Ok((Verdict::waiting(Reason::BrokerNotFound, detail), None));
    };
    if let Err(verdict) = declare::gate(queue, &broker) {
        return Ok((verdict, Some(broker)));
    }
    finalizer::put(&api(queue, context), queue).await?;
    let outcome = declare::declare(context, queue, &dead_letters).await;
    if let Some((reason, note)) = outcome.news {
        tracing::info!(queue = %key_of(queue), %reason, "{note}");
        context.events.normal(queue, reason, "Declare", note).await;
    }
    Ok((outcome.verdict, Some(broker)))
}

/// Cleans up after an object that is being deleted, and lets it go when that is done.
async fn delete(queue: &Queue, context: &Context) -> kube::Result<Action> {
    let key = key_of(queue);
    if !finalizer::is_set(queue) {
        context.queue_failures.forget(&key.namespace, &key.name);
        return Ok(Action::await_change());
    }
    match cleanup::clean_up(context, queue).await? {
        Cleanup::Done(reason, note) => {
            finalizer::take(&api(queue, context), queue).await?;
            context.queue_failures.forget(&key.namespace, &key.name);
            tracing::info!(queue = %key, %reason, "the queue object goes: {note}");
            context.events.normal(queue, reason, "Delete", note).await;
            Ok(Action::await_change())
        }
        Cleanup::Blocked(verdict) => {
            let broker = broker_of(queue);
            let broker = context.brokers.get(&broker.namespace, &broker.name);
            report(queue, context, &verdict, broker.as_deref()).await
        }
    }
}

async fn report(
    queue: &Queue,
    context: &Context,
    verdict: &Verdict,
    broker: Option<&Broker>,
) -> kube::Result<Action> {
    let deleting = queue.metadata.deletion_timestamp.is_some();
    let key = key_of(queue);
    let failing = match (verdict.kind, verdict.reason) {
        (Kind::Failing, _) => Some(context.queue_failures.note(&key.namespace, &key.name)),
        (_, Reason::BrokerNotReady) => Some(context.queue_failures.waits(&key.namespace, &key.name)),
        _ => None,
    };
    if failing.is_none() {
        context.queue_failures.forget(&key.namespace, &key.name);
    }
    let found = Found {
        verdict,
        failing_for: failing.map(|failing| failing.since.elapsed()).unwrap_or_default(),
        deleting,
        broker,
        coarse: context.counts.get(&broker_of(queue), queue.wire_name()),
    };
    let status = status::status(queue, &found, context.clock.now());
    if deleting {
        warn_of_blocked_deletion(queue, context, verdict).await;
    }
    write_status(queue, context, status).await?;
    Ok(Action::requeue(match (verdict.kind, failing) {
        // The desk bounds what a broker that does not answer costs; the queues should be back soon when it is.
        (Kind::Failing, Some(failing)) => failing.backoff().min(BROKER_WAIT_MAX),
        (Kind::Settled, _) => retry::jittered(retry::SETTLED),
        (Kind::UserError, _) => retry::jittered(retry::USER_ERROR),
        (Kind::Forbidden, _) => retry::FORBIDDEN,
        (Kind::Resting, _) => retry::jittered(retry::SETTLED),
        _ if verdict.reason == Reason::NotEmpty => retry::jittered(NOT_EMPTY_WAIT),
        _ => retry::jittered(retry::WAITING),
    }))
}

/// One event when a deletion is blocked for a new reason.
async fn warn_of_blocked_deletion(queue: &Queue, context: &Context, verdict: &Verdict) {
    let conditions = queue.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let known = conditions.iter().any(|condition| {
        condition.type_ == crate::condition::ConditionType::DeletionBlocked.as_str()
            && condition.reason == verdict.reason.as_str()
    });
    if !known {
        context
            .events
            .warning(queue, verdict.reason, "Delete", status::told(verdict.reason, &verdict.detail))
            .await;
    }
}

/// Writes the status by server-side apply, unless it is there already.
async fn write_status(queue: &Queue, context: &Context, status: QueueStatus) -> kube::Result<()> {
    if queue.status.as_ref() == Some(&status) {
        return Ok(());
    }
    if let Some(before) = &queue.status {
        log_change(queue, before, &status);
    }
    apply::status(&context.client, queue, &status).await
}

/// A line when the object became ready, or ceased to be.
fn log_change(queue: &Queue, before: &QueueStatus, after: &QueueStatus) {
    let ready = |status: &QueueStatus| {
        status.conditions.first().map(|ready| (ready.status.clone(), ready.reason.clone()))
    };
    if ready(before) != ready(after)
        && let Some((state, reason)) = ready(after)
    {
        let message = after.conditions.first().map(|ready| ready.message.as_str()).unwrap_or_default();
        let is_ready = state == State::True.as_str();
        tracing::info!(queue = %key_of(queue), ready = is_ready, reason, message, "the state of a queue changed");
    }
}

fn api(queue: &Queue, context: &Context) -> Api<Queue> {
    Api::namespaced(context.client.clone(), &queue.namespace().unwrap_or_default())
}
