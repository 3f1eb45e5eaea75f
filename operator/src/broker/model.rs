//! A Broker as `build` sees it: checked, with what the cluster adds.

use cmq_crds::broker::pods::Quantity;
use cmq_crds::broker::storage::byte_size;
use cmq_crds::broker::{Broker, BrokerSpec};
use kube::ResourceExt;

use super::build::overrides;
use super::cluster::Told;
use super::refusal::Refusal;
use crate::context::Settings;
use crate::labels::RESTART_AT;
use crate::reason::Reason;

/// Bytes of memory that the broker process needs at least.
const MEMORY_BYTES_MIN: u64 = 64 << 20;

/// A checked Broker.
pub struct Model<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its UID.
    pub uid: &'a str,
    /// What it asks for.
    pub spec: &'a BrokerSpec,
    /// What the operator is configured with.
    pub settings: &'a Settings,
    /// The id that its volumes must have, once known.
    pub cluster_id: Option<String>,
    /// The last order to start on a fresh volume that was followed.
    pub replaced_volume: Option<String>,
    /// The last order to restart.
    pub restart_at: Option<&'a str>,
}

impl Model<'_> {
    /// Pods that should run.
    pub fn replicas(&self) -> i32 {
        if self.spec.stopped { 0 } else { self.spec.replicas }
    }

    /// The broker's image.
    pub fn image(&self) -> &str {
        self.spec.image.as_deref().unwrap_or(&self.settings.broker_image)
    }
}

/// Checks what the schema cannot.
///
/// # Errors
/// With the field that is wrong, and what is allowed.
pub fn validate<'a>(broker: &'a Broker, settings: &'a Settings, told: Told) -> Result<Model<'a>, Refusal> {
    let spec = &broker.spec;
    let invalid = |message: String| Refusal::new(Reason::Invalid, message);
    let size = &spec.storage.size;
    byte_size(size)
        .ok_or_else(|| invalid(format!("spec.storage.size is {size:?}; allowed is a size such as 10Gi")))?;
    if let Some(text) = &spec.memory {
        let bytes = byte_size(text).unwrap_or_default();
        let limit = spec.resources.limits.get("memory").or_else(|| spec.resources.requests.get("memory"));
        let limit = limit.map_or(Some(super::build::pod::MEMORY_DEFAULT), whole_bytes);
        if bytes < MEMORY_BYTES_MIN || limit.is_some_and(|limit| bytes > limit) {
            let most = limit.map_or_else(
                || "the memory limit".into(),
                |limit| format!("{limit} bytes, the memory limit"),
            );
            return Err(invalid(format!("spec.memory is {text}; allowed is from 64Mi to {most}")));
        }
    }
    overrides::check(spec).map_err(invalid)?;
    Ok(Model {
        name: broker.metadata.name.as_deref().unwrap_or_default(),
        namespace: broker.metadata.namespace.as_deref().unwrap_or_default(),
        uid: broker.metadata.uid.as_deref().unwrap_or_default(),
        spec,
        settings,
        cluster_id: told.id,
        replaced_volume: told.followed,
        restart_at: broker.annotations().get(RESTART_AT).map(String::as_str),
    })
}

/// Bytes of a quantity that is a whole number with a usual suffix; nothing for the rarer forms.
fn whole_bytes(quantity: &Quantity) -> Option<u64> {
    match quantity {
        Quantity::Number(bytes) => u64::try_from(*bytes).ok(),
        Quantity::Text(text) => byte_size(text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::broker::build::config;
    use crate::watch::Scope;

    fn settings() -> Settings {
        Settings {
            scope: Scope::Cluster,
            broker_image: "cmq-broker:1".into(),
            broker_image_pull_policy: None,
            namespace: "cmq-system".into(),
            pod_labels: Default::default(),
            ipv6: false,
        }
    }

    fn broker(spec: Value) -> Broker {
        let metadata = json!({ "name": "orders", "namespace": "shop", "uid": "u" });
        let broker =
            json!({ "apiVersion": "cmq.dev/v1alpha1", "kind": "Broker", "metadata": metadata, "spec": spec });
        serde_json::from_value(broker).unwrap()
    }

    #[test]
    fn memory_fits_into_its_limit() {
        for (spec, right) in [
            (json!({ "memory": "64Mi" }), true),
            (json!({ "memory": "1Gi" }), true),
            (json!({ "memory": "63Mi" }), false),
            (json!({ "memory": "2Gi" }), false),
            (json!({ "memory": "2Gi", "resources": { "limits": { "memory": "4Gi" } } }), true),
            (json!({ "memory": "2Gi", "resources": { "requests": { "memory": "2Gi" } } }), true),
            (json!({ "memory": "2Gi", "resources": { "limits": { "memory": 1_000_000 } } }), false),
            (json!({ "memory": "2Gi", "resources": { "limits": { "memory": "1.5e10" } } }), true),
        ] {
            let (broker, settings) = (broker(spec.clone()), settings());
            let checked = validate(&broker, &settings, Told::default());
            assert_eq!(checked.is_ok(), right, "{spec}");
            assert!(checked.err().is_none_or(|r| r.message.starts_with("spec.memory is ")), "{spec}");
        }
    }

    #[test]
    fn learning_the_cluster_restarts_nothing_and_settings_do() {
        let settings = settings();
        let hash = |spec: Value, told: Told| config::hash(&validate(&broker(spec), &settings, told).unwrap());
        let told = || Told { id: Some("7".into()), ..Told::default() };
        assert_eq!(hash(json!({}), Told::default()), hash(json!({}), told()));
        assert_ne!(hash(json!({}), told()), hash(json!({ "purgeWaitSeconds": 1 }), told()));
        assert_eq!(
            hash(json!({}), told()),
            hash(json!({ "disruptionBudget": "Block", "stopped": true }), told())
        );
    }
}
