//! The controller of `Broker`: pods, volumes, certificates, and everything around them.
//!
//! One look at a Broker goes through the same steps, each decided from what exists: observe → validate → volumes of a former
//! Broker → certificates → children → growth of volumes → roll of the pods → status. What is looked at again, and when, hangs on
//! how far the look came. A look that is cut off anywhere is taken up by the next one.

use std::sync::Arc;
use std::time::Duration;

use cmq_crds::broker::Broker;
use futures_util::{StreamExt, future};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::reflector::store::Writer;
use kube::{Api, Client, ResourceExt};
use tokio::time::timeout;

use crate::apply::ApplyError;
use crate::condition::{ConditionType, Finding, State, merge};
use crate::context::Context;
use crate::queue::neighbours::Part;
use crate::reason::Reason;
use crate::{apply, finalizer, labels, retry, watch};
use observe::Observed;
use refusal::Refusal;
use status::Look;

mod advance;
pub mod build;
mod certificates;
mod cleanup;
pub mod cluster;
pub mod model;
mod observe;
mod pods;
pub mod refusal;
mod roll;
mod set;
mod status;
mod volumes;

/// Brokers looked at at once in one part of the scope.
const CONCURRENCY: u16 = 4;
/// Changes that come so close to each other are looked at as one.
const DEBOUNCE: Duration = Duration::from_millis(300);
/// Time that one look may take.
const TIME_MAX: Duration = Duration::from_secs(60);
/// Wait before the next look while something is under way that no watch shows: a growth, a rotation.
const UNDER_WAY: Duration = Duration::from_secs(10);

/// Runs until `stop`, then ends once running looks have ended.
pub async fn controller(
    context: Arc<Context>,
    writers: Vec<Writer<Broker>>,
    stop: impl Future<Output = ()> + Clone + Send + Sync + 'static,
) {
    let config = Config::default().concurrency(CONCURRENCY).debounce(DEBOUNCE);
    let parts = context.settings.scope.parts().into_iter().zip(writers).zip(&context.broker_wakes);
    let controllers = parts.map(|((part, writer), wakes)| {
        let (store, seen) = (writer.as_reader(), context.clone());
        let mut listed = Part::new(part);
        let brokers = watch::own_kind(&context.client, part, writer, move |event| {
            seen.tell(seen.neighbours.broker_event(&mut listed, event));
        });
        let controller = Controller::for_stream(brokers, store)
            .reconcile_on(wakes.clone().stream())
            .with_config(config.clone())
            .graceful_shutdown_on(stop.clone());
        triggered(controller, &context.client, part)
            .run(reconcile, |_, error, _| match *error {}, context.clone())
            .for_each(|result| async {
                if let Err(error) = result {
                    tracing::debug!(%error, "a broker was not looked at");
                }
            })
    });
    future::join_all(controllers).await;
}

/// A controller that looks at a Broker when something of it changes or goes. Metadata is enough: what is there is read anew.
/// Secrets are not watched, for the right to do so is the right to read all of them: one that goes comes back with the next look.
fn triggered(controller: Controller<Broker>, client: &Client, part: Option<&str>) -> Controller<Broker> {
    controller
        .watches_stream(watch::children::<StatefulSet>(client, part), |object| owner(&object.metadata))
        .watches_stream(watch::children::<Pod>(client, part), |object| owner(&object.metadata))
        .watches_stream(watch::children::<PersistentVolumeClaim>(client, part), |object| {
            owner(&object.metadata)
        })
        .watches_stream(watch::children::<Service>(client, part), |object| owner(&object.metadata))
        .watches_stream(watch::children::<ConfigMap>(client, part), |object| owner(&object.metadata))
        .watches_stream(watch::children::<ServiceAccount>(client, part), |object| owner(&object.metadata))
        .watches_stream(watch::children::<PodDisruptionBudget>(client, part), |object| {
            owner(&object.metadata)
        })
        .watches_stream(watch::children::<NetworkPolicy>(client, part), |object| owner(&object.metadata))
}

