//! One verdict everywhere: the schema, its CEL rules and their twins in Rust are given the same objects, those of
//! `tests/cases`, each of which a real API server takes or refuses too.

#![allow(clippy::unwrap_used, reason = "in a test a failure may panic")]

use std::collections::BTreeSet;
use std::fmt::Debug;

use cmq_crds::broker::{Broker, BrokerSpec};
use cmq_crds::manifest;
use cmq_crds::queue::{Queue, QueueSpec};
use cmq_crds::validate::{Kind, parse, validate, validate_change};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use kube_cel::Validator;
use serde_json::Value;

const VALID: &str = include_str!("cases/valid.yaml");
const INVALID: &str = include_str!("cases/invalid.yaml");
const CHANGES: &str = include_str!("cases/changes.yaml");
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
        let parsed: K = parse(object).unwrap_or_else(|errors| panic!("{errors:?}\n{text}"));
        assert_eq!(validate(&parsed), [], "{text}");
        // The server reads some values otherwise than they are written, before it comes to the rules.
        let read = serde_json::to_value(&parsed).unwrap();
        assert!(!refused_by_cel(definition(), &read, None), "{text}");
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

/// Gives both judges one change; what the rules of the schema say of it.
fn check_change<K: Kind>(expected: &str, schema: &Value, old: &Value, new: &Value) -> Vec<String> {
    let [before, after]: [K; 2] = [old, new].map(|object| {
        parse(object.clone()).unwrap_or_else(|errors| panic!("wrong by itself: {errors:?}\n{object}"))
    });
    let errors = validate_change(&before, &after);
    match expected.split_once(": ") {
        None => assert_eq!((expected, errors.as_slice()), ("taken", &[][..])),
        Some((path, allowed)) => {
            let found =
                errors.iter().any(|error| error.path.to_string() == path && error.allowed.contains(allowed));
            assert!(found, "expected {expected:?}, found {errors:#?}");
        }
    }
    // The rules have the same opinion, in the same words.
    let found = Validator::new().validate_with_defaults(schema, new, Some(old));
    let messages: Vec<String> =
        found.err().into_iter().flat_map(|errors| errors.into_vec()).map(|error| error.message).collect();
    let twins: Vec<String> = errors.into_iter().map(|error| error.problem).collect();
    assert_eq!(BTreeSet::from_iter(&messages), BTreeSet::from_iter(&twins), "{expected}: {new}");
    messages
}

#[test]
fn changes_are_taken_or_refused() {
    let mut rules = BTreeSet::new();
    let mut broken = BTreeSet::new();
    let [brokers, queues] = [manifest::broker(), manifest::queue()].map(schema);
    transition_rules(&brokers, &mut rules);
    transition_rules(&queues, &mut rules);
    for change in documents(CHANGES).chunks(2) {
        let [(text, old), (_, new)] = change else { panic!("half a change: {change:?}") };
        let expected = text.lines().filter_map(|line| line.strip_prefix("# ")).next_back().unwrap();
        let check = match old["kind"].as_str() {
            Some("Broker") => check_change::<Broker>(expected, &brokers, old, new),
            _ => check_change::<Queue>(expected, &queues, old, new),
        };
        broken.extend(check);
    }
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
fn left_out_attributes_have_the_defaults_of_the_type() {
    let queue: Queue = parse(documents(VALID).remove(0).1).unwrap();
    assert_eq!(queue.spec, QueueSpec { broker: Some(Default::default()), ..QueueSpec::default() });
    let broker: Broker = parse(documents(BROKER_VALID).remove(0).1).unwrap();
    assert_eq!(broker.spec, BrokerSpec::default());
    assert_eq!(queue.wire_name(), "least");
}

fn check_read_back<K: Kind + PartialEq + Debug>(cases: &str) {
    for (text, object) in documents(cases) {
        let parsed: K = parse(object).unwrap();
        let written = serde_json::to_value(&parsed).unwrap();
        assert_eq!(serde_json::from_value::<K>(written.clone()).unwrap(), parsed, "{text}");
        assert_eq!(parse::<K>(written).unwrap(), parsed, "{text}");
    }
}

#[test]
fn a_stored_object_reads_back() {
    check_read_back::<Queue>(VALID);
    check_read_back::<Broker>(BROKER_VALID);
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
