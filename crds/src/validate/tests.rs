use std::collections::BTreeSet;

use kube_cel::Validator;
use serde_json::Value;

use super::Kind;
use crate::broker::Broker;
use crate::manifest::{broker, queue, schema};
use crate::queue::Queue;

const QUEUES: [&str; 2] =
    [include_str!("../../tests/cases/valid.yaml"), include_str!("../../tests/cases/invalid.yaml")];
const BROKERS: [&str; 2] = [
    include_str!("../../tests/cases/broker-valid.yaml"),
    include_str!("../../tests/cases/broker-invalid.yaml"),
];

/// Of every object that is right by its schema, the relations in Rust and the CEL rules think the same.
fn check_agreement<K: Kind>(definition: &Value, cases: [&str; 2], refused_min: usize) {
    let mut refused = 0;
    for text in cases.iter().flat_map(|text| text.split("\n---\n")) {
        let mut object: Value = serde_saphyr::from_str(text).unwrap();
        if !K::schema().check(&mut object).is_empty() {
            continue;
        }
        let cel = Validator::new().validate_with_defaults(definition, &object, None);
        let rust = serde_json::from_value::<K>(object).unwrap().relations();
        assert_eq!(cel.is_ok(), rust.is_empty(), "CEL: {cel:?}\nRust: {rust:?}\n{text}");
        refused += usize::from(!rust.is_empty());
    }
    assert!(refused >= refused_min, "only {refused} objects break a relation");
}

#[test]
fn cel_and_rust_agree() {
    check_agreement::<Queue>(&schema(&queue()), QUEUES, 15);
    check_agreement::<Broker>(&schema(&broker()), BROKERS, 6);
}

/// Every rule of the schema that needs no old object is broken by some object.
fn check_cases(definition: &Value, invalid: &str, rules_min: usize) {
    let mut broken = BTreeSet::new();
    for text in invalid.split("\n---\n") {
        let object: Value = serde_saphyr::from_str(text).unwrap();
        let errors = Validator::new().validate_with_defaults(definition, &object, None);
        broken
            .extend(errors.err().into_iter().flat_map(|errors| errors.into_vec()).map(|error| error.message));
    }
    let mut messages = Vec::new();
    rule_messages(definition, &mut messages);
    let untested: Vec<&String> = messages.iter().filter(|message| !broken.contains(*message)).collect();
    assert!(
        messages.len() >= rules_min && untested.is_empty(),
        "{} rules, without a case: {untested:#?}",
        messages.len()
    );
}

#[test]
fn every_rule_has_a_case() {
    check_cases(&schema(&queue()), QUEUES[1], 12);
    check_cases(&schema(&broker()), BROKERS[1], 5);
}

fn rule_messages(schema: &Value, messages: &mut Vec<String>) {
    match schema {
        Value::Object(entries) => {
            for rule in
                entries.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten()
            {
                if !rule["rule"].as_str().unwrap().contains("oldSelf") {
                    messages.push(rule["message"].as_str().unwrap().to_owned());
                }
            }
            entries.values().for_each(|entry| rule_messages(entry, messages));
        }
        Value::Array(items) => items.iter().for_each(|item| rule_messages(item, messages)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
