//! kubectl, in one namespace or in none.

use serde_json::Value;

use crate::command;
use crate::failure::{Failure, Result};

/// kubectl with a namespace.
#[derive(Clone, Debug)]
pub(crate) struct Kubectl {
    namespace: String,
}

impl Kubectl {
    pub(crate) fn new(namespace: impl Into<String>) -> Self {
        Self { namespace: namespace.into() }
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// What kubectl prints.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String> {
        command::output("kubectl", &[&["--namespace", &self.namespace], arguments].concat())
    }

    /// What `kubectl … -o json` prints.
    pub(crate) fn json(&self, arguments: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(&self.run(&[arguments, &["-o", "json"]].concat())?)?)
    }

    pub(crate) fn apply(&self, manifest: &str) -> Result<()> {
        let arguments = ["--namespace", &self.namespace, "apply", "--filename", "-"];
        command::output_with_input("kubectl", &arguments, manifest).map(drop)
    }

    /// The object, if it exists.
    pub(crate) fn find(&self, kind: &str, name: &str) -> Result<Option<Value>> {
        let text = self.run(&["get", kind, name, "--ignore-not-found", "-o", "json"])?;
        Ok(if text.trim().is_empty() { None } else { Some(serde_json::from_str(&text)?) })
    }

    /// The object, which must exist.
    pub(crate) fn get(&self, kind: &str, name: &str) -> Result<Value> {
        self.find(kind, name)?.ok_or_else(|| Failure::new(format!("there is no {kind} {name}")))
    }

    /// Those that the selector selects.
    pub(crate) fn list(&self, kind: &str, selector: &str) -> Result<Vec<Value>> {
        let mut list = self.json(&["get", kind, "--selector", selector])?;
        Ok(list["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
    }

    /// A merge patch.
    pub(crate) fn patch(&self, kind: &str, name: &str, patch: &Value) -> Result<()> {
        self.run(&["patch", kind, name, "--type=merge", "--patch", &patch.to_string()]).map(drop)
    }

    pub(crate) fn annotate(&self, kind: &str, name: &str, annotation: &str) -> Result<()> {
        self.run(&["annotate", "--overwrite", kind, name, annotation]).map(drop)
    }
}

/// The text at a JSON pointer, empty if there is none.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A condition of the object's status.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object.pointer("/status/conditions")?.as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// Whether the object has the condition with status True, and has looked at its newest generation.
pub(crate) fn is_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|condition| condition["status"] == "True")
        && object.pointer("/status/observedGeneration") == object.pointer("/metadata/generation")
}

/// Ready for its newest generation, with nothing under way.
pub(crate) fn settled(object: &Value) -> bool {
    is_true(object, "Ready")
        && condition(object, "Reconciling").is_none_or(|condition| condition["status"] != "True")
}
