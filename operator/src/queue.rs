//! The controller of `Queue`.

use std::sync::Arc;

use cmq_crds::queue::Queue;
use futures_util::{StreamExt, future};
use kube::runtime::reflector::store::Writer;

use crate::context::Context;
use crate::watch;

/// Runs until `stop`, then ends once running reconciles have ended.
pub async fn controller(
    context: Arc<Context>,
    writers: Vec<Writer<Queue>>,
    stop: impl Future<Output = ()> + Clone + Send + Sync + 'static,
) {
    let parts = context.settings.scope.parts().into_iter().zip(writers).map(|(part, writer)| {
        watch::own_kind(&context.client, part, writer).take_until(stop.clone()).for_each(|queue| async {
            if let Err(error) = queue {
                tracing::warn!(%error, "the watch of queues failed and is opened again");
            }
        })
    });
    future::join_all(parts).await;
}
