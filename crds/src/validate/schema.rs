//! Checks a value by the schema that the cluster checks it by, so that there is one list of fields and bounds.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use regex::Regex;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::{FieldError, FieldPath, Step};
use crate::bounds::{OBJECT_NAME_LENGTH_MAX, OBJECT_NAME_PATTERN};
use crate::{GROUP, VERSION};

mod words;

/// A schema with its patterns compiled.
pub struct Schema {
    root: Value,
    patterns: BTreeMap<String, Regex>,
}

impl Schema {
    /// Completes the schema of a definition by what the API server adds to it: the type and the metadata.
    pub(super) fn new(mut root: Value, kind: &str) -> Self {
        root["properties"]["apiVersion"] =
            json!({ "type": "string", "enum": [format!("{GROUP}/{VERSION}")] });
        root["properties"]["kind"] = json!({ "type": "string", "enum": [kind] });
        root["properties"]["metadata"] = metadata();
        root["required"] = json!(["apiVersion", "kind", "metadata", "spec"]);
        let mut patterns = BTreeMap::new();
        collect_patterns(&root, &mut patterns);
        Self { root, patterns }
    }

    /// Everything in a value that the schema does not allow. What the API server reads otherwise than it is written is
    /// changed in the value: fields that are null are left out, and `1e3` is the whole number 1000.
    pub(super) fn check(&self, value: &mut Value) -> Vec<FieldError> {
        let mut walk = Walk { patterns: &self.patterns, errors: Vec::new() };
        walk.value(&self.root, value, &FieldPath::default());
        walk.errors
    }
}

/// The schema of `metadata`.
fn metadata() -> Value {
    let mut generator =
        SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true).into_generator();
    let mut schema = generator.root_schema_for::<ObjectMeta>().to_value();
    let name =
        json!({ "type": "string", "maxLength": OBJECT_NAME_LENGTH_MAX, "pattern": OBJECT_NAME_PATTERN });
    schema["properties"]["name"] = name;
    schema["required"] = json!(["name"]);
    schema
}

