//! The objects, their revisions, and every way to change them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::admission::Admission;
use super::apply::{self, Applier};
use super::fields::{self, Manager};
use super::kinds::Kind;
use super::refusal::Refusal;

mod commit;

/// Changes that watches can be resumed from; older ones are answered with 410.
const LOG_MAX: usize = 20_000;

/// Kind, namespace and name.
pub(crate) type Key = (&'static str, String, String);

#[derive(Clone)]
pub(crate) struct Object {
    pub(crate) value: Arc<Value>,
    pub(crate) managers: Vec<Manager>,
}

/// One revision: what an object was before it, and what it was after.
#[derive(Clone)]
pub(super) struct Change {
    pub(super) key: Key,
    pub(super) before: Option<Arc<Value>>,
    pub(super) after: Option<Arc<Value>>,
}

/// Everything there is; a clone is a snapshot.
#[derive(Clone)]
pub(crate) struct Store {
    objects: BTreeMap<Key, Object>,
    pub(crate) admission: Admission,
    revision: u64,
    /// The last revision that was of no event.
    revision_of_state: u64,
    log: VecDeque<Change>,
    epoch: Timestamp,
    started: Instant,
}

/// Finalizer of an object whose children go first.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";

/// What a delete asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deletion {
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
    pub(crate) orphan: bool,
    pub(crate) foreground: bool,
    pub(crate) at_once: bool,
}

impl Store {
    /// Nothing but the namespace `default`.
    pub(crate) fn new() -> Self {
        let mut store = Self {
            objects: BTreeMap::new(),
            admission: Admission::default(),
            revision: 0,
            revision_of_state: 0,
            log: VecDeque::new(),
            epoch: Timestamp::now(),
            started: Instant::now(),
        };
        store.create_namespace("default");
        store
    }

    pub(crate) fn create_namespace(&mut self, name: &str) {
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        self.create(super::kinds::named("Namespace"), namespace, "test").expect("the namespace is new");
    }

    /// The same store in another runtime, whose clock goes on from here.
    pub(crate) fn resumed(mut self) -> Self {
        self.started = Instant::now();
        self
    }

