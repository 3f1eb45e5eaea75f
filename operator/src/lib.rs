//! The Kubernetes operator of CMQ: it makes the pods that a `Broker` asks for, and declares every `Queue` to its broker.
//!
//! Two controllers, each a pipeline of functions that are tested alone: dereference (read what an object refers to) →
//! validate → build → apply → observe (pods, the brokers' admin API) → status. `validate`, `build` and `status` are pure: no
//! client, no clock.
//!
//! | Module | What |
//! |---|---|
//! | [`names`], [`labels`] | how children are called and found; every annotation and finalizer |
//! | [`reason`], [`condition`] | why a condition is as it is, with the remedy; how conditions are merged |
//! | [`context`], [`watch`], [`namespaces`] | what every reconcile is given; the objects that are watched, and namespaces |
//! | [`wakes`], [`retry`], [`finalizer`] | who is looked at again and when; our finalizer |
//! | [`apply`](mod@apply) | ownership check and server-side apply of one child; the status |
//! | [`pki`] | authorities, certificates and their rotation |
//! | [`admin`] | the brokers' admin API as a trait and its types |
//! | [`broker`], [`queue`] | the two controllers |
//! | [`events`], [`metrics`], [`health`], [`http`] | what the operator tells about itself |
//! | [`config`], [`process`], [`kinds`], [`lease`] | the process: flags, start and stop, one at a time |
//! | [`errand`], [`preflight`], [`permissions`], [`uninstall`] | what the chart runs beside it: a check, and the end |

use std::sync::Arc;

use context::{Context, Writers};
use futures_util::future;

pub mod admin;
pub mod apply;
pub mod broker;
pub mod condition;
pub mod config;
pub mod context;
pub mod errand;
pub mod events;
pub mod finalizer;
pub mod health;
pub mod http;
pub mod kinds;
pub mod labels;
pub mod lease;
pub mod metrics;
pub mod names;
pub mod namespaces;
pub mod permissions;
pub mod pki;
pub mod preflight;
pub mod process;
pub mod queue;
pub mod reason;
pub mod retry;
pub mod uninstall;
pub mod wakes;
pub mod watch;

/// Runs both controllers until `stop`, then ends once running reconciles have ended.
pub async fn run(
    context: Arc<Context>,
    writers: Writers,
    stop: impl Future<Output = ()> + Clone + Send + Sync + 'static,
) {
    let brokers = broker::controller(context.clone(), writers.brokers, stop.clone());
    let queues = queue::controller(context, writers.queues, stop);
    future::join(brokers, queues).await;
}
