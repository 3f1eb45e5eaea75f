//! A Kubernetes API server in memory: what the operator and its library use of the real one, and as honest.
//!
//! Served are discovery, get, list, watch, create, replace, the three patches and delete of the kinds in [`kinds`]; anything
//! else is answered as the real server answers what it does not know, so that it shows.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tokio::sync::watch;

pub(crate) mod admission;
mod apply;
mod defaults;
mod discovery;
mod fields;
pub(crate) mod kinds;
mod patch;
pub(crate) mod refusal;
mod route;
mod selector;
pub(crate) mod store;
mod stream;
#[cfg(test)]
mod tests;
mod view;

pub(crate) use apply::Applier;
pub(crate) use route::{Call, Verb};

use refusal::Refusal;
use store::Store;

/// The body of an answer: whole, or a watch.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The server; calls go straight to it, or through a client.
pub(crate) struct Server {
    store: Mutex<Store>,
    revision: watch::Sender<u64>,
    /// Kinds of custom resources that are not installed.
    absent: Vec<&'static str>,
}

impl Server {
    pub(crate) fn new(store: Store) -> Arc<Self> {
        Self::without(store, &[])
    }

    /// A server without some kinds.
    pub(crate) fn without(store: Store, absent: &[&'static str]) -> Arc<Self> {
        let revision = watch::Sender::new(store.revision());
        Arc::new(Self { store: Mutex::new(store), revision, absent: absent.to_vec() })
    }

    /// Looks at the objects.
    pub(crate) fn read(&self) -> MutexGuard<'_, Store> {
        self.store.lock().expect("no holder panics")
    }

    /// Changes objects from inside the cluster, or as a user does.
    pub(crate) fn write<T>(&self, change: impl FnOnce(&mut Store) -> T) -> T {
        let mut store = self.read();
        let result = change(&mut store);
        self.revision
            .send_if_modified(|revision| std::mem::replace(revision, store.revision()) != store.revision());
        result
    }

    /// Wakes at every change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Answers a call.
    pub(crate) fn answer(self: &Arc<Self>, request: Request<Bytes>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        if let Some(document) = discovery::document(&path, &self.absent) {
            return whole(200, Bytes::from(document.to_string()));
        }
        match Call::parse(request, &self.absent).and_then(|call| self.serve(call)) {
            Ok(response) => response,
            Err(refusal) => whole(refusal.code, refusal.body()),
        }
    }

    /// Whether a write would change anything that is kept.
    pub(crate) fn would_change(&self, request: Request<Bytes>) -> bool {
        let copy = Self::without(self.read().clone(), &self.absent);
        copy.answer(request);
        let (before, after) = (self.read().revision_of_state(), copy.read().revision_of_state());
        before != after
    }

    fn serve(self: &Arc<Self>, call: Call) -> Result<Response<Body>, Refusal> {
        match call.verb {
            Verb::Watch => stream::open(self, call),
            Verb::Get => {
                let store = self.read();
                let found = store.get(call.kind, &call.namespace, &call.name);
                let object = found.ok_or_else(|| Refusal::not_found(call.kind, &call.name))?;
                Ok(whole(200, Bytes::from(view::object(object, call.metadata_only).to_string())))
            }
            Verb::List => {
                let list = view::list(&self.read(), &call)?;
                Ok(whole(200, Bytes::from(list.to_string())))
            }
            Verb::Create | Verb::Replace | Verb::Patch(_) | Verb::Delete => {
                let existed = call.verb != Verb::Create;
                let metadata_only = call.metadata_only;
                let object = self.write(|store| patch::execute(store, call))?;
                Ok(whole(
                    if existed { 200 } else { 201 },
                    Bytes::from(view::object(&object, metadata_only).to_string()),
                ))
            }
        }
    }

    /// A client of this server whose calls go through `around`: the place for faults.
    pub(crate) fn client<F, A>(self: &Arc<Self>, around: F) -> kube::Client
    where
        F: Fn(Arc<Self>, Request<Bytes>) -> A + Clone + Send + 'static,
        A: Future<Output = Result<Response<Body>, tower::BoxError>> + Send + 'static,
    {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let (server, around) = (server.clone(), around.clone());
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                around(server, Request::from_parts(parts, body)).await
            }
        });
        kube::Client::new(service, "default")
    }

    /// A client of this server, without faults.
    pub(crate) fn plain_client(self: &Arc<Self>) -> kube::Client {
        self.client(|server, request| async move { Ok(server.answer(request)) })
    }
}

fn whole(code: u16, body: Bytes) -> Response<Body> {
    Response::builder()
        .status(code)
        .header("content-type", "application/json")
        .body(Full::new(body).boxed_unsync())
        .expect("the parts are right")
}

/// Seconds of a watch that does not say how long it lasts.
const WATCH_SECONDS: u64 = 300;

/// How long a watch lasts.
fn watch_time(seconds: Option<u64>) -> Duration {
    Duration::from_secs(seconds.unwrap_or(WATCH_SECONDS))
}

/// The answer that a fault gives instead of the server.
pub(crate) fn refused(refusal: &Refusal) -> Response<Body> {
    whole(refusal.code, refusal.body())
}

/// An object of a test, from a literal.
pub(crate) fn created(store: &mut Store, object: Value) -> Arc<Value> {
    let kind = kinds::named(object["kind"].as_str().expect("an object has a kind"));
    store.create(kind, object, "kubectl").expect("a test creates what is right")
}
