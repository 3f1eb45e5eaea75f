//! Whether the operator sees the cluster: a layer of the client notes when each watch was opened last.
//!
//! An operator whose watch is broken looks healthy and does nothing; so `/livez` fails then, and a restart opens the watch
//! anew. An object that fails never makes it fail.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{self, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper::{Request, Response, StatusCode};
use kube::client::Body;
use tokio::time::Instant;
use tower::{Layer, Service};

use crate::metrics::Metrics;

/// Every watch ends by itself within this time and is opened anew; twice of it without one means that it is broken.
const SILENCE_MAX: Duration = Duration::from_secs(2 * crate::watch::WATCH_SECONDS as u64);

/// What `/livez` and `/readyz` say.
#[derive(Clone)]
pub struct Health(Arc<State>);

struct State {
    /// When each watched path was answered last, or was asked for first.
    watches: Mutex<BTreeMap<String, Instant>>,
    ready: AtomicBool,
    metrics: Arc<Metrics>,
}

impl Health {
    /// Not ready, nothing watched.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(State { watches: Mutex::default(), ready: AtomicBool::new(false), metrics }))
    }

    /// The operator can do its work, or stands by to do it.
    pub fn set_ready(&self, ready: bool) {
        self.0.ready.store(ready, Ordering::Relaxed);
    }

    /// Whether it can.
    pub fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::Relaxed)
    }

    /// The watches that were not opened for too long; the process should be restarted if there is one.
    pub fn broken_watches(&self) -> Vec<String> {
        let watches = self.0.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let broken = watches.iter().filter(|(_, last)| last.elapsed() > SILENCE_MAX);
        broken.map(|(path, _)| path.clone()).collect()
    }

    /// Before the first good answer the time of the first attempt counts.
    fn asked(&self, path: &str) {
        let mut watches = self.0.watches.lock().unwrap_or_else(PoisonError::into_inner);
        if !watches.contains_key(path) {
            watches.insert(path.to_owned(), Instant::now());
        }
    }

    fn answered(&self, path: &str, status: Option<StatusCode>) {
        let resource = resource(path);
        if !status.is_some_and(|status| status.is_success()) {
            self.0.metrics.watch_failed(resource);
            return;
        }
        self.0.metrics.watch_opened(resource);
        let mut watches = self.0.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.insert(path.to_owned(), Instant::now());
    }
}

/// The last part of a path: the plural of the kind.
fn resource(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The path of a request that is part of a watch: a watch, or the list that comes before one. Lists of our own for a
/// reconcile have a label or field selector and no limit; those of a watcher are paged.
fn watched(request: &Request<Body>) -> Option<(&str, bool)> {
    let query = request.uri().query().unwrap_or_default();
    let has = |wanted: &str| query.split('&').any(|parameter| parameter == wanted);
    let is_watch = has("watch=true");
    (is_watch || query.split('&').any(|parameter| parameter.starts_with("limit=")))
        .then(|| (request.uri().path(), is_watch))
}

impl<S> Layer<S> for Health {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed { inner, health: self.clone() }
    }
}

/// A client's service whose watches are noted.
#[derive(Clone)]
pub struct Observed<S> {
    inner: S,
    health: Health,
}

impl<S, B> Service<Request<Body>> for Observed<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    B: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let watched = watched(&request).map(|(path, is_watch)| (path.to_owned(), is_watch));
        let answer = self.inner.call(request);
        let Some((path, is_watch)) = watched else { return Box::pin(answer) };
        self.health.asked(&path);
        let health = self.health.clone();
        Box::pin(async move {
            let answer = answer.await;
            let status = answer.as_ref().ok().map(Response::status);
            // A list alone does not show that watching works; a list that fails shows that it does not.
            if is_watch || !status.is_some_and(|status| status.is_success()) {
                health.answered(&path, status);
            }
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(
        health: &Health,
        status: StatusCode,
    ) -> impl Service<Request<Body>, Response = Response<()>, Error = ()> {
        let answer = move |_| async move { Ok(Response::builder().status(status).body(()).unwrap()) };
        health.layer(tower::service_fn(answer))
    }

    async fn call(health: &Health, uri: &str, status: StatusCode) {
        let request = Request::builder().uri(uri).body(Body::empty()).unwrap();
        service(health, status).call(request).await.unwrap();
    }

    const QUEUES: &str = "/apis/cmq.dev/v1alpha1/queues";

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_is_not_opened_any_more_is_broken() {
        let health = Health::new(Arc::new(Metrics::new()));
        let watch = format!("{QUEUES}?watch=true&timeoutSeconds=200");
        call(&health, &watch, StatusCode::OK).await;
        tokio::time::advance(SILENCE_MAX).await;
        assert_eq!(health.broken_watches(), Vec::<String>::new());
        call(&health, &watch, StatusCode::FORBIDDEN).await;
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(health.broken_watches(), [QUEUES]);
        call(&health, &watch, StatusCode::OK).await;
        assert_eq!(health.broken_watches(), Vec::<String>::new());
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_never_becomes_a_watch_is_broken_too() {
        let health = Health::new(Arc::new(Metrics::new()));
        call(&health, &format!("{QUEUES}?&limit=500&resourceVersion=0"), StatusCode::INTERNAL_SERVER_ERROR)
            .await;
        call(&health, "/api/v1/namespaces/shop/pods?&labelSelector=a%3Db", StatusCode::INTERNAL_SERVER_ERROR)
            .await;
        call(&health, "/api/v1/namespaces/shop/pods/orders-cmq-0", StatusCode::INTERNAL_SERVER_ERROR).await;
        tokio::time::advance(SILENCE_MAX + Duration::from_secs(1)).await;
        assert_eq!(health.broken_watches(), [QUEUES]);
        let families = health.0.metrics.registry().gather();
        let errors =
            families.iter().find(|family| family.name() == "cmq_operator_watch_errors_total").unwrap();
        assert_eq!(errors.get_metric()[0].get_counter().get_value(), 1.0);
    }
}
