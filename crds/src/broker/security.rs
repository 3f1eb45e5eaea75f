//! Certificates and access keys.

use kube::core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reference::{IssuerRef, SecretKeyRef, SecretRef};
use crate::rule::rule;

/// The certificates of a Broker's ports.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Tls {
    /// Certificate of the client port. Left out, the port speaks plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientCertificate>,
    /// cert-manager's issuer of the certificates by which pods and operator know each other. Left out, the operator makes
    /// an authority for this Broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub internal_issuer_ref: Option<IssuerRef>,
}

/// Where the certificate of the client port comes from; `{}`: from the Broker's own authority.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[schemars(extend("x-kubernetes-validations" = [one_source()]))]
#[serde(rename_all = "camelCase", default)]
pub struct ClientCertificate {
    /// A Secret of type `kubernetes.io/tls`; renewed without a restart. At most one of this and `issuerRef`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// An issuer of cert-manager. At most one of this and `secretRef`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer_ref: Option<IssuerRef>,
}

/// Whose calls are served.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Access {
    /// Key of a Secret that holds the access keys: a YAML list of `{id, secret}`. From then on every call must be signed by
    /// one of them. CMQ: `SecretId` and `SecretKey`. SQS: access key id and secret access key.
    pub keys_secret_ref: SecretKeyRef,
}

fn one_source() -> Rule {
    rule("!(has(self.secretRef) && has(self.issuerRef))", "at most one of secretRef and issuerRef")
}
