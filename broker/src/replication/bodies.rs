//! Bodies of messages in memory: those that were sent a moment ago, and those that were read ahead.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use cmq_engine::faults::{self, Fault};
use cmq_engine::message::BodyRef;

use super::keys::Space;
use super::{GroupId, entry};
use crate::storage::{ScanLimit, Store, StoreError, Tree};

/// Rows that a read takes along, for the messages behind it will be wanted next.
const READ_AHEAD: ScanLimit = ScanLimit { rows: 64, bytes: 256 << 10 };
/// Entries that a read looks at: behind the head of a queue, all that others have deleted may lie for a long stretch, and a
/// scan would walk over every mark.
const READ_AHEAD_ENTRIES: u64 = 64;

/// A bounded cache of committed bodies, oldest out first. Evicting in the order of insertion lets whole entries go, whose
/// memory the bodies share.
#[derive(Debug)]
pub struct BodyCache {
    rows: HashMap<(GroupId, u64), Bytes>,
    order: VecDeque<(GroupId, u64)>,
    bytes: usize,
    budget: usize,
}

impl BodyCache {
    /// An empty cache of at most `budget` bytes.
    pub fn new(budget: usize) -> Self {
        Self { rows: HashMap::new(), order: VecDeque::new(), bytes: 0, budget }
    }

    /// Takes a body row that was committed under this address.
    pub fn insert(&mut self, group: GroupId, body: BodyRef, row: Bytes) {
        let key = (group, body.packed());
        if faults::is_active(Fault::ReadUncommittedBody) && self.rows.contains_key(&key) {
            return;
        }
        self.bytes += row.len();
        if let Some(old) = self.rows.insert(key, row) {
            self.bytes -= old.len();
        } else {
            self.order.push_back(key);
        }
        while self.bytes > self.budget || self.order.len() > 2 * self.rows.len() + 1_024 {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some(row) = self.rows.remove(&oldest) {
                self.bytes -= row.len();
            }
        }
    }

    /// Lets go of a body that nobody needs any more.
    pub fn remove(&mut self, group: GroupId, body: BodyRef) {
        if let Some(row) = self.rows.remove(&(group, body.packed())) {
            self.bytes -= row.len();
        }
    }

    /// Bytes of all rows.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The message at an address, from memory or disk. `reads_ahead` says that the messages behind it will be wanted too,
    /// as they are when a backlog is handed out, and are not when a message comes back. Only what is applied is read
    /// ahead: the entries behind it may yet be overwritten, and the cache would hold what they had.
    ///
    /// # Errors
    /// When the row is damaged or missing.
    pub fn message(
        &mut self,
        space: Space,
        body: BodyRef,
        reads_ahead: bool,
        applied: u64,
        store: &dyn Store,
    ) -> Result<Bytes, StoreError> {
        let place = || format!("body {} of entry {} of group {}", body.position, body.index, space.group.0);
        let missing = || StoreError::Damaged { place: place(), detail: "the row is missing".into() };
        if let Some(row) = self.rows.get(&(space.group, body.packed())) {
            return entry::message_of(row, &place);
        }
        if !reads_ahead {
            let row = store.get(Tree::Log, &space.body(body))?.ok_or_else(missing)?;
            return entry::message_of(&row, &place);
        }
        let end = space.header(applied.min(body.index + READ_AHEAD_ENTRIES) + 1);
        let rows = store.scan(Tree::Log, &space.body(body), &end, READ_AHEAD)?;
        let mut found = None;
        for (key, row) in rows {
            let Some((index, position)) = Space::log_position(&key) else { continue };
            let Some(position) = position.checked_sub(1) else { continue };
            let at = BodyRef { index, position };
            if at == body {
                found = Some(row.clone());
            }
            self.insert(space.group, at, row);
        }
        entry::message_of(&found.ok_or_else(missing)?, &place)
    }
}
