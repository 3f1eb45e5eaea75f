//! The status of a Broker: pure, from everything that was seen and done in one look. No counts that move by themselves, no times
//! but those of certificates: each change of it is a write.

use cmq_crds::broker::status::{BrokerStatus, CertificatesStatus, Endpoint, Rollout, StorageStatus};
use cmq_crds::broker::{Broker, BrokerSpec};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::certificates::Standing;
use super::cluster;
use super::pods::PodView;
use super::refusal::Refusal;
use super::roll;
use super::volumes::{ClaimView, Growth};
use crate::admin::BrokerInfo;
use crate::condition::{ConditionType, Finding, State, merge};
use crate::labels;
use crate::names::{self, ADMIN_PORT, ADMIN_PORT_NAME, CLIENT_PORT, CLIENT_PORT_NAME};
use crate::reason::Reason;

/// Bytes of what a pod said that are shown.
const WORDS_MAX: usize = 600;

/// What one look at a Broker saw and did.
#[derive(Clone, Debug, Default)]
pub(super) struct Look<'a> {
    /// What kept the look from going on.
    pub(super) refusal: Option<Refusal>,
    /// What is wrong beside; the look went on.
    pub(super) notes: Vec<Refusal>,
    /// The pods.
    pub(super) pods: &'a [PodView],
    /// The claims that the pods use.
    pub(super) claims: &'a [ClaimView],
    /// What pods that serve say.
    pub(super) infos: &'a [(i32, Result<BrokerInfo, String>)],
    /// The StatefulSet, where there is one.
    pub(super) set: Option<roll::SetView>,
    /// The step of a roll that was taken.
    pub(super) roll: Option<roll::Step>,
    /// Why the wanted template was given up.
    pub(super) given_up: Option<String>,
    /// The step of a growth that was taken.
    pub(super) growth: Option<Growth>,
    /// The certificates.
    pub(super) certificates: Standing,
    /// Queues that refer to the Broker.
    pub(super) queues: usize,
    /// Whether somebody asked for no writes.
    pub(super) paused: bool,
    /// What holds up a deletion, and whether there is one.
    pub(super) leaving: Option<Option<Refusal>>,
}

/// The status to write.
pub(super) fn status(broker: &Broker, look: &Look<'_>, now: Timestamp) -> BrokerStatus {
    let before = broker.status.clone().unwrap_or_default();
    let (name, namespace) = (
        broker.metadata.name.as_deref().unwrap_or_default(),
        broker.metadata.namespace.as_deref().unwrap_or_default(),
    );
    let spec = &broker.spec;
    let generation = broker.metadata.generation.unwrap_or(0);
    let wanted = if spec.stopped { 0 } else { spec.replicas };
    let updated = look.pods.iter().filter(|pod| pod.ready && is_new(pod, look)).count();
    let scheme = if spec.tls.client.is_some() { "https" } else { "http" };
    let told = look.infos.iter().find_map(|(_, info)| info.as_ref().ok());
    let said = |of: fn(&BrokerInfo) -> &String| told.map(of).filter(|text| !text.is_empty()).cloned();
    let address = format!("{scheme}://{}:{CLIENT_PORT}", names::client_host(name, namespace));
    let admin = format!("https://{}.{namespace}.svc:{ADMIN_PORT}", names::pods_service(name));
    let smallest = look.claims.iter().filter(|claim| claim.bound).min_by_key(|claim| claim.capacity);
    let rolling = matches!(&look.roll, Some(step) if *step != roll::Step::Settled);
    BrokerStatus {
        observed_generation: Some(generation),
        conditions: merge(&before.conditions, &findings(name, spec, look), generation, now),
        replicas: Some(count(look.pods.iter().filter(|pod| !pod.ending).count())),
        ready_replicas: Some(count(updated)),
        selector: Some(labels::selector_text(name)),
        address: Some(address.clone()),
        endpoints: vec![
            Endpoint { name: CLIENT_PORT_NAME.into(), address },
            Endpoint { name: ADMIN_PORT_NAME.into(), address: admin },
        ],
        version: said(|info| &info.version).or(before.version),
        cluster_id: said(|info| &info.cluster_id).or(before.cluster_id),
        queues: Some(count(look.queues)),
        rollout: look.set.as_ref().filter(|_| rolling && wanted > 0).map(|set| Rollout {
            target_revision: set.update.clone(),
            updated: count(updated),
            total: wanted,
        }),
        storage: Some(StorageStatus {
            requested: spec.storage.size.clone(),
            smallest_capacity: smallest.map(|claim| claim.capacity_text.clone()),
        }),
        certificates: ends(spec, look, before.certificates.unwrap_or_default()),
    }
}

