//! What Queues have to do with each other: who shares a Broker, a name on the wire, a dead-letter queue.
//!
//! Fed by every event of the watches, so that a reconcile finds its neighbours without walking all Queues, and so that a
//! change wakes exactly those whom it concerns.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use cmq_crds::broker::Broker;
use cmq_crds::queue::Queue;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::watcher::Event;

use crate::queue::status;
use crate::wakes::Key;

/// What neighbours need to know of a Queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// UID of the object.
    pub uid: String,
    /// When it was made; of two objects that want the same the older has it.
    pub created: Option<Timestamp>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// The Broker that it is on.
    pub broker: Key,
    /// Whether it made that Broker.
    pub own_broker: bool,
    /// Its name on the wire.
    pub wire_name: String,
    /// Whether it is FIFO.
    pub fifo: bool,
    /// The Queue where its dead letters go.
    pub dead_letter: Option<Key>,
    /// Whether the broker has it as declared.
    pub declared: bool,
}

impl Facts {
    fn of(queue: &Queue) -> Self {
        let namespace = queue.namespace().unwrap_or_default();
        Self {
            uid: queue.uid().unwrap_or_default(),
            created: queue.creation_timestamp().map(|time| time.0),
            deleting: queue.metadata.deletion_timestamp.is_some(),
            broker: broker_of(queue),
            own_broker: queue.spec.broker.is_some(),
            wire_name: queue.wire_name().to_owned(),
            fifo: queue.spec.fifo.is_some(),
            dead_letter: queue
                .spec
                .dead_letter
                .as_ref()
                .map(|rule| Key::new(namespace, rule.queue_ref.name.clone())),
            declared: status::is_on_broker(queue),
        }
    }
}

/// The key of a Queue.
pub fn key_of(queue: &Queue) -> Key {
    Key::new(queue.namespace().unwrap_or_default(), queue.name_any())
}

/// The Broker that a Queue is on: the one that it refers to, or its own.
pub fn broker_of(queue: &Queue) -> Key {
    let namespace = queue.namespace().unwrap_or_default();
    match &queue.spec.broker_ref {
        Some(broker) => Key::new(broker.namespace.clone().unwrap_or(namespace), broker.name.clone()),
        None => Key::new(namespace, queue.name_any()),
    }
}

/// What of a Broker decides about its Queues.
#[derive(Clone, Debug, PartialEq)]
struct BrokerFacts(serde_json::Value);

impl BrokerFacts {
    fn of(broker: &Broker) -> Self {
        let status = broker.status.clone().unwrap_or_default();
        Self(serde_json::json!([
            broker.metadata.uid,
            broker.metadata.deletion_timestamp,
            broker.metadata.generation,
            broker.spec.stopped,
            broker.spec.replicas,
            broker.spec.allowed_namespaces,
            broker.spec.tls.client.is_some(),
            status.ready_replicas,
            status.replicas,
            status.selector,
        ]))
    }
}

/// Whom a change concerns.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Concerned {
    /// Queues.
    pub queues: BTreeSet<Key>,
    /// Brokers.
    pub brokers: BTreeSet<Key>,
}

/// All Queues by what they share. Bounded by the number of objects.
#[derive(Debug, Default)]
pub struct Neighbours(RwLock<Index>);

#[derive(Debug, Default)]
struct Index {
    queues: HashMap<Key, Facts>,
    by_broker: HashMap<Key, BTreeSet<Key>>,
    by_wire_name: HashMap<(Key, String), BTreeSet<Key>>,
    by_dead_letter: HashMap<Key, BTreeSet<Key>>,
    brokers: HashMap<Key, BrokerFacts>,
}

/// The part of the scope that a watch covers, and what its current list has named so far.
#[derive(Debug, Default)]
pub struct Part {
    namespace: Option<String>,
    listed: HashSet<Key>,
}

impl Part {
    /// A watch of one namespace, or of all.
    pub fn new(namespace: Option<&str>) -> Self {
        Self { namespace: namespace.map(str::to_owned), listed: HashSet::new() }
    }

    fn covers(&self, key: &Key) -> bool {
        self.namespace.as_deref().is_none_or(|namespace| namespace == &*key.namespace)
    }

    /// After a list, what is known and was not in it.
    fn unlisted<'a>(&mut self, known: impl Iterator<Item = &'a Key>) -> Vec<Key> {
        let listed = std::mem::take(&mut self.listed);
        known.filter(|key| self.covers(key) && !listed.contains(*key)).cloned().collect()
    }
}

impl Neighbours {
    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an event of the watch of Queues, and says whom it concerns beside the object itself.
    pub fn queue_event(&self, part: &mut Part, event: &Event<Queue>) -> Concerned {
        let mut index = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut concerned = Concerned::default();
        match event {
            Event::Apply(queue) => index.put(key_of(queue), Facts::of(queue), &mut concerned),
            Event::InitApply(queue) => {
                part.listed.insert(key_of(queue));
                index.put(key_of(queue), Facts::of(queue), &mut concerned);
            }
            Event::Delete(queue) => index.remove(&key_of(queue), &mut concerned),
            Event::Init => part.listed.clear(),
            Event::InitDone => {
                for key in part.unlisted(index.queues.keys()) {
                    index.remove(&key, &mut concerned);
                }
            }
        }
        concerned
    }

