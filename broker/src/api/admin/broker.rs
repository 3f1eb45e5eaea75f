//! What the admin API says of the broker as a whole.

use serde::Serialize;

use super::Volume;
use crate::tls::Facts;

/// What the broker is, for the operator.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Broker {
    version: &'static str,
    cluster_id: String,
    shards: u16,
    ready: bool,
    takes_sends: bool,
    queues: usize,
    free_bytes: u64,
    volume_bytes: u64,
    tls: TlsOfPorts,
}

#[derive(Serialize)]
struct TlsOfPorts {
    admin: Option<Certificate>,
    client: Option<Certificate>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Certificate {
    leaf_sha256: String,
    ca_sha256: Option<String>,
    not_after_ms: u64,
}

impl Broker {
    /// `tls` is that of the admin and of the client port.
    pub(super) fn new(
        cluster_id: u128,
        shards: u16,
        ready: bool,
        queues: usize,
        volume: Volume,
        tls: [Option<Facts>; 2],
    ) -> Self {
        let hex = |hash: [u8; 32]| hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let [admin, client] = tls.map(|tls| {
            tls.map(|facts| Certificate {
                leaf_sha256: hex(facts.leaf_sha256),
                ca_sha256: facts.ca_sha256.map(hex),
                not_after_ms: facts.not_after_ms,
            })
        });
        Self {
            version: env!("CARGO_PKG_VERSION"),
            cluster_id: format!("{cluster_id:032x}"),
            shards,
            ready,
            takes_sends: volume.takes_sends,
            queues,
            free_bytes: volume.free_bytes,
            volume_bytes: volume.total_bytes,
            tls: TlsOfPorts { admin, client },
        }
    }
}