fn collect_patterns(schema: &Value, patterns: &mut BTreeMap<String, Regex>) {
    match schema {
        Value::Object(entries) => {
            if let Some(pattern) = entries.get("pattern").and_then(Value::as_str) {
                let regex =
                    Regex::new(pattern).expect("the patterns of the schema are constants that compile");
                patterns.insert(pattern.to_owned(), regex);
            }
            entries.values().for_each(|entry| collect_patterns(entry, patterns));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_patterns(item, patterns)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The whole number that stands in a value as a fraction or with an exponent.
fn whole(value: &Value) -> Option<i64> {
    let number = value.as_number().filter(|number| number.is_f64())?.as_f64()?;
    // Beyond this not every whole number has a form of its own.
    (number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0).then_some(number as i64)
}

/// What tells the items of a list apart, where each may stand in it once.
fn ids(schema: &Value, items: &[Value]) -> Option<Vec<Vec<Value>>> {
    match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => Some(items.iter().map(|item| vec![item.clone()]).collect()),
        Some("map") => {
            let keys = schema["x-kubernetes-list-map-keys"].as_array()?;
            let of = |item: &Value| {
                keys.iter().map(|key| item[key.as_str().unwrap_or_default()].clone()).collect()
            };
            Some(items.iter().map(of).collect())
        }
        _ => None,
    }
}

struct Walk<'a> {
    patterns: &'a BTreeMap<String, Regex>,
    errors: Vec<FieldError>,
}

impl Walk<'_> {
    fn refuse(&mut self, path: &FieldPath, problem: impl Into<String>, allowed: impl Into<String>) {
        self.errors.push(FieldError { path: path.clone(), problem: problem.into(), allowed: allowed.into() });
    }

    fn value(&mut self, schema: &Value, value: &mut Value, path: &FieldPath) {
        let int_or_string = schema["x-kubernetes-int-or-string"] == true;
        if let Some(number) = whole(value).filter(|_| int_or_string || schema["type"] == "integer") {
            *value = number.into();
        }
        match (schema["type"].as_str(), value) {
            (Some("object"), Value::Object(entries)) => self.object(schema, entries, path),
            (Some("array"), Value::Array(items)) => self.array(schema, items, path),
            (Some("string"), Value::String(text)) => self.text(schema, text, path),
            (Some("integer"), Value::Number(number)) if number.is_i64() => {
                self.integer(schema, number.as_i64(), path)
            }
            (Some("boolean"), Value::Bool(_)) => {}
            (None, Value::String(text)) if int_or_string => self.text(schema, text, path),
            (None, Value::Number(number)) if int_or_string && number.is_i64() => {
                self.integer(schema, number.as_i64(), path)
            }
            // A type that says nothing of its content, such as the managed fields in `metadata`.
            (None, _) if !int_or_string => {}
            (_, value) => self.refuse(path, format!("is {}", words::found(value)), words::allowed(schema)),
        }
    }

    fn object(&mut self, schema: &Value, entries: &mut Map<String, Value>, path: &FieldPath) {
        if schema["x-kubernetes-preserve-unknown-fields"] == true {
            return;
        }
        let known = schema["properties"].as_object();
        let others = schema.get("additionalProperties");
        let property = |key: &String| known.and_then(|known| known.get(key)).or(others);
        entries.retain(|key, value| !value.is_null() || property(key).is_none());
        for (key, value) in &mut *entries {
            let field = path.join(Step::Key(key.clone()));
            match property(key) {
                Some(property) => self.value(property, value, &field),
                // What the definition does not describe of an object without any fields is not ours to judge.
                None if known.is_none() => {}
                None => self.refuse(&field, "unknown field", words::fields(schema)),
            }
        }
        for key in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !entries.contains_key(key) {
                let missing = known.and_then(|known| known.get(key)).map(words::allowed).unwrap_or_default();
                self.refuse(&path.join(Step::Key(key.to_owned())), "is missing", missing);
            }
        }
        if schema["maxProperties"].as_u64().is_some_and(|most| entries.len() as u64 > most) {
            self.refuse(path, format!("has {} entries", entries.len()), words::allowed(schema));
        }
    }

    fn array(&mut self, schema: &Value, items: &mut [Value], path: &FieldPath) {
        if schema["maxItems"].as_u64().is_some_and(|most| items.len() as u64 > most) {
            return self.refuse(path, format!("has {} items", items.len()), words::allowed(schema));
        }
        for (index, item) in items.iter_mut().enumerate() {
            self.value(&schema["items"], item, &path.join(Step::Index(index)));
        }
        let Some(ids) = ids(schema, items) else { return };
        if let Some(index) = (1..ids.len()).find(|&index| ids[..index].contains(&ids[index])) {
            let problem = format!("{} stands in the list twice", words::listed(&ids[index]));
            self.refuse(&path.join(Step::Index(index)), problem, "each item once");
        }
    }

    fn text(&mut self, schema: &Value, text: &str, path: &FieldPath) {
        let length = text.chars().count() as u64;
        let listed =
            schema["enum"].as_array().is_none_or(|allowed| allowed.iter().any(|value| value == text));
        let long_enough = schema["minLength"].as_u64().is_none_or(|least| length >= least);
        let short_enough = schema["maxLength"].as_u64().is_none_or(|most| length <= most);
        let matches =
            schema["pattern"].as_str().and_then(|p| self.patterns.get(p)).is_none_or(|p| p.is_match(text));
        if !(listed && long_enough && short_enough && matches) {
            self.refuse(path, format!("is {}", words::quoted(text)), words::allowed(schema));
        }
    }

    fn integer(&mut self, schema: &Value, number: Option<i64>, path: &FieldPath) {
        let Some(number) = number else { return };
        let listed =
            schema["enum"].as_array().is_none_or(|allowed| allowed.iter().any(|value| *value == number));
        let above = schema["minimum"].as_i64().is_none_or(|least| number >= least);
        let below = schema["maximum"].as_i64().is_none_or(|most| number <= most);
        let fits = schema["format"] != "int32" || i32::try_from(number).is_ok();
        if !(listed && above && below && fits) {
            self.refuse(path, format!("is {number}"), words::allowed(schema));
        }
    }
}
