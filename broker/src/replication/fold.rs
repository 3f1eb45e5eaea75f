//! Requests of a group that wait for the next log entry, and whose turn it is.
//!
//! Receives and deletes have a share of their own, so that they go on while producers fill the log. Within each share
//! queues take turns by the bytes that their operations move, so that one busy queue does not hold up the others. What a
//! turn of the driver takes is bounded too: a quiet queue waits for one turn of the others, not for all that they have.

mod line;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use cmq_engine::attributes::QueueId;
use cmq_engine::catalogue::CatalogueCommand;
use cmq_engine::command::Command;
use cmq_engine::limits::ENTRY_BODIES_MAX;

use super::share::Share;
use super::waiters::Waiter;
use line::Line;

/// Bytes of operations in one entry; a single larger operation has an entry of its own.
pub const ENTRY_BYTES_MAX: usize = 1 << 20;
/// Bytes that the sends of one turn bring, and about as many that its receives hand out.
pub const TURN_BYTES_MAX: usize = 4 << 20;
/// Bytes of messages that one turn hands out at most, but for a single larger receive. Far above what it aims at, for when
/// the messages of a queue are larger than those before them.
pub const TURN_ANSWER_BYTES_MAX: usize = 16 << 20;
/// Operations of clients that wait in one group at most.
pub const WAITING_OPERATIONS_MAX: usize = 32_768;
/// Bytes that wait in one group at most.
pub const WAITING_BYTES_MAX: usize = 16 << 20;
/// Changes of the catalogue that wait at most.
pub const WAITING_CHANGES_MAX: usize = 4_096;
/// Changes of the catalogue in one entry.
const CHANGES_PER_ENTRY: usize = 1_024;
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
    /// Bytes that it moves, about: what the queue pays for it.
    cost: usize,
}

impl<T> Operation<T> {
    /// An operation of a client. `message_bytes` is what a message of the queue has, about.
    pub(crate) fn new(asker: Asker<T>, command: Command, bodies: Vec<Bytes>, message_bytes: usize) -> Self {
        let cost = OPERATION_BYTES
            + match &command {
                Command::Receive { max, .. } => usize::from(*max) * (OPERATION_BYTES + message_bytes),
                Command::Delete { deliveries, .. } => deliveries.len() * OPERATION_BYTES,
                _ => bodies.iter().map(Bytes::len).sum(),
            };
        Self { asker, command, bodies, cost }
    }

    fn own(command: Command) -> Self {
        Self { asker: Asker::Own, command, bodies: Vec::new(), cost: OPERATION_BYTES }
    }

    /// Bytes of memory and of the entry.
    fn bytes(&self) -> usize {
        OPERATION_BYTES + self.bodies.iter().map(Bytes::len).sum::<usize>()
    }

    fn queue(&self) -> QueueId {
        self.command.queue().unwrap_or(QueueId(0))
    }
}

/// What a turn may still take.
#[derive(Debug)]
pub(crate) struct Allowance {
    sends: usize,
    others: usize,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { sends: TURN_BYTES_MAX, others: TURN_BYTES_MAX }
    }
}

/// The operations of one group that wait.
#[derive(Debug)]
pub(crate) struct Fold<T> {
    /// Before everything else: what brings the shard to a revision that the others count on.
    own: VecDeque<Operation<T>>,
    others: Line<T>,
    sends: Line<T>,
    catalogue: VecDeque<(Option<T>, CatalogueCommand)>,
    total: Share,
    shares: BTreeMap<QueueId, Share>,
}

impl<T> Default for Fold<T> {
    fn default() -> Self {
        Self {
            own: VecDeque::new(),
            others: Line::default(),
            sends: Line::default(),
            catalogue: VecDeque::new(),
            total: Share::default(),
            shares: BTreeMap::new(),
        }
    }
}

