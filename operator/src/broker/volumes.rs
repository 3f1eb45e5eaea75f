//! Volumes: whose they are, and how they grow. Pure decisions over the claims that exist.
//!
//! A claim template cannot be changed. So the claims grow first, and then the StatefulSet is made anew around its pods, which
//! notice nothing. Each step is decided from what is there: a stop between two of them does no harm.

use cmq_crds::broker::storage::byte_size;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;

use super::refusal::Refusal;
use crate::labels::BROKER_UID;
use crate::names;
use crate::reason::Reason;

/// A claim of a Broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ClaimView {
    /// Its ordinal.
    pub(super) ordinal: i32,
    /// Its name.
    pub(super) name: String,
    /// Its UID.
    pub(super) uid: String,
    /// The Broker whose data it holds.
    pub(super) broker_uid: Option<String>,
    /// Whether it has a volume.
    pub(super) bound: bool,
    /// Whether it is being deleted.
    pub(super) ending: bool,
    /// Bytes asked for.
    pub(super) request: u64,
    /// Bytes of the volume; 0 without one.
    pub(super) capacity: u64,
    /// The capacity as it is written.
    pub(super) capacity_text: String,
    /// Its storage class.
    pub(super) class: Option<String>,
}

/// What is seen of a claim; nothing for another Broker's, or one without an ordinal.
pub(super) fn view(broker: &str, claim: &PersistentVolumeClaim) -> Option<ClaimView> {
    let name = claim.name_any();
    let ordinal = names::claim_ordinal(broker, &name)?;
    let spec = claim.spec.clone().unwrap_or_default();
    let status = claim.status.clone().unwrap_or_default();
    let request = spec.resources.and_then(|resources| resources.requests).unwrap_or_default();
    let capacity = status.capacity.unwrap_or_default();
    let bytes = |text: Option<&str>| text.and_then(byte_size).unwrap_or(0);
    let capacity_text = capacity.get("storage").map(|quantity| quantity.0.clone()).unwrap_or_default();
    Some(ClaimView {
        ordinal,
        name,
        uid: claim.uid().unwrap_or_default(),
        broker_uid: claim.labels().get(BROKER_UID).cloned(),
        bound: status.phase.as_deref() == Some("Bound"),
        ending: claim.metadata.deletion_timestamp.is_some(),
        request: bytes(request.get("storage").map(|quantity| quantity.0.as_str())),
        capacity: bytes(Some(&capacity_text)),
        capacity_text,
        class: spec.storage_class_name,
    })
}

/// Whose the claims are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ownership {
    /// Ours, or not there.
    Ours,
    /// Those of a former Broker are taken over: these.
    Adopt(Vec<String>),
    /// Those of a former Broker are in the way.
    Retained(Refusal),
}

/// Whether the claims that the pods would use are ours.
pub(super) fn ownership(claims: &[ClaimView], uid: &str, replicas: i32, adopt: bool) -> Ownership {
    let foreign: Vec<_> = claims
        .iter()
        .filter(|claim| claim.ordinal < replicas && claim.broker_uid.as_deref() != Some(uid))
        .map(|claim| claim.name.clone())
        .collect();
    if foreign.is_empty() {
        return Ownership::Ours;
    }
    if adopt {
        return Ownership::Adopt(foreign);
    }
    let names = foreign.join(", ");
    let message = format!(
        "{names}: holds the data of a former Broker; the annotation cmq.dev/adopt: \"true\" goes on with it, deleting the claim \
         drops it"
    );
    Ownership::Retained(Refusal::waiting(Reason::VolumesRetained, message))
}

/// The next step of a growth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Growth {
    /// Every claim and the template ask for the wanted size.
    Settled,
    /// Let these claims ask for the wanted size.
    Claims(Vec<String>),
    /// Make the StatefulSet anew: all claims ask for the wanted size, its template does not.
    Recreate,
    /// It cannot be done.
    Refused(Refusal),
}

