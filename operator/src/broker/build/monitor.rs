//! The PodMonitor, a kind of the Prometheus Operator.

use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::json;

use super::common_meta;
use crate::broker::model::Model;
use crate::names::ADMIN_PORT_NAME;
use crate::{labels, names};

/// The kind.
pub fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("monitoring.coreos.com", "v1", "PodMonitor"))
}

/// How Prometheus reads the pods' metrics: from the admin port, which shows a certificate of the Broker's authority.
pub fn pod_monitor(model: &Model<'_>) -> Option<DynamicObject> {
    let wanted = model.spec.pod_monitor.as_ref()?;
    let mut object = DynamicObject::new(&names::child(model.name), &resource()).data(json!({
        "spec": {
            "selector": { "matchLabels": labels::selector(model.name) },
            "podMetricsEndpoints": [{
                "port": ADMIN_PORT_NAME,
                "path": "/metrics",
                "scheme": "https",
                "tlsConfig": {
                    "ca": { "secret": { "name": names::tls_secret(model.name), "key": "ca.crt" } },
                    "serverName": names::client_host(model.name, model.namespace),
                },
            }],
        },
    }));
    let mut meta = common_meta(model);
    let mut labels = wanted.labels.clone();
    // Ours win: by them the object is found again.
    labels.extend(labels::of_children(model.name));
    meta.labels = Some(labels);
    object.metadata = meta;
    Some(object)
}
