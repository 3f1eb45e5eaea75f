//! One verdict everywhere: the schema, its CEL rules and their twins in Rust are given the same objects, those of
//! `tests/cases`, each of which a real API server takes or refuses too.

use std::collections::BTreeSet;

use cmq_crds::broker::{Broker, BrokerSpec};
use cmq_crds::queue::{Queue, QueueSpec};
use cmq_crds::validate::{Kind, parse, validate, validate_change};
use cmq_crds::{GROUP, VERSION, manifest};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use kube_cel::Validator;
use serde_json::{Value, json};

const VALID: &str = include_str!("cases/valid.yaml");
const INVALID: &str = include_str!("cases/invalid.yaml");
const BROKER_VALID: &str = include_str!("cases/broker-valid.yaml");
const BROKER_INVALID: &str = include_str!("cases/broker-invalid.yaml");

fn schema(definition: CustomResourceDefinition) -> Value {
    let definition = serde_json::to_value(definition).expect("a definition is plain data");
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

fn documents(text: &str) -> Vec<(&str, Value)> {
    text.split("\n---\n")
        .map(|text| (text, serde_saphyr::from_str(text).expect("the cases are YAML")))
        .collect()
}

/// Whether the CEL rules of the schema refuse an object (or a change, when the old object is given).
fn refused_by_cel(definition: CustomResourceDefinition, object: &Value, old: Option<&Value>) -> bool {
    Validator::new().validate_with_defaults(&schema(definition), object, old).is_err()
}

fn check_valid<K: Kind>(cases: &str, definition: fn() -> CustomResourceDefinition) {
    for (text, object) in documents(cases) {
        let parsed: K = parse(object.clone()).unwrap_or_else(|errors| panic!("{errors:?}\n{text}"));
        assert_eq!(validate(&parsed), [], "{text}");
        assert!(!refused_by_cel(definition(), &object, None), "{text}");
    }
}

fn check_invalid<K: Kind>(cases: &str) {
    for (text, object) in documents(cases) {
        let comment = text.lines().filter_map(|line| line.strip_prefix("# ")).next_back().unwrap();
        let (path, allowed) = comment.split_once(": ").unwrap();
        let Err(errors) = parse::<K>(object) else { panic!("taken:\n{text}") };
        let found =
            errors.iter().any(|error| error.path.to_string() == path && error.allowed.contains(allowed));
        assert!(found, "expected {comment:?}, found {errors:#?}");
    }
}

#[test]
fn valid_objects_pass_everywhere() {
    check_valid::<Queue>(VALID, manifest::queue);
    check_valid::<Broker>(BROKER_VALID, manifest::broker);
}

#[test]
fn invalid_objects_are_refused_at_the_field() {
    check_invalid::<Queue>(INVALID);
    check_invalid::<Broker>(BROKER_INVALID);
}

/// Gives both judges each change of a spec, and looks that every rule about changes is broken by one of them.
fn check_changes<K: Kind>(
    definition: CustomResourceDefinition,
    kind: &str,
    cases: Vec<(Value, Value, bool)>,
) {
    let schema = schema(definition);
    let mut broken = BTreeSet::new();
    for (old, new, allowed) in cases {
        let object = |spec: &Value| {
            json!({
                "apiVersion": format!("{GROUP}/{VERSION}"), "kind": kind, "metadata": { "name": "q" }, "spec": spec,
            })
        };
        let (before, after) = (object(&old), object(&new));
        let found = Validator::new().validate_with_defaults(&schema, &after, Some(&before));
        assert_eq!(found.is_ok(), allowed, "{old} to {new}");
        // The twin has the same opinion, in the same words.
        let read = |object: Value| serde_json::from_value::<K>(object).unwrap();
        let errors = validate_change(&read(before), &read(after));
        assert_eq!(errors.is_empty(), allowed, "{old} to {new}: {errors:?}");
        for error in found.err().into_iter().flat_map(|errors| errors.into_vec()) {
            let is_said = errors.iter().any(|twin| twin.problem == error.message);
            assert!(is_said, "{error:?}\n{errors:?}");
            broken.insert(error.message);
        }
    }
    let mut rules = BTreeSet::new();
    transition_rules(&schema, &mut rules);
    assert_eq!(broken, rules, "every rule is broken by some change");
}

/// The messages of the rules that look at the old object.
fn transition_rules(schema: &Value, messages: &mut BTreeSet<String>) {
    let rules = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
    let looking_back =
        rules.filter(|rule| rule["rule"].as_str().expect("a rule is text").contains("oldSelf"));
    messages.extend(looking_back.map(|rule| rule["message"].as_str().expect("a message is text").to_owned()));
    for property in schema["properties"].as_object().into_iter().flat_map(|properties| properties.values()) {
        transition_rules(property, messages);
    }
}

#[test]
fn immutable_fields_of_a_queue() {
    let shared = json!({ "name": "other" });
    let cases = vec![
        (json!({ "broker": {} }), json!({ "broker": { "stopped": true } }), true),
        (json!({ "broker": {} }), json!({ "brokerRef": shared }), false),
        (json!({ "brokerRef": shared }), json!({ "broker": {} }), false),
        (json!({ "brokerRef": shared }), json!({ "brokerRef": shared, "delaySeconds": 1 }), true),
        (json!({ "brokerRef": shared }), json!({ "brokerRef": { "name": "third" } }), false),
        (json!({ "broker": { "shards": 3 } }), json!({ "broker": { "shards": 4 } }), true),
        (json!({ "broker": { "shards": 3 } }), json!({ "broker": { "shards": 2 } }), false),
        (json!({ "broker": { "shards": 3 } }), json!({ "broker": {} }), true),
        (json!({ "broker": {}, "queueName": "a" }), json!({ "broker": {}, "queueName": "a" }), true),
        (json!({ "broker": {}, "queueName": "a" }), json!({ "broker": {}, "queueName": "b" }), false),
        (json!({ "broker": {} }), json!({ "broker": { "shards": 1 } }), true),
        (
            json!({ "broker": {}, "queueName": "a.fifo", "fifo": {} }),
            json!({ "broker": {}, "queueName": "a" }),
            false,
        ),
        (
            json!({ "broker": {}, "queueName": "a" }),
            json!({ "broker": {}, "queueName": "a.fifo", "fifo": {} }),
            false,
        ),
        (
            json!({ "brokerRef": { "name": "other", "namespace": "a" } }),
            json!({ "brokerRef": shared }),
            false,
        ),
        (json!({ "broker": {}, "queueName": "a" }), json!({ "broker": {} }), false),
        (json!({ "broker": {} }), json!({ "broker": {}, "queueName": "a" }), false),
        (
            json!({ "broker": {}, "queueName": "a.fifo", "fifo": {} }),
            json!({ "broker": {}, "queueName": "a.fifo", "fifo": { "contentBasedDeduplication": true } }),
            true,
        ),
        (
            json!({ "broker": {}, "queueName": "a.fifo", "fifo": {} }),
            json!({ "broker": {}, "queueName": "a.fifo", "fifo": { "deduplicationScope": "MessageGroup" } }),
            false,
        ),
    ];
    check_changes::<Queue>(manifest::queue(), "Queue", cases);
}

#[test]
fn immutable_fields_of_a_broker() {
    let cases = vec![
        (json!({}), json!({ "stopped": true }), true),
        (json!({}), json!({ "shards": 1 }), true),
        (json!({ "shards": 3 }), json!({ "shards": 4 }), true),
        (json!({ "shards": 3 }), json!({ "shards": 2 }), false),
        (json!({ "shards": 3 }), json!({}), true),
    ];
    check_changes::<Broker>(manifest::broker(), "Broker", cases);
}

#[test]
fn left_out_attributes_have_the_defaults_of_the_type() {
    let queue: Queue = parse(documents(VALID).remove(0).1).unwrap();
    assert_eq!(queue.spec, QueueSpec { broker: Some(Default::default()), ..QueueSpec::default() });
    let broker: Broker = parse(documents(BROKER_VALID).remove(0).1).unwrap();
    assert_eq!(broker.spec, BrokerSpec::default());
    assert_eq!(queue.wire_name(), "least");
}

#[test]
fn a_stored_object_reads_back() {
    for (text, object) in documents(VALID) {
        let queue: Queue = parse(object).unwrap();
        let written = serde_json::to_value(&queue).unwrap();
        assert_eq!(serde_json::from_value::<Queue>(written.clone()).unwrap().spec, queue.spec, "{text}");
        assert_eq!(parse::<Queue>(written).unwrap().spec, queue.spec, "{text}");
    }
}

#[test]
fn the_plural_and_the_names_stay() {
    let names = Queue::crd().spec.names;
    assert_eq!((names.plural.as_str(), names.kind.as_str()), ("queues", "Queue"));
    assert_eq!((names.short_names, names.categories), (Some(vec!["cq".into()]), Some(vec!["cmq".into()])));
    let names = Broker::crd().spec.names;
    assert_eq!((names.plural.as_str(), names.kind.as_str()), ("brokers", "Broker"));
    assert_eq!((names.short_names, names.categories), (Some(vec!["cbr".into()]), Some(vec!["cmq".into()])));
}
