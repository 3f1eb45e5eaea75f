//! What is seen of one pod: pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::names;
use crate::reason::Reason;

/// Label that the StatefulSet controller puts on a pod: its revision.
const REVISION: &str = "controller-revision-hash";
/// Starts after which a pod that ends again and again is taken for broken.
const RESTARTS_MAX: i32 = 2;
/// What a broker says on a volume that is not the one it should have.
const FOREIGN_VOLUME: &str = "--cluster-id asks for";
/// Bytes of a container's last words that are shown.
const WORDS_MAX: usize = 400;

/// A pod of a Broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodView {
    /// Its ordinal.
    pub(super) ordinal: i32,
    /// Its name.
    pub(super) name: String,
    /// Its UID.
    pub(super) uid: String,
    /// The revision of the StatefulSet that it is of.
    pub(super) revision: String,
    /// Whether it serves, and is not ending.
    pub(super) ready: bool,
    /// Whether it is ending.
    pub(super) ending: bool,
    /// When it was made.
    pub(super) created: Timestamp,
    /// What keeps it from serving, where that is known.
    pub(super) trouble: Option<Trouble>,
}

/// What keeps a pod from serving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// The kind of trouble.
    pub(super) reason: Reason,
    /// The words of the cluster, or of the broker.
    pub(super) message: String,
    /// Whether waiting is of no use.
    pub(super) hard: bool,
}

/// What is seen of a pod of this Broker; nothing for another one's, or one without an ordinal.
pub(super) fn view(broker: &str, pod: &Pod) -> Option<PodView> {
    let name = pod.metadata.name.clone()?;
    let ordinal = names::pod_ordinal(broker, &name)?;
    let ending = pod.metadata.deletion_timestamp.is_some();
    let ready = !ending && condition(pod, "Ready").is_some_and(|(status, _)| status == "True");
    Some(PodView {
        ordinal,
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        revision: pod
            .metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(REVISION))
            .cloned()
            .unwrap_or_default(),
        ready,
        ending,
        created: pod.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        trouble: match unreachable(pod) {
            Some(trouble) => Some(trouble),
            None if ready || ending => None,
            None => trouble(pod),
        },
        name,
    })
}

/// A node that is lost says no more of its containers, and the cluster calls the pod not ready in its place.
fn unreachable(pod: &Pod) -> Option<Trouble> {
    let spec = pod.spec.as_ref()?;
    let node = spec.node_name.as_ref()?;
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    let gated = spec.readiness_gates.as_ref().is_some_and(|gates| !gates.is_empty());
    let well = !containers.is_empty() && containers.iter().all(|container| container.ready);
    let called_not_ready = condition(pod, "Ready").is_some_and(|(status, _)| status == "False");
    (well && called_not_ready && !gated).then(|| Trouble {
        reason: Reason::MemberUnreachable,
        message: format!(
            "its node {node} does not report; the pod stays with its volume until the node is back"
        ),
        hard: false,
    })
}

/// Status and message of a condition.
fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<(&'a str, &'a str)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions.iter().find(|condition| condition.type_ == type_)?;
    Some((&condition.status, condition.message.as_deref().unwrap_or_default()))
}

fn trouble(pod: &Pod) -> Option<Trouble> {
    if let Some(("False", message)) = condition(pod, "PodScheduled") {
        return Some(Trouble { reason: Reason::Unschedulable, message: message.into(), hard: false });
    }
    let status = pod.status.as_ref()?;
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    containers.filter_map(of_container).max_by_key(|trouble| trouble.hard)
}

fn of_container(container: &ContainerStatus) -> Option<Trouble> {
    let words = last_words(container);
    let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
    let why = waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or_default();
    let detail = waiting.and_then(|waiting| waiting.message.clone()).unwrap_or_else(|| why.to_owned());
    if words.contains(FOREIGN_VOLUME) {
        return Some(Trouble { reason: Reason::VolumeLost, message: words, hard: true });
    }
    match why {
        "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
            Some(Trouble { reason: Reason::ImagePullFailed, message: detail, hard: true })
        }
        "ErrImagePull" => Some(Trouble { reason: Reason::ImagePullFailed, message: detail, hard: false }),
        "CrashLoopBackOff" => {
            let message = if words.is_empty() { detail } else { words };
            let hard = container.restart_count >= RESTARTS_MAX;
            Some(Trouble { reason: Reason::CrashLooping, message, hard })
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            Some(Trouble { reason: Reason::PodsNotReady, message: detail, hard: false })
        }
        _ if !words.is_empty() => Some(Trouble { reason: Reason::PodsNotReady, message: words, hard: false }),
        _ => None,
    }
}

