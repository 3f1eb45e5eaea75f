//! Every child of a Broker, as it should be. Pure: the same model gives the same children, byte for byte.

use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DynamicObject;

use crate::broker::model::Model;
use crate::{labels, names};

pub mod certificates;
pub mod config;
pub mod merge;
pub mod monitor;
pub mod network;
pub mod overrides;
pub mod pod;
pub mod services;
pub mod stateful_set;

/// The children that are applied as they are; the StatefulSet and the Secrets have rules of their own.
pub struct Children {
    /// Whom the pods run as, without a token.
    pub service_account: ServiceAccount,
    /// Settings of the broker.
    pub config_map: ConfigMap,
    /// Gives each pod a DNS name.
    pub pods_service: Service,
    /// Where clients connect.
    pub client_service: Service,
    /// How many pods a drain may take.
    pub disruption_budget: PodDisruptionBudget,
    /// Who reaches the pods, where the spec says so.
    pub network_policy: Option<NetworkPolicy>,
    /// How Prometheus finds the pods, where the spec asks for it.
    pub pod_monitor: Option<DynamicObject>,
    /// What cert-manager is asked for, where the spec names an issuer.
    pub certificates: Vec<DynamicObject>,
}

/// Every child but the StatefulSet and the Secrets.
pub fn children(model: &Model<'_>) -> Children {
    Children {
        service_account: services::service_account(model),
        config_map: config::config_map(model),
        pods_service: services::pods(model),
        client_service: services::client(model),
        disruption_budget: network::disruption_budget(model),
        network_policy: network::policy(model),
        pod_monitor: monitor::pod_monitor(model),
        certificates: certificates::certificates(model),
    }
}

/// Metadata of a child.
fn meta(model: &Model<'_>, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(model.namespace.into()),
        labels: Some(labels::of_children(model.name)),
        ..ObjectMeta::default()
    }
}

/// Metadata of a child that bears the common name.
fn common_meta(model: &Model<'_>) -> ObjectMeta {
    meta(model, names::child(model.name))
}
