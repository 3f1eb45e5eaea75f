//! Authorities and certificates for tests, and clients that use them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::OPERATOR_NAME;

/// The name in the certificates of brokers.
pub(crate) const BROKER_NAME: &str = "orders-cmq-0.orders-cmq-pods.shop.svc";

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

pub(crate) struct Leaf {
    pub(crate) pem: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub(crate) fn leaf(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> Leaf {
        self.leaf_until(name, usage, 2_100)
    }

    /// A certificate that ends with the begin of a year.
    pub(crate) fn leaf_until(&self, name: &str, usage: ExtendedKeyUsagePurpose, year: i32) -> Leaf {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        Leaf { pem: params.signed_by(&key, &self.issuer).unwrap().pem(), key: key.serialize_pem() }
    }

    pub(crate) fn broker(&self) -> Leaf {
        self.leaf(BROKER_NAME, ExtendedKeyUsagePurpose::ServerAuth)
    }

    pub(crate) fn operator(&self) -> Leaf {
        self.leaf(OPERATOR_NAME, ExtendedKeyUsagePurpose::ClientAuth)
    }
}

/// Writes the files of a TLS directory.
pub(crate) fn write(dir: &Path, leaf: &Leaf, authorities: &[&Authority]) {
    std::fs::create_dir_all(dir).unwrap();
    let bundle: String = authorities.iter().map(|authority| authority.pem.as_str()).collect();
    for (name, text) in [("tls.crt", &leaf.pem), ("tls.key", &leaf.key), ("ca.crt", &bundle)] {
        std::fs::write(dir.join(name), text).unwrap();
    }
}

/// A client that trusts these authorities and may have a certificate.
pub(crate) fn client(authorities: &[&Authority], own: Option<&Leaf>, alpn: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(leaf) => {
            let chain = vec![CertificateDer::from_pem_slice(leaf.pem.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

pub(crate) async fn connect(
    address: SocketAddr,
    client: &Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(client.clone()).connect(ServerName::try_from(BROKER_NAME).unwrap(), stream).await
}

/// One request on a connection of its own; the answer as text.
pub(crate) async fn ask(
    address: SocketAddr,
    client: &Arc<ClientConfig>,
    method: &str,
    target: &str,
    body: &str,
) -> std::io::Result<String> {
    let mut stream = connect(address, client).await?;
    let head = format!("{method} {target} HTTP/1.1\r\nhost: {BROKER_NAME}\r\nx-requested-by: test\r\n");
    let request = format!("{head}connection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
