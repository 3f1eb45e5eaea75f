//! Certificates of cert-manager, where the spec names an issuer; and the names that certificates are for.

use cmq_crds::reference::{IssuerKind, IssuerRef};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::json;

use super::meta;
use crate::broker::model::Model;
use crate::names;

/// The kind.
pub fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("cert-manager.io", "v1", "Certificate"))
}

/// Every Certificate that the spec asks for, named as the Secret that it fills.
pub fn certificates(model: &Model<'_>) -> Vec<DynamicObject> {
    let tls = &model.spec.tls;
    let mut all = Vec::new();
    if let Some(issuer) = &tls.internal_issuer_ref {
        let pods = pod_names(model.name, model.namespace);
        all.push(certificate(model, names::tls_secret(model.name), issuer, &pods));
        let operator = [names::OPERATOR_DNS_NAME.to_owned()];
        all.push(certificate(model, names::operator_tls_secret(model.name), issuer, &operator));
    }
    if let Some(issuer) = tls.client.as_ref().and_then(|client| client.issuer_ref.as_ref()) {
        let clients = client_names(model.name, model.namespace);
        all.push(certificate(model, names::client_tls_secret(model.name), issuer, &clients));
    }
    all
}

fn certificate(model: &Model<'_>, secret: String, issuer: &IssuerRef, dns_names: &[String]) -> DynamicObject {
    let kind = match issuer.kind {
        IssuerKind::Issuer => "Issuer",
        IssuerKind::ClusterIssuer => "ClusterIssuer",
    };
    let mut object = DynamicObject::new(&secret, &resource()).data(json!({
        "spec": {
            "secretName": secret,
            "dnsNames": dns_names,
            "usages": ["digital signature", "server auth", "client auth"],
            "privateKey": { "algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always" },
            "issuerRef": { "group": "cert-manager.io", "kind": kind, "name": issuer.name },
        },
    }));
    object.metadata = meta(model, secret);
    object
}

/// DNS names of the pods' certificate, sorted: every pod by its name, however many there are, the Service of all of them, and the
/// client Service, by which Prometheus checks a pod that it reached by address.
pub fn pod_names(broker: &str, namespace: &str) -> Vec<String> {
    let pods = format!("{}.{namespace}.svc", names::pods_service(broker));
    vec![format!("*.{pods}"), pods, names::client_host(broker, namespace)]
}

/// DNS names of the client port's certificate, sorted: the client Service in every form that resolves by default.
pub fn client_names(broker: &str, namespace: &str) -> Vec<String> {
    let host = names::child(broker);
    vec![
        host.clone(),
        format!("{host}.{namespace}"),
        format!("{host}.{namespace}.svc"),
        format!("{host}.{namespace}.svc.cluster.local"),
    ]
}
