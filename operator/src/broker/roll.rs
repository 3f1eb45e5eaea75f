//! Changes of the pods, one at a time, by the partition of the StatefulSet: pure decisions. If the operator is away, a roll waits.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::ResourceExt;

use super::pods::{PodView, Trouble};
use crate::reason::Reason;

/// Time that a pod of a new revision has to serve.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);

/// On the StatefulSet: hash of the wanted template that it has.
const TEMPLATE: &str = "cmq.dev/template-hash";
/// On the StatefulSet: hash of a template whose pods did not serve.
const REFUSED: &str = "cmq.dev/refused-template";
/// On the StatefulSet: what its pods said.
const REFUSED_WHY: &str = "cmq.dev/refused-because";

/// What is seen of a StatefulSet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SetView {
    /// Whether its controller has seen its last change.
    pub(super) observed: bool,
    /// Pods from this ordinal on are of the new revision.
    pub(super) partition: i32,
    /// The last revision that all pods were of.
    pub(super) current: String,
    /// The revision of the template.
    pub(super) update: String,
    /// What is remembered of the change.
    pub(super) memory: Memory,
}

/// What the StatefulSet's annotations remember.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    /// Hash of the wanted template that the StatefulSet has.
    pub(super) template: Option<String>,
    /// Hash of a wanted template whose pods did not serve, and why.
    pub(super) refused: Option<(String, String)>,
}

impl Memory {
    /// The annotations.
    pub(super) fn annotations(&self) -> BTreeMap<String, String> {
        let template = self.template.clone().map(|hash| (TEMPLATE.to_owned(), hash));
        let refused = self.refused.clone().into_iter();
        let refused =
            refused.flat_map(|(hash, why)| [(REFUSED.to_owned(), hash), (REFUSED_WHY.to_owned(), why)]);
        template.into_iter().chain(refused).collect()
    }
}

impl SetView {
    /// What is seen of a StatefulSet.
    pub(super) fn of(set: &StatefulSet) -> Self {
        let note = |key: &str| set.annotations().get(key).cloned();
        let status = set.status.clone().unwrap_or_default();
        let strategy = set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let update = status.update_revision.unwrap_or_default();
        Self {
            observed: status.observed_generation.is_some()
                && status.observed_generation == set.metadata.generation,
            partition: rolling.and_then(|rolling| rolling.partition).unwrap_or(0),
            current: status.current_revision.unwrap_or_else(|| update.clone()),
            update,
            memory: Memory {
                template: note(TEMPLATE),
                refused: note(REFUSED).map(|hash| (hash, note(REFUSED_WHY).unwrap_or_default())),
            },
        }
    }
}

/// The next step of a roll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Every pod is of the wanted revision, or the wanted one was refused and pods are back: nothing to do.
    Settled,
    /// Take the wanted template, with no pod of it yet.
    Begin,
    /// Let pods from this ordinal on be of the new revision.
    Lower(i32),
    /// Wait for pods.
    Wait,
    /// The new revision does not serve: take the template of the current one again.
    GoBack(Trouble),
    /// Delete a pod that does not serve and is not of the wanted revision; the StatefulSet's controller would wait for it.
    Replace {
        /// Its name.
        pod: String,
        /// Its UID.
        uid: String,
    },
}

