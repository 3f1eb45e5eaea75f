//! Requests of a group that wait for the next log entry, and whose turn it is.
//!
//! Receives and deletes have a share of their own, so that they go on while producers fill the log; sends of different
//! queues share the rest by deficit round robin, so that one busy queue does not hold up the others.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use cmq_engine::attributes::QueueId;
use cmq_engine::catalogue::CatalogueCommand;
use cmq_engine::command::Command;
use cmq_engine::limits::ENTRY_BODIES_MAX;

use super::waiters::Waiter;

/// Bytes of operations in one entry; a single larger operation has an entry of its own.
pub(crate) const ENTRY_BYTES_MAX: usize = 1 << 20;
/// Receives and deletes in one entry.
const OTHERS_PER_ENTRY: usize = 1_024;
/// Bytes that a queue may send in its turn.
const QUANTUM_BYTES: usize = 32 << 10;
/// What an operation costs beside its bodies.
const OPERATION_BYTES: usize = 64;

/// Who is answered when an operation was applied.
#[derive(Debug)]
pub(crate) enum Asker<T> {
    /// A client.
    Client(T),
    /// A receive, which may have to wait on.
    Receive(Waiter<T>),
    /// Nobody: the leader's own operation.
    Own,
}

/// An operation that waits for an entry.
#[derive(Debug)]
pub(crate) struct Operation<T> {
    pub(crate) asker: Asker<T>,
    pub(crate) command: Command,
    pub(crate) bodies: Vec<Bytes>,
}

impl<T> Operation<T> {
    fn bytes(&self) -> usize {
        OPERATION_BYTES + self.bodies.iter().map(Bytes::len).sum::<usize>()
    }
}

#[derive(Debug)]
struct Sends<T> {
    waiting: VecDeque<Operation<T>>,
    deficit: usize,
}

/// The operations of one group that wait.
#[derive(Debug)]
pub(crate) struct Fold<T> {
    /// Before everything else: what brings the shard to a revision that the others count on.
    own: VecDeque<Operation<T>>,
    others: VecDeque<Operation<T>>,
    sends: BTreeMap<QueueId, Sends<T>>,
    turns: VecDeque<QueueId>,
    catalogue: VecDeque<(Option<T>, CatalogueCommand)>,
    bytes: usize,
}

impl<T> Default for Fold<T> {
    fn default() -> Self {
        Self {
            own: VecDeque::new(),
            others: VecDeque::new(),
            sends: BTreeMap::new(),
            turns: VecDeque::new(),
            catalogue: VecDeque::new(),
            bytes: 0,
        }
    }
}

impl<T> Fold<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.own.is_empty() && self.others.is_empty() && self.turns.is_empty() && self.catalogue.is_empty()
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn push_own(&mut self, command: Command) {
        self.own.push_back(Operation { asker: Asker::Own, command, bodies: Vec::new() });
    }

    pub(crate) fn push(&mut self, operation: Operation<T>) {
        self.bytes += operation.bytes();
        let Command::Send { queue, .. } = &operation.command else {
            self.others.push_back(operation);
            return;
        };
        let queue = *queue;
        let sends = self.sends.entry(queue).or_insert_with(|| {
            self.turns.push_back(queue);
            Sends { waiting: VecDeque::new(), deficit: 0 }
        });
        sends.waiting.push_back(operation);
    }

    pub(crate) fn push_catalogue(&mut self, token: Option<T>, command: CatalogueCommand) {
        self.catalogue.push_back((token, command));
    }

    /// The catalogue commands of the next entry.
    pub(crate) fn take_catalogue(&mut self) -> Vec<(Option<T>, CatalogueCommand)> {
        let count = self.catalogue.len().min(OTHERS_PER_ENTRY);
        self.catalogue.drain(..count).collect()
    }

    /// The operations of the next entry.
    pub(crate) fn take(&mut self) -> Vec<Operation<T>> {
        let mut taken: Vec<Operation<T>> = self.own.drain(..).collect();
        let others = self.others.len().min(OTHERS_PER_ENTRY);
        taken.extend(self.others.drain(..others));
        let mut bytes = taken.iter().map(Operation::bytes).sum::<usize>();
        self.bytes -=
            taken.iter().filter(|op| !matches!(op.asker, Asker::Own)).map(Operation::bytes).sum::<usize>();
        let mut bodies = 0;
        while let Some(queue) = self.turns.pop_front() {
            let Some(sends) = self.sends.get_mut(&queue) else { continue };
            sends.deficit += QUANTUM_BYTES;
            let mut is_full = false;
            while let Some(next) = sends.waiting.front() {
                let cost = next.bytes();
                is_full = !taken.is_empty() && bytes + cost > ENTRY_BYTES_MAX
                    || bodies + next.bodies.len() > ENTRY_BODIES_MAX;
                if is_full || cost > sends.deficit {
                    break;
                }
                let Some(operation) = sends.waiting.pop_front() else { break };
                sends.deficit -= cost;
                bytes += cost;
                bodies += operation.bodies.len();
                self.bytes -= cost;
                taken.push(operation);
            }
            if sends.waiting.is_empty() {
                self.sends.remove(&queue);
            } else {
                self.turns.push_back(queue);
            }
            if is_full {
                break;
            }
        }
        taken
    }

    /// Takes everything, for when the lead is lost.
    pub(crate) fn drain(&mut self) -> (Vec<Operation<T>>, Vec<T>) {
        let sends = std::mem::take(&mut self.sends).into_values().flat_map(|sends| sends.waiting);
        let operations = self.own.drain(..).chain(self.others.drain(..)).chain(sends).collect();
        self.turns.clear();
        self.bytes = 0;
        (operations, self.catalogue.drain(..).filter_map(|(token, _)| token).collect())
    }
}
