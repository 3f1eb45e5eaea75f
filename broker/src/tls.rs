//! TLS of the ports: certificate, key and authority from a directory, as a Secret is mounted; followed while the broker runs.

mod files;
mod peer;
mod reload;
#[cfg(test)]
pub(crate) mod testing;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use files::{Files, Part};

pub use files::{Error, FILE_BYTES_MAX};
pub(crate) use peer::{OPERATOR_NAME, PeerCertificates};
pub use reload::follow;

/// What the peers of a port show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peers {
    /// Nothing: they prove who they are in another way.
    Anonymous,
    /// A certificate, if they have one; what it permits is decided call by call. The directory holds the authority too.
    MayShowCertificate,
}

/// The TLS of one port; cheap to clone.
#[derive(Clone)]
pub struct Tls {
    shared: Arc<Shared>,
}

struct Shared {
    dir: PathBuf,
    peers: Peers,
    state: RwLock<Arc<State>>,
}

/// What one state of the files means.
struct State {
    config: Arc<ServerConfig>,
    /// Tells which peers the authority vouches for.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    facts: Facts,
    fingerprint: u128,
}

/// What is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// SHA-256 of the certificate's DER.
    pub leaf_sha256: [u8; 32],
    /// SHA-256 of the bytes of `ca.crt`, where peers may show certificates.
    pub ca_sha256: Option<[u8; 32]>,
    /// Unix milliseconds at which the certificate ends.
    pub not_after_ms: u64,
}

impl Tls {
    /// Reads `tls.crt`, `tls.key` and, where peers may show certificates, `ca.crt`.
    ///
    /// # Errors
    /// A file is missing, too large or not what it should be, or key and certificate do not belong together.
    pub fn open(dir: &Path, peers: Peers) -> Result<Self, Error> {
        let state = State::new(&Files::read(dir, peers)?, peers)?;
        let state = RwLock::new(Arc::new(state));
        Ok(Self { shared: Arc::new(Shared { dir: dir.to_owned(), peers, state }) })
    }

    /// How the next connection is served.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.state().config.clone()
    }

    /// What is in use.
    pub fn facts(&self) -> Facts {
        self.state().facts.clone()
    }

    fn state(&self) -> Arc<State> {
        self.shared.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, state: State) {
        *self.shared.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(state);
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("dir", &self.shared.dir).finish_non_exhaustive()
    }
}

impl State {
    fn new(files: &Files, peers: Peers) -> Result<Self, Error> {
        let provider = Arc::new(ring::default_provider());
        let chain = files.chain()?;
        let leaf = chain[0].clone();
        let not_after_ms = not_after_ms(&leaf).map_err(|detail| files.wrong(Part::Certificate, detail))?;
        let key = files.certified_key(chain, &provider)?;
        let verifier = match peers {
            Peers::Anonymous => None,
            Peers::MayShowCertificate => Some(verifier(files, provider.clone())?),
        };
        let lenient: Arc<dyn ClientCertVerifier> = match &verifier {
            None => Arc::new(NoClientAuth),
            Some(verifier) => Arc::new(peer::Lenient(verifier.clone())),
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .expect("the provider has suites of both versions")
            .with_client_cert_verifier(lenient)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let facts = Facts {
            leaf_sha256: Sha256::digest(&leaf).into(),
            ca_sha256: files.authority.as_deref().map(|authority| Sha256::digest(authority).into()),
            not_after_ms,
        };
        Ok(Self { config: Arc::new(config), verifier, facts, fingerprint: files.fingerprint() })
    }
}

fn verifier(files: &Files, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let roots = Arc::new(files.roots()?);
    WebPkiClientVerifier::builder_with_provider(roots, provider)
        .build()
        .map_err(|error| files.wrong(Part::Authority, error.to_string()))
}

fn not_after_ms(certificate: &[u8]) -> Result<u64, String> {
    let (_, certificate) =
        X509Certificate::from_der(certificate).map_err(|error| format!("the first certificate: {error}"))?;
    let seconds = certificate.validity().not_after.timestamp();
    Ok(u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000))
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
