//! Certificates that change while the broker runs.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use super::files::{Files, Part};
use super::{State, Tls};
use crate::follow::{self, Follower};
use crate::metrics::TlsMetrics;

/// Follows the files of a port until `stop` turns true. A good change holds for connections from then on, those that are
/// open go on; a bad one is reported once, and what was in use stays.
pub async fn follow(tls: Tls, metrics: TlsMetrics, stop: watch::Receiver<bool>) {
    let peers = tls.shared.peers;
    show(&tls, &metrics);
    let (files, content) = (tls.shared.dir.clone(), tls.shared.dir.clone());
    let mut follower = Follower::new(
        tls.state().fingerprint,
        move || Ok(Part::of(peers).iter().map(|part| part.path(&files)).collect()),
        move || Files::read(&content, peers),
        Files::fingerprint,
    );
    while follow::pause(&stop).await {
        let (back, change) = follow::look(follower).await;
        follower = back;
        match change.map(|files| files.and_then(|files| State::new(&files, peers))) {
            None => {}
            Some(Ok(state)) => {
                tls.replace(state);
                show(&tls, &metrics);
            }
            Some(Err(error)) => {
                metrics.refused();
                tracing::error!(
                    "a TLS certificate changed and was not taken; the one before stays in use: {error}"
                );
            }
        }
    }
}

fn show(tls: &Tls, metrics: &TlsMetrics) {
    let not_after_ms = tls.facts().not_after_ms;
    metrics.took(not_after_ms);
    let dir: &Path = &tls.shared.dir;
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    if not_after_ms <= now_ms {
        tracing::warn!(dir = %dir.display(), not_after_ms, "the TLS certificate has expired: clients refuse it");
    } else {
        tracing::info!(dir = %dir.display(), not_after_ms, "TLS certificate taken");
    }
}
