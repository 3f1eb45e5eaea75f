//! The tables in `docs/resources.md` are those of the schemas.

#![allow(clippy::unwrap_used, reason = "in a test a failure may panic")]

use std::fmt::Write;
use std::path::Path;

use cmq_crds::bounds::{
    BROKER_NAME_PATTERN, BYTE_SIZE_PATTERN, NAMESPACE_PATTERN, OBJECT_NAME_PATTERN, QUANTITY_PATTERN,
};
use cmq_crds::{annotation, manifest};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

const COMMAND: &str = "CMQ_UPDATE=1 cargo test -p cmq-crds --test documentation";

#[test]
fn resources_are_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/resources.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let mut wanted = page.clone();
    for (name, table) in tables() {
        let begin = format!("<!-- {name}: written by `{COMMAND}` -->\n");
        let end = format!("<!-- end of {name} -->\n");
        let (before, rest) =
            wanted.split_once(&begin).unwrap_or_else(|| panic!("the page lacks the line {begin}"));
        let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("the page lacks the line {end}"));
        wanted = format!("{before}{begin}{table}{end}{after}");
    }
    if std::env::var_os("CMQ_UPDATE").is_some() {
        std::fs::write(&path, wanted).unwrap();
    } else {
        assert!(page == wanted, "docs/resources.md is out of date: {COMMAND}");
    }
}

/// Every table by name.
fn tables() -> Vec<(String, String)> {
    let mut tables = vec![("annotations".to_owned(), annotations())];
    for definition in [manifest::queue(), manifest::broker()] {
        let schema = schema(&definition);
        let kind = &definition.spec.names.kind;
        let mut spec = "| Field | Type | Default | Meaning |\n|---|---|---|---|\n".to_owned();
        rows(&schema["properties"]["spec"], "", true, &mut spec);
        tables.push((format!("{kind} spec"), spec));
        let mut status = "| Field | Type | Meaning |\n|---|---|---|\n".to_owned();
        rows(&schema["properties"]["status"], "", false, &mut status);
        tables.push((format!("{kind} status"), status));
        tables.push((format!("{kind} rules"), rules(&schema)));
    }
    tables
}

fn schema(definition: &CustomResourceDefinition) -> Value {
    let definition = serde_json::to_value(definition).expect("a definition is plain data");
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

fn annotations() -> String {
    let mut table = "| Annotation | On | Value | What it does |\n|---|---|---|---|\n".to_owned();
    for annotation::Annotation { name, kinds, value, effect } in annotation::ALL {
        writeln!(table, "| `{name}` | {} | {value} | {effect} |", kinds.join(", ")).unwrap();
    }
    table
}

/// A row for each field of an object, those inside it next to it.
fn rows(schema: &Value, prefix: &str, defaults: bool, table: &mut String) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{prefix}{name}");
        let elsewhere = elsewhere(&path, name, property);
        let form = elsewhere.map_or_else(|| form(property), str::to_owned);
        let default = property.get("default").filter(|default| !default.is_object());
        let default = default.map(|default| format!("`{}`", plain(default))).unwrap_or_default();
        let default = if defaults { format!(" {default} |") } else { String::new() };
        let meaning = property["description"].as_str().unwrap_or_default();
        writeln!(table, "| `{path}` | {form} |{default} {} |", meaning.replace("\n\n", "<br>")).unwrap();
        if elsewhere.is_none() {
            rows(property, &format!("{path}."), defaults, table);
            rows(&property["items"], &format!("{path}[]."), defaults, table);
        }
    }
}

/// What is described in another place.
fn elsewhere(path: &str, name: &str, property: &Value) -> Option<&'static str> {
    match name {
        _ if property["type"] == "string" => None,
        "affinity" => Some("an Affinity of Kubernetes"),
        "tolerations" => Some("a list of Tolerations of Kubernetes"),
        "topologySpreadConstraints" => Some("a list of TopologySpreadConstraints of Kubernetes"),
        "selector" => Some("a LabelSelector of Kubernetes"),
        "conditions" => Some("a list of Conditions of Kubernetes"),
        "broker" if path == "broker" => Some("the spec of a Broker"),
        _ => None,
    }
}

/// Type and bounds of a field.
fn form(schema: &Value) -> String {
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(|value| format!("`{}`", plain(value))).collect::<Vec<_>>().join(", ");
    }
    let entries = schema["maxItems"].as_u64().or(schema["maxProperties"].as_u64()).unwrap_or_default();
    match schema["type"].as_str() {
        Some("integer") => match (schema["minimum"].as_f64(), schema["maximum"].as_f64()) {
            (Some(min), Some(max)) => format!("whole number from {min} to {max}"),
            _ => "whole number".into(),
        },
        Some("boolean") => "`true`, `false`".into(),
        Some("string") if schema["format"] == "date-time" => "time (RFC 3339)".into(),
        Some("string") => format!("text{}", text_bounds(schema)),
        Some("array") => match schema["items"]["type"].as_str() {
            Some("object") => format!("list, at most {entries}"),
            _ => format!("list, at most {entries}, each {}", form(&schema["items"])),
        },
        Some("object") if schema["additionalProperties"].is_object() => {
            format!("fields of any name, at most {entries}, each {}", form(&schema["additionalProperties"]))
        }
        Some("object") if schema["x-kubernetes-preserve-unknown-fields"] == true => {
            "fields of any name".into()
        }
        Some("object") => "fields".into(),
        _ => format!("whole number, or text{}", text_bounds(schema)),
    }
}

fn text_bounds(schema: &Value) -> String {
    let length = schema["maxLength"].as_u64().map(|most| format!(", at most {most} characters"));
    let pattern = schema["pattern"].as_str().map(|pattern| match pattern {
        BYTE_SIZE_PATTERN => ", a size as `512Mi` or `10Gi`".into(),
        QUANTITY_PATTERN => ", a quantity as `500m` or `4Gi`".into(),
        OBJECT_NAME_PATTERN => ", a DNS subdomain".into(),
        NAMESPACE_PATTERN => ", a DNS label".into(),
        BROKER_NAME_PATTERN => ", a DNS label that begins with a letter".into(),
        _ => format!(", `{}`", pattern.replace('|', "\\|")),
    });
    [length, pattern].into_iter().flatten().collect()
}

/// A value as it stands in YAML.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What no single field says: one line for each rule, wherever it stands.
fn rules(schema: &Value) -> String {
    let mut messages = Vec::new();
    collect_rules(schema, &mut messages);
    messages.iter().map(|message| format!("* {message}\n")).collect()
}

fn collect_rules(schema: &Value, messages: &mut Vec<String>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let message = rule["message"].as_str().expect("every rule has a message").to_owned();
        if !messages.contains(&message) {
            messages.push(message);
        }
    }
    for property in schema["properties"].as_object().into_iter().flat_map(|known| known.values()) {
        collect_rules(property, messages);
    }
}
