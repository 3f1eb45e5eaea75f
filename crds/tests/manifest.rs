//! The committed definitions are those of the types, and have the form that the API server and its cost estimate want.

use std::path::Path;

use cmq_crds::manifest;
use serde_json::Value;

#[test]
fn committed_manifests_are_up_to_date() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests");
    let mut names = Vec::new();
    for (name, generated) in manifest::files() {
        let committed = std::fs::read_to_string(folder.join(&name)).unwrap_or_default();
        assert!(committed == generated, "{name} is out of date: cargo run -p cmq-crds --bin crdgen");
        names.push(name);
    }
    for entry in std::fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(names.contains(&name), "no type makes {name}");
    }
}

#[test]
fn the_file_reads_as_the_definition() {
    for (_, text) in manifest::files() {
        let read: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(read["spec"]["group"], "cmq.dev");
        assert!(
            text.len() < 200_000,
            "client-side apply stores the object in an annotation of at most 256 KiB"
        );
    }
}

#[test]
fn the_status_begins_unobserved() {
    for schema in schemas() {
        let default = &schema["properties"]["status"]["default"];
        assert_eq!(*default, serde_json::json!({ "observedGeneration": -1 }));
        let status = schema["properties"]["status"]["properties"].to_string();
        assert!(!status.contains("\"default\""), "the server would say what the operator has not: {status}");
    }
}

#[test]
fn everything_is_bounded_and_described() {
    for schema in schemas() {
        for part in ["spec", "status"] {
            check(&schema["properties"][part], part);
        }
    }
}

/// The schemas of Broker and Queue.
fn schemas() -> [Value; 2] {
    [manifest::broker(), manifest::queue()].map(|definition| {
        let definition = serde_json::to_value(definition).expect("a definition is plain data");
        definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
    })
}

fn check(schema: &Value, path: &str) {
    // Only what `cmq_crds::validate` looks at may stand in the schema; the rest would pass there unseen.
    let known = [
        "additionalProperties",
        "default",
        "description",
        "enum",
        "format",
        "items",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minLength",
        "minimum",
        "pattern",
        "properties",
        "required",
        "type",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-list-type",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-validations",
    ];
    for keyword in schema.as_object().expect("a schema is an object").keys() {
        assert!(known.contains(&keyword.as_str()), "{path}: {keyword}");
    }
    if let Some(format) = schema["format"].as_str() {
        assert!(["int32", "int64", "date-time"].contains(&format), "{path}: format {format}");
    }
    match schema["type"].as_str() {
        Some("string") => {
            assert!(schema["enum"].is_array() || schema["maxLength"].is_u64(), "{path}: no maxLength")
        }
        Some("array") => {
            assert!(schema["maxItems"].is_u64(), "{path}: no maxItems");
            check(&schema["items"], &format!("{path}[]"));
        }
        Some("object") if schema["additionalProperties"].is_object() => {
            assert!(schema["maxProperties"].is_u64(), "{path}: no maxProperties");
            check(&schema["additionalProperties"], &format!("{path}.*"));
        }
        Some("object") => {
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                let path = format!("{path}.{name}");
                assert!(property["description"].is_string(), "{path}: no description");
                check(property, &path);
            }
        }
        Some("integer" | "boolean") => {}
        other => assert!(schema["x-kubernetes-int-or-string"] == true, "{path}: type {other:?}"),
    }
}

/// Each attribute of a queue names its counterpart, or its absence, in both protocols.
#[test]
fn attributes_name_both_counterparts() {
    let [_, schema] = schemas();
    for (name, property) in schema["properties"]["spec"]["properties"].as_object().unwrap() {
        let description = property["description"].as_str().unwrap();
        assert!(description.contains("CMQ") && description.contains("SQS"), "{name}: {description}");
    }
}