/// The Broker that something belongs to by its label.
fn owner(meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> Option<ObjectRef<Broker>> {
    let name = meta.labels.as_ref()?.get(labels::INSTANCE)?;
    Some(ObjectRef::new(name).within(meta.namespace.as_deref()?))
}

/// Why a look ended early.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error(transparent)]
    Certificates(#[from] certificates::Error),
}

impl Error {
    /// The error as a problem that is shown and waited for, where it is one; else as the API server's.
    fn sort(self) -> Result<Refusal, kube::Error> {
        let apply = match self {
            Self::Api(error) => return Err(error),
            Self::Apply(error) | Self::Certificates(certificates::Error::Apply(error)) => error,
            Self::Certificates(certificates::Error::Certificate(error)) => {
                return Ok(Refusal::waiting(Reason::CertificatesPending, error.to_string()));
            }
        };
        match apply {
            ApplyError::Api(error) => Err(error),
            error @ ApplyError::NotOurs { .. } => {
                let message = format!("{error}; it is not touched");
                Ok(Refusal::waiting(Reason::NameConflict, message))
            }
            error @ ApplyError::Leaving { .. } => Ok(Refusal::waiting(Reason::Starting, error.to_string())),
        }
    }
}

/// Never fails: what goes wrong is in the status of the object, in the log and in the metrics, and decides about the next look.
async fn reconcile(broker: Arc<Broker>, context: Arc<Context>) -> Result<Action, std::convert::Infallible> {
    let counted = context.metrics.reconcile("broker");
    let (namespace, name) = (broker.namespace().unwrap_or_default(), broker.name_any());
    let error = match timeout(TIME_MAX, look(&broker, &context)).await {
        Ok(Ok(wait)) => {
            context.broker_failures.forget(&namespace, &name);
            counted.done();
            return Ok(wait.map_or_else(Action::await_change, Action::requeue));
        }
        Ok(Err(error)) => error,
        Err(_) => {
            tracing::warn!(namespace, name, "a look at a broker took too long and was cut off");
            counted.failed("timeout");
            return Ok(Action::requeue(context.broker_failures.note(&namespace, &name).backoff()));
        }
    };
    if let kube::Error::Api(status) = &error
        && status.is_forbidden()
    {
        counted.failed("forbidden");
        tracing::warn!(namespace, name, error = status.message, "the API server refuses a call");
        // Without the right to write the status nothing is left but the log.
        let _ = forbidden(&broker, &context, &status.message).await;
        return Ok(Action::requeue(retry::FORBIDDEN));
    }
    counted.failed("api");
    let failing = context.broker_failures.note(&namespace, &name);
    tracing::warn!(namespace, name, %error, attempts = failing.attempts, "a look at a broker failed; trying again");
    Ok(Action::requeue(failing.backoff()))
}

/// One look; says when the next one is due, nothing when only a change can make a difference.
async fn look(broker: &Broker, context: &Context) -> kube::Result<Option<Duration>> {
    if broker.metadata.deletion_timestamp.is_some() {
        return leave(broker, context).await;
    }
    let paused = is_paused(broker);
    if !paused {
        finalizer::put(&api(broker, context), broker).await?;
    }
    let observed = observe::observe(context, broker).await?;
    let mut look = Look { paused, queues: queues(broker, context), ..seen(broker, &observed) };
    if !paused && let Err(error) = advance::advance(context, broker, &observed, &mut look).await {
        look.refusal = Some(error.sort()?);
    }
    write_status(broker, context, &look).await?;
    Ok(Some(next(broker, &look)))
}

/// What is seen before anything is done; of certificates, what was known before.
fn seen<'a>(broker: &Broker, observed: &'a Observed) -> Look<'a> {
    let before = broker.status.as_ref().and_then(|status| status.certificates.as_ref());
    let expire = before.and_then(|ends| Some(ends.internal_not_after.as_ref()?.0));
    Look {
        certificates: certificates::Standing { expire, ..certificates::Standing::default() },
        pods: &observed.pods,
        claims: &observed.claims,
        infos: &observed.infos,
        set: observed.set.as_ref().map(roll::SetView::of),
        ..Look::default()
    }
}

/// When a Broker is looked at again if nothing changes.
fn next(broker: &Broker, look: &Look<'_>) -> Duration {
    let settled = matches!(look.roll, Some(roll::Step::Settled))
        && matches!(look.growth, Some(volumes::Growth::Settled | volumes::Growth::Refused(_)))
        && !look.certificates.rotating
        && look.certificates.pending.is_none()
        && look.infos.iter().all(|(_, info)| info.is_ok());
    match &look.refusal {
        Some(refusal) if !refusal.recoverable => retry::USER_ERROR,
        Some(_) => retry::jittered(retry::WAITING),
        None if look.paused => retry::jittered(retry::SETTLED),
        None if settled && look.infos.is_empty() && !broker.spec.stopped => UNDER_WAY,
        None if settled => retry::jittered(retry::SETTLED),
        None => UNDER_WAY,
    }
}

