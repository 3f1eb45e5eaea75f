//! The operator's certificate for each Broker, read from the Broker's Secrets and kept for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::Client;
use tokio::time::Instant;

use super::Identity;
use crate::context::Clock;
use crate::pki::{self, IdentityError, Source};
use crate::wakes::Key;

/// Time for which an identity is used without looking at the Secrets, unless it stops working: with each new one the
/// connections of the one before are given up.
const KEPT_FOR: Duration = Duration::from_secs(600);

/// Identities by Broker; those that nobody asked for lately are forgotten.
pub(crate) struct Identities {
    client: Client,
    clock: Arc<dyn Clock>,
    known: Mutex<HashMap<Key, (Arc<Identity>, Instant)>>,
}

impl Identities {
    pub(crate) fn new(client: Client, clock: Arc<dyn Clock>) -> Self {
        Self { client, clock, known: Mutex::default() }
    }

    /// The identity for one Broker.
    ///
    /// # Errors
    /// When the Broker's Secrets are not there, or not what they should be.
    pub(crate) async fn get(&self, broker: &Key, source: Source) -> Result<Arc<Identity>, IdentityError> {
        let now = Instant::now();
        let kept = |read: Instant| now.duration_since(read) < KEPT_FOR;
        if let Some((identity, read)) = self.lock().get(broker)
            && kept(*read)
        {
            return Ok(identity.clone());
        }
        let identity = Arc::new(pki::identity(&self.client, broker, source, self.clock.now()).await?);
        let mut known = self.lock();
        known.retain(|_, (_, read)| kept(*read));
        known.insert(broker.clone(), (identity.clone(), now));
        Ok(identity)
    }

    /// Has the Secrets looked at before the next call: a pod did not answer, and its authority may have changed.
    pub(crate) fn forget(&self, broker: &Key) {
        self.lock().remove(broker);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, (Arc<Identity>, Instant)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
