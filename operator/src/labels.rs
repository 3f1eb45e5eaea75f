//! Labels, annotations and finalizers: what the operator writes, and what users write for it to read.

use std::collections::BTreeMap;

pub use cmq_crds::annotation::{
    ADOPT, FORCE_DELETE, PAUSED, RECONCILE_AT, REPLACE_VOLUME, RESTART_AT, ROTATE_CERTIFICATES,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Name of what runs; part of every selector.
pub const NAME: &str = "app.kubernetes.io/name";
/// The Broker that something belongs to; part of every selector.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// Part of the Broker; part of every selector.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// Who manages an object; the operator watches what carries its name here.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The whole that an object is a part of.
pub const PART_OF: &str = "app.kubernetes.io/part-of";
/// Version of the operator that wrote the object last. Not on pods: an upgrade must not restart them.
pub const VERSION: &str = "app.kubernetes.io/version";
/// On a claim: the UID of the Broker whose data it holds.
pub const BROKER_UID: &str = "cmq.dev/broker-uid";

/// Value of [`NAME`].
pub const NAME_VALUE: &str = "cmq-broker";
/// Value of [`COMPONENT`].
pub const COMPONENT_VALUE: &str = "broker";
/// Value of [`PART_OF`].
pub const PART_OF_VALUE: &str = "cmq";
/// Value of [`MANAGED_BY`].
pub const MANAGED_BY_VALUE: &str = "cmq-operator";

/// Finalizer of Brokers and Queues.
pub const FINALIZER: &str = "cmq.dev/cleanup";

/// On the pod template: hash of the settings that need a restart.
pub const CONFIG_HASH: &str = "cmq.dev/config-hash";

/// Field manager of what the operator applies.
pub const FIELD_MANAGER: &str = "cmq-operator";
/// Field manager of status.
pub const STATUS_MANAGER: &str = "cmq-operator-status";

/// What selects the pods of a Broker. Selectors cannot be changed: nothing may be added here.
pub fn selector(broker: &str) -> BTreeMap<String, String> {
    [(NAME, NAME_VALUE), (INSTANCE, broker), (COMPONENT, COMPONENT_VALUE)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// [`selector`] as a Kubernetes type.
pub fn label_selector(broker: &str) -> LabelSelector {
    LabelSelector { match_labels: Some(selector(broker)), match_expressions: None }
}

/// [`selector`] as text, as list calls and the scale subresource take it.
pub fn selector_text(broker: &str) -> String {
    selector(broker).iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// Labels of pods: as constant as the selector, for a change restarts them.
pub fn of_pods(broker: &str) -> BTreeMap<String, String> {
    let mut labels = selector(broker);
    labels.insert(PART_OF.into(), PART_OF_VALUE.into());
    labels.insert(MANAGED_BY.into(), MANAGED_BY_VALUE.into());
    labels
}

/// Labels of every other child.
pub fn of_children(broker: &str) -> BTreeMap<String, String> {
    let mut labels = of_pods(broker);
    labels.insert(VERSION.into(), env!("CARGO_PKG_VERSION").into());
    labels
}

/// Selects what the operator made, of whatever Broker.
pub fn managed_text() -> String {
    format!("{MANAGED_BY}={MANAGED_BY_VALUE}")
}
