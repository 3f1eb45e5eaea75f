//! How a new state of an object is kept: stamped, admitted, numbered, recorded.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Change, Key, LOG_MAX, Object, Store, owners, place};
use crate::api::admission;
use crate::api::defaults;
use crate::api::fields::{self, Manager};
use crate::api::kinds::{Kind, named};
use crate::api::refusal::Refusal;

impl Store {
    /// Takes an owner out of whatever it owns.
    pub(super) fn orphan(&mut self, uid: &str) {
        let owned: Vec<_> = self
            .objects
            .iter()
            .filter(|(_, object)| owners(&object.value).any(|owner| owner["uid"] == uid))
            .map(|(key, object)| (named(key.0), object.clone()))
            .collect();
        for (kind, object) in owned {
            let mut value = Value::clone(&object.value);
            if let Some(owners) = value["metadata"]["ownerReferences"].as_array_mut() {
                owners.retain(|owner| owner["uid"] != uid);
            }
            let mut managers = object.managers.clone();
            fields::updated(kind, &object.value, &value, &mut managers, "garbage-collector", false);
            self.save(kind, Some(&object), value, managers);
        }
    }

    /// Admits a new state of an object and keeps it; a state that is no different is not written.
    pub(super) fn commit(
        &mut self,
        kind: &'static Kind,
        old: Option<Object>,
        mut new: Value,
        managers: Vec<Manager>,
    ) -> Result<Arc<Value>, Refusal> {
        new["apiVersion"] = json!(kind.api_version());
        new["kind"] = json!(kind.name);
        self.stamp(kind, old.as_ref().map(|old| &*old.value), &mut new);
        defaults::complete(kind, old.as_ref().map(|old| &*old.value), &mut new);
        let same =
            |old: &Object| old.managers == managers && *old.value == with_managers(new.clone(), &managers);
        if let Some(old) = old.as_ref().filter(|old| same(old)) {
            return Ok(old.value.clone());
        }
        admission::admit(self, kind, old.as_ref().map(|old| &*old.value), &new)?;
        let Some(old) = old else { return Ok(self.save(kind, None, new, managers)) };
        if spec(&old.value) != spec(&new) && new["metadata"]["generation"].is_i64() {
            new["metadata"]["generation"] =
                json!(new["metadata"]["generation"].as_i64().unwrap_or_default() + 1);
        }
        let finished = new["metadata"]["deletionTimestamp"].is_string()
            && new["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty)
            && kind.name != "Pod";
        if finished {
            let last = Object { value: Arc::new(new), managers };
            return Ok(self.remove(kind, &last));
        }
        Ok(self.save(kind, Some(&old), new, managers))
    }

    /// Puts in place what the server alone decides.
    fn stamp(&self, kind: &Kind, old: Option<&Value>, new: &mut Value) {
        let metadata = new["metadata"].as_object_mut().expect("an object has metadata");
        for field in ["uid", "creationTimestamp", "generation", "deletionTimestamp", "resourceVersion"] {
            metadata.remove(field);
            if let Some(kept) = old.and_then(|old| old["metadata"].get(field)) {
                metadata.insert(field.into(), kept.clone());
            }
        }
        if old.is_none() {
            metadata
                .insert("uid".into(), json!(format!("00000000-0000-4000-8000-{:012}", self.revision + 1)));
            metadata.insert("creationTimestamp".into(), json!(self.now_text()));
            if !["Secret", "ConfigMap", "ServiceAccount", "Event", "Lease", "Namespace"].contains(&kind.name)
            {
                metadata.insert("generation".into(), json!(1));
            }
        }
    }

    pub(super) fn now_text(&self) -> String {
        self.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    pub(super) fn save(
        &mut self,
        kind: &'static Kind,
        old: Option<&Object>,
        new: Value,
        managers: Vec<Manager>,
    ) -> Arc<Value> {
        let mut new = with_managers(new, &managers);
        new["metadata"]["resourceVersion"] = json!((self.revision + 1).to_string());
        let value = Arc::new(new);
        let (namespace, name) = place(&value);
        let key = (kind.name, namespace, name);
        self.record(key.clone(), old.map(|old| old.value.clone()), Some(value.clone()));
        self.objects.insert(key, Object { value: value.clone(), managers });
        value
    }

    pub(super) fn remove(&mut self, kind: &'static Kind, old: &Object) -> Arc<Value> {
        let (namespace, name) = place(&old.value);
        let key = (kind.name, namespace, name);
        let mut last = Value::clone(&old.value);
        last["metadata"]["resourceVersion"] = json!((self.revision + 1).to_string());
        let last = Arc::new(last);
        self.objects.remove(&key);
        self.record(key, Some(last.clone()), None);
        last
    }

    fn record(&mut self, key: Key, before: Option<Arc<Value>>, after: Option<Arc<Value>>) {
        self.revision += 1;
        if key.0 != "Event" {
            self.revision_of_state = self.revision;
        }
        self.log.push_back(Change { key, before, after });
        if self.log.len() > LOG_MAX {
            self.log.pop_front();
        }
    }
}

/// The part whose changes raise the generation.
fn spec(object: &Value) -> Map<String, Value> {
    let mut entries = object.as_object().cloned().unwrap_or_default();
    for other in ["metadata", "status", "apiVersion", "kind"] {
        entries.remove(other);
    }
    entries
}

/// Shows who owns fields, but not which: no reader of ours looks at that.
fn with_managers(mut object: Value, managers: &[Manager]) -> Value {
    let shown = managers.iter().map(|manager| {
        let operation = if manager.applies { "Apply" } else { "Update" };
        let mut entry = json!({ "manager": manager.name, "operation": operation, "fieldsType": "FieldsV1" });
        if manager.status {
            entry["subresource"] = json!("status");
        }
        entry
    });
    object["metadata"]["managedFields"] = shown.collect();
    object
}
