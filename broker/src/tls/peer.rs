//! Who is at the other end, by the certificate that it showed.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::Tls;

/// The DNS name in a certificate that permits the admin API.
pub(crate) const OPERATOR_NAME: &str = "operator.cmq.dev";

/// The certificates that the peer of a connection showed, its own first; it has the key of that one.
#[derive(Clone, Debug, Default)]
pub(crate) struct PeerCertificates(pub(crate) Arc<[CertificateDer<'static>]>);

/// Why a peer may not do what the operator may.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stranger {
    /// It showed no certificate.
    #[error("this call needs a client certificate, and the connection has none")]
    NoCertificate,
    /// No authority of `ca.crt` vouches for it.
    #[error("the client certificate is not one of this broker's authority: {0}")]
    NotVouchedFor(String),
    /// It is somebody else's.
    #[error("the client certificate is not in the name {OPERATOR_NAME}")]
    OtherName,
}

impl Tls {
    /// Whether a peer is the operator, by the authority as it is now: a connection from before a change counts no more
    /// than a new one.
    pub(crate) fn check_operator(&self, peer: &PeerCertificates) -> Result<(), Stranger> {
        let [leaf, others @ ..] = &*peer.0 else { return Err(Stranger::NoCertificate) };
        let state = self.state();
        let verifier = state.verifier.as_ref().ok_or(Stranger::NoCertificate)?;
        let not_vouched_for = |error: Error| Stranger::NotVouchedFor(error.to_string());
        verifier.verify_client_cert(leaf, others, UnixTime::now()).map_err(not_vouched_for)?;
        let parsed = ParsedCertificate::try_from(leaf).map_err(not_vouched_for)?;
        let name = ServerName::try_from(OPERATOR_NAME).expect("a well-formed name");
        verify_server_name(&parsed, &name).map_err(|_| Stranger::OtherName)
    }
}

/// Asks for a certificate and takes any whose key the peer has. The handshake could refuse a stranger, but not say why;
/// and probes and monitors need no certificate at all. Calls are decided by [`Tls::check_operator`].
#[derive(Debug)]
pub(super) struct Lenient(pub(super) Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Lenient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
