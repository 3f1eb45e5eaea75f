//! What becomes of an authority: pure decisions over Secrets, what pods say they have loaded, and the time.
//!
//! ```text
//!            order, or 2/3 of its life            every pod trusts both            every pod shows a leaf of the new one
//!  current ───────────────────────────▶ current, next ──────────────▶ previous, current ──────────────▶ current
//! ```
//!
//! The bundle of both authorities is the same text before and after the switch, so that pods load it once. No leaf of the new
//! authority is made, and the operator does not show one, before every pod trusts it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;

use super::certificate::{self, Facts, Pair};
use super::identity::text;
use crate::admin::LoadedCertificate;
use crate::labels::ROTATE_CERTIFICATES;

/// The authorities of a Broker, as its Secret holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorities {
    /// Signs every leaf.
    pub current: Pair,
    /// Will sign, once every pod trusts it.
    pub next: Option<Pair>,
    /// Signed, and is trusted until no pod shows a leaf of it.
    pub previous: Option<String>,
    /// The last order to rotate that was followed.
    pub order: Option<String>,
}

/// The next step of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing to do now; whether pods are waited for.
    Keep {
        /// Whether a rotation is under way.
        waiting: bool,
    },
    /// Make the next authority and have it trusted.
    Announce,
    /// Sign with the next one.
    Promote,
    /// Trust the previous one no longer.
    Retire,
}

impl Authorities {
    /// A single authority.
    pub fn new(current: Pair, order: Option<String>) -> Self {
        Self { current, next: None, previous: None, order }
    }

    /// What a Secret holds.
    ///
    /// # Errors
    /// When a part is missing or cannot be read; says which.
    pub fn read(secret: &Secret) -> Result<Self, String> {
        let pair = |certificate: &str, key: &str| -> Result<Pair, String> {
            let pair = Pair { certificate: text(secret, certificate)?, key: text(secret, key)? };
            certificate::read(&pair.certificate).map_err(|error| format!("{certificate}: {error}"))?;
            if certificate::belongs(&pair) {
                Ok(pair)
            } else {
                Err(format!("{key} is not the key of {certificate}"))
            }
        };
        let has = |key: &str| secret.data.as_ref().is_some_and(|data| data.contains_key(key));
        Ok(Self {
            current: pair("ca.crt", "ca.key")?,
            next: if has("next.crt") { Some(pair("next.crt", "next.key")?) } else { None },
            previous: if has("previous.crt") { Some(text(secret, "previous.crt")?) } else { None },
            order: secret.annotations().get(ROTATE_CERTIFICATES).cloned(),
        })
    }

    /// What the Secret should hold.
    pub fn data(&self) -> BTreeMap<String, String> {
        let mut data = BTreeMap::from([
            ("ca.crt".to_owned(), self.current.certificate.clone()),
            ("ca.key".to_owned(), self.current.key.clone()),
        ]);
        if let Some(next) = &self.next {
            data.insert("next.crt".into(), next.certificate.clone());
            data.insert("next.key".into(), next.key.clone());
        }
        if let Some(previous) = &self.previous {
            data.insert("previous.crt".into(), previous.clone());
        }
        data
    }

    /// The authorities that pods and operator trust, oldest first.
    pub fn bundle(&self) -> String {
        let next = self.next.as_ref().map(|pair| pair.certificate.as_str());
        self.previous.as_deref().into_iter().chain([self.current.certificate.as_str()]).chain(next).collect()
    }

    /// The authorities after a step. A step for which a part is missing changes nothing: it is decided again.
    pub fn after(self, step: Step, announced: Option<Pair>, order: Option<&str>) -> Self {
        match (step, announced, self.next) {
            (Step::Announce, Some(next), _) => {
                Self { next: Some(next), order: order.map(str::to_owned), ..self }
            }
            (Step::Promote, _, Some(next)) => {
                Self { current: next, next: None, previous: Some(self.current.certificate), ..self }
            }
            (Step::Retire, _, next) => Self { next, previous: None, ..self },
            (_, _, next) => Self { next, ..self },
        }
    }
}

