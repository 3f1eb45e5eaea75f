//! Making and reading certificates. Keys are ECDSA on P-256, which every TLS library speaks.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Life of an authority.
pub const AUTHORITY_LIFE: Duration = DAY.saturating_mul(1_095);
/// Life of a pod's certificate.
pub const LEAF_LIFE: Duration = DAY.saturating_mul(90);
/// Life of the operator's own certificate.
pub const OPERATOR_LIFE: Duration = DAY;
/// By how much a certificate begins before it is made, for clocks that are behind.
const BACKDATED: Duration = Duration::from_secs(3_600);

/// What is wrong with a certificate or key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CertificateError(String);

impl CertificateError {
    fn new(what: &str, error: impl std::fmt::Display) -> Self {
        Self(format!("{what}: {error}"))
    }
}

/// A certificate with its key, both PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The key, PKCS #8.
    pub key: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// A new authority.
///
/// # Errors
/// When the machine gives no random bytes.
pub fn authority(name: &str, now: Timestamp) -> Result<Pair, CertificateError> {
    let key = key()?;
    let mut params = params(name, Vec::new(), now, AUTHORITY_LIFE)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).map_err(|error| CertificateError::new("signing", error))?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// A certificate of an authority for these DNS names, good for both ends of a connection.
///
/// # Errors
/// When the authority cannot be read, or a name is not one.
pub fn leaf(
    authority: &Pair,
    name: &str,
    dns_names: &[String],
    now: Timestamp,
    life: Duration,
) -> Result<Pair, CertificateError> {
    let signer = KeyPair::from_pem(&authority.key).map_err(|error| CertificateError::new("ca.key", error))?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, signer)
        .map_err(|error| CertificateError::new("ca.crt", error))?;
    let key = key()?;
    let mut params = params(name, dns_names.to_vec(), now, life)?;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let certificate =
        params.signed_by(&key, &issuer).map_err(|error| CertificateError::new("signing", error))?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn key() -> Result<KeyPair, CertificateError> {
    KeyPair::generate().map_err(|error| CertificateError::new("making a key", error))
}

fn params(
    name: &str,
    dns_names: Vec<String>,
    now: Timestamp,
    life: Duration,
) -> Result<CertificateParams, CertificateError> {
    let mut params =
        CertificateParams::new(dns_names).map_err(|error| CertificateError::new("DNS name", error))?;
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = moment(now - BACKDATED)?;
    params.not_after = moment(now + life)?;
    Ok(params)
}

fn moment(at: Timestamp) -> Result<OffsetDateTime, CertificateError> {
    OffsetDateTime::from_unix_timestamp(at.as_second()).map_err(|error| CertificateError::new("time", error))
}

/// What the operator needs to know of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// When it begins.
    pub not_before: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
    /// Its DNS names, sorted.
    pub dns_names: Vec<String>,
    /// SHA-256 of its DER, hexadecimal.
    pub sha256: String,
}

impl Facts {
    /// Whether two thirds of its life are over.
    pub fn renewable(&self, now: Timestamp) -> bool {
        let (begin, end) = (self.not_before.as_second(), self.not_after.as_second());
        now.as_second() >= begin + (end - begin) / 3 * 2
    }
}

/// Reads the first certificate of a PEM text.
///
/// # Errors
/// When there is none, or it is not a certificate.
pub fn read(pem: &str) -> Result<Facts, CertificateError> {
    let pem = first(pem)?;
    let certificate = parse(&pem)?;
    let time =
        |seconds| Timestamp::from_second(seconds).map_err(|error| CertificateError::new("validity", error));
    let names = certificate.subject_alternative_name().ok().flatten();
    let mut dns_names: Vec<String> = names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect();
    dns_names.sort();
    Ok(Facts {
        not_before: time(certificate.validity().not_before.timestamp())?,
        not_after: time(certificate.validity().not_after.timestamp())?,
        dns_names,
        sha256: sha256(&pem.contents),
    })
}

/// Whether an authority signed the first certificate of a PEM text.
pub fn signed_by(leaf: &str, authority: &str) -> bool {
    let (Ok(leaf), Ok(authority)) = (first(leaf), first(authority)) else { return false };
    let (Ok(leaf), Ok(authority)) = (parse(&leaf), parse(&authority)) else { return false };
    leaf.issuer() == authority.subject() && leaf.verify_signature(Some(authority.public_key())).is_ok()
}

/// Whether a key belongs to a certificate.
pub fn belongs(pair: &Pair) -> bool {
    let (Ok(key), Ok(pem)) = (KeyPair::from_pem(&pair.key), first(&pair.certificate)) else { return false };
    parse(&pem)
        .is_ok_and(|certificate| *certificate.public_key().subject_public_key.data == *key.public_key_raw())
}

fn first(pem: &str) -> Result<Pem, CertificateError> {
    let pem = Pem::iter_from_buffer(pem.as_bytes()).next();
    let pem = pem.ok_or_else(|| CertificateError("no PEM block".into()))?;
    pem.map_err(|error| CertificateError::new("PEM", error))
}

fn parse(pem: &Pem) -> Result<X509Certificate<'_>, CertificateError> {
    pem.parse_x509().map_err(|error| CertificateError::new("certificate", error))
}

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2030-01-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_leaf_is_what_was_asked_for() {
        let authority = authority("orders in shop", now()).unwrap();
        let names = ["*.orders-cmq-pods.shop.svc".to_owned(), "orders-cmq.shop.svc".to_owned()];
        let leaf = leaf(&authority, "orders", &names, now(), LEAF_LIFE).unwrap();
        let facts = read(&leaf.certificate).unwrap();
        assert_eq!(facts.dns_names, names);
        assert_eq!(facts.not_before, now() - BACKDATED);
        assert_eq!(facts.not_after, now() + LEAF_LIFE);
        assert!(signed_by(&leaf.certificate, &authority.certificate));
        assert!(belongs(&leaf) && belongs(&authority));
        assert!(!belongs(&Pair { key: authority.key.clone(), ..leaf.clone() }));
    }

    #[test]
    fn another_authority_of_the_same_name_is_another() {
        let (one, two) = (authority("orders", now()).unwrap(), authority("orders", now()).unwrap());
        let leaf = leaf(&one, "orders", &[], now(), LEAF_LIFE).unwrap();
        assert!(signed_by(&leaf.certificate, &one.certificate));
        assert!(!signed_by(&leaf.certificate, &two.certificate));
    }

    #[test]
    fn two_thirds_of_a_life() {
        let facts = read(&authority("orders", now()).unwrap().certificate).unwrap();
        let (begin, end) = (facts.not_before.as_second(), facts.not_after.as_second());
        let at = Timestamp::from_second(begin + (end - begin) / 3 * 2).unwrap();
        assert!(facts.renewable(at) && !facts.renewable(at - Duration::from_secs(1)));
        let days = (at.as_second() - now().as_second()) / 86_400;
        assert_eq!(days, 729);
    }

    #[test]
    fn what_is_no_certificate_is_an_error() {
        for text in ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(read(text).is_err(), "{text:?}");
        }
        assert!(!signed_by("", ""));
    }
}