/// What to do next, for so many wanted pods and the wanted template's hash.
pub(super) fn step(set: &SetView, pods: &[PodView], replicas: i32, wanted: &str, now: Timestamp) -> Step {
    let refused = set.memory.refused.as_ref().is_some_and(|(hash, _)| hash == wanted);
    if set.memory.template.as_deref() != Some(wanted) && !refused {
        return Step::Begin;
    }
    if !set.observed {
        return Step::Wait;
    }
    let new = |pod: &PodView| pod.revision == set.update;
    let stuck =
        pods.iter().find(|pod| pod.ordinal >= set.partition && !pod.ready && !pod.ending && !new(pod));
    if let Some(pod) = stuck {
        return Step::Replace { pod: pod.name.clone(), uid: pod.uid.clone() };
    }
    // A pod of the new revision that does not serve, though an old one would.
    let failing =
        pods.iter().filter(|pod| new(pod) && !pod.ready && !pod.ending && set.current != set.update);
    if let Some(trouble) = failing.filter_map(|pod| given_up(pod, now)).next() {
        return Step::GoBack(trouble);
    }
    let serves = |ordinal: i32| pods.iter().any(|pod| pod.ordinal == ordinal && pod.ready);
    if set.partition > 0 {
        let in_order = (0..replicas).all(|ordinal| pods.iter().any(|pod| pod.ordinal == ordinal && new(pod)));
        if in_order || replicas == 0 {
            return Step::Lower(0);
        }
        let next = set.partition.min(replicas) - 1;
        let hopeless = |ordinal: i32| {
            let pod = pods.iter().find(|pod| pod.ordinal == ordinal);
            pod.is_some_and(|pod| !new(pod) && pod.trouble.as_ref().is_some_and(|trouble| trouble.hard))
        };
        // Waiting for an old pod that cannot serve would hold up the change that may mend it.
        let open = (0..replicas)
            .filter(|ordinal| *ordinal != next)
            .all(|ordinal| serves(ordinal) || hopeless(ordinal));
        return if open { Step::Lower(next) } else { Step::Wait };
    }
    let settled = (0..replicas).all(|ordinal| pods.iter().any(|p| p.ordinal == ordinal && p.ready && new(p)));
    if settled { Step::Settled } else { Step::Wait }
}