/// What a rotation does next. `order` is what the user's annotation says, `leaf` the pods' certificate as their Secret holds it,
/// `pods` what each pod that should run has loaded; nothing for one that does not say.
///
/// # Errors
/// When an authority cannot be read.
pub fn step(
    authorities: &Authorities,
    order: Option<&str>,
    leaf: Option<&str>,
    pods: &[Option<LoadedCertificate>],
    now: Timestamp,
) -> Result<Step, certificate::CertificateError> {
    let current = certificate::read(&authorities.current.certificate)?;
    let bundle = certificate::sha256(authorities.bundle().as_bytes());
    let trusted = || all(pods, |loaded| loaded.ca_sha256.as_deref() == Some(&bundle));
    if authorities.next.is_some() {
        // Nobody trusts an authority that ended: waiting would only go on for ever.
        let over = current.not_after <= now;
        return Ok(if over || trusted() { Step::Promote } else { Step::Keep { waiting: true } });
    }
    if let Some(previous) = &authorities.previous {
        let over = certificate::read(previous).map_or(true, |previous| previous.not_after <= now);
        let leaf = leaf.filter(|leaf| certificate::signed_by(leaf, &authorities.current.certificate));
        let leaf = leaf.and_then(|leaf| certificate::read(leaf).ok()).map(|facts| facts.sha256);
        let shown = || leaf.is_some_and(|leaf| all(pods, |loaded| loaded.leaf_sha256 == leaf));
        return Ok(if over || (trusted() && shown()) { Step::Retire } else { Step::Keep { waiting: true } });
    }
    let ordered = order.is_some() && order != authorities.order.as_deref();
    Ok(if ordered || current.renewable(now) { Step::Announce } else { Step::Keep { waiting: false } })
}

fn all(pods: &[Option<LoadedCertificate>], holds: impl Fn(&LoadedCertificate) -> bool) -> bool {
    pods.iter().all(|loaded| loaded.as_ref().is_some_and(&holds))
}

