//! One operator works at a time: who holds the Lease does.
//!
//! A Lease counts as expired when it did not change for its duration **by our own monotonic clock**; wall clocks of other
//! machines decide nothing. It is taken and renewed by PUT with the `resourceVersion` just read, so that of two candidates
//! one loses with a conflict. Whoever could not renew in time stops at once, before the Lease expires for the others.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// Time for which a Lease is held without being renewed.
pub const DURATION: Duration = Duration::from_secs(15);
/// The holder stops when it could not renew for so long.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Time between two attempts, to take or to renew.
pub const RETRY: Duration = Duration::from_secs(2);
/// Time for one call.
const CALL_TIME: Duration = Duration::from_secs(5);

/// A candidate for a Lease, or its holder.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    /// The Lease as it was when it changed last, and when that was seen.
    seen: Option<(Lease, Instant)>,
}

/// Takes a Lease whoever holds it, for this duration and without renewing it. Returns when its holder has noticed, or has
/// stopped for want of an answer: then nobody works until the duration is over.
///
/// # Errors
/// As the API server says.
pub async fn seize(
    client: &Client,
    namespace: &str,
    name: &str,
    identity: &str,
    duration: Duration,
) -> kube::Result<()> {
    let mut candidate = Candidate::new(client.clone(), namespace, name, identity);
    loop {
        let before = candidate.api.get_opt(name).await?;
        let now = Instant::now();
        let mut taken = candidate.written(&before.clone().unwrap_or_default(), identity);
        if let Some(spec) = &mut taken.spec {
            spec.lease_duration_seconds = Some(i32::try_from(duration.as_secs()).unwrap_or(i32::MAX));
        }
        let written = match before {
            Some(_) => candidate.api.replace(name, &PostParams::default(), &taken).await,
            None => candidate.api.create(&PostParams::default(), &taken).await,
        };
        // Otherwise its holder renewed it in between: once more.
        if candidate.won(written, now)? {
            break;
        }
    }
    sleep(DURATION).await;
    Ok(())
}

/// The Lease was lost, or may be: another operator may work already.
#[derive(Debug, thiserror::Error)]
#[error("the lease {0} is lost; another operator may work already")]
pub struct Lost(String);

