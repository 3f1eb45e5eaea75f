//! What every reconcile is given, and what the operator is configured with.

use std::collections::BTreeMap;
use std::sync::Arc;

use cmq_crds::broker::{Broker, ImagePullPolicy};
use cmq_crds::queue::Queue;
use jiff::Timestamp;
use kube::Client;
use kube::runtime::reflector::store::Writer;

use crate::admin::{BrokerConnector, CallError, Desk, Identities, PodAddress};
use crate::events::Events;
use crate::metrics::Metrics;
use crate::pki::Source;
use crate::queue::counts::Counts;
use crate::queue::neighbours::{Concerned, Neighbours};
use crate::retry::Failures;
use crate::wakes::{Key, Wakes};
use crate::watch::{Scope, View};

/// What the operator is configured with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Namespaces whose objects are looked after.
    pub scope: Scope,
    /// Image of brokers whose spec names none.
    pub broker_image: String,
    /// When a node pulls it, where the spec does not say.
    pub broker_image_pull_policy: Option<ImagePullPolicy>,
    /// Namespace that the operator runs in: NetworkPolicies let its pods in.
    pub namespace: String,
    /// Labels by which NetworkPolicies know the operator's pods.
    pub pod_labels: BTreeMap<String, String>,
    /// Whether pods of this cluster have IPv6 addresses only or first; brokers listen on all addresses of that family.
    pub ipv6: bool,
}

/// The wall clock, injected so that tests can move it.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// What every reconcile is given.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What the operator is configured with.
    pub settings: Settings,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The brokers' admin API.
    pub connector: Arc<dyn BrokerConnector>,
    /// Brokers as last seen by the watch; may be behind the API server.
    pub brokers: View<Broker>,
    /// Queues as last seen by the watch; may be behind the API server.
    pub queues: View<Queue>,
    /// Declares and withdraws queues, many in one call.
    pub desk: Desk,
    /// The operator's certificates for the Brokers.
    pub(crate) identities: Identities,
    /// What Queues have to do with each other.
    pub neighbours: Neighbours,
    /// What is in the queues, coarsely.
    pub counts: Counts,
    /// Brokers to be looked at, a set for each part of the scope.
    pub broker_wakes: Vec<Arc<Wakes>>,
    /// Queues to be looked at, a set for each part of the scope.
    pub queue_wakes: Vec<Arc<Wakes>>,
    /// Brokers that fail.
    pub broker_failures: Failures,
    /// Queues that fail.
    pub queue_failures: Failures,
    /// Tells users about changes.
    pub events: Events,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// The writing ends of a [`Context`]'s views; each controller fills the view of its kind, a writer for each part of the scope.
pub struct Writers {
    /// Fills [`Context::brokers`].
    pub brokers: Vec<Writer<Broker>>,
    /// Fills [`Context::queues`].
    pub queues: Vec<Writer<Queue>>,
}

impl Context {
    /// A context with empty views, and what fills them.
    pub fn new(
        client: Client,
        settings: Settings,
        connector: Arc<dyn BrokerConnector>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> (Arc<Self>, Writers) {
        let (brokers, broker_writers) = View::new(&settings.scope);
        let (queues, queue_writers) = View::new(&settings.scope);
        let events = Events::new(client.clone());
        let wakes = || settings.scope.parts().iter().map(|_| Arc::default()).collect();
        let context = Self {
            desk: Desk::new(connector.clone()),
            identities: Identities::new(client.clone(), clock.clone()),
            neighbours: Neighbours::default(),
            counts: Counts::default(),
            broker_wakes: wakes(),
            queue_wakes: wakes(),
            broker_failures: Failures::default(),
            queue_failures: Failures::default(),
            client,
            settings,
            clock,
            connector,
            brokers,
            queues,
            events,
            metrics,
        };
        (Arc::new(context), Writers { brokers: broker_writers, queues: queue_writers })
    }

    /// The pods of a Broker, and by what the operator and they know each other.
    ///
    /// # Errors
    /// When the Broker or its certificates are not there.
    pub async fn pods(&self, broker: &Key) -> Result<Vec<PodAddress>, CallError> {
        let known = self.brokers.get(&broker.namespace, &broker.name);
        let (replicas, source) =
            known.map_or((1, Source::Authority), |broker| (broker.spec.replicas, Source::of(&broker.spec)));
        let identity = self.identities.get(broker, source).await.map_err(|error| CallError::Unreachable {
            pod: format!("Broker {broker}"),
            problem: error.to_string(),
        })?;
        let pod = |ordinal| PodAddress {
            namespace: broker.namespace.to_string(),
            broker: broker.name.to_string(),
            ordinal,
            identity: identity.clone(),
        };
        Ok((0..replicas).map(pod).collect())
    }

    /// A call to a Broker failed: where that may be for its certificates, they are read anew before the next.
    pub fn call_failed(&self, broker: &Key, error: &CallError) {
        if let CallError::Unreachable { .. } = error {
            self.identities.forget(broker);
        }
    }

    /// Has everything looked at that a change concerns.
    pub fn tell(&self, concerned: Concerned) {
        concerned.queues.into_iter().for_each(|queue| self.wake_queue(queue));
        concerned.brokers.into_iter().for_each(|broker| self.wake(&self.broker_wakes, broker));
    }

    /// Has a Queue looked at.
    pub fn wake_queue(&self, queue: Key) {
        self.wake(&self.queue_wakes, queue);
    }

    fn wake(&self, wakes: &[Arc<Wakes>], key: Key) {
        let parts = self.settings.scope.parts();
        let part = parts.iter().position(|part| part.is_none_or(|namespace| namespace == &*key.namespace));
        if let Some(wakes) = part.and_then(|part| wakes.get(part)) {
            wakes.wake(key);
        }
    }
}
