//! Who may take pods away, and who reaches them.

use std::collections::BTreeMap;

use cmq_crds::broker::DisruptionBudget;
use cmq_crds::broker::network::NamespaceSelection;
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::common_meta;
use crate::broker::model::Model;
use crate::labels;
use crate::names::{ADMIN_PORT_NAME, CLIENT_PORT_NAME, PEER_PORT_NAME};

/// Label that every namespace has with its name.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// One pod at a time at every size: with three it protects the quorum, and with one it lets a drain through. A pod that does not
/// serve never blocks a drain.
pub fn disruption_budget(model: &Model<'_>) -> PodDisruptionBudget {
    let most = match model.spec.disruption_budget {
        DisruptionBudget::OneAtATime => 1,
        DisruptionBudget::Block => 0,
    };
    PodDisruptionBudget {
        metadata: common_meta(model),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(most)),
            selector: Some(labels::label_selector(model.name)),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".into()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}

/// Closes the pods' ports to all but clients, each other, the operator and monitoring. Probes come from the node, which no policy
/// keeps out.
pub fn policy(model: &Model<'_>) -> Option<NetworkPolicy> {
    let wanted = model.spec.network_policy.as_ref()?;
    let pods_here = |labels: Option<BTreeMap<String, String>>| NetworkPolicyPeer {
        pod_selector: Some(LabelSelector { match_labels: labels, ..LabelSelector::default() }),
        ..NetworkPolicyPeer::default()
    };
    let operator = NetworkPolicyPeer {
        namespace_selector: Some(named(std::slice::from_ref(&model.settings.namespace))),
        pod_selector: Some(LabelSelector {
            match_labels: Some(model.settings.pod_labels.clone()),
            ..LabelSelector::default()
        }),
        ..NetworkPolicyPeer::default()
    };
    let clients = std::iter::once(pods_here(None)).chain(selected(wanted.clients.as_ref()));
    let admins = std::iter::once(operator).chain(selected(wanted.monitoring.as_ref()));
    Some(NetworkPolicy {
        metadata: common_meta(model),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(labels::label_selector(model.name)),
            policy_types: Some(vec!["Ingress".into()]),
            ingress: Some(vec![
                rule(CLIENT_PORT_NAME, clients.collect()),
                rule(PEER_PORT_NAME, vec![pods_here(Some(labels::selector(model.name)))]),
                rule(ADMIN_PORT_NAME, admins.collect()),
            ]),
            egress: None,
        }),
    })
}

fn rule(port: &str, from: Vec<NetworkPolicyPeer>) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule {
        from: Some(from),
        ports: Some(vec![NetworkPolicyPort {
            port: Some(IntOrString::String(port.into())),
            protocol: Some("TCP".into()),
            end_port: None,
        }]),
    }
}

/// Every pod of the namespaces that a selection selects by name or by label.
fn selected(selection: Option<&NamespaceSelection>) -> impl Iterator<Item = NetworkPolicyPeer> {
    let by_name = selection.map(|selection| &selection.names).filter(|names| !names.is_empty());
    let by_label = selection.and_then(|selection| selection.selector.clone());
    by_name.map(|names| named(names)).into_iter().chain(by_label).map(|selector| NetworkPolicyPeer {
        namespace_selector: Some(selector),
        ..NetworkPolicyPeer::default()
    })
}

fn named(names: &[String]) -> LabelSelector {
    let requirement = LabelSelectorRequirement {
        key: NAMESPACE_NAME.into(),
        operator: "In".into(),
        values: Some(names.to_vec()),
    };
    LabelSelector { match_expressions: Some(vec![requirement]), match_labels: None }
}