    /// Fixes the present time for a later [`resumed`](Self::resumed).
    pub(crate) fn snapshot(&self) -> Self {
        Self { epoch: self.now(), ..self.clone() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.started.elapsed()).expect("tests are short");
        self.epoch + passed
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// The revision of the last change that anything depends on: events are told, not kept.
    pub(crate) fn revision_of_state(&self) -> u64 {
        self.revision_of_state
    }

    pub(crate) fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Option<&Arc<Value>> {
        self.object(kind, namespace, name).map(|object| &object.value)
    }

    fn object(&self, kind: &Kind, namespace: &str, name: &str) -> Option<&Object> {
        self.objects.get(&(kind.name, namespace.to_owned(), name.to_owned()))
    }

    /// The objects of a kind in one namespace, or in all.
    pub(crate) fn list(&self, kind: &Kind, namespace: Option<&str>) -> impl Iterator<Item = &Arc<Value>> {
        let first = (kind.name, namespace.unwrap_or_default().to_owned(), String::new());
        self.objects
            .range(first..)
            .take_while(move |(key, _)| key.0 == kind.name && namespace.is_none_or(|wanted| key.1 == wanted))
            .map(|(_, object)| &object.value)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&Key, &Object)> {
        self.objects.iter()
    }

    /// What changed after a revision; nothing when that is no longer known.
    pub(super) fn since(&self, revision: u64) -> Option<impl Iterator<Item = (u64, &Change)>> {
        let floor = self.revision - self.log.len() as u64;
        let known = revision.checked_sub(floor)?;
        Some(
            self.log
                .iter()
                .enumerate()
                .skip(known as usize)
                .map(move |(at, change)| (floor + at as u64 + 1, change)),
        )
    }

    /// Whether anything happened after a revision that concerns the controllers of a cluster; what becomes of objects that only
    /// the operator reads does not.
    pub(crate) fn stirred(&self, revision: u64) -> bool {
        let quiet = |change: &Change| {
            let finalizers =
                |state: &Option<Arc<Value>>| Some(state.as_ref()?["metadata"]["finalizers"].clone());
            let kept = matches!((finalizers(&change.before), finalizers(&change.after)), (Some(a), Some(b)) if a == b);
            ["Event", "Lease"].contains(&change.key.0) || kept && ["Queue", "Broker"].contains(&change.key.0)
        };
        self.since(revision).is_none_or(|mut changes| changes.any(|(_, change)| !quiet(change)))
    }

    /// The last changes, as they were and as they are then.
    pub(crate) fn recent(&self, changes: usize) -> impl Iterator<Item = (&Key, Value, Value)> {
        let value =
            |state: &Option<Arc<Value>>| state.as_ref().map_or(Value::Null, |state| Value::clone(state));
        let skipped = self.log.len().saturating_sub(changes);
        self.log.iter().skip(skipped).map(move |c| (&c.key, value(&c.before), value(&c.after)))
    }

    /// Forgets what watches could be resumed from.
    pub(crate) fn compact(&mut self) {
        self.log.clear();
    }

    /// # Errors
    ///
    /// What the real server says of an object that is there already, or that is not admitted.
    pub(crate) fn create(
        &mut self,
        kind: &'static Kind,
        mut value: Value,
        manager: &str,
    ) -> Result<Arc<Value>, Refusal> {
        let (namespace, name) = place(&value);
        if name.is_empty() {
            return Err(Refusal::invalid(kind, "", "metadata.name: Required value"));
        }
        if self.object(kind, &namespace, &name).is_some() {
            return Err(Refusal::already_exists(kind, &name));
        }
        if !value["metadata"]["resourceVersion"].is_null() {
            return Err(Refusal::bad_request("resourceVersion should not be set on objects to be created"));
        }
        if kind.status {
            value.as_object_mut().map(|entries| entries.remove("status"));
        }
        let mut managers = Vec::new();
        fields::updated(kind, &json!({}), &value, &mut managers, manager, false);
        self.commit(kind, None, value, managers)
    }

    /// Replaces an object, or its status.
    pub(crate) fn replace(
        &mut self,
        kind: &'static Kind,
        value: Value,
        manager: &str,
        status: bool,
    ) -> Result<Arc<Value>, Refusal> {
        let (namespace, name) = place(&value);
        self.change(kind, &namespace, &name, manager, status, |object| {
            *object = value;
            Ok(())
        })
    }

    /// Changes an object, or its status, as a reader and writer in one step would; a `resourceVersion` that the change
    /// leaves in it must be the present one.
    pub(crate) fn change(
        &mut self,
        kind: &'static Kind,
        namespace: &str,
        name: &str,
        manager: &str,
        status: bool,
        change: impl FnOnce(&mut Value) -> Result<(), Refusal>,
    ) -> Result<Arc<Value>, Refusal> {
        let old = self.object(kind, namespace, name).ok_or_else(|| Refusal::not_found(kind, name))?.clone();
        let mut new = Value::clone(&old.value);
        change(&mut new)?;
        for field in ["uid", "resourceVersion"] {
            let (wanted, found) = (&new["metadata"][field], &old.value["metadata"][field]);
            if !wanted.is_null() && wanted != found {
                let text = format!(
                    "Operation cannot be fulfilled on {} \"{name}\": {field} has changed",
                    kind.plural
                );
                return Err(Refusal::conflict(text));
            }
        }
        if kind.status {
            let (part, whole) =
                if status { (&new, &old.value) } else { (&*old.value, &Arc::new(new.clone())) };
            let (part, mut whole) = (part.get("status").cloned(), Value::clone(whole));
            let entries = whole.as_object_mut().expect("an object is an object");
            match part {
                Some(part) => drop(entries.insert("status".into(), part)),
                None => drop(entries.remove("status")),
            }
            new = whole;
        }
        let mut managers = old.managers.clone();
        fields::updated(kind, &old.value, &new, &mut managers, manager, status);
        self.commit(kind, Some(old), new, managers)
    }

    pub(crate) fn apply(
        &mut self,
        kind: &'static Kind,
        configuration: Value,
        by: &Applier<'_>,
    ) -> Result<Arc<Value>, Refusal> {
        let (namespace, name) = place(&configuration);
        let old = self.object(kind, &namespace, &name).cloned();
        if old.is_none() && by.status {
            return Err(Refusal::not_found(kind, &name));
        }
        let live = old.as_ref().map(|old| (&*old.value, &old.managers[..]));
        let (new, managers) = apply::apply(kind, live, configuration, by)?;
        self.commit(kind, old, new, managers)
    }

    /// Takes an object away, or begins to: finalizers and a pod's grace period end it later.
    pub(crate) fn delete(
        &mut self,
        kind: &'static Kind,
        namespace: &str,
        name: &str,
        how: &Deletion,
    ) -> Result<Arc<Value>, Refusal> {
        let old = self.object(kind, namespace, name).ok_or_else(|| Refusal::not_found(kind, name))?.clone();
        let metadata = &old.value["metadata"];
        for (wanted, field) in [(&how.uid, "uid"), (&how.resource_version, "resourceVersion")] {
            if let Some(wanted) = wanted.as_deref().filter(|wanted| metadata[field] != **wanted) {
                let text = format!(
                    "Precondition failed: {field} in precondition: {wanted}, found: {}",
                    metadata[field]
                );
                return Err(Refusal::conflict(text));
            }
        }
        if how.orphan {
            self.orphan(metadata["uid"].as_str().unwrap_or_default());
        }
        let finalized = metadata["finalizers"].as_array().is_none_or(Vec::is_empty) && !how.foreground;
        let graceful = ["Pod", "Namespace"].contains(&kind.name) && !how.at_once;
        if finalized && !graceful {
            return Ok(self.remove(kind, &old));
        }
        if metadata["deletionTimestamp"].is_string() {
            return Ok(old.value);
        }
        let mut new = Value::clone(&old.value);
        new["metadata"]["deletionTimestamp"] = json!(self.now_text());
        if how.foreground {
            let mut finalizers = new["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
            finalizers.push(json!(FOREGROUND));
            new["metadata"]["finalizers"] = json!(finalizers);
        }
        if let Some(generation) = new["metadata"]["generation"].as_i64() {
            new["metadata"]["generation"] = json!(generation + 1);
        }
        if kind.name == "Namespace" {
            new["status"]["phase"] = json!("Terminating");
        }
        Ok(self.save(kind, Some(&old), new, old.managers.clone()))
    }

    /// Ends an object whose grace period is over.
    pub(crate) fn finish(&mut self, kind: &'static Kind, namespace: &str, name: &str) {
        if let Some(old) = self.object(kind, namespace, name).cloned() {
            self.remove(kind, &old);
        }
    }
}

/// The owner references of an object.
pub(crate) fn owners(object: &Value) -> impl Iterator<Item = &Value> {
    object["metadata"]["ownerReferences"].as_array().into_iter().flatten()
}

/// Namespace (nothing for what is in none) and name.
pub(crate) fn place(object: &Value) -> (String, String) {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}