/// Why a pod of the new revision is waited for no longer. A lost node says nothing of the revision.
fn given_up(pod: &PodView, now: Timestamp) -> Option<Trouble> {
    if pod.trouble.as_ref().is_some_and(|trouble| trouble.reason == Reason::MemberUnreachable) {
        return None;
    }
    let hard = pod.trouble.clone().filter(|trouble| trouble.hard);
    let late = || {
        let message = format!("{} did not serve within {} s", pod.name, PATIENCE.as_secs());
        let detail =
            pod.trouble.as_ref().map_or(message.clone(), |trouble| format!("{message}: {}", trouble.message));
        Trouble { reason: Reason::PodsNotReady, message: detail, hard: true }
    };
    hard.or_else(|| (now > pod.created + PATIENCE).then(late))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2030-01-01T01:00:00Z".parse().unwrap()
    }

    fn set(partition: i32, current: &str, update: &str) -> SetView {
        let memory = Memory { template: Some("new".into()), refused: None };
        SetView { observed: true, partition, current: current.into(), update: update.into(), memory }
    }

    /// Pods as `ordinal revision state`: `+` serves, `-` does not, `!` cannot, `x` is ending, `~` does not and is old, `?` too,
    /// on a lost node.
    fn pods(text: &str) -> Vec<PodView> {
        text.split_whitespace()
            .map(|word| {
                let (ordinal, rest) = word.split_once(':').unwrap();
                let (revision, state) = rest.split_at(1);
                let trouble = match state {
                    "!" => Some((Reason::CrashLooping, true)),
                    "?" => Some((Reason::MemberUnreachable, false)),
                    _ => None,
                };
                let old = matches!(state, "~" | "?");
                PodView {
                    ordinal: ordinal.parse().unwrap(),
                    name: format!("orders-cmq-{ordinal}"),
                    uid: ordinal.to_owned(),
                    revision: revision.to_owned(),
                    ready: state == "+",
                    ending: state == "x",
                    created: now() - if old { PATIENCE * 2 } else { Duration::from_secs(10) },
                    trouble: trouble.map(|(reason, hard)| Trouble { reason, message: "broken".into(), hard }),
                }
            })
            .collect()
    }

    #[test]
    fn one_pod_at_a_time() {
        let replace =
            |ordinal: i32| Step::Replace { pod: format!("orders-cmq-{ordinal}"), uid: ordinal.to_string() };
        for (what, set, text, replicas, expected) in [
            ("settled", set(0, "b", "b"), "0:b+ 1:b+ 2:b+", 3, Step::Settled),
            ("begun", set(3, "a", "b"), "0:a+ 1:a+ 2:a+", 3, Step::Lower(2)),
            ("the last one restarts", set(2, "a", "b"), "0:a+ 1:a+ 2:bx", 3, Step::Wait),
            ("the last one starts", set(2, "a", "b"), "0:a+ 1:a+ 2:b-", 3, Step::Wait),
            ("the last one is gone", set(2, "a", "b"), "0:a+ 1:a+", 3, Step::Wait),
            ("the next one", set(2, "a", "b"), "0:a+ 1:a+ 2:b+", 3, Step::Lower(1)),
            ("another does not serve", set(2, "a", "b"), "0:a- 1:a+ 2:b+", 3, Step::Wait),
            ("another cannot serve", set(2, "a", "b"), "0:a! 1:a+ 2:b+", 3, Step::Lower(1)),
            ("the first starts", set(0, "a", "b"), "0:b- 1:b+ 2:b+", 3, Step::Wait),
            ("a single pod", set(1, "a", "b"), "0:a+", 1, Step::Lower(0)),
            ("a single pod that does not serve", set(1, "a", "b"), "0:a-", 1, Step::Lower(0)),
            ("an old one in the way", set(0, "a", "b"), "0:a-", 1, replace(0)),
            ("the old one restarts", set(0, "a", "b"), "0:ax", 1, Step::Wait),
            ("no pods wanted", set(1, "a", "b"), "", 0, Step::Lower(0)),
            ("stopped", set(0, "a", "b"), "", 0, Step::Settled),
            ("made anew, same pods", set(3, "b", "b"), "0:b+ 1:b- 2:b+", 3, Step::Lower(0)),
            ("scaled up", set(0, "b", "b"), "0:b+ 1:b+", 3, Step::Wait),
        ] {
            assert_eq!(step(&set, &pods(text), replicas, "new", now()), expected, "{what}");
        }
    }

    #[test]
    fn a_revision_that_does_not_serve_is_given_up() {
        let crash = Trouble { reason: Reason::CrashLooping, message: "broken".into(), hard: true };
        assert_eq!(step(&set(2, "a", "b"), &pods("0:a+ 1:a+ 2:b!"), 3, "new", now()), Step::GoBack(crash));
        assert_eq!(step(&set(0, "a", "b"), &pods("0:b?"), 1, "new", now()), Step::Wait);
        let late = step(&set(0, "a", "b"), &pods("0:b~"), 1, "new", now());
        assert!(
            matches!(&late, Step::GoBack(t) if t.message == "orders-cmq-0 did not serve within 300 s"),
            "{late:?}"
        );
        // The first revision of all has nothing to go back to.
        assert_eq!(step(&set(0, "b", "b"), &pods("0:b!"), 1, "new", now()), Step::Wait);
    }

    #[test]
    fn a_refused_template_is_not_tried_again() {
        let mut back = set(0, "a", "a");
        back.memory = Memory { template: None, refused: Some(("new".into(), "broken".into())) };
        let stuck = Step::Replace { pod: "orders-cmq-0".into(), uid: "0".into() };
        assert_eq!(step(&back, &pods("0:b!"), 1, "new", now()), stuck);
        assert_eq!(step(&back, &pods("0:a+"), 1, "new", now()), Step::Settled);
        assert_eq!(step(&back, &pods("0:a+"), 1, "newer", now()), Step::Begin);
    }

    #[test]
    fn nothing_is_decided_on_old_sight() {
        let set = SetView { observed: false, ..set(1, "a", "b") };
        assert_eq!(step(&set, &pods("0:a+"), 1, "new", now()), Step::Wait);
        assert_eq!(step(&set, &pods("0:a+"), 1, "newer", now()), Step::Begin);
    }
}