impl Candidate {
    /// A candidate of this identity, which no other process ever has: a name with random characters.
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.into(),
            identity: identity.into(),
            seen: None,
        }
    }

    /// Waits until the Lease is ours; as long as it takes.
    pub async fn acquire(&mut self) {
        loop {
            match timeout(CALL_TIME, self.try_to_take()).await {
                Ok(Ok(true)) => return,
                Ok(Ok(false)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(%error, lease = self.name, "cannot take the lease; trying again")
                }
                Err(_) => {
                    tracing::warn!(lease = self.name, "no answer about the lease in time; trying again")
                }
            }
            sleep(jittered(RETRY)).await;
        }
    }

    /// Renews the Lease until that fails for too long. Pending until then.
    pub async fn hold(&mut self) -> Lost {
        let mut renewed = self.seen.as_ref().map_or_else(Instant::now, |(_, at)| *at);
        loop {
            sleep(RETRY).await;
            // What counts is when the call was made: the others may have seen the change that early.
            let begun = Instant::now();
            match timeout_at(renewed + RENEW_DEADLINE, timeout(CALL_TIME, self.renew())).await {
                Ok(Ok(Ok(true))) => renewed = begun,
                Ok(Ok(Ok(false))) => return Lost(self.name.clone()),
                Ok(Ok(Err(error))) => tracing::warn!(%error, lease = self.name, "cannot renew the lease"),
                Ok(Err(_)) => tracing::warn!(lease = self.name, "no answer about the lease in time"),
                Err(_) => return Lost(self.name.clone()),
            }
            if renewed.elapsed() >= RENEW_DEADLINE {
                return Lost(self.name.clone());
            }
        }
    }

    /// Gives the Lease up, so that the next need not wait. Only after everything that it protects has ended.
    pub async fn release(mut self) {
        let Some((lease, _)) = self.seen.take() else { return };
        let free = self.written(&lease, "");
        match timeout(CALL_TIME, self.api.replace(&self.name, &PostParams::default(), &free)).await {
            Ok(Ok(_)) => tracing::info!(lease = self.name, "released the lease"),
            Ok(Err(error)) => {
                tracing::warn!(%error, lease = self.name, "cannot release the lease; it expires")
            }
            Err(_) => tracing::warn!(lease = self.name, "no answer about the lease in time; it expires"),
        }
    }

    /// One attempt to make the Lease ours.
    async fn try_to_take(&mut self) -> kube::Result<bool> {
        let now = Instant::now();
        let Some(lease) = self.api.get_opt(&self.name).await? else {
            let fresh = self.written(&Lease::default(), &self.identity);
            let made = self.api.create(&PostParams::default(), &fresh).await;
            return self.won(made, now);
        };
        let free = lease
            .spec
            .as_ref()
            .and_then(|spec| spec.holder_identity.as_deref())
            .unwrap_or_default()
            .is_empty();
        if !free && !self.has_expired(&lease, now) {
            return Ok(false);
        }
        let taken = self.written(&lease, &self.identity);
        let taken = self.api.replace(&self.name, &PostParams::default(), &taken).await;
        self.won(taken, now)
    }

    /// Whether the Lease did not change for its duration.
    fn has_expired(&mut self, lease: &Lease, now: Instant) -> bool {
        match &self.seen {
            Some((seen, at)) if seen.metadata.resource_version == lease.metadata.resource_version => {
                let spec = lease.spec.as_ref();
                let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
                let duration = Duration::from_secs(seconds.max(0) as u64).max(DURATION);
                now.duration_since(*at) >= duration
            }
            _ => {
                self.seen = Some((lease.clone(), now));
                false
            }
        }
    }

    /// One attempt to renew; false: somebody else holds the Lease.
    async fn renew(&mut self) -> kube::Result<bool> {
        let now = Instant::now();
        let Some((held, _)) = &self.seen else { return Ok(false) };
        let renewed = self.written(held, &self.identity);
        let result = self.api.replace(&self.name, &PostParams::default(), &renewed).await;
        if self.won(result, now)? {
            return Ok(true);
        }
        // Somebody changed it, if only a label; or an answer of ours was lost.
        let Some(lease) = self.api.get_opt(&self.name).await? else { return Ok(false) };
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
        let ours = holder == Some(self.identity.as_str());
        if ours && let Some((seen, _)) = &mut self.seen {
            // The next attempt renews it; this one did not.
            *seen = lease;
        }
        if ours { Err(kube::Error::Api(Box::new(conflict()))) } else { Ok(false) }
    }

    /// Whether a write won; losing to another is no error.
    fn won(&mut self, written: kube::Result<Lease>, now: Instant) -> kube::Result<bool> {
        match written {
            Ok(lease) => {
                self.seen = Some((lease, now));
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The Lease as this candidate writes it, with the `resourceVersion` of the one before.
    fn written(&self, before: &Lease, holder: &str) -> Lease {
        let now = MicroTime(Timestamp::now());
        let spec = before.spec.clone().unwrap_or_default();
        let same = spec.holder_identity.as_deref() == Some(holder);
        let taken = !same && !holder.is_empty();
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                managed_fields: None,
                ..before.metadata.clone()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: Some(DURATION.as_secs() as i32),
                acquire_time: if taken { Some(now.clone()) } else { spec.acquire_time },
                renew_time: Some(now),
                lease_transitions: Some(spec.lease_transitions.unwrap_or_default() + i32::from(taken)),
                ..LeaseSpec::default()
            }),
        }
    }
}

fn conflict() -> kube::core::Status {
    kube::core::Status::failure("the lease changed meanwhile", "Conflict").with_code(409)
}

fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.8 + 0.4 * fastrand::f64())
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