/// What to do next for volumes of `wanted` bytes. `template` is what the StatefulSet's claim template asks for, nothing without a
/// StatefulSet; `grows` whether the storage class of a claim can grow volumes, as far as that is known.
pub(super) fn growth(
    wanted: u64,
    template: Option<u64>,
    claims: &[ClaimView],
    grows: impl Fn(&ClaimView) -> Option<bool>,
) -> Growth {
    // A volume may be larger than what was asked for: providers round up.
    let shrinks = |claim: &&ClaimView| claim.capacity > wanted && claim.request > wanted;
    if let Some(larger) = claims.iter().filter(shrinks).max_by_key(|claim| claim.capacity) {
        let message = format!(
            "spec.storage.size is less than {} has; volumes never shrink, allowed is {} or more",
            larger.name, larger.capacity_text
        );
        return Growth::Refused(Refusal::new(Reason::ShrinkRefused, message));
    }
    // A request above the capacity is taken back by the same patch as a growth: the last one failed or is under way. What a
    // claim without a volume asks for cannot be changed.
    let due: Vec<_> =
        claims.iter().filter(|claim| claim.request != wanted && claim.bound && !claim.ending).collect();
    if let Some(fixed) = due.iter().find(|claim| claim.request < wanted && grows(claim) == Some(false)) {
        let class = fixed.class.as_deref().unwrap_or_default();
        let message = format!(
            "storage class {class} of {} cannot grow volumes; set spec.storage.size back to {}",
            fixed.name, fixed.capacity_text
        );
        return Growth::Refused(Refusal::new(Reason::ResizeRefused, message));
    }
    if !due.is_empty() {
        return Growth::Claims(due.into_iter().map(|claim| claim.name.clone()).collect());
    }
    if template.is_some_and(|template| template != wanted) { Growth::Recreate } else { Growth::Settled }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GI: u64 = 1 << 30;

    fn claim(ordinal: i32, request: u64, capacity: u64) -> ClaimView {
        ClaimView {
            ordinal,
            name: format!("data-orders-cmq-{ordinal}"),
            broker_uid: Some("uid".into()),
            bound: true,
            request: request * GI,
            capacity: capacity * GI,
            capacity_text: format!("{capacity}Gi"),
            class: Some("standard".into()),
            ..ClaimView::default()
        }
    }

    #[test]
    fn claims_grow_before_the_template() {
        let name = |ordinal| format!("data-orders-cmq-{ordinal}");
        for (what, wanted, template, claims, expected) in [
            ("new", 2, None, vec![], Growth::Settled),
            ("as it should be", 2, Some(2), vec![claim(0, 2, 2)], Growth::Settled),
            ("rounded up", 2, Some(2), vec![claim(0, 2, 3)], Growth::Settled),
            ("grows within the rounding", 3, Some(2), vec![claim(0, 2, 4)], Growth::Claims(vec![name(0)])),
            ("growing", 4, Some(4), vec![claim(0, 4, 2)], Growth::Settled),
            ("to grow", 4, Some(2), vec![claim(0, 2, 2), claim(1, 4, 4)], Growth::Claims(vec![name(0)])),
            ("claims are done", 4, Some(2), vec![claim(0, 4, 2)], Growth::Recreate),
            ("no claims yet", 4, Some(2), vec![], Growth::Recreate),
            ("set missing", 4, None, vec![claim(0, 4, 4)], Growth::Settled),
            ("taken back", 2, Some(2), vec![claim(0, 4, 2)], Growth::Claims(vec![name(0)])),
            ("taken back later", 2, Some(4), vec![claim(0, 2, 2)], Growth::Recreate),
            (
                "no volume yet",
                4,
                Some(2),
                vec![ClaimView { bound: false, ..claim(0, 2, 0) }],
                Growth::Recreate,
            ),
        ] {
            let template = template.map(|size: u64| size * GI);
            assert_eq!(growth(wanted * GI, template, &claims, |_| None), expected, "{what}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refusal = |growth| match growth {
            Growth::Refused(refusal) => (refusal.reason, refusal.message),
            other => panic!("{other:?}"),
        };
        let (reason, message) = refusal(growth(2 * GI, Some(4 * GI), &[claim(0, 4, 4)], |_| Some(true)));
        assert_eq!(reason, Reason::ShrinkRefused);
        assert!(message.contains("allowed is 4Gi or more"), "{message}");
        let (reason, message) = refusal(growth(4 * GI, Some(2 * GI), &[claim(0, 2, 2)], |_| Some(false)));
        assert_eq!(reason, Reason::ResizeRefused);
        assert!(message.contains("back to 2Gi"), "{message}");
    }

    #[test]
    fn whose_claims_they_are() {
        let former = ClaimView { broker_uid: Some("former".into()), ..claim(0, 2, 2) };
        let nobodys = ClaimView { broker_uid: None, ..claim(1, 2, 2) };
        assert_eq!(ownership(&[claim(0, 2, 2)], "uid", 1, false), Ownership::Ours);
        assert_eq!(
            ownership(&[claim(0, 2, 2), nobodys.clone()], "uid", 1, false),
            Ownership::Ours,
            "not used"
        );
        assert_eq!(
            ownership(&[former.clone(), nobodys], "uid", 2, true),
            Ownership::Adopt(vec!["data-orders-cmq-0".into(), "data-orders-cmq-1".into()])
        );
        let Ownership::Retained(refusal) = ownership(&[former], "uid", 1, false) else {
            panic!("not refused")
        };
        assert!(refusal.message.starts_with("data-orders-cmq-0: "), "{}", refusal.message);
    }
}
