//! Files that are right, files that are not, and who may pass for the operator.

use std::path::PathBuf;

use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;

use super::peer::Stranger;
use super::testing::{Authority, Leaf, write};
use super::*;

fn der(leaf: &Leaf) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(leaf.pem.as_bytes()).unwrap()
}

fn shows(leaf: &Leaf) -> PeerCertificates {
    PeerCertificates([der(leaf)].into())
}

/// What opening a directory says after one of its files was replaced, without the path.
fn refused(name: &str, content: Option<&[u8]>) -> String {
    let (dir, authority) = (TempDir::new().unwrap(), Authority::new("a"));
    write(dir.path(), &authority.broker(), &[&authority]);
    let path: PathBuf = dir.path().join(name);
    match content {
        None => std::fs::remove_file(&path).unwrap(),
        Some(content) => std::fs::write(&path, content).unwrap(),
    }
    let error = Tls::open(dir.path(), Peers::MayShowCertificate).expect_err(name).to_string();
    let place = format!("TLS: {}: ", path.display());
    error.strip_prefix(&place).unwrap_or_else(|| panic!("{error} names {place}")).to_owned()
}

#[test]
fn what_is_in_use_is_told() {
    let (dir, authority) = (TempDir::new().unwrap(), Authority::new("a"));
    let leaf = authority.leaf_until("broker", ServerAuth, 2_040);
    write(dir.path(), &leaf, &[&authority]);
    let facts = Tls::open(dir.path(), Peers::MayShowCertificate).unwrap().facts();
    assert_eq!(facts.leaf_sha256, <[u8; 32]>::from(Sha256::digest(der(&leaf))));
    assert_eq!(facts.ca_sha256, Some(Sha256::digest(&authority.pem).into()));
    // 1 January 2040.
    assert_eq!(facts.not_after_ms, 2_208_988_800_000);
    // Who asks for no certificates needs no authority.
    std::fs::remove_file(dir.path().join("ca.crt")).unwrap();
    let anonymous = Tls::open(dir.path(), Peers::Anonymous).unwrap().facts();
    assert_eq!(anonymous, Facts { ca_sha256: None, ..facts });
}

#[test]
fn wrong_files_are_named_with_what_is_expected() {
    let other = Authority::new("b").broker();
    for (name, content, due) in [
        ("tls.crt", None, "No such file"),
        ("ca.crt", None, "No such file"),
        ("tls.key", None, "expected: the private key of tls.crt in PEM"),
        ("tls.crt", Some(&b""[..]), "holds no certificate; expected: the broker's certificate in PEM"),
        (
            "tls.crt",
            Some(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            "the first certificate: ",
        ),
        ("tls.crt", Some(b"-----BEGIN CERTIFICATE-----\n%%\n-----END CERTIFICATE-----\n"), "is not PEM"),
        ("tls.key", Some(b"secret"), "holds no private key"),
        (
            "tls.key",
            Some(b"-----BEGIN PRIVATE KEY-----\nsecr%t\n-----END PRIVATE KEY-----\n"),
            "is not PEM; expected",
        ),
        (
            "tls.key",
            Some(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
            "expected: the private key",
        ),
        ("tls.key", Some(other.key.as_bytes()), "does not belong to the certificate in tls.crt"),
        ("ca.crt", Some(b"none"), "holds no certificate; expected: one or more certificates of authorities"),
        (
            "ca.crt",
            Some(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            "certificate 1: ",
        ),
        ("ca.crt", Some(&[b' '; FILE_BYTES_MAX as usize + 1]), "is larger than 1048576 bytes"),
    ] {
        let found = refused(name, content);
        assert!(found.contains(due), "{name}: {found}");
        assert!(!found.contains("secr"), "{name}: {found}");
    }
}

#[test]
fn the_name_and_the_authority_make_the_operator() {
    let (dir, authority, other) = (TempDir::new().unwrap(), Authority::new("a"), Authority::new("b"));
    write(dir.path(), &authority.broker(), &[&authority]);
    let tls = Tls::open(dir.path(), Peers::MayShowCertificate).unwrap();
    let check = |leaf: &Leaf| tls.check_operator(&shows(leaf));
    assert_eq!(check(&authority.operator()), Ok(()));
    assert_eq!(tls.check_operator(&PeerCertificates::default()), Err(Stranger::NoCertificate));
    for name in ["orders-cmq-0.orders-cmq-pods.shop.svc", "operator.cmq.dev.evil.example", "cmq.dev"] {
        assert_eq!(check(&authority.leaf(name, ClientAuth)), Err(Stranger::OtherName), "{name}");
    }
    for stranger in [
        other.operator(),
        authority.leaf_until(OPERATOR_NAME, ClientAuth, 2_020),
        authority.leaf(OPERATOR_NAME, ServerAuth),
    ] {
        let refused = check(&stranger);
        assert!(matches!(refused, Err(Stranger::NotVouchedFor(_))), "{refused:?}");
    }
    // The bundle of a rotation vouches for both, and what it vouches for counts at once.
    write(dir.path(), &authority.broker(), &[&authority, &other]);
    let files = Files::read(dir.path(), Peers::MayShowCertificate).unwrap();
    tls.replace(State::new(&files, Peers::MayShowCertificate).unwrap());
    assert_eq!(tls.check_operator(&shows(&authority.operator())), Ok(()));
    assert_eq!(tls.check_operator(&shows(&other.operator())), Ok(()));
}