impl<T> Fold<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.own.is_empty() && self.others.is_empty() && self.sends.is_empty() && self.catalogue.is_empty()
    }

    /// Whether a turn takes anything more.
    pub(crate) fn has_more(&self, allowance: &Allowance) -> bool {
        !self.own.is_empty()
            || !self.catalogue.is_empty()
            || !self.others.is_empty() && allowance.others > 0
            || !self.sends.is_empty() && allowance.sends > 0
    }

    /// Whether an operation of `queue` with so many bytes of bodies may wait here.
    pub(crate) fn has_room(&self, queue: QueueId, bytes: usize) -> bool {
        const MAX: Share = Share { requests: WAITING_OPERATIONS_MAX, bytes: WAITING_BYTES_MAX };
        let own = self.shares.get(&queue).copied().unwrap_or_default();
        own.may_take(bytes + OPERATION_BYTES, self.total, MAX)
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.total.bytes
    }

    pub(crate) fn push_own(&mut self, command: Command) {
        self.own.push_back(Operation::own(command));
    }

    pub(crate) fn push(&mut self, operation: Operation<T>) {
        let (queue, bytes) = (operation.queue(), operation.bytes());
        self.total.add(bytes);
        self.shares.entry(queue).or_default().add(bytes);
        let is_send = matches!(operation.command, Command::Send { .. });
        let line = if is_send { &mut self.sends } else { &mut self.others };
        line.push(queue, operation);
    }

    /// Takes a change of the catalogue; gives the token back when too many wait.
    pub(crate) fn push_catalogue(
        &mut self,
        token: Option<T>,
        command: CatalogueCommand,
    ) -> Result<(), Option<T>> {
        if self.catalogue.len() >= WAITING_CHANGES_MAX {
            return Err(token);
        }
        self.catalogue.push_back((token, command));
        Ok(())
    }

    /// The catalogue commands of the next entry.
    pub(crate) fn take_catalogue(&mut self) -> Vec<(Option<T>, CatalogueCommand)> {
        let count = self.catalogue.len().min(CHANGES_PER_ENTRY);
        self.catalogue.drain(..count).collect()
    }

    /// The operations of the next entry.
    pub(crate) fn take(&mut self, allowance: &mut Allowance) -> Vec<Operation<T>> {
        let mut taken: Vec<Operation<T>> = self.own.drain(..).collect();
        let own = taken.len();
        self.others.take(&mut taken, |next| {
            let fits = allowance.others > 0;
            allowance.others = if fits { allowance.others.saturating_sub(next.cost) } else { 0 };
            fits
        });
        let mut is_empty = taken.is_empty();
        let (mut bytes, mut bodies) = (taken.iter().map(Operation::bytes).sum::<usize>(), 0);
        self.sends.take(&mut taken, |next| {
            let fits = (is_empty || bytes + next.bytes() <= ENTRY_BYTES_MAX)
                && bodies + next.bodies.len() <= ENTRY_BODIES_MAX
                && allowance.sends > 0;
            if fits {
                is_empty = false;
                bytes += next.bytes();
                bodies += next.bodies.len();
                allowance.sends = allowance.sends.saturating_sub(next.cost);
            }
            fits
        });
        for operation in &taken[own..] {
            self.total.remove(operation.bytes());
            if let Some(share) = self.shares.get_mut(&operation.queue()) {
                share.remove(operation.bytes());
                if share.is_empty() {
                    self.shares.remove(&operation.queue());
                }
            }
        }
        taken
    }

    /// Takes everything, for when the lead is lost.
    pub(crate) fn drain(&mut self) -> (Vec<Operation<T>>, Vec<T>) {
        let operations = self.own.drain(..).chain(self.others.drain()).chain(self.sends.drain()).collect();
        self.total = Share::default();
        self.shares.clear();
        (operations, self.catalogue.drain(..).filter_map(|(token, _)| token).collect())
    }
}

#[cfg(test)]
#[path = "fold_tests.rs"]
mod tests;
