use serde_json::json;

use super::*;
use crate::broker::pods::Trouble;
use crate::broker::roll::{SetView, Step};

fn broker(spec: serde_json::Value) -> Broker {
    let broker = json!({
        "apiVersion": "cmq.dev/v1alpha1", "kind": "Broker",
        "metadata": { "name": "orders", "namespace": "shop", "uid": "u", "generation": 3 },
        "spec": spec,
    });
    serde_json::from_value(broker).unwrap()
}

fn now() -> Timestamp {
    "2030-01-01T00:00:00Z".parse().unwrap()
}

fn pod(ready: bool, revision: &str, trouble: Option<(Reason, &str)>) -> PodView {
    PodView {
        ordinal: 0,
        name: "orders-cmq-0".into(),
        uid: "p".into(),
        revision: revision.into(),
        ready,
        ending: false,
        created: now(),
        trouble: trouble.map(|(reason, message)| Trouble { reason, message: message.into(), hard: true }),
    }
}

fn claim() -> ClaimView {
    let gi = 1 << 30;
    ClaimView {
        name: "data-orders-cmq-0".into(),
        bound: true,
        request: 10 * gi,
        capacity: 10 * gi,
        capacity_text: "10Gi".into(),
        ..ClaimView::default()
    }
}

fn set(current: &str, update: &str) -> Option<SetView> {
    Some(SetView { observed: true, current: current.into(), update: update.into(), ..SetView::default() })
}

fn settled<'a>(pods: &'a [PodView], claims: &'a [ClaimView]) -> Look<'a> {
    Look {
        pods,
        claims,
        set: set("a", "a"),
        roll: Some(Step::Settled),
        growth: Some(Growth::Settled),
        certificates: Standing { expire: Some(now()), ..Standing::default() },
        ..Look::default()
    }
}

/// The conditions as `Type=Status/Reason`.
fn conditions(broker: &Broker, look: &Look<'_>) -> Vec<String> {
    let status = status(broker, look, now());
    status.conditions.iter().map(|c| format!("{}={}/{}", c.type_, c.status, c.reason)).collect()
}

#[test]
fn all_is_well() {
    let (pods, claims) = ([pod(true, "a", None)], [claim()]);
    let broker = broker(json!({}));
    let look = Look { queues: 4, ..settled(&pods, &claims) };
    assert_eq!(
        conditions(&broker, &look),
        [
            "Ready=True/Serving",
            "AllReplicasReady=True/Serving",
            "StorageReady=True/StorageReady",
            "CertificatesReady=True/CertificatesValid"
        ]
    );
    let status = status(&broker, &look, now());
    assert_eq!(
        (status.replicas, status.ready_replicas, status.queues, status.observed_generation),
        (Some(1), Some(1), Some(4), Some(3))
    );
    assert_eq!(status.address.as_deref(), Some("http://orders-cmq.shop.svc:9324"));
    assert_eq!(status.storage.unwrap().smallest_capacity.as_deref(), Some("10Gi"));
    assert_eq!(status.rollout, None);
}

#[test]
fn the_same_look_gives_the_same_status() {
    let (pods, claims) = ([pod(false, "a", Some((Reason::CrashLooping, "no room")))], [claim()]);
    let mut broker = broker(json!({}));
    let look = Look { roll: Some(Step::Wait), ..settled(&pods, &claims) };
    let first = status(&broker, &look, now());
    broker.status = Some(first.clone());
    assert_eq!(status(&broker, &look, now() + std::time::Duration::from_secs(60)), first);
}

