//! The Broker of a Queue with pods of its own: an object like any other, which the Queue owns and keeps as its spec says.

use std::sync::Arc;

use cmq_crds::broker::Broker;
use cmq_crds::queue::Queue;
use kube::ResourceExt;

use super::verdict::Verdict;
use crate::apply::{self, ApplyError};
use crate::context::Context;
use crate::reason::Reason;

/// The Broker as the Queue wants it; nothing for a Queue on a shared one. Pure.
pub(super) fn build(queue: &Queue) -> Option<Broker> {
    let spec = queue.spec.broker.clone()?;
    let mut broker = Broker::new(&queue.name_any(), spec);
    broker.metadata.namespace = queue.namespace();
    broker.metadata.labels = Some(crate::labels::of_children(&queue.name_any()));
    Some(broker)
}

/// Makes the Broker of a Queue with pods of its own what it should be.
///
/// # Errors
/// A verdict when the name is taken by a Broker of somebody else; else what the API server says.
pub(super) async fn apply(context: &Context, queue: &Queue) -> Result<Option<Arc<Broker>>, OwnBrokerError> {
    let Some(broker) = build(queue) else { return Ok(None) };
    match apply::child(&context.client, queue, broker).await {
        Ok(broker) => Ok(Some(Arc::new(broker))),
        Err(error @ ApplyError::Leaving { .. }) => {
            Err(OwnBrokerError::Verdict(Verdict::waiting(Reason::BrokerDeleting, error.to_string())))
        }
        Err(error @ ApplyError::NotOurs { .. }) => {
            Err(OwnBrokerError::Verdict(Verdict::user_error(Reason::NameConflict, error.to_string())))
        }
        Err(ApplyError::Api(error)) => Err(OwnBrokerError::Api(error)),
    }
}

/// Why a Queue's own Broker is not as it should be.
#[derive(Debug)]
pub(super) enum OwnBrokerError {
    /// A person must act.
    Verdict(Verdict),
    /// The API server fails or refuses.
    Api(kube::Error),
}
