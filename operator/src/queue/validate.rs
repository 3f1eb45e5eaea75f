//! What can be wrong with a Queue that its schema cannot say: its relations to other objects. Pure.

use cmq_crds::bounds::DEAD_LETTER_SOURCES_MAX;
use cmq_crds::queue::Queue;

use super::dereference::World;
use super::neighbours::{Facts, broker_of, key_of};
use super::verdict::Verdict;
use crate::reason::Reason;
use crate::wakes::Key;

/// Whether the dead-letter rule is declared with the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DeadLetters {
    /// As the spec says, which may be not at all.
    AsDeclared,
    /// Not yet: the object that it refers to does not exist.
    Missing(Key),
}

/// Checks a Queue against its surroundings.
///
/// # Errors
/// What keeps it from being declared.
pub(super) fn validate(queue: &Queue, world: &World) -> Result<DeadLetters, Verdict> {
    shared_broker(queue, world)?;
    wire_name(queue, world)?;
    dead_letters(queue, world)
}

fn shared_broker(queue: &Queue, world: &World) -> Result<(), Verdict> {
    if queue.spec.broker.is_some() {
        return Ok(());
    }
    let broker = broker_of(queue);
    if world.broker.is_none() {
        let detail = if world.broker_in_scope {
            format!("Broker {broker} does not exist")
        } else {
            format!("Broker {broker} is in a namespace that the operator does not look after")
        };
        return Err(Verdict::waiting(Reason::BrokerNotFound, detail));
    }
    if !world.consent {
        let namespace = key_of(queue).namespace;
        return Err(Verdict::user_error(
            Reason::NamespaceNotAllowed,
            format!("Broker {broker} does not serve objects of namespace {namespace}"),
        ));
    }
    Ok(())
}

/// Of objects that want one name the broker keeps the one that has it; of several that do not have it yet the oldest goes
/// first.
fn wire_name(queue: &Queue, world: &World) -> Result<(), Verdict> {
    let own = (queue.metadata.creation_timestamp.as_ref().map(|time| time.0), key_of(queue));
    let declared = super::status::is_on_broker(queue);
    let first = |(key, rival): &&(Key, Facts)| {
        !rival.deleting && (rival.declared || (rival.created, key) < (own.0, &own.1))
    };
    match world.rivals.iter().find(first) {
        Some((rival, _)) if !declared => Err(Verdict::user_error(
            Reason::NameConflict,
            format!("Queue {rival} has the name {} on Broker {}", queue.wire_name(), broker_of(queue)),
        )),
        _ => Ok(()),
    }
}

fn dead_letters(queue: &Queue, world: &World) -> Result<DeadLetters, Verdict> {
    let Some(rule) = &queue.spec.dead_letter else { return Ok(DeadLetters::AsDeclared) };
    let key = key_of(queue);
    let name = Key::new(key.namespace.clone(), rule.queue_ref.name.clone());
    let Some(target) = &world.target else { return Ok(DeadLetters::Missing(name)) };
    let refuse = |reason, detail: String| Err(Verdict::user_error(reason, detail));
    let broker = broker_of(queue);
    if target.broker != broker {
        let detail = format!("Queue {name} is on Broker {}, this one on {broker}", target.broker);
        return refuse(Reason::DeadLetterOnOtherBroker, detail);
    }
    match &target.dead_letter {
        Some(next) if *next == key => {
            return refuse(Reason::DeadLetterCycle, format!("the dead letters of Queue {name} come here"));
        }
        Some(next) => {
            let detail = format!("the dead letters of Queue {name} go to Queue {next}");
            return refuse(Reason::DeadLetterChain, detail);
        }
        None => {}
    }
    if target.fifo != queue.spec.fifo.is_some() {
        let kind = |fifo| if fifo { "FIFO" } else { "a standard queue" };
        let detail = format!("Queue {name} is {}, this one is {}", kind(target.fifo), kind(!target.fifo));
        return refuse(Reason::DeadLetterTypeMismatch, detail);
    }
    let own = (
        !super::status::is_on_broker(queue),
        queue.metadata.creation_timestamp.as_ref().map(|time| time.0),
        &key,
    );
    let before =
        |(key, fellow): &&(Key, Facts)| !fellow.deleting && (!fellow.declared, fellow.created, key) < own;
    if world.fellows.iter().filter(before).count() >= DEAD_LETTER_SOURCES_MAX {
        let detail = format!("Queue {name} serves {DEAD_LETTER_SOURCES_MAX} queues already");
        return refuse(Reason::DeadLetterSources, detail);
    }
    Ok(DeadLetters::AsDeclared)
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
