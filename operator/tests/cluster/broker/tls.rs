//! The certificates of a broker, checked as a TLS handshake checks them.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use cmq_operator::admin::{Identity, LoadedCertificate};
use serde_json::Value;
use sha2::{Digest, Sha256};
use x509_parser::pem::Pem;

/// What a process has read from a Secret.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// The data of the Secret.
    pub(crate) source: Value,
    leaf: Vec<u8>,
    /// `ca.crt`, PEM.
    trusted: Option<String>,
}

impl Loaded {
    /// Reads a Secret's data; what is wrong with it.
    pub(crate) fn read(source: &Value) -> Result<Self, String> {
        let text = |key: &str| -> Option<String> {
            let bytes = BASE64_STANDARD.decode(source[key].as_str()?).ok()?;
            String::from_utf8(bytes).ok()
        };
        let chain = text("tls.crt").ok_or("tls.crt is missing")?;
        text("tls.key").filter(|key| key.contains("PRIVATE KEY")).ok_or("tls.key is missing")?;
        let leaf = certificates(&chain).into_iter().next().ok_or("tls.crt holds no certificate")?;
        Ok(Self { source: source.clone(), leaf, trusted: text("ca.crt") })
    }

    /// What the admin API says of it.
    pub(crate) fn certificate(&self) -> LoadedCertificate {
        let (_, leaf) = x509_parser::parse_x509_certificate(&self.leaf).expect("it was read before");
        LoadedCertificate {
            leaf_sha256: hex(&self.leaf),
            ca_sha256: self.trusted.as_ref().map(|trusted| hex(trusted.as_bytes())),
            not_after_ms: leaf.validity().not_after.timestamp() * 1000,
        }
    }

    /// Whether both sides trust each other, and the caller is the operator.
    pub(super) fn meets(&self, operator: &Identity) -> Result<(), String> {
        if !signed(&self.leaf, &operator.trusted_pem) {
            return Err("the operator does not trust the broker's certificate".into());
        }
        let theirs = certificates(&operator.certificate_pem)
            .into_iter()
            .next()
            .ok_or("the operator has no certificate")?;
        if !signed(&theirs, self.trusted.as_deref().unwrap_or_default()) {
            return Err("the broker does not trust the operator's certificate".into());
        }
        let (_, certificate) =
            x509_parser::parse_x509_certificate(&theirs).map_err(|error| error.to_string())?;
        let names = certificate.subject_alternative_name().ok().flatten();
        let named = names.is_some_and(|names| format!("{:?}", names.value).contains("\"operator.cmq.dev\""));
        if named { Ok(()) } else { Err("403: the certificate is not the operator's".into()) }
    }
}

/// The DER of every certificate in PEM.
fn certificates(pem: &str) -> Vec<Vec<u8>> {
    let pems = Pem::iter_from_buffer(pem.as_bytes()).flatten();
    pems.filter(|pem| pem.label == "CERTIFICATE").map(|pem| pem.contents).collect()
}

/// Whether one of the authorities in PEM signed a certificate.
fn signed(leaf: &[u8], authorities: &str) -> bool {
    let Ok((_, leaf)) = x509_parser::parse_x509_certificate(leaf) else { return false };
    certificates(authorities).iter().any(|authority| {
        x509_parser::parse_x509_certificate(authority)
            .is_ok_and(|(_, authority)| leaf.verify_signature(Some(authority.public_key())).is_ok())
    })
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
