//! Everything that a Queue refers to, read before anything is decided.

use std::sync::Arc;

use cmq_crds::broker::Broker;
use cmq_crds::broker::network::NamespaceSelection;
use cmq_crds::queue::Queue;
use kube::core::{Selector, SelectorExt};
use kube::{Client, ResourceExt};

use super::neighbours::{Facts, broker_of, key_of};
use crate::context::Context;
use crate::namespaces;
use crate::wakes::Key;

/// A Queue's surroundings.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    /// The Broker that it is on; nothing when there is none.
    pub broker: Option<Arc<Broker>>,
    /// Whether the Broker's namespace is one that the operator looks after.
    pub broker_in_scope: bool,
    /// Whether the Broker serves objects of this namespace.
    pub consent: bool,
    /// The dead-letter queue; nothing when there is none, or none is asked for.
    pub target: Option<Facts>,
    /// The other Queues whose dead letters go to the same.
    pub fellows: Vec<(Key, Facts)>,
    /// The other Queues that want the same name on the wire of the same Broker.
    pub rivals: Vec<(Key, Facts)>,
}

/// Reads the surroundings of a Queue.
///
/// # Errors
/// When the API server fails, or refuses to show the labels of the namespace where the Broker's consent hangs on them.
pub(super) async fn dereference(context: &Context, queue: &Queue) -> kube::Result<World> {
    let (key, broker_key) = (key_of(queue), broker_of(queue));
    let broker = context.brokers.get(&broker_key.namespace, &broker_key.name);
    let consent = match &broker {
        Some(broker) if key.namespace != broker_key.namespace => {
            consents(&context.client, broker.spec.allowed_namespaces.as_ref(), &key.namespace).await?
        }
        _ => true,
    };
    let target = queue
        .spec
        .dead_letter
        .as_ref()
        .map(|rule| Key::new(key.namespace.clone(), rule.queue_ref.name.clone()));
    let others = |found: Vec<(Key, Facts)>| found.into_iter().filter(|(other, _)| *other != key).collect();
    Ok(World {
        broker,
        broker_in_scope: context.settings.scope.covers(&broker_key.namespace),
        consent,
        target: target.as_ref().and_then(|target| context.neighbours.get(target)),
        fellows: target.map(|target| others(context.neighbours.sources(&target))).unwrap_or_default(),
        rivals: others(context.neighbours.of_wire_name(&broker_key, queue.wire_name())),
    })
}

/// Whether a Broker lets objects of another namespace refer to it.
async fn consents(
    client: &Client,
    allowed: Option<&NamespaceSelection>,
    namespace: &str,
) -> kube::Result<bool> {
    let Some(allowed) = allowed else { return Ok(false) };
    if allowed.names.iter().any(|name| name == namespace) {
        return Ok(true);
    }
    let Some(selector) = &allowed.selector else { return Ok(false) };
    // A selector that cannot be read selects nothing.
    let Ok(selector) = Selector::try_from(selector.clone()) else { return Ok(false) };
    let labels = namespaces::metadata(client, namespace).await?.map(|namespace| namespace.labels().clone());
    Ok(labels.is_some_and(|labels| selector.matches(&labels)))
}