/// The end of what a container said before it ended with an error.
fn last_words(container: &ContainerStatus) -> String {
    let ended = [&container.state, &container.last_state]
        .into_iter()
        .flatten()
        .find_map(|state| state.terminated.as_ref());
    let ended = ended.filter(|ended| ended.exit_code != 0);
    let text = ended.and_then(|ended| ended.message.as_deref()).unwrap_or_default().trim();
    text[text.ceil_char_boundary(text.len().saturating_sub(WORDS_MAX))..].to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: Value) -> PodView {
        let pod = json!({
            "metadata": {
                "name": "orders-cmq-0", "uid": "u", "creationTimestamp": "2030-01-01T00:00:00Z",
                "labels": { REVISION: "orders-cmq-1" },
            },
            "status": status,
        });
        view("orders", &serde_json::from_value(pod).unwrap()).unwrap()
    }

    fn container(state: &Value, last: &Value, restarts: i32) -> Value {
        json!({ "containerStatuses": [{
            "name": "broker", "image": "", "imageID": "", "ready": false, "restartCount": restarts,
            "state": state, "lastState": last,
        }]})
    }

    #[test]
    fn what_keeps_a_pod_from_serving() {
        let waiting = |why: &str| json!({ "waiting": { "reason": why, "message": format!("said {why}") } });
        let ended = |words: &str| json!({ "terminated": { "exitCode": 1, "message": words } });
        let lost = "x: the volume is empty, and --cluster-id asks for cluster 7: mount the volume";
        let unschedulable = json!({ "conditions": [
            { "type": "PodScheduled", "status": "False", "message": "0/3 nodes" },
        ]});
        for (status, expected) in [
            (json!({}), None),
            (unschedulable, Some((Reason::Unschedulable, "0/3 nodes", false))),
            (
                container(&waiting("ErrImagePull"), &json!({}), 0),
                Some((Reason::ImagePullFailed, "said ErrImagePull", false)),
            ),
            (
                container(&waiting("ImagePullBackOff"), &json!({}), 0),
                Some((Reason::ImagePullFailed, "said ImagePullBackOff", true)),
            ),
            (
                container(&waiting("CrashLoopBackOff"), &ended("no room"), 1),
                Some((Reason::CrashLooping, "no room", false)),
            ),
            (
                container(&waiting("CrashLoopBackOff"), &ended("no room"), 2),
                Some((Reason::CrashLooping, "no room", true)),
            ),
            (container(&ended(lost), &json!({}), 0), Some((Reason::VolumeLost, lost, true))),
            (
                container(&waiting("CrashLoopBackOff"), &ended(lost), 0),
                Some((Reason::VolumeLost, lost, true)),
            ),
            (container(&waiting("ContainerCreating"), &json!({}), 0), None),
            (
                container(&json!({ "running": {} }), &ended("damage"), 1),
                Some((Reason::PodsNotReady, "damage", false)),
            ),
        ] {
            let trouble = pod(status.clone()).trouble;
            let seen = trouble.as_ref().map(|t| (t.reason, t.message.as_str(), t.hard));
            assert_eq!(seen, expected, "{status}");
        }
    }

    #[test]
    fn a_node_that_does_not_report_is_named() {
        let seen = |node: &Value, ready: &str, container: bool, ending: bool| {
            let mut pod = json!({
                "metadata": { "name": "orders-cmq-0" },
                "spec": node,
                "status": {
                    "conditions": [{ "type": "Ready", "status": ready }],
                    "containerStatuses": [{
                        "name": "broker", "image": "", "imageID": "", "restartCount": 0, "ready": container,
                        "state": { "running": {} },
                    }],
                },
            });
            if ending {
                pod["metadata"]["deletionTimestamp"] = json!("2030-01-01T00:00:00Z");
            }
            view("orders", &serde_json::from_value(pod).unwrap()).unwrap().trouble
        };
        let node = json!({ "containers": [], "nodeName": "node-7" });
        for ending in [false, true] {
            let trouble = seen(&node, "False", true, ending).unwrap();
            assert_eq!((trouble.reason, trouble.hard), (Reason::MemberUnreachable, false));
            assert!(trouble.message.contains("node-7"), "{}", trouble.message);
            assert_eq!(seen(&node, "False", false, ending), None);
        }
        assert_eq!(seen(&node, "True", true, false), None);
        let gated =
            json!({ "containers": [], "nodeName": "node-7", "readinessGates": [{ "conditionType": "x" }] });
        assert_eq!(seen(&gated, "False", true, false), None);
    }

    #[test]
    fn a_pod_that_ends_does_not_serve() {
        let ready = json!({ "conditions": [{ "type": "Ready", "status": "True" }] });
        assert!(pod(ready.clone()).ready);
        let ending = json!({
            "metadata": { "name": "orders-cmq-0", "deletionTimestamp": "2030-01-01T00:00:00Z" },
            "status": ready,
        });
        let ending = view("orders", &serde_json::from_value(ending).unwrap()).unwrap();
        assert!(!ending.ready && ending.ending);
    }
}
