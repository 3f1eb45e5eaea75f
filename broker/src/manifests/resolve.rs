//! What objects are to each other: names that clash, dead-letter queues, and the order in which to declare them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use cmq_crds::bounds::DEAD_LETTER_SOURCES_MAX;
use cmq_crds::broker::{Broker, BrokerSpec};
use cmq_crds::queue::Queue;
use cmq_crds::validate::Kind;
use cmq_engine::limits::QUEUES_MAX;

use super::object::Object;
use super::{DeclaredQueue, Problem, attributes};

/// Objects of one kind by namespace and name.
type Index<'a, K> = HashMap<(&'a str, &'a str), &'a Object<K>>;

/// Everything that is wrong between objects that are right by themselves.
pub(super) fn problems(objects: &[Object<Queue>], brokers: &[Object<Broker>]) -> Vec<Problem> {
    let mut problems = clashes(objects);
    let mut by_name = HashMap::new();
    problems.extend(brokers.iter().filter_map(|broker| name_clash(&mut by_name, broker)));
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
pub(super) fn in_order(mut objects: Vec<Object<Queue>>, brokers: &[Object<Broker>]) -> Vec<DeclaredQueue> {
    // A dead-letter queue has none itself, so two groups are order enough; the sort keeps the order inside each.
    objects.sort_by_key(|object| object.resource.spec.dead_letter.is_some());
    let (index, brokers) = (index(&objects), index(brokers));
    objects.iter().map(|object| declared(object, &index, &brokers)).collect()
}

fn index<K: Kind>(objects: &[Object<K>]) -> Index<'_, K> {
    objects.iter().map(|object| ((object.namespace(), object.name()), object)).collect()
}

/// The object of a dead-letter queue.
fn dead_letter_queue<'a>(object: &Object<Queue>, index: &Index<'a, Queue>) -> Option<&'a Object<Queue>> {
    let name = &object.resource.spec.dead_letter.as_ref()?.queue_ref.name;
    index.get(&(object.namespace(), name.as_str())).copied()
}

fn declared(object: &Object<Queue>, index: &Index<'_, Queue>, brokers: &Index<'_, Broker>) -> DeclaredQueue {
    let spec = &object.resource.spec;
    let target = dead_letter_queue(object, index);
    DeclaredQueue {
        namespace: object.namespace().to_owned(),
        object: object.name().to_owned(),
        source: object.source(),
        name: object.resource.wire_name().to_owned(),
        attributes: attributes::of(spec),
        dead_letter: spec.dead_letter.as_ref().zip(target).map(|(dead_letter, target)| {
            (target.resource.wire_name().to_owned(), attributes::rule(dead_letter))
        }),
        deletion_policy: spec.deletion_policy,
        ignored_placement: spec.broker.as_ref().is_none_or(|broker| *broker != BrokerSpec::default()),
        cluster_warnings: [dead_letter_elsewhere(object, target), broker_taken(object, brokers)]
            .into_iter()
            .flatten()
            .map(|warning| format!("{}: {warning}", object.source()))
            .collect(),
    }
}

fn dead_letter_elsewhere(object: &Object<Queue>, target: Option<&Object<Queue>>) -> Option<String> {
    let target = target.filter(|target| target.broker() != object.broker())?;
    let (namespace, broker) = target.broker();
    Some(format!(
        "its dead-letter queue {} is on another Broker, {namespace}/{broker}, which a cluster reports as \
         DeadLetterOnOtherBroker",
        target.name()
    ))
}

/// A queue with pods of its own makes a Broker, whose name another object may have.
fn broker_taken(object: &Object<Queue>, brokers: &Index<'_, Broker>) -> Option<String> {
    object.resource.spec.broker.as_ref()?;
    let taken = brokers.get(&object.broker())?;
    Some(format!(
        "the Broker of its own pods would have the name of {}, which a cluster reports as NameConflict",
        taken.source()
    ))
}

/// Queue objects of one name, and queues of one name, also when their names differ only in case.
fn clashes(objects: &[Object<Queue>]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut by_name = HashMap::new();
    let mut by_wire_name = HashMap::new();
    for object in objects {
        if let Some(problem) = name_clash(&mut by_name, object) {
            problems.push(problem);
            continue;
        }
        let name = object.resource.wire_name();
        match by_wire_name.entry(name.to_ascii_lowercase()) {
            Entry::Vacant(free) => {
                free.insert(object);
            }
            Entry::Occupied(taken) => {
                let field: &[&str] = if object.resource.spec.queue_name.is_some() {
                    &["spec", "queueName"]
                } else {
                    &["metadata", "name"]
                };
                let first = taken.get();
                let problem = format!(
                    "{name:?} is declared by {} already, as {:?}",
                    first.source(),
                    first.resource.wire_name()
                );
                let allowed = "names on the wire that differ in more than case";
                problems.push(object.problem(field, problem, allowed));
            }
        }
    }
    problems
}

/// Notes the name of an object; it is a problem when another one of the kind has it.
fn name_clash<'a, K: Kind>(by_name: &mut Index<'a, K>, object: &'a Object<K>) -> Option<Problem> {
    match by_name.entry((object.namespace(), object.name())) {
        Entry::Vacant(free) => {
            free.insert(object);
            None
        }
        Entry::Occupied(taken) => {
            let problem = format!("{:?} is the name of {} already", object.name(), taken.get().source());
            Some(object.problem(&["metadata", "name"], problem, "each name once in a namespace"))
        }
    }
}

/// Dead-letter queues that are not there, or that cannot be one.
fn dead_letters(objects: &[Object<Queue>]) -> Vec<Problem> {
    let index = index(objects);
    let mut sources: HashMap<&str, usize> = HashMap::new();
    let mut problems = Vec::new();
    for object in objects {
        let Some(dead_letter) = &object.resource.spec.dead_letter else { continue };
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
        if target.resource.spec.dead_letter.is_some() {
            refuse(
                format!("{} has a dead-letter queue itself", target.source()),
                "a queue without deadLetter".into(),
            );
        }
        if target.resource.spec.fifo.is_some() != object.resource.spec.fifo.is_some() {
            let allowed = "a FIFO queue for a FIFO queue, a standard queue for a standard queue".into();
            refuse(format!("{} is of another type", target.source()), allowed);
        }
        let served = sources.entry(target.resource.wire_name()).or_default();
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
