//! One object of a file: is it a Queue or a Broker, and a right one?

use std::path::{Path, PathBuf};

use cmq_crds::broker::Broker;
use cmq_crds::queue::Queue;
use cmq_crds::validate::{self, FieldError, FieldPath, Kind, Step};
use cmq_crds::{GROUP, VERSION};
use serde_json::Value;

use super::document::Node;
use super::{Existing, Problem, attributes};

/// The namespace of an object that names none.
const DEFAULT_NAMESPACE: &str = "default";

/// What a document declares.
#[derive(Debug)]
pub(super) enum Declared {
    /// A queue.
    Queue(Object<Queue>),
    /// Pods that serve queues, which means nothing to a broker that runs alone.
    Broker(Object<Broker>),
}

/// An object and where it stands.
#[derive(Debug)]
pub(super) struct Object<K> {
    pub(super) resource: K,
    file: PathBuf,
    node: Node,
}

impl<K: Kind> Object<K> {
    /// `metadata.name`.
    pub(super) fn name(&self) -> &str {
        self.resource.metadata().name.as_deref().unwrap_or_default()
    }

    /// `metadata.namespace`, or the one that stands for none.
    pub(super) fn namespace(&self) -> &str {
        self.resource.metadata().namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE)
    }

    /// The object and its place, for people.
    pub(super) fn source(&self) -> String {
        format!("{} {} in {}:{}", K::NAME, self.name(), self.file.display(), self.node.line())
    }

    /// A problem with one of the object's fields.
    pub(super) fn problem(&self, keys: &[&str], problem: String, allowed: impl Into<String>) -> Problem {
        let path = FieldPath(keys.iter().map(|key| Step::Key((*key).to_owned())).collect());
        locate(&self.file, &self.node, FieldError { path, problem, allowed: allowed.into() })
    }
}

impl Object<Queue> {
    /// The namespace and name of the Broker that the queue is on: another's, or that of its own pods.
    pub(super) fn broker(&self) -> (&str, &str) {
        match &self.resource.spec.broker_ref {
            Some(broker) => (broker.namespace.as_deref().unwrap_or(self.namespace()), &broker.name),
            None => (self.namespace(), self.name()),
        }
    }

    /// What this object would change of a queue that exists, and may not.
    pub(super) fn changes(&self, existing: &Existing) -> Vec<Problem> {
        let errors = changes(&self.resource, existing);
        errors.into_iter().map(|error| locate(&self.file, &self.node, error)).collect()
    }
}

/// What an object would change of a queue that exists, and may not.
pub(super) fn changes(queue: &Queue, existing: &Existing) -> Vec<FieldError> {
    let mut before = queue.clone();
    if existing.name.as_ref() != queue.wire_name() {
        before.spec.queue_name = Some(existing.name.to_string());
    }
    before.spec.fifo = attributes::fifo(existing.kind, queue.spec.fifo.as_ref());
    validate::validate_change(&before, queue)
}

/// Reads a document as the kind that it says it is.
pub(super) fn read(file: &Path, node: Node) -> Result<Declared, Vec<Problem>> {
    let value = node.value();
    match foreign(&value) {
        Some(error) => Err(vec![locate(file, &node, error)]),
        None if value["kind"] == Broker::NAME => read_as(file, node, value).map(Declared::Broker),
        None => read_as(file, node, value).map(Declared::Queue),
    }
}

fn read_as<K: Kind>(file: &Path, node: Node, value: Value) -> Result<Object<K>, Vec<Problem>> {
    match validate::parse(value) {
        Ok(resource) => Ok(Object { resource, file: file.to_owned(), node }),
        Err(errors) => {
            let mut problems: Vec<Problem> =
                errors.into_iter().map(|error| locate(file, &node, error)).collect();
            problems.sort_by_key(|problem| problem.line);
            Err(problems)
        }
    }
}

/// Why a document is of no kind that is known here: its fields are not worth a word.
fn foreign(value: &Value) -> Option<FieldError> {
    let only = |key: &str, problem: String, allowed: &str| {
        let path = FieldPath(vec![Step::Key(key.to_owned())]);
        Some(FieldError { path, problem, allowed: allowed.to_owned() })
    };
    let Some(object) = value.as_object() else {
        return Some(FieldError {
            path: FieldPath::default(),
            problem: "is not a set of fields".into(),
            allowed: "an object with apiVersion, kind, metadata and spec".into(),
        });
    };
    let version = format!("{GROUP}/{VERSION}");
    let kinds = [Queue::NAME, Broker::NAME];
    match (object.get("apiVersion"), object.get("kind")) {
        (None, _) => only("apiVersion", "is missing".into(), &version),
        (Some(found), _) if *found != version => only("apiVersion", format!("is {found}"), &version),
        (_, None) => only("kind", "is missing".into(), &kinds.join(" or ")),
        (_, Some(found)) if kinds.iter().all(|kind| found != kind) => {
            only("kind", format!("is {found}"), &kinds.join(" or "))
        }
        (Some(_), Some(_)) => None,
    }
}

fn locate(file: &Path, node: &Node, error: FieldError) -> Problem {
    Problem {
        file: file.to_owned(),
        line: node.line_of(&error.path),
        field: error.path.to_string(),
        problem: error.problem,
        allowed: error.allowed,
    }
}
