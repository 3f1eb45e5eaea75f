//! Watches.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::refusal::Refusal;
use super::route::Call;
use super::store::{Change, Store};
use super::{Body, Server, view, watch_time};

/// One open watch.
struct Watch {
    server: Arc<Server>,
    call: Call,
    /// The revision up to which everything was shown.
    seen: u64,
    changes: watch::Receiver<u64>,
    ends: Instant,
    /// What is shown first.
    first: String,
    over: bool,
}

/// Opens a watch from a revision; without one it begins with what is there.
pub(super) fn open(server: &Arc<Server>, call: Call) -> Result<Response<Body>, Refusal> {
    let changes = server.changes();
    let store = server.read();
    let from: u64 = call.parameter("resourceVersion").parse().unwrap_or_default();
    let mut first = String::new();
    if from == 0 {
        let initial = store.list(call.kind, None).filter(|object| call.shows(object));
        initial.for_each(|object| first += &event("ADDED", &view::object(object, call.metadata_only)));
        if call.parameter("sendInitialEvents") == "true" {
            let end = json!({ "k8s.io/initial-events-end": "true" });
            first += &event("BOOKMARK", &bookmark(&call, store.revision(), end));
        }
    } else if from > store.revision() {
        return Err(Refusal::bad_request(format!("too large resource version: {from}")));
    }
    let seen = if from == 0 { store.revision() } else { from };
    drop(store);
    let ends = Instant::now() + watch_time(call.parameter("timeoutSeconds").parse().ok());
    let watch = Watch { server: server.clone(), call, seen, changes, ends, first, over: false };
    let frames = stream::unfold(watch, |mut watch| async {
        let text = watch.next().await?;
        Some((Ok(Frame::data(Bytes::from(text))), watch))
    });
    let body = BodyExt::boxed_unsync(StreamBody::new(frames));
    Ok(Response::builder()
        .header("content-type", "application/json")
        .body(body)
        .expect("the parts are right"))
}

impl Watch {
    /// The next lines; nothing when the time is over.
    async fn next(&mut self) -> Option<String> {
        if self.over {
            return None;
        }
        let first = std::mem::take(&mut self.first);
        if !first.is_empty() {
            return Some(first);
        }
        loop {
            self.changes.mark_unchanged();
            let text = self.news();
            if !text.is_empty() {
                return Some(text);
            }
            let changed = tokio::time::timeout_at(self.ends, self.changes.changed()).await;
            if changed.is_err() {
                self.over = true;
                return Some(event("BOOKMARK", &bookmark(&self.call, self.seen, json!({}))));
            }
        }
    }

    /// What happened since the last look.
    fn news(&mut self) -> String {
        let server = self.server.clone();
        let store: &Store = &server.read();
        let Some(changes) = store.since(self.seen) else {
            self.over = true;
            return event("ERROR", &Refusal::expired().status());
        };
        let mut text = String::new();
        for (revision, change) in changes {
            self.seen = revision;
            text += &self.shown(change, revision);
        }
        text
    }

    /// A change as seen through the selector: what leaves it is deleted, what enters it is added.
    fn shown(&self, change: &Change, revision: u64) -> String {
        let call = &self.call;
        if change.key.0 != call.kind.name {
            return String::new();
        }
        let visible = |object: &&Arc<Value>| call.shows(object);
        let (before, after) = (change.before.as_ref().filter(visible), change.after.as_ref().filter(visible));
        let (kind, object) = match (before, after) {
            (None, None) => return String::new(),
            (None, Some(after)) => ("ADDED", after),
            (Some(_), Some(after)) => ("MODIFIED", after),
            (Some(before), None) => ("DELETED", before),
        };
        let mut object = view::object(object, call.metadata_only);
        object["metadata"]["resourceVersion"] = json!(revision.to_string());
        event(kind, &object)
    }
}

fn event(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({ "type": kind, "object": object }))
}

fn bookmark(call: &Call, revision: u64, annotations: Value) -> Value {
    let metadata = json!({ "resourceVersion": revision.to_string(), "annotations": annotations });
    let object =
        json!({ "apiVersion": call.kind.api_version(), "kind": call.kind.name, "metadata": metadata });
    view::object(&object, call.metadata_only)
}
