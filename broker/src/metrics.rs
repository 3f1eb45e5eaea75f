//! What the broker counts, for the `/metrics` page.
//!
//! Every metric is made and registered here or in a file below, so that the registry shows all of them from the start.

mod calls;
mod families;
mod files;
pub mod node;
mod process;
pub mod queues;
mod shards;
mod storage;

use prometheus::core::Collector;
use prometheus::{IntCounter, IntGauge, Opts, Registry};

pub use calls::CallMetrics;
pub use files::{AccessMetrics, FileMetrics, ManifestMetrics, TlsMetrics};
use node::NodeMetrics;
use process::ProcessMetrics;

/// Prefix of every name.
const NAMESPACE: &str = "cmq";

/// All metrics of a broker. Clones count into the same figures.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    /// The port of clients.
    pub client_port: PortMetrics,
    /// The port of operators and probes.
    pub admin_port: PortMetrics,
    /// The node under the protocols.
    pub node: NodeMetrics,
    /// Access keys.
    pub access: AccessMetrics,
    /// Manifests.
    pub manifests: ManifestMetrics,
    ready: IntGauge,
}

impl Metrics {
    /// Fresh metrics, all 0.
    pub fn new() -> Self {
        let registry = Registry::new();
        let client_port = PortMetrics::new(&registry, "client");
        let admin_port = PortMetrics::new(&registry, "admin");
        let node = register(&registry, Ok(NodeMetrics::default()));
        register(&registry, Ok(ProcessMetrics::new()));
        let version = Opts::new("build_info", "1; which build this is, in the labels.").namespace(NAMESPACE);
        let build = IntGauge::with_opts(version.const_label("version", env!("CARGO_PKG_VERSION")));
        register(&registry, build).set(1);
        let ready = Opts::new("ready", "Whether /readyz says that clients may be sent here.");
        let ready = register(&registry, IntGauge::with_opts(ready.namespace(NAMESPACE)));
        let (access, manifests) = (AccessMetrics::new(&registry), ManifestMetrics::new(&registry));
        Self { registry, client_port, admin_port, node, access, manifests, ready }
    }

    /// Shows whether clients may be sent here.
    pub fn set_ready(&self, is_ready: bool) {
        self.ready.set(i64::from(is_ready));
    }

    /// Where every metric is registered. Layers that bring metrics of their own register them here, once.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// What one HTTP port counts, on all of its connections.
#[derive(Clone, Debug)]
pub struct PortMetrics {
    /// Connections taken since the start.
    pub accepted: IntCounter,
    /// Connections turned away because there were too many.
    pub refused: IntCounter,
    /// Bytes read from sockets.
    pub bytes_in: IntCounter,
    /// Bytes written to sockets.
    pub bytes_out: IntCounter,
    /// Requests that made the broker panic.
    pub panics: IntCounter,
    /// Connections that ended before TLS was agreed on.
    pub handshake_errors: IntCounter,
    /// The certificate.
    pub tls: TlsMetrics,
    connections: IntGauge,
}

impl PortMetrics {
    fn new(registry: &Registry, port: &str) -> Self {
        let counter = |name, help| register(registry, IntCounter::with_opts(options(name, help, port)));
        Self {
            accepted: counter("http_connections_accepted_total", "Connections taken since the start."),
            refused: counter(
                "http_connections_refused_total",
                "Connections turned away because there were too many.",
            ),
            bytes_in: counter("http_received_bytes_total", "Bytes read from the sockets of clients."),
            bytes_out: counter("http_sent_bytes_total", "Bytes written to the sockets of clients."),
            panics: counter("http_panics_total", "Requests that ended in a bug of the broker."),
            handshake_errors: counter(
                "tls_handshake_errors_total",
                "Connections that ended before TLS was agreed on.",
            ),
            tls: TlsMetrics::new(registry, port),
            connections: register(
                registry,
                IntGauge::with_opts(options("http_connections", "Connections that are open.", port)),
            ),
        }
    }

    /// Counts a connection as open until the answer is dropped.
    pub fn open(&self) -> Open {
        self.connections.inc();
        Open(self.connections.clone())
    }
}

/// A connection that is open; see [`PortMetrics::open`].
#[derive(Debug)]
pub struct Open(IntGauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn options(name: &str, help: &str, port: &str) -> Opts {
    Opts::new(name, help).namespace(NAMESPACE).const_label("port", port)
}

/// Registers a metric that is made here. Names are fixed in code, so neither step can fail in a program that passed its
/// tests.
fn register<C: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> C {
    let metric = made.expect("the name and the labels of a metric are well formed");
    registry.register(Box::new(metric.clone())).expect("every metric is registered once");
    metric
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    #[test]
    fn counts_open_connections() {
        let metrics = Metrics::new();
        let first = metrics.client_port.open();
        let second = metrics.clone().client_port.open();
        drop(first);
        let text = TextEncoder::new().encode_to_string(&metrics.registry().gather()).unwrap();
        assert!(text.contains("cmq_http_connections{port=\"client\"} 1\n"), "{text}");
        assert!(text.contains("cmq_http_connections{port=\"admin\"} 0\n"), "{text}");
        drop(second);
        assert_eq!(metrics.client_port.connections.get(), 0);
    }
}
