//! Every child of a handful of Brokers, compared with what is committed: a difference in a pod template restarts users' pods.
//! `CMQ_UPDATE=1` writes the files anew.

#![allow(clippy::unwrap_used, reason = "in a test a failure may panic")]

use std::fs;
use std::path::{Path, PathBuf};

use cmq_crds::broker::Broker;
use cmq_operator::broker::build::stateful_set::{self, Form};
use cmq_operator::broker::build::{self, pod};
use cmq_operator::broker::cluster::Told;
use cmq_operator::broker::model;
use cmq_operator::context::Settings;
use cmq_operator::watch::Scope;
use serde::Serialize;

fn settings() -> Settings {
    Settings {
        scope: Scope::Cluster,
        broker_image: "registry.example/cmq-broker:1.0.0".into(),
        broker_image_pull_policy: None,
        namespace: "cmq-system".into(),
        pod_labels: [("app.kubernetes.io/name".to_owned(), "cmq-operator".to_owned())].into(),
        ipv6: false,
    }
}

/// Every child of a Broker as one YAML text.
fn children(broker: &Broker) -> String {
    let settings = settings();
    let told = Told { id: Some("0123456789abcdef0123456789abcdef".into()), ..Told::default() };
    let model = model::validate(broker, &settings, told).unwrap();
    let form = Form {
        template: pod::template(&model).unwrap(),
        partition: 0,
        claim_size: broker.spec.storage.size.clone(),
        claim_class: broker.spec.storage.storage_class_name.clone(),
        annotations: Default::default(),
    };
    let all = build::children(&model);
    let mut texts = vec![
        yaml(&all.service_account),
        yaml(&all.config_map),
        yaml(&all.pods_service),
        yaml(&all.client_service),
        yaml(&all.disruption_budget),
    ];
    texts.extend(all.network_policy.iter().map(yaml));
    texts.extend(all.pod_monitor.iter().map(yaml));
    texts.extend(all.certificates.iter().map(yaml));
    texts.push(yaml(&stateful_set::stateful_set(&model, form)));
    // The version of the operator is on every child but the pods; it is no part of the comparison.
    texts.join("---\n").replace(env!("CARGO_PKG_VERSION"), "VERSION")
}

fn yaml<T: Serialize>(object: &T) -> String {
    // By way of a value, so that keys are in order.
    let value = serde_json::to_value(object).unwrap();
    serde_saphyr::to_string(&value).unwrap()
}

fn brokers() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_string_lossy().ends_with(".broker.yaml"));
    paths.sort();
    assert!(paths.len() >= 5, "{} Brokers are there", paths.len());
    paths
}

#[test]
fn children_are_as_committed() {
    let mut wrong = Vec::new();
    for path in brokers() {
        let broker: Broker = serde_saphyr::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let built = children(&broker);
        assert_eq!(built, children(&broker), "{}: not the same twice", path.display());
        let golden = PathBuf::from(path.to_string_lossy().replace(".broker.yaml", ".children.yaml"));
        if std::env::var_os("CMQ_UPDATE").is_some() {
            fs::write(&golden, &built).unwrap();
        }
        if fs::read_to_string(&golden).unwrap_or_default() != built {
            wrong.push(golden.display().to_string());
        }
    }
    assert!(wrong.is_empty(), "CMQ_UPDATE=1 writes anew: {wrong:?}");
}
