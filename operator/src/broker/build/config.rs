//! The settings of the broker process: environment variables in a ConfigMap.

use std::collections::BTreeMap;

use cmq_crds::broker::ApiQueues;
use cmq_crds::broker::storage::byte_size;
use k8s_openapi::api::core::v1::ConfigMap;

use super::common_meta;
use crate::broker::model::Model;
use crate::labels::REPLACE_VOLUME;
use crate::pki::certificate::sha256;

/// The setting that says which cluster a volume must be of. Not a part of the hash: learning it restarts nothing.
pub const CLUSTER_ID: &str = "CMQ_CLUSTER_ID";

/// The ConfigMap that the container's environment comes from.
pub fn config_map(model: &Model<'_>) -> ConfigMap {
    let mut data = settings(model);
    data.extend(model.cluster_id.clone().map(|id| (CLUSTER_ID.to_owned(), id)));
    let mut metadata = common_meta(model);
    let followed = model.replaced_volume.clone();
    metadata.annotations = followed.map(|order| [(REPLACE_VOLUME.to_owned(), order)].into());
    ConfigMap { metadata, data: Some(data), ..ConfigMap::default() }
}

/// Settings that a broker reads at its start.
fn settings(model: &Model<'_>) -> BTreeMap<String, String> {
    let spec = model.spec;
    let api_queues = match spec.api_queues {
        ApiQueues::Allow => "allow",
        ApiQueues::Deny => "deny",
    };
    let memory = spec.memory.as_deref().and_then(byte_size);
    [
        ("CMQ_API_QUEUES", Some(api_queues.to_owned())),
        ("CMQ_MEMORY", memory.map(|bytes| bytes.to_string())),
        ("CMQ_PURGE_WAIT", Some(spec.purge_wait_seconds.to_string())),
        ("CMQ_RECREATE_WAIT", Some(spec.recreate_wait_seconds.to_string())),
        ("CMQ_SHARDS", Some(spec.shards.unwrap_or(spec.replicas).to_string())),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key.to_owned(), value?)))
    .collect()
}

/// Hash of the settings that need a restart, 16 hexadecimal digits.
pub fn hash(model: &Model<'_>) -> String {
    let text: String = settings(model).iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    sha256(text.as_bytes())[..16].to_owned()
}
