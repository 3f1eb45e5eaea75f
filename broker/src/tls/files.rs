//! The files of a TLS directory, with the names that a Secret of type `kubernetes.io/tls` gives them.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use xxhash_rust::xxh3::Xxh3;

use super::Peers;

/// Bytes of one file at most.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why a TLS directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("TLS: {}: {cause}; expected: {expected}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
        /// What should be there.
        expected: &'static str,
    },
    /// A file is not what it should be.
    #[error("TLS: {}: {detail}; expected: {expected}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong; never shows a key.
        detail: String,
        /// What should be there.
        expected: &'static str,
    },
}

/// One of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Certificate,
    Key,
    Authority,
}

impl Part {
    const fn name(self) -> &'static str {
        match self {
            Self::Certificate => "tls.crt",
            Self::Key => "tls.key",
            Self::Authority => "ca.crt",
        }
    }

    const fn expected(self) -> &'static str {
        match self {
            Self::Certificate => {
                "the broker's certificate in PEM, and behind it those that link it to its authority"
            }
            Self::Key => "the private key of tls.crt in PEM, not encrypted (PKCS#8, PKCS#1 or SEC1)",
            Self::Authority => "one or more certificates of authorities in PEM",
        }
    }

    /// The files of a directory.
    pub(super) fn of(peers: Peers) -> &'static [Self] {
        match peers {
            Peers::Anonymous => &[Self::Certificate, Self::Key],
            Peers::MayShowCertificate => &[Self::Certificate, Self::Key, Self::Authority],
        }
    }

    pub(super) fn path(self, dir: &Path) -> PathBuf {
        dir.join(self.name())
    }
}

/// What the files hold.
pub(super) struct Files {
    dir: PathBuf,
    certificate: Vec<u8>,
    key: Vec<u8>,
    pub(super) authority: Option<Vec<u8>>,
}

impl Files {
    /// Reads them, whatever they hold.
    pub(super) fn read(dir: &Path, peers: Peers) -> Result<Self, Error> {
        let authority = match peers {
            Peers::Anonymous => None,
            Peers::MayShowCertificate => Some(read(dir, Part::Authority)?),
        };
        Ok(Self {
            dir: dir.to_owned(),
            certificate: read(dir, Part::Certificate)?,
            key: read(dir, Part::Key)?,
            authority,
        })
    }

    /// Tells one state of the files from another.
    pub(super) fn fingerprint(&self) -> u128 {
        let mut hash = Xxh3::new();
        for part in [&self.certificate, &self.key, self.authority.as_ref().unwrap_or(&Vec::new())] {
            hash.update(&part.len().to_le_bytes());
            hash.update(part);
        }
        hash.digest128()
    }

    /// The certificate, and those behind it; never empty.
    pub(super) fn chain(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        self.certificates(Part::Certificate, &self.certificate)
    }

    /// The chain with its key.
    pub(super) fn certified_key(
        &self,
        chain: Vec<CertificateDer<'static>>,
        provider: &CryptoProvider,
    ) -> Result<CertifiedKey, Error> {
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| match error {
            PemError::NoItemsFound => self.wrong(Part::Key, "holds no private key".into()),
            // Its own words may show what stands there.
            _ => self.wrong(Part::Key, "is not PEM".into()),
        })?;
        CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                self.wrong(Part::Key, "does not belong to the certificate in tls.crt".into())
            }
            error => self.wrong(Part::Key, error.to_string()),
        })
    }

    /// The authorities.
    pub(super) fn roots(&self) -> Result<RootCertStore, Error> {
        let mut roots = RootCertStore::empty();
        let authorities =
            self.certificates(Part::Authority, self.authority.as_deref().unwrap_or_default())?;
        for (index, authority) in authorities.into_iter().enumerate() {
            roots.add(authority).map_err(|error| {
                self.wrong(Part::Authority, format!("certificate {}: {error}", index + 1))
            })?;
        }
        Ok(roots)
    }

    fn certificates(&self, part: Part, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
        match certificates {
            Ok(certificates) if !certificates.is_empty() => Ok(certificates),
            Ok(_) => Err(self.wrong(part, "holds no certificate".into())),
            Err(error) => Err(self.wrong(part, format!("is not PEM: {error}"))),
        }
    }

    pub(super) fn wrong(&self, part: Part, detail: String) -> Error {
        Error::Wrong { path: part.path(&self.dir), detail, expected: part.expected() }
    }
}

fn read(dir: &Path, part: Part) -> Result<Vec<u8>, Error> {
    let path = part.path(dir);
    let mut bytes = Vec::new();
    match File::open(&path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)) {
        Err(cause) => Err(Error::Unreadable { path, cause, expected: part.expected() }),
        Ok(_) if bytes.len() as u64 > FILE_BYTES_MAX => {
            let detail = format!("is larger than {FILE_BYTES_MAX} bytes");
            Err(Error::Wrong { path, detail, expected: part.expected() })
        }
        Ok(_) => Ok(bytes),
    }
}