/// When certificates end, as far as it is known.
fn ends(spec: &BrokerSpec, look: &Look<'_>, before: CertificatesStatus) -> Option<CertificatesStatus> {
    let infos = look.infos.iter().filter_map(|(_, info)| info.as_ref().ok());
    let client = infos.filter_map(|info| info.tls.client.as_ref()).map(|leaf| leaf.not_after_ms).min();
    let client = client.and_then(|end| Timestamp::from_millisecond(end).ok()).map(Time);
    let found = CertificatesStatus {
        internal_not_after: look.certificates.expire.map(Time).or(before.internal_not_after),
        client_not_after: client.or(before.client_not_after).filter(|_| spec.tls.client.is_some()),
    };
    (found != CertificatesStatus::default()).then_some(found)
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Whether a pod is of the revision that the StatefulSet's template has.
fn is_new(pod: &PodView, look: &Look<'_>) -> bool {
    look.set.as_ref().is_some_and(|set| set.update.is_empty() || pod.revision == set.update)
}

fn findings(name: &str, spec: &BrokerSpec, look: &Look<'_>) -> Vec<Finding> {
    let mut found = vec![ready(name, spec, look), replicas(name, spec, look), storage(name, spec, look)];
    found.push(certificates(look));
    if look.paused {
        found.push(Finding::new(
            ConditionType::Paused,
            State::True,
            Reason::Paused,
            Reason::Paused.meaning(),
        ));
    }
    if let Some(Some(blocked)) = &look.leaving {
        let message = blocked.message.clone();
        found.push(Finding::new(ConditionType::DeletionBlocked, State::True, blocked.reason, message));
    }
    found.extend(progress(name, spec, look));
    found
}

/// The problem that only a person ends, or what is still under way.
fn progress(name: &str, spec: &BrokerSpec, look: &Look<'_>) -> Option<Finding> {
    let stalled = |refusal: &Refusal| {
        Finding::new(ConditionType::Stalled, State::True, refusal.reason, refusal.message.clone())
    };
    let reconciling = |reason: Reason, message: String| {
        Some(Finding::new(ConditionType::Reconciling, State::True, reason, message))
    };
    if look.leaving.is_some() {
        return reconciling(Reason::Deleting, Reason::Deleting.meaning().into());
    }
    let refused = match &look.growth {
        Some(Growth::Refused(refusal)) => Some(refusal),
        _ => None,
    };
    let problems = || look.refusal.iter().chain(refused).chain(&look.notes);
    if let Some(refusal) = problems().find(|refusal| !refusal.recoverable) {
        return Some(stalled(refusal));
    }
    if look.paused {
        return None;
    }
    if let Some(refusal) = problems().next() {
        return reconciling(refusal.reason, refusal.message.clone());
    }
    if let Some(why) = &look.given_up {
        let message = format!(
            "the last change was taken back: {why}; correct the spec, or set cmq.dev/restart-at to try again"
        );
        return reconciling(Reason::RolloutStuck, bounded(&message));
    }
    if matches!(look.growth, Some(Growth::Claims(_) | Growth::Recreate)) {
        return reconciling(Reason::Resizing, format!("volumes grow to {}", spec.storage.size));
    }
    if let Some(pending) = &look.certificates.pending {
        return reconciling(pending.reason, pending.message.clone());
    }
    if let Some(step) = look.roll.as_ref().filter(|step| **step != roll::Step::Settled) {
        let changing =
            look.set.as_ref().is_some_and(|set| !set.update.is_empty() && set.current != set.update);
        let changing =
            changing || matches!(step, roll::Step::Begin | roll::Step::Lower(_) | roll::Step::GoBack(_));
        if changing {
            return reconciling(Reason::RollingOut, Reason::RollingOut.meaning().into());
        }
        let (reason, message) = waiting(name, spec, look);
        return reconciling(reason, message);
    }
    if look.certificates.rotating {
        return reconciling(Reason::CertificatesRotating, Reason::CertificatesRotating.meaning().into());
    }
    None
}

/// Pods without which nothing can be stored: the majority from three on.
fn needed(replicas: i32) -> usize {
    let replicas = usize::try_from(replicas).unwrap_or(0);
    if replicas < 3 { 1 } else { replicas / 2 + 1 }
}

fn ready(name: &str, spec: &BrokerSpec, look: &Look<'_>) -> Finding {
    let finding = |state, reason, message: String| Finding::new(ConditionType::Ready, state, reason, message);
    let serving = look.pods.iter().filter(|pod| pod.ready).count();
    if spec.stopped && serving == 0 {
        return finding(State::False, Reason::Stopped, Reason::Stopped.meaning().into());
    }
    if serving >= needed(spec.replicas) {
        return finding(State::True, Reason::Serving, format!("{serving} of {} pods serve", spec.replicas));
    }
    if let Some(refusal) = &look.refusal {
        return finding(State::False, refusal.reason, refusal.message.clone());
    }
    let (reason, message) = waiting(name, spec, look);
    finding(State::False, reason, message)
}

/// What the pods that do not serve wait for: the worst that is known.
fn waiting(name: &str, spec: &BrokerSpec, look: &Look<'_>) -> (Reason, String) {
    let troubled = look.pods.iter().filter_map(|pod| Some((pod, pod.trouble.as_ref()?)));
    if let Some((pod, trouble)) = troubled.max_by_key(|(_, trouble)| trouble.hard) {
        let message = match trouble.reason {
            Reason::VolumeLost => cluster::remedy(name, pod),
            _ => format!("{}: {}", pod.name, trouble.message),
        };
        return (trouble.reason, bounded(&message));
    }
    if let Some(pending) = &look.certificates.pending {
        return (pending.reason, pending.message.clone());
    }
    if let Some(claim) = look.claims.iter().find(|claim| claim.ordinal < spec.replicas && !claim.bound) {
        return (Reason::VolumePending, format!("{} has no volume yet", claim.name));
    }
    (Reason::Starting, Reason::Starting.meaning().into())
}

fn replicas(name: &str, spec: &BrokerSpec, look: &Look<'_>) -> Finding {
    let finding = |state, reason, message: String| {
        Finding::new(ConditionType::AllReplicasReady, state, reason, message)
    };
    let wanted = if spec.stopped { 0 } else { spec.replicas };
    let serves =
        |ordinal: &i32| look.pods.iter().any(|p| p.ordinal == *ordinal && p.ready && is_new(p, look));
    let missing: Vec<_> = (0..wanted).filter(|n| !serves(n)).map(|n| names::pod(name, n)).collect();
    if spec.stopped {
        return finding(State::False, Reason::Stopped, Reason::Stopped.meaning().into());
    }
    if missing.is_empty() {
        return finding(State::True, Reason::Serving, Reason::Serving.meaning().into());
    }
    let old = look.pods.iter().any(|pod| pod.ready && !is_new(pod, look));
    let reason = if old { Reason::RollingOut } else { waiting(name, spec, look).0 };
    finding(
        State::False,
        reason,
        format!("do not serve, or not yet as the spec says: {}", missing.join(", ")),
    )
}

fn storage(name: &str, spec: &BrokerSpec, look: &Look<'_>) -> Finding {
    let finding =
        |state, reason, message: String| Finding::new(ConditionType::StorageReady, state, reason, message);
    if let Some(refusal) = look.refusal.as_ref().filter(|refusal| refusal.reason == Reason::VolumesRetained) {
        return finding(State::False, refusal.reason, refusal.message.clone());
    }
    let lost =
        |pod: &&PodView| pod.trouble.as_ref().is_some_and(|trouble| trouble.reason == Reason::VolumeLost);
    if let Some(pod) = look.pods.iter().find(lost) {
        return finding(State::False, Reason::VolumeLost, cluster::remedy(name, pod));
    }
    if let Some((ordinal, _)) =
        look.infos.iter().find(|(_, info)| info.as_ref().is_ok_and(|info| info.ready && !info.takes_sends))
    {
        let message = format!("{} refuses sends until its volume has room again", names::pod(name, *ordinal));
        return finding(State::False, Reason::DiskFull, message);
    }
    if let Some(Growth::Refused(refusal)) = &look.growth {
        return finding(State::False, refusal.reason, refusal.message.clone());
    }
    let used = || look.claims.iter().filter(|claim| claim.ordinal < spec.replicas);
    if let Some(claim) = used().find(|claim| !claim.bound) {
        return finding(State::False, Reason::VolumePending, format!("{} has no volume yet", claim.name));
    }
    let growing = matches!(look.growth, Some(Growth::Claims(_) | Growth::Recreate));
    if let Some(claim) = used().find(|claim| claim.capacity < claim.request) {
        let message = format!("{} grows from {} to {}", claim.name, claim.capacity_text, spec.storage.size);
        return finding(State::False, Reason::Resizing, message);
    }
    if growing {
        return finding(State::False, Reason::Resizing, format!("volumes grow to {}", spec.storage.size));
    }
    if used().next().is_none() {
        return finding(State::False, Reason::VolumePending, "there are no claims yet".into());
    }
    finding(State::True, Reason::StorageReady, Reason::StorageReady.meaning().into())
}

fn certificates(look: &Look<'_>) -> Finding {
    let finding = |state, reason, message: String| {
        Finding::new(ConditionType::CertificatesReady, state, reason, message)
    };
    if let Some(pending) = &look.certificates.pending {
        return finding(State::False, pending.reason, pending.message.clone());
    }
    match look.certificates.expire {
        None => {
            finding(State::Unknown, Reason::CertificatesPending, Reason::CertificatesPending.meaning().into())
        }
        Some(_) if look.certificates.rotating => {
            let silent = look.infos.iter().find_map(|(_, info)| info.as_ref().err());
            let message = silent.map_or_else(
                || Reason::CertificatesRotating.meaning().to_owned(),
                |error| format!("{} {error}", Reason::CertificatesRotating.meaning()),
            );
            finding(State::True, Reason::CertificatesRotating, bounded(&message))
        }
        Some(_) => {
            finding(State::True, Reason::CertificatesValid, Reason::CertificatesValid.meaning().into())
        }
    }
}

fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(WORDS_MAX)].to_owned()
}

#[cfg(test)]
mod tests;
