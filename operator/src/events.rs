//! Events: what the operator tells users about changes, seen with `kubectl describe`.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};

use crate::reason::Reason;

/// Publishes events; repeats of one are folded.
pub struct Events {
    recorder: Recorder,
}

impl Events {
    /// Publishes by this client.
    pub fn new(client: Client) -> Self {
        let reporter =
            Reporter { controller: "cmq-operator".into(), instance: std::env::var("HOSTNAME").ok() };
        Self { recorder: Recorder::new(client, reporter) }
    }

    /// Something happened as it should. Never fails: a lost event is logged.
    pub async fn normal(
        &self,
        object: &impl Resource<DynamicType = ()>,
        reason: Reason,
        action: &str,
        note: String,
    ) {
        self.publish(object.object_ref(&()), EventType::Normal, reason, action, note).await;
    }

    /// Something wants attention. Never fails: a lost event is logged.
    pub async fn warning(
        &self,
        object: &impl Resource<DynamicType = ()>,
        reason: Reason,
        action: &str,
        note: String,
    ) {
        self.publish(object.object_ref(&()), EventType::Warning, reason, action, note).await;
    }

    async fn publish(
        &self,
        object: ObjectReference,
        type_: EventType,
        reason: Reason,
        action: &str,
        mut note: String,
    ) {
        note.truncate(note.floor_char_boundary(1_024));
        let event = Event {
            type_,
            reason: reason.as_str().into(),
            note: Some(note),
            action: action.into(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &object).await {
            tracing::debug!(%error, reason = %reason, "an event was not published");
        }
    }
}
