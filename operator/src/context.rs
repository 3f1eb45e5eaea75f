//! What every reconcile is given, and what the operator is configured with.

use std::collections::BTreeMap;
use std::sync::Arc;

use cmq_crds::broker::{Broker, ImagePullPolicy};
use cmq_crds::queue::Queue;
use jiff::Timestamp;
use kube::Client;
use kube::runtime::reflector::store::Writer;

use crate::admin::BrokerConnector;
use crate::events::Events;
use crate::metrics::Metrics;
use crate::retry::Failures;
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
    /// Brokers that fail.
    pub broker_failures: Failures,
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
        let context = Self {
            client,
            settings,
            clock,
            connector,
            brokers,
            queues,
            broker_failures: Failures::default(),
            events,
            metrics,
        };
        (Arc::new(context), Writers { brokers: broker_writers, queues: queue_writers })
    }
}
