//! Which cluster the volumes must be of: pure.
//!
//! The id is learned from the pods that serve, and from then on no pod starts on an empty or a foreign volume. When data is lost,
//! a person orders the pod to start on what it has: the id is then left out until the pod serves, once for each order.

use super::pods::PodView;
use crate::admin::BrokerInfo;
use crate::names;
use crate::reason::Reason;

/// What is known, and what was ordered.
#[derive(Clone, Debug, Default)]
pub(super) struct Known<'a> {
    /// The id that pods must find on their volumes, as they are told now.
    pub(super) told: Option<&'a str>,
    /// Ordinals of pods whose data is lost, as the user wrote them.
    pub(super) order: Option<&'a str>,
    /// The last order that was followed.
    pub(super) followed: Option<&'a str>,
}

/// What pods are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The id.
    pub id: Option<String>,
    /// The last order that was followed.
    pub followed: Option<String>,
    /// Pods, with their UIDs, that start anew to be told so.
    pub restart: Vec<(String, String)>,
}

/// What pods are told from now on.
pub(super) fn tell(known: &Known<'_>, pods: &[PodView], infos: &[(i32, Result<BrokerInfo, String>)]) -> Told {
    let learned = learned(infos);
    let told = known.told.map(str::to_owned);
    let settled = |id: Option<String>, followed: Option<&str>| Told {
        id,
        followed: followed.map(str::to_owned),
        restart: Vec::new(),
    };
    let Some(order) = known.order.filter(|order| Some(*order) != known.followed) else {
        return settled(told.or(learned), known.followed.filter(|_| known.order.is_some()));
    };
    let ordered: Vec<i32> = order.split(',').filter_map(|ordinal| ordinal.trim().parse().ok()).collect();
    let theirs = || pods.iter().filter(|pod| ordered.contains(&pod.ordinal));
    let lost =
        |pod: &&PodView| pod.trouble.as_ref().is_some_and(|trouble| trouble.reason == Reason::VolumeLost);
    let restart: Vec<_> = theirs().filter(lost).map(|pod| (pod.name.clone(), pod.uid.clone())).collect();
    let serve = ordered.iter().all(|ordinal| pods.iter().any(|pod| pod.ordinal == *ordinal && pod.ready));
    if told.is_some() && restart.is_empty() {
        // Nothing is lost. An order that stayed would speak for a loss that nobody has seen.
        return settled(told, if serve { Some(order) } else { known.followed });
    }
    if serve && let Some(id) = learned {
        return settled(Some(id), Some(order));
    }
    Told { id: None, followed: known.followed.map(str::to_owned), restart }
}

/// The id that all pods agree on.
fn learned(infos: &[(i32, Result<BrokerInfo, String>)]) -> Option<String> {
    let mut ids = infos.iter().filter_map(|(_, info)| info.as_ref().ok()).map(|info| &info.cluster_id);
    let first = ids.next().filter(|id| !id.is_empty())?;
    ids.all(|id| id == first).then(|| first.clone())
}

/// The remedy of a lost volume, with the pod's ordinal.
pub(super) fn remedy(broker: &str, pod: &PodView) -> String {
    format!(
        "{}: bring back the volume of {}; if its data is lost, set the annotation cmq.dev/replace-volume: \"{}\"",
        pod.name,
        names::claim(broker, pod.ordinal),
        pod.ordinal
    )
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::broker::pods::Trouble;

    fn pod(ready: bool, lost: bool) -> PodView {
        let trouble = Trouble { reason: Reason::VolumeLost, message: String::new(), hard: true };
        PodView {
            ordinal: 0,
            name: "orders-cmq-0".into(),
            uid: "u".into(),
            revision: String::new(),
            ready,
            ending: false,
            created: Timestamp::UNIX_EPOCH,
            trouble: lost.then_some(trouble),
        }
    }

    fn info(id: &str) -> Vec<(i32, Result<BrokerInfo, String>)> {
        vec![(0, Ok(BrokerInfo { cluster_id: id.into(), ..BrokerInfo::default() }))]
    }

    #[test]
    fn an_order_holds_for_one_loss() {
        let known = |told, order, followed| Known { told, order, followed };
        let (serves, starts, lost) = (pod(true, false), pod(false, false), pod(false, true));
        let restart = vec![("orders-cmq-0".to_owned(), "u".to_owned())];
        for (what, known, pod, infos, id, followed, restarted) in [
            ("unknown", known(None, None, None), &starts, vec![], None, None, false),
            ("learned", known(None, None, None), &serves, info("7"), Some("7"), None, false),
            ("known", known(Some("7"), None, None), &serves, info("8"), Some("7"), None, false),
            ("lost", known(Some("7"), None, None), &lost, vec![], Some("7"), None, false),
            ("ordered", known(Some("7"), Some("0"), None), &lost, vec![], None, None, true),
            ("starts", known(None, Some("0"), None), &starts, vec![], None, None, false),
            ("serves, unasked", known(None, Some("0"), None), &serves, vec![], None, None, false),
            ("serves", known(None, Some("0"), None), &serves, info("8"), Some("8"), Some("0"), false),
            (
                "again, not ordered anew",
                known(Some("8"), Some("0"), Some("0")),
                &lost,
                vec![],
                Some("8"),
                Some("0"),
                false,
            ),
            ("order gone", known(Some("8"), None, Some("0")), &serves, vec![], Some("8"), None, false),
            ("nothing lost", known(Some("7"), Some("0"), None), &serves, vec![], Some("7"), Some("0"), false),
            ("another pod", known(Some("7"), Some("1"), None), &lost, vec![], Some("7"), None, false),
            ("no ordinal", known(Some("7"), Some("all"), None), &lost, vec![], Some("7"), Some("all"), false),
        ] {
            let told = tell(&known, std::slice::from_ref(pod), &infos);
            assert_eq!(told.id.as_deref(), id, "{what}: id");
            assert_eq!(told.followed.as_deref(), followed, "{what}: followed");
            assert_eq!(told.restart, if restarted { restart.clone() } else { Vec::new() }, "{what}: restart");
        }
    }

    #[test]
    fn pods_that_disagree_teach_nothing() {
        let mut infos = info("7");
        infos.extend(info("8"));
        assert_eq!(tell(&Known::default(), &[], &infos).id, None);
        infos.truncate(1);
        infos.push((1, Err("no answer".into())));
        assert_eq!(tell(&Known::default(), &[], &infos).id.as_deref(), Some("7"));
    }
}