#[test]
fn a_table_of_looks() {
    let serving = [pod(true, "a", None)];
    let crashing = [pod(false, "a", Some((Reason::CrashLooping, "no room")))];
    let lost = [pod(false, "a", Some((Reason::VolumeLost, "the volume is empty")))];
    let claims = [claim()];
    let pending = [ClaimView { bound: false, capacity: 0, ..claim() }];
    let growing = [ClaimView { request: 20 << 30, ..claim() }];
    let full = [(0, Ok(BrokerInfo { ready: true, takes_sends: false, ..BrokerInfo::default() }))];
    let refusal = |reason, recoverable| Some(Refusal { reason, message: "x".into(), recoverable });
    let grow_refused = Growth::Refused(Refusal::new(Reason::ResizeRefused, "x"));
    let fresh = || Look { growth: None, set: None, roll: Some(Step::Wait), ..settled(&[], &[]) };
    let (plain, stopped) = (broker(json!({})), broker(json!({ "stopped": true })));
    for (what, broker, look, expected) in [
        ("new", &plain, fresh(), vec!["Ready=False/Starting", "Reconciling=True/Starting"]),
        (
            "wrong from the start",
            &plain,
            Look { refusal: refusal(Reason::Invalid, false), roll: None, ..fresh() },
            vec!["Ready=False/Invalid", "Stalled=True/Invalid"],
        ),
        (
            "wrong while it serves",
            &plain,
            Look { refusal: refusal(Reason::Invalid, false), ..settled(&serving, &claims) },
            vec!["Ready=True/Serving", "Stalled=True/Invalid"],
        ),
        (
            "a Secret is missing",
            &plain,
            Look { refusal: refusal(Reason::SecretMissing, true), ..fresh() },
            vec!["Ready=False/SecretMissing", "Reconciling=True/SecretMissing"],
        ),
        (
            "former volumes",
            &plain,
            Look { refusal: refusal(Reason::VolumesRetained, true), ..fresh() },
            vec![
                "Ready=False/VolumesRetained",
                "Reconciling=True/VolumesRetained",
                "StorageReady=False/VolumesRetained",
            ],
        ),
        (
            "crashing",
            &plain,
            Look { roll: Some(Step::Wait), ..settled(&crashing, &claims) },
            vec![
                "Ready=False/CrashLooping",
                "Reconciling=True/CrashLooping",
                "AllReplicasReady=False/CrashLooping",
            ],
        ),
        (
            "volume lost",
            &plain,
            Look { roll: Some(Step::Wait), ..settled(&lost, &claims) },
            vec!["Ready=False/VolumeLost", "StorageReady=False/VolumeLost"],
        ),
        (
            "rolling",
            &plain,
            Look { roll: Some(Step::Wait), set: set("a", "b"), ..settled(&serving, &claims) },
            vec!["Ready=True/Serving", "Reconciling=True/RollingOut", "AllReplicasReady=False/RollingOut"],
        ),
        (
            "taken back",
            &plain,
            Look { given_up: Some("no such image".into()), ..settled(&serving, &claims) },
            vec!["Ready=True/Serving", "Reconciling=True/RolloutStuck", "AllReplicasReady=True/Serving"],
        ),
        (
            "no volume yet",
            &plain,
            Look { roll: Some(Step::Wait), ..settled(&[], &pending) },
            vec!["Ready=False/VolumePending", "StorageReady=False/VolumePending"],
        ),
        (
            "growing",
            &plain,
            settled(&serving, &growing),
            vec!["Ready=True/Serving", "StorageReady=False/Resizing"],
        ),
        (
            "cannot grow",
            &plain,
            Look { growth: Some(grow_refused), ..settled(&serving, &claims) },
            vec!["Ready=True/Serving", "Stalled=True/ResizeRefused", "StorageReady=False/ResizeRefused"],
        ),
        (
            "full disk",
            &plain,
            Look { infos: &full, ..settled(&serving, &claims) },
            vec!["Ready=True/Serving", "StorageReady=False/DiskFull"],
        ),
        (
            "stopping",
            &stopped,
            settled(&serving, &claims),
            vec!["Ready=True/Serving", "AllReplicasReady=False/Stopped"],
        ),
        (
            "stopped",
            &stopped,
            settled(&[], &claims),
            vec!["Ready=False/Stopped", "AllReplicasReady=False/Stopped"],
        ),
        (
            "paused",
            &plain,
            Look { paused: true, roll: None, growth: None, ..settled(&serving, &claims) },
            vec!["Ready=True/Serving", "Paused=True/Paused"],
        ),
        (
            "leaving",
            &plain,
            Look { leaving: Some(refusal(Reason::InUse, true)), ..settled(&serving, &claims) },
            vec!["Ready=True/Serving", "Reconciling=True/Deleting", "DeletionBlocked=True/InUse"],
        ),
    ] {
        let found = conditions(broker, &look);
        for condition in expected {
            assert!(found.iter().any(|c| c == condition), "{what}: {condition} is not in {found:?}");
        }
        let stalled = found.iter().any(|c| c.starts_with("Stalled"));
        assert!(!stalled || !found.iter().any(|c| c.starts_with("Reconciling")), "{what}: both in {found:?}");
    }
}

#[test]
fn three_serve_while_two_do() {
    let three = broker(json!({ "replicas": 3 }));
    let pods: Vec<_> = (0..2).map(|ordinal| PodView { ordinal, ..pod(true, "a", None) }).collect();
    let claims = [claim()];
    let look = Look { roll: Some(Step::Wait), ..settled(&pods, &claims) };
    assert!(conditions(&three, &look).contains(&"Ready=True/Serving".to_owned()));
    let look = Look { roll: Some(Step::Wait), ..settled(&pods[..1], &claims) };
    assert!(conditions(&three, &look).contains(&"Ready=False/Starting".to_owned()));
}
