//! ServiceAccount and Services.

use k8s_openapi::api::core::v1::{Service, ServiceAccount, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{common_meta, meta};
use crate::broker::model::Model;
use crate::labels;
use crate::names::{
    self, ADMIN_PORT, ADMIN_PORT_NAME, CLIENT_PORT, CLIENT_PORT_NAME, PEER_PORT, PEER_PORT_NAME,
};

/// Whom the pods run as. A broker never speaks with the API server, so there is no token.
pub fn service_account(model: &Model<'_>) -> ServiceAccount {
    ServiceAccount {
        metadata: common_meta(model),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

/// The headless Service. Pods have their names before they are ready: peers must find each other to become so.
pub fn pods(model: &Model<'_>) -> Service {
    let ports = [(CLIENT_PORT_NAME, CLIENT_PORT), (PEER_PORT_NAME, PEER_PORT), (ADMIN_PORT_NAME, ADMIN_PORT)];
    Service {
        metadata: meta(model, names::pods_service(model.name)),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".into()),
            publish_not_ready_addresses: Some(true),
            selector: Some(labels::selector(model.name)),
            ports: Some(ports.map(|(name, number)| port(name, number)).into()),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// Where clients connect: any pod that serves.
pub fn client(model: &Model<'_>) -> Service {
    Service {
        metadata: common_meta(model),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".into()),
            selector: Some(labels::selector(model.name)),
            ports: Some(vec![port(CLIENT_PORT_NAME, CLIENT_PORT)]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

fn port(name: &str, number: i32) -> ServicePort {
    ServicePort {
        name: Some(name.into()),
        port: number,
        protocol: Some("TCP".into()),
        target_port: Some(IntOrString::String(name.into())),
        ..ServicePort::default()
    }
}