fn is_paused(broker: &Broker) -> bool {
    broker.spec.paused || broker.annotations().get(labels::PAUSED).is_some_and(|value| value == "true")
}

/// A look at a Broker that is being deleted. As long as something blocks that, it is kept as any other.
async fn leave(broker: &Broker, context: &Context) -> kube::Result<Option<Duration>> {
    if !finalizer::is_set(broker) {
        return Ok(None);
    }
    let observed = observe::observe(context, broker).await?;
    let step = cleanup::advance(context, broker, &observed).await?;
    let blocked = match step {
        cleanup::Step::Finish => {
            tracing::info!(namespace = broker.namespace(), broker = broker.name_any(), "a Broker is gone");
            context.broker_failures.forget(&broker.namespace().unwrap_or_default(), &broker.name_any());
            return Ok(None);
        }
        cleanup::Step::Blocked(refusal) => {
            if !says(broker, ConditionType::DeletionBlocked, refusal.reason) {
                context.events.warning(broker, refusal.reason, "Delete", refusal.message.clone()).await;
            }
            Some(refusal)
        }
        cleanup::Step::RemoveSet | cleanup::Step::Wait | cleanup::Step::RemoveClaims => None,
    };
    let serves_on = blocked.is_some() && !is_paused(broker);
    let mut look =
        Look { leaving: Some(blocked), queues: queues(broker, context), ..seen(broker, &observed) };
    if serves_on {
        finalizer::take_from_foreground(&api(broker, context), broker).await?;
        if let Err(error) = advance::advance(context, broker, &observed, &mut look).await {
            look.refusal = Some(error.sort()?);
        }
    }
    write_status(broker, context, &look).await?;
    Ok(Some(retry::jittered(retry::WAITING).min(next(broker, &look))))
}

/// Whether the status has a condition with this reason: an event is for what is new.
fn says(broker: &Broker, condition: ConditionType, reason: Reason) -> bool {
    let conditions = broker.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().any(|said| said.type_ == condition.as_str() && said.reason == reason.as_str())
}

/// Queues that refer to a Broker, and the one that made it.
fn queues(broker: &Broker, context: &Context) -> usize {
    let (namespace, name) = (broker.namespace().unwrap_or_default(), broker.name_any());
    let owners: Vec<_> = broker.owner_references().iter().map(|owner| owner.uid.as_str()).collect();
    let of = |queue: &cmq_crds::queue::Queue| {
        cleanup::refers(queue, &namespace, &name)
            || queue.metadata.uid.as_deref().is_some_and(|uid| owners.contains(&uid))
    };
    context.queues.filter(of).len()
}

fn api(broker: &Broker, context: &Context) -> Api<Broker> {
    Api::namespaced(context.client.clone(), &broker.namespace().unwrap_or_default())
}

/// Writes the status where it differs from what is there.
async fn write_status(broker: &Broker, context: &Context, look: &Look<'_>) -> kube::Result<()> {
    let status = status::status(broker, look, context.clock.now());
    apply_status(broker, context, status).await
}

async fn forbidden(broker: &Broker, context: &Context, message: &str) -> kube::Result<()> {
    let mut status = broker.status.clone().unwrap_or_default();
    let ready =
        status.conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let ready = if ready { State::True } else { State::Unknown };
    let found = [
        Finding::new(ConditionType::Ready, ready, Reason::Forbidden, message),
        Finding::new(ConditionType::Stalled, State::True, Reason::Forbidden, message),
    ];
    let generation = broker.metadata.generation.unwrap_or(0);
    status.conditions = merge(&status.conditions, &found, generation, context.clock.now());
    status.observed_generation = Some(generation);
    apply_status(broker, context, status).await
}

async fn apply_status(
    broker: &Broker,
    context: &Context,
    status: cmq_crds::broker::status::BrokerStatus,
) -> kube::Result<()> {
    if broker.status.as_ref() == Some(&status) {
        return Ok(());
    }
    apply::status(&context.client, broker, &status).await
}