    /// Takes an event of the watch of Brokers, and says whom it concerns beside the object itself.
    pub fn broker_event(&self, part: &mut Part, event: &Event<Broker>) -> Concerned {
        let mut index = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let key = |broker: &Broker| Key::new(broker.namespace().unwrap_or_default(), broker.name_any());
        let mut changed = Vec::new();
        match event {
            Event::Apply(broker) | Event::InitApply(broker) => {
                let (key, facts) = (key(broker), BrokerFacts::of(broker));
                if matches!(event, Event::InitApply(_)) {
                    part.listed.insert(key.clone());
                }
                if index.brokers.get(&key) != Some(&facts) {
                    index.brokers.insert(key.clone(), facts);
                    changed.push(key);
                }
            }
            Event::Delete(broker) => changed.push(key(broker)),
            Event::Init => part.listed.clear(),
            Event::InitDone => changed = part.unlisted(index.brokers.keys()),
        }
        if matches!(event, Event::Delete(_) | Event::InitDone) {
            changed.iter().for_each(|key| drop(index.brokers.remove(key)));
        }
        let queues = changed.iter().filter_map(|key| index.by_broker.get(key)).flatten().cloned().collect();
        Concerned { queues, brokers: BTreeSet::new() }
    }

    /// What is known of a Queue.
    pub fn get(&self, key: &Key) -> Option<Facts> {
        self.read().queues.get(key).cloned()
    }

    /// Queues on a Broker.
    pub fn on_broker(&self, broker: &Key) -> Vec<(Key, Facts)> {
        let index = self.read();
        index.facts(index.by_broker.get(broker))
    }

    /// Queues whose dead letters go to this one.
    pub fn sources(&self, target: &Key) -> Vec<(Key, Facts)> {
        let index = self.read();
        index.facts(index.by_dead_letter.get(target))
    }

    /// Queues that want the same name on the wire of the same Broker.
    pub fn of_wire_name(&self, broker: &Key, wire_name: &str) -> Vec<(Key, Facts)> {
        let index = self.read();
        index.facts(index.by_wire_name.get(&(broker.clone(), wire_name.to_owned())))
    }

    /// Brokers that have Queues.
    pub fn brokers(&self) -> HashSet<Key> {
        self.read().by_broker.keys().cloned().collect()
    }

    /// How many Queues there are.
    pub fn len(&self) -> usize {
        self.read().queues.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Index {
    fn facts(&self, keys: Option<&BTreeSet<Key>>) -> Vec<(Key, Facts)> {
        let known = |key: &Key| Some((key.clone(), self.queues.get(key)?.clone()));
        keys.into_iter().flatten().filter_map(known).collect()
    }

    fn put(&mut self, key: Key, facts: Facts, concerned: &mut Concerned) {
        let before = self.queues.get(&key).cloned();
        if before.as_ref() == Some(&facts) {
            return;
        }
        if let Some(before) = &before {
            self.concern(&key, before, concerned);
            self.unlink(&key, before);
        }
        self.by_broker.entry(facts.broker.clone()).or_default().insert(key.clone());
        let wire_name = (facts.broker.clone(), facts.wire_name.clone());
        self.by_wire_name.entry(wire_name).or_default().insert(key.clone());
        if let Some(target) = &facts.dead_letter {
            self.by_dead_letter.entry(target.clone()).or_default().insert(key.clone());
        }
        self.queues.insert(key.clone(), facts.clone());
        self.concern(&key, &facts, concerned);
        concerned.queues.remove(&key);
    }

    fn remove(&mut self, key: &Key, concerned: &mut Concerned) {
        if let Some(before) = self.queues.remove(key) {
            self.concern(key, &before, concerned);
            self.unlink(key, &before);
            concerned.queues.remove(key);
        }
    }

    fn unlink(&mut self, key: &Key, facts: &Facts) {
        fn take<K: std::hash::Hash + Eq>(map: &mut HashMap<K, BTreeSet<Key>>, of: &K, key: &Key) {
            if let Some(keys) = map.get_mut(of) {
                keys.remove(key);
                if keys.is_empty() {
                    map.remove(of);
                }
            }
        }
        take(&mut self.by_broker, &facts.broker, key);
        take(&mut self.by_wire_name, &(facts.broker.clone(), facts.wire_name.clone()), key);
        if let Some(target) = &facts.dead_letter {
            take(&mut self.by_dead_letter, target, key);
        }
    }

    /// Those to whom it matters that a Queue has these facts, or had them.
    fn concern(&self, key: &Key, facts: &Facts, concerned: &mut Concerned) {
        concerned.queues.extend(self.by_dead_letter.get(key).into_iter().flatten().cloned());
        concerned.queues.extend(facts.dead_letter.clone());
        let rivals = self.by_wire_name.get(&(facts.broker.clone(), facts.wire_name.clone()));
        concerned.queues.extend(rivals.into_iter().flatten().cloned());
        // The Queue that made the Broker of this one has the Broker's name.
        if self.queues.get(&facts.broker).is_some_and(|owner| owner.own_broker) {
            concerned.queues.insert(facts.broker.clone());
        }
        concerned.brokers.insert(facts.broker.clone());
    }
}

#[cfg(test)]
#[path = "neighbours_tests.rs"]
mod tests;
