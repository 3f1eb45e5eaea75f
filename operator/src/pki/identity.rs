//! The operator's own certificate for one Broker.

use std::collections::BTreeMap;

use cmq_crds::broker::BrokerSpec;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use super::certificate::{self, OPERATOR_LIFE, Pair};
use super::rotation::Authorities;
use crate::admin::Identity;
use crate::names;
use crate::wakes::Key;

/// Why the operator has no certificate for a Broker.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The Secret is not there yet.
    #[error("Secret {0} does not exist yet")]
    Missing(String),
    /// The Secret does not hold what it should.
    #[error("Secret {secret}: {problem}")]
    Invalid {
        /// Name of the Secret.
        secret: String,
        /// What is wrong.
        problem: String,
    },
    /// The API server failed.
    #[error(transparent)]
    Api(#[from] kube::Error),
}

/// Where the certificates come from by which the pods of a Broker and the operator know each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The Broker's own authority.
    Authority,
    /// An issuer of cert-manager.
    Issuer,
}

impl Source {
    /// As a Broker's spec says.
    pub fn of(spec: &BrokerSpec) -> Self {
        if spec.tls.internal_issuer_ref.is_some() { Self::Issuer } else { Self::Authority }
    }
}

/// The operator's certificate for a Broker: made from the Broker's authority, or the one that cert-manager made.
///
/// # Errors
/// While there is no authority, or it cannot be read.
pub async fn identity(
    client: &Client,
    broker: &Key,
    source: Source,
    now: Timestamp,
) -> Result<Identity, IdentityError> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &broker.namespace);
    let name = match source {
        Source::Authority => names::authority_secret(&broker.name),
        Source::Issuer => names::operator_tls_secret(&broker.name),
    };
    let Some(secret) = secrets.get_opt(&name).await? else { return Err(IdentityError::Missing(name)) };
    let identity = match source {
        Source::Authority => from_authority(&secret, now),
        Source::Issuer => from_issued(&secret),
    };
    identity.map_err(|problem| IdentityError::Invalid { secret: name, problem })
}

fn from_authority(secret: &Secret, now: Timestamp) -> Result<Identity, String> {
    let authorities = Authorities::read(secret)?;
    let names = [names::OPERATOR_DNS_NAME.to_owned()];
    let Pair { certificate, key } =
        certificate::leaf(&authorities.current, names::OPERATOR_DNS_NAME, &names, now, OPERATOR_LIFE)
            .map_err(|error| error.to_string())?;
    Ok(Identity { certificate_pem: certificate, key_pem: key, trusted_pem: authorities.bundle() })
}

fn from_issued(secret: &Secret) -> Result<Identity, String> {
    Ok(Identity {
        certificate_pem: text(secret, "tls.crt")?,
        key_pem: text(secret, "tls.key")?,
        trusted_pem: text(secret, "ca.crt")?,
    })
}

/// A key of a Secret as text.
///
/// # Errors
/// When it is not there or is not text; says which.
pub fn text(secret: &Secret, key: &str) -> Result<String, String> {
    text_of(secret.data.as_ref(), key)
}

fn text_of(data: Option<&BTreeMap<String, ByteString>>, key: &str) -> Result<String, String> {
    let bytes = data.and_then(|data| data.get(key)).ok_or_else(|| format!("key {key} is missing"))?;
    String::from_utf8(bytes.0.clone()).map_err(|_| format!("key {key} is not text"))
}
