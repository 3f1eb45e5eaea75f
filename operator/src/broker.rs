//! The controller of `Broker`.

use std::sync::Arc;

use cmq_crds::broker::Broker;
use futures_util::{StreamExt, future};
use kube::runtime::reflector::store::Writer;

use crate::context::Context;
use crate::watch;

pub mod build;
pub mod model;
pub mod refusal;

/// Runs until `stop`, then ends once running reconciles have ended.
pub async fn controller(
    context: Arc<Context>,
    writers: Vec<Writer<Broker>>,
    stop: impl Future<Output = ()> + Clone + Send + Sync + 'static,
) {
    let parts = context.settings.scope.parts().into_iter().zip(writers).map(|(part, writer)| {
        watch::own_kind(&context.client, part, writer).take_until(stop.clone()).for_each(|broker| async {
            if let Err(error) = broker {
                tracing::warn!(%error, "the watch of brokers failed and is opened again");
            }
        })
    });
    future::join_all(parts).await;
}
