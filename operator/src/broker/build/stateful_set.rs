//! The StatefulSet around the pod template.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    RollingUpdateStatefulSetStrategy, StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy,
    StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PodTemplateSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::common_meta;
use crate::broker::model::Model;
use crate::{labels, names};

/// Seconds that a pod must be ready before it counts.
const READY_SECONDS: i32 = 5;
/// Revisions that are kept, so that there is one to go back to.
const REVISIONS: i32 = 5;

/// What a rolling change and a growth of volumes decide about the StatefulSet.
#[derive(Clone, Debug, PartialEq)]
pub struct Form {
    /// The pod template.
    pub template: PodTemplateSpec,
    /// Pods from this ordinal on are of the template's revision.
    pub partition: i32,
    /// Size in the claim template, which cannot be changed.
    pub claim_size: String,
    /// Storage class in the claim template, which cannot be changed.
    pub claim_class: Option<String>,
    /// What is remembered of the change.
    pub annotations: BTreeMap<String, String>,
}

/// The StatefulSet.
pub fn stateful_set(model: &Model<'_>, form: Form) -> StatefulSet {
    let mut metadata = common_meta(model);
    metadata.annotations = Some(form.annotations);
    StatefulSet {
        metadata,
        spec: Some(StatefulSetSpec {
            min_ready_seconds: Some(READY_SECONDS),
            // Claims are deleted by the operator alone: a StatefulSet that is made anew must not take them along.
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: Some("Retain".into()),
                when_scaled: Some("Retain".into()),
            }),
            // After a full outage members must start together to form a quorum.
            pod_management_policy: Some("Parallel".into()),
            replicas: Some(model.replicas()),
            revision_history_limit: Some(REVISIONS),
            selector: labels::label_selector(model.name),
            service_name: Some(names::pods_service(model.name)),
            template: form.template,
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("RollingUpdate".into()),
                rolling_update: Some(RollingUpdateStatefulSetStrategy {
                    partition: Some(form.partition),
                    max_unavailable: None,
                }),
            }),
            volume_claim_templates: Some(vec![claim(model, form.claim_size, form.claim_class)]),
            ..StatefulSetSpec::default()
        }),
        status: None,
    }
}

fn claim(model: &Model<'_>, size: String, class: Option<String>) -> PersistentVolumeClaim {
    let mut labels = labels::of_pods(model.name);
    labels.insert(labels::BROKER_UID.into(), model.uid.into());
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(names::DATA_VOLUME.into()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".into()]),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), Quantity(size))].into()),
                limits: None,
            }),
            storage_class_name: class,
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}
