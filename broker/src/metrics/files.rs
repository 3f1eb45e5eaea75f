//! Files that are followed while the broker runs: what was taken from them, and what was not.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{Gauge, IntCounter, IntGauge, Registry};

use super::{NAMESPACE, options, register};
use crate::access::GuardFigures;

/// One followed path.
#[derive(Clone, Debug)]
pub struct FileMetrics {
    items: IntGauge,
    errors: IntCounter,
    last_success: Gauge,
}

impl FileMetrics {
    /// `cmq_<subject>`, `cmq_<subject>_errors_total`, `cmq_<subject>_last_success_timestamp_seconds`.
    fn new(registry: &Registry, subject: &str, items: &str) -> Self {
        let name = |end: &str| format!("{NAMESPACE}_{subject}{end}");
        let errors = "Changes of the files that were refused; the state before them stays.";
        let last_success = "Unix time at which the files were taken last; 0: there are none to follow.";
        Self {
            items: register(registry, IntGauge::new(name(""), items)),
            errors: register(registry, IntCounter::new(name("_errors_total"), errors)),
            last_success: register(
                registry,
                Gauge::new(name("_last_success_timestamp_seconds"), last_success),
            ),
        }
    }

    /// The files were taken and hold so many items.
    pub fn took(&self, items: usize) {
        self.items.set(i64::try_from(items).unwrap_or(i64::MAX));
        self.last_success.set(now_seconds());
    }

    /// The files changed and were not taken.
    pub fn refused(&self) {
        self.errors.inc();
    }

    /// How often they were not taken.
    pub fn refusals(&self) -> u64 {
        self.errors.get()
    }
}

/// Access keys and the replay guard.
#[derive(Clone, Debug)]
pub struct AccessMetrics {
    /// The file of the keys.
    pub file: FileMetrics,
    signatures: IntGauge,
    overflows: IntGauge,
}

impl AccessMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let gauge = |name: &str, help: &str| {
            register(registry, IntGauge::new(format!("{NAMESPACE}_replay_guard_{name}"), help))
        };
        Self {
            file: FileMetrics::new(registry, "access_keys", "Access keys that are known."),
            signatures: gauge("signatures", "Signatures that the replay guard remembers."),
            overflows: gauge(
                "overflows",
                "How often the replay guard was full before its time, since the start.",
            ),
        }
    }

    /// Shows what the replay guard holds.
    pub fn show_guard(&self, figures: &GuardFigures) {
        self.signatures.set(figures.signatures as i64);
        self.overflows.set(figures.overflows as i64);
    }
}

/// The certificate of a port.
#[derive(Clone, Debug)]
pub struct TlsMetrics {
    errors: IntCounter,
    last_success: Gauge,
    expiry: Gauge,
}

impl TlsMetrics {
    pub(super) fn new(registry: &Registry, port: &str) -> Self {
        let gauge = |name: &str, help: &str| {
            register(
                registry,
                Gauge::with_opts(options(&format!("tls_{name}_timestamp_seconds"), help, port)),
            )
        };
        let errors = "Changes of the certificate that were refused; the one before them stays in use.";
        Self {
            errors: register(
                registry,
                IntCounter::with_opts(options("tls_reload_errors_total", errors, port)),
            ),
            last_success: gauge(
                "last_success",
                "Unix time at which the certificate was taken last; 0: the port does not speak TLS.",
            ),
            expiry: gauge(
                "certificate_expiry",
                "Unix time at which the certificate in use ends; 0: the port does not speak TLS.",
            ),
        }
    }

    /// A certificate was taken that ends at this Unix millisecond.
    pub fn took(&self, not_after_ms: u64) {
        self.expiry.set(not_after_ms as f64 / 1_000.0);
        self.last_success.set(now_seconds());
    }

    /// The files changed and were not taken.
    pub fn refused(&self) {
        self.errors.inc();
    }

    /// How often they were not taken.
    pub fn refusals(&self) -> u64 {
        self.errors.get()
    }

    /// Unix seconds at which the certificate in use ends.
    pub fn expiry(&self) -> f64 {
        self.expiry.get()
    }
}

fn now_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Manifests, and how far the queues are what they say.
#[derive(Clone, Debug)]
pub struct ManifestMetrics {
    /// The files.
    pub files: FileMetrics,
    /// Declared queues that are not yet what their manifest says.
    pub pending: IntGauge,
    /// Queues that no manifest declares any more, and that are deleted once they are empty.
    pub closing: IntGauge,
}

impl ManifestMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let gauge = |name: &str, help: &str| {
            register(registry, IntGauge::new(format!("{NAMESPACE}_manifests_{name}"), help))
        };
        Self {
            files: FileMetrics::new(registry, "manifests", "Queues that the manifests declare."),
            pending: gauge("pending_queues", "Declared queues that are not yet what their manifest says."),
            closing: gauge("closing_queues", "Queues that are deleted once they are empty."),
        }
    }
}