/// Whether a leaf must be made anew: it is not of the current authority, is for other names, cannot be read, or has lived for
/// two thirds of its life.
pub fn leaf_is_due(leaf: &Pair, authorities: &Authorities, dns_names: &[String], now: Timestamp) -> bool {
    let fits = |facts: Facts| !facts.renewable(now) && facts.dns_names == dns_names;
    !(certificate::read(&leaf.certificate).is_ok_and(fits)
        && certificate::signed_by(&leaf.certificate, &authorities.current.certificate)
        && certificate::belongs(leaf))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::pki::certificate::{AUTHORITY_LIFE, LEAF_LIFE, sha256};

    const WAIT: Step = Step::Keep { waiting: true };

    fn now() -> Timestamp {
        "2030-01-01T00:00:00Z".parse().unwrap()
    }

    fn authority() -> Pair {
        certificate::authority("orders", now()).unwrap()
    }

    fn leaf_of(authorities: &Authorities) -> String {
        certificate::leaf(&authorities.current, "orders", &[], now(), LEAF_LIFE).unwrap().certificate
    }

    /// A pod that has loaded this.
    fn pod(bundle: &str, leaf: &str) -> Option<LoadedCertificate> {
        Some(LoadedCertificate {
            leaf_sha256: certificate::read(leaf).unwrap().sha256,
            ca_sha256: Some(sha256(bundle.as_bytes())),
            not_after_ms: 0,
        })
    }

    #[test]
    fn a_whole_rotation_never_leaves_a_pod_alone() {
        let old = Authorities::new(authority(), None);
        let old_leaf = leaf_of(&old);
        let steady = [pod(&old.bundle(), &old_leaf), pod(&old.bundle(), &old_leaf)];
        let next =
            |a: &Authorities, leaf: &str, pods: &[_]| step(a, Some("1"), Some(leaf), pods, now()).unwrap();

        assert_eq!(step(&old, None, Some(&old_leaf), &steady, now()).unwrap(), Step::Keep { waiting: false });
        assert_eq!(next(&old, &old_leaf, &steady), Step::Announce);

        let announced = old.clone().after(Step::Announce, Some(authority()), Some("1"));
        let one = [pod(&announced.bundle(), &old_leaf), pod(&old.bundle(), &old_leaf)];
        assert_eq!(next(&announced, &old_leaf, &one), WAIT, "one pod does not trust it yet");
        assert_eq!(next(&announced, &old_leaf, &[one[0].clone(), None]), WAIT, "one pod does not say");
        let both = [one[0].clone(), one[0].clone()];
        assert_eq!(next(&announced, &old_leaf, &both), Step::Promote);

        let switched = announced.clone().after(Step::Promote, None, None);
        assert_eq!(switched.bundle(), announced.bundle(), "the bundle stays the same text");
        assert_eq!(next(&switched, &old_leaf, &both), WAIT, "the leaf is not made yet");
        let new_leaf = leaf_of(&switched);
        assert_eq!(next(&switched, &new_leaf, &both), WAIT, "no pod shows it yet");
        let shown = [pod(&switched.bundle(), &new_leaf), pod(&switched.bundle(), &new_leaf)];
        assert_eq!(next(&switched, &new_leaf, &shown), Step::Retire);

        let done = switched.after(Step::Retire, None, None);
        assert_eq!(done.bundle(), announced.next.unwrap().certificate);
        assert_eq!(next(&done, &new_leaf, &shown), Step::Keep { waiting: false }, "the order was followed");
        assert_eq!(step(&done, Some("2"), Some(&new_leaf), &shown, now()).unwrap(), Step::Announce);
    }

    #[test]
    fn time_alone_rotates_and_an_ended_authority_waits_for_nobody() {
        let old = Authorities::new(authority(), None);
        let later = now() + AUTHORITY_LIFE * 2 / 3 + Duration::from_secs(3_600);
        assert_eq!(step(&old, None, None, &[None], later).unwrap(), Step::Announce);
        let announced = old.after(Step::Announce, Some(authority()), None);
        assert_eq!(step(&announced, None, None, &[None], later).unwrap(), WAIT);
        let ended = now() + AUTHORITY_LIFE;
        assert_eq!(step(&announced, None, None, &[None], ended).unwrap(), Step::Promote);
        let switched = announced.after(Step::Promote, None, None);
        assert_eq!(step(&switched, None, None, &[None], ended).unwrap(), Step::Retire);
    }

    #[test]
    fn without_pods_a_rotation_runs_through() {
        let announced =
            Authorities::new(authority(), None).after(Step::Announce, Some(authority()), Some("1"));
        assert_eq!(step(&announced, Some("1"), None, &[], now()).unwrap(), Step::Promote);
    }

    #[test]
    fn leaves_are_renewed_for_a_reason_only() {
        let authorities = Authorities::new(authority(), None);
        let names = ["a.svc".to_owned(), "b.svc".to_owned()];
        let leaf = certificate::leaf(&authorities.current, "orders", &names, now(), LEAF_LIFE).unwrap();
        assert!(!leaf_is_due(&leaf, &authorities, &names, now()));
        assert!(leaf_is_due(&leaf, &authorities, &names[..1], now()), "other names");
        assert!(leaf_is_due(&leaf, &authorities, &names, now() + LEAF_LIFE * 2 / 3), "two thirds");
        assert!(leaf_is_due(&leaf, &Authorities::new(authority(), None), &names, now()), "another authority");
        let mixed = Pair { key: authorities.current.key.clone(), ..leaf.clone() };
        assert!(leaf_is_due(&mixed, &authorities, &names, now()), "another key");
        let empty = Pair { certificate: String::new(), key: String::new() };
        assert!(leaf_is_due(&empty, &authorities, &names, now()), "nothing");
    }

    #[test]
    fn a_secret_holds_all_of_it() {
        let announced =
            Authorities::new(authority(), None).after(Step::Announce, Some(authority()), Some("1"));
        let secret = |data: BTreeMap<String, String>| {
            let data = data.into_iter().map(|(key, text)| (key, k8s_openapi::ByteString(text.into_bytes())));
            let mut secret = Secret { data: Some(data.collect()), ..Secret::default() };
            secret.annotations_mut().insert(ROTATE_CERTIFICATES.into(), "1".into());
            secret
        };
        assert_eq!(Authorities::read(&secret(announced.data())).unwrap(), announced);
        let mut broken = announced.data();
        broken.insert("ca.key".into(), announced.next.unwrap().key);
        assert_eq!(Authorities::read(&secret(broken)).unwrap_err(), "ca.key is not the key of ca.crt");
        assert_eq!(Authorities::read(&Secret::default()).unwrap_err(), "key ca.crt is missing");
    }
}
