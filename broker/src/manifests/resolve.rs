//! What objects are to each other: names that clash, dead-letter queues, and the order in which to declare them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use cmq_crds::bounds::DEAD_LETTER_SOURCES_MAX;
use cmq_crds::broker::BrokerSpec;
use cmq_engine::limits::QUEUES_MAX;

use super::object::Object;
use super::{DeclaredQueue, Problem, attributes};

/// The objects by namespace and name.
type Index<'a> = HashMap<(&'a str, &'a str), &'a Object>;

/// Everything that is wrong between objects that are right by themselves.
pub(super) fn problems(objects: &[Object]) -> Vec<Problem> {
    let mut problems = clashes(objects);
    if problems.is_empty() {
        problems = dead_letters(objects);
    }
    if let Some(object) = objects.get(QUEUES_MAX) {
        let problem = format!("is one of {} queues", objects.len());
        problems.push(object.problem(&["metadata", "name"], problem, format!("at most {QUEUES_MAX} queues")));
    }
    problems
}

/// Right objects as queues, dead-letter queues first.
pub(super) fn in_order(mut objects: Vec<Object>) -> Vec<DeclaredQueue> {
    // A dead-letter queue has none itself, so two groups are order enough; the sort keeps the order inside each.
    objects.sort_by_key(|object| object.queue.spec.dead_letter.is_some());
    let index = index(&objects);
    objects.iter().map(|object| declared(object, &index)).collect()
}

fn index(objects: &[Object]) -> Index<'_> {
    objects.iter().map(|object| ((object.namespace(), object.name()), object)).collect()
}

/// The object of a dead-letter queue.
fn dead_letter_queue<'a>(object: &Object, index: &Index<'a>) -> Option<&'a Object> {
    let name = &object.queue.spec.dead_letter.as_ref()?.queue_ref.name;
    index.get(&(object.namespace(), name.as_str())).copied()
}

fn declared(object: &Object, index: &Index<'_>) -> DeclaredQueue {
    let spec = &object.queue.spec;
    let target = dead_letter_queue(object, index);
    DeclaredQueue {
        namespace: object.namespace().to_owned(),
        object: object.name().to_owned(),
        source: object.source(),
        name: object.queue.wire_name().to_owned(),
        attributes: attributes::of(spec),
        dead_letter: spec
            .dead_letter
            .as_ref()
            .zip(target)
            .map(|(dead_letter, target)| (target.queue.wire_name().to_owned(), attributes::rule(dead_letter))),
        deletion_policy: spec.deletion_policy,
        ignored_placement: spec.broker.as_ref().is_none_or(|broker| *broker != BrokerSpec::default()),
        cluster_warning: target.filter(|target| target.broker() != object.broker()).map(|target| {
            let (namespace, broker) = target.broker();
            format!(
                "its dead-letter queue {} is on another Broker, {namespace}/{broker}, which a cluster reports as \
                 DeadLetterOnOtherBroker",
                target.name()
            )
        }),
    }
}

/// Objects of one name, and queues of one name, also when their names differ only in case.
fn clashes(objects: &[Object]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut by_object = HashMap::new();
    let mut by_wire_name = HashMap::new();
    for object in objects {
        match by_object.entry((object.namespace(), object.name())) {
            Entry::Vacant(free) => {
                free.insert(object);
            }
            Entry::Occupied(taken) => {
                let problem = format!("{:?} is the name of {} already", object.name(), taken.get().source());
                problems.push(object.problem(
                    &["metadata", "name"],
                    problem,
                    "each name once in a namespace",
                ));
                continue;
            }
        }
        let name = object.queue.wire_name();
        match by_wire_name.entry(name.to_ascii_lowercase()) {
            Entry::Vacant(free) => {
                free.insert(object);
            }
            Entry::Occupied(taken) => {
                let field: &[&str] = if object.queue.spec.queue_name.is_some() {
                    &["spec", "queueName"]
                } else {
                    &["metadata", "name"]
                };
                let first = taken.get();
                let problem = format!(
                    "{name:?} is declared by {} already, as {:?}",
                    first.source(),
                    first.queue.wire_name()
                );
                let allowed = "names on the wire that differ in more than case";
                problems.push(object.problem(field, problem, allowed));
            }
        }
    }
    problems
}

/// Dead-letter queues that are not there, or that cannot be one.
fn dead_letters(objects: &[Object]) -> Vec<Problem> {
    let index = index(objects);
    let mut sources: HashMap<&str, usize> = HashMap::new();
    let mut problems = Vec::new();
    for object in objects {
        let Some(dead_letter) = &object.queue.spec.dead_letter else { continue };
        let name = &dead_letter.queue_ref.name;
        let mut refuse = |problem: String, allowed: String| {
            problems.push(object.problem(&["spec", "deadLetter", "queueRef", "name"], problem, allowed));
        };
        let Some(target) = dead_letter_queue(object, &index) else {
            let allowed =
                format!("metadata.name of a Queue of namespace {} in these files", object.namespace());
            refuse(format!("{name:?} is not declared"), allowed);
            continue;
        };
        if target.queue.spec.dead_letter.is_some() {
            refuse(
                format!("{} has a dead-letter queue itself", target.source()),
                "a queue without deadLetter".into(),
            );
        }
        if target.queue.spec.fifo.is_some() != object.queue.spec.fifo.is_some() {
            let allowed = "a FIFO queue for a FIFO queue, a standard queue for a standard queue".into();
            refuse(format!("{} is of another type", target.source()), allowed);
        }
        let served = sources.entry(target.queue.wire_name()).or_default();
        *served += 1;
        if *served > DEAD_LETTER_SOURCES_MAX {
            refuse(
                format!("{} serves {} queues before this one", target.source(), *served - 1),
                format!("at most {DEAD_LETTER_SOURCES_MAX} sources of one dead-letter queue"),
            );
        }
    }
    problems
}
