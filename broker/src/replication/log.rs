//! One group's log as the `raft` crate sees it: recent entries in memory, older ones on disk.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use cmq_engine::codec::{Reader, Writer};
use cmq_engine::faults::{self, Fault};
use cmq_engine::message::BodyRef;
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, StorageError};

use super::keys::{self, Space};
use super::{GroupId, entry};
use crate::storage::{ScanLimit, Store, StoreError, Tree, Write};

const FORMAT: u8 = 1;
const SCAN: ScanLimit = ScanLimit { rows: 1_024, bytes: 1 << 20 };

/// Applied entries that stay in memory for followers, in bytes of their data.
const WINDOW_BYTES: usize = 1 << 20;

/// Where a group is on this volume; written with every checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The copy of the data that is valid.
    pub incarnation: u32,
    /// Copies from this one on to the valid one may have left rows behind.
    pub clean_from: u32,
    /// The entry that the rows of the state machine are at.
    pub(crate) applied: (u64, u64),
    /// The last entry whose header row is gone.
    pub truncated: (u64, u64),
    /// The members that vote.
    pub voters: Vec<u64>,
}

impl Progress {
    /// The row of this progress.
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Writer::with_format(FORMAT);
        out.int(u64::from(self.incarnation)).int(u64::from(self.clean_from));
        out.int(self.applied.0).int(self.applied.1).int(self.truncated.0).int(self.truncated.1);
        out.int(self.voters.len() as u64);
        self.voters.iter().for_each(|voter| _ = out.int(*voter));
        out.bytes.into()
    }

    pub(crate) fn decode(row: &[u8]) -> Result<Self, cmq_engine::codec::DecodeError> {
        let mut from = Reader::with_format(row, FORMAT, "the progress of a group")?;
        let (incarnation, clean_from) = (from.int32()?, from.int32()?);
        let (applied, truncated) = ((from.int()?, from.int()?), (from.int()?, from.int()?));
        let voters = (0..from.int()?).map(|_| from.int()).collect::<Result<_, _>>()?;
        Ok(Self { incarnation, clean_from, applied, truncated, voters })
    }
}

/// The row of a hard state.
pub(crate) fn encode_hard_state(state: &HardState) -> Bytes {
    let mut out = Writer::with_format(FORMAT);
    out.int(state.term).int(state.vote).int(state.commit);
    out.bytes.into()
}

pub(crate) fn decode_hard_state(row: &[u8]) -> Result<HardState, cmq_engine::codec::DecodeError> {
    let mut from = Reader::with_format(row, FORMAT, "a hard state")?;
    Ok(HardState { term: from.int()?, vote: from.int()?, commit: from.int()?, ..HardState::default() })
}

/// The log of one group.
pub(crate) struct GroupLog {
    store: Arc<dyn Store + Send + Sync>,
    group: GroupId,
    /// What is on disk, or on its way there.
    pub(crate) progress: Progress,
    hard_state: HardState,
    /// The newest applied entry, which is ahead of the checkpoint.
    pub(crate) applied: (u64, u64),
    /// Consecutive entries up to the last one; all that are not applied are here.
    window: VecDeque<Entry>,
    window_bytes: usize,
    last: (u64, u64),
    /// Why a read for Raft failed. Raft only understands that entries are gone, and takes other errors for bugs.
    failure: Cell<Option<StoreError>>,
}

impl fmt::Debug for GroupLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupLog")
            .field("group", &self.group)
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

impl GroupLog {
    /// Opens the log of a group; a new one has these voters.
    ///
    /// # Errors
    /// When the storage fails or what it holds does not fit together.
    pub(crate) fn open(
        store: Arc<dyn Store + Send + Sync>,
        group: GroupId,
        voters: &[u64],
    ) -> Result<Self, StoreError> {
        let damaged = |detail: String| StoreError::Damaged { place: format!("group {}", group.0), detail };
        let progress = match store.get(Tree::Meta, &keys::progress(group))? {
            Some(row) => Progress::decode(&row).map_err(|error| damaged(error.to_string()))?,
            None => Progress {
                incarnation: 0,
                clean_from: 0,
                applied: (0, 0),
                truncated: (0, 0),
                voters: voters.to_vec(),
            },
        };
        let mut hard_state = match store.get(Tree::Meta, &keys::hard_state(group))? {
            Some(row) => decode_hard_state(&row).map_err(|error| damaged(error.to_string()))?,
            None => HardState::default(),
        };
        let mut progress = progress;
        if faults::is_active(Fault::ApplyTwice) && progress.applied.0 > progress.truncated.0 + 1 {
            progress.applied.0 -= 1;
        }
        let mut log = Self {
            store,
            group,
            applied: progress.applied,
            last: progress.applied,
            progress,
            hard_state: HardState::default(),
            window: VecDeque::new(),
            window_bytes: 0,
            failure: Cell::new(None),
        };
        log.load_tail()?;
        if hard_state.commit > log.last.0 {
            let detail = format!("entry {} was committed, the log ends at {}", hard_state.commit, log.last.0);
            return Err(damaged(detail));
        }
        // The row of the commit index may lag behind the checkpoint, which only holds what was committed.
        hard_state.commit = hard_state.commit.max(log.applied.0);
        hard_state.term = hard_state.term.max(log.last.1);
        log.hard_state = hard_state;
        Ok(log)
    }

    /// Reads every entry behind the checkpoint.
    fn load_tail(&mut self) -> Result<(), StoreError> {
        let space = self.space();
        let mut from = space.header(self.applied.0 + 1);
        let mut header: Option<(u64, Bytes)> = None;
        let mut bodies: VecDeque<(u16, Bytes)> = VecDeque::new();
        loop {
            let rows = self.store.scan(Tree::Log, &from, &space.end(), SCAN)?;
            let Some((last, _)) = rows.last() else { break };
            from = [last, &b"\0"[..]].concat().into();
            for (key, value) in rows {
                let Some((index, position)) = Space::log_position(&key) else {
                    return Err(self.damaged("a key of the log is too short".into()));
                };
                if position > 0 {
                    bodies.push_back((position - 1, value));
                } else if let Some((index, row)) = header.replace((index, value)) {
                    self.load_entry(index, &row, &mut bodies)?;
                }
                if let Some((at, _)) = &header
                    && *at != index
                {
                    return Err(self.damaged(format!("entry {index} has bodies and no header")));
                }
            }
        }
        if let Some((index, row)) = header {
            self.load_entry(index, &row, &mut bodies)?;
        }
        Ok(())
    }

    fn load_entry(
        &mut self,
        index: u64,
        row: &Bytes,
        bodies: &mut VecDeque<(u16, Bytes)>,
    ) -> Result<(), StoreError> {
        if index != self.last.0 + 1 {
            return Err(self.damaged(format!("entry {} is missing, {index} is there", self.last.0 + 1)));
        }
        let is_catalogue = self.group == GroupId::CATALOGUE;
        let loaded = entry::from_rows(row, index, is_catalogue, |position| {
            bodies.pop_front_if(|(at, _)| *at == position).map(|(_, body)| body)
        })?;
        bodies.clear();
        self.push(loaded);
        Ok(())
    }

    fn push(&mut self, entry: Entry) {
        self.last = (entry.index, entry.term);
        self.window_bytes += entry.data.len();
        self.window.push_back(entry);
    }

    fn damaged(&self, detail: String) -> StoreError {
        StoreError::Damaged { place: format!("log of group {}", self.group.0), detail }
    }

    /// The copy of the data that is valid.
    pub(crate) fn space(&self) -> Space {
        Space { group: self.group, incarnation: self.progress.incarnation }
    }

    /// Takes entries that are on their way to disk; `rows` gets what has to be written for them. Entries that they
    /// overwrite go with all their rows, for a body must never be read under an index that it was not committed with.
    ///
    /// # Errors
    /// When an entry is damaged.
    pub(crate) fn append(&mut self, entries: Vec<Entry>, rows: &mut Vec<Write>) -> Result<(), StoreError> {
        let is_catalogue = self.group == GroupId::CATALOGUE;
        let space = self.space();
        for entry in entries {
            while self.window.back().is_some_and(|last| last.index >= entry.index) {
                let Some(old) = self.window.pop_back() else { break };
                self.window_bytes -= old.data.len();
                if faults::is_active(Fault::KeptRowsAfterTruncation) {
                    continue;
                }
                let (_, bodies) = entry::rows(&old, is_catalogue)?;
                rows.push(Write::Delete(Tree::Log, space.header(old.index)));
                rows.extend((0..bodies.len() as u16).map(|position| {
                    let body = BodyRef { index: old.index, position };
                    Write::Delete(Tree::Log, space.body(body))
                }));
            }
            let (header, bodies) = entry::rows(&entry, is_catalogue)?;
            rows.push(Write::Put(Tree::Log, space.header(entry.index), header));
            for (position, body) in (0_u16..).zip(bodies) {
                if !body.is_empty() {
                    let at = BodyRef { index: entry.index, position };
                    rows.push(Write::Put(Tree::Log, space.body(at), body));
                }
            }
            self.push(entry);
        }
        Ok(())
    }

    /// Remembers the hard state for a restart of the group in this process.
    pub(crate) fn set_hard_state(&mut self, state: &HardState) {
        self.hard_state = state.clone();
    }

    /// Forgets everything before a snapshot that was received into the next incarnation.
    pub(crate) fn install(&mut self, progress: Progress) {
        self.applied = progress.applied;
        self.last = progress.applied;
        self.progress = progress;
        self.window.clear();
        self.window_bytes = 0;
    }

    /// Moves the applied entry on, and lets go of entries in memory that are neither needed nor recent.
    pub(crate) fn set_applied(&mut self, index: u64, term: u64) {
        self.applied = (index, term);
        let budget = if self.progress.voters.len() > 1 { WINDOW_BYTES } else { 0 };
        while self.window_bytes > budget
            && self.window.len() > 1
            && self.window.front().is_some_and(|first| first.index <= index)
        {
            if let Some(entry) = self.window.pop_front() {
                self.window_bytes -= entry.data.len();
            }
        }
    }

    /// Truncates the log for a checkpoint at the applied entry: all but the newest `keep` applied entries lose their
    /// header rows. `rows` gets the deletions.
    ///
    /// # Errors
    /// When the storage fails.
    pub(crate) fn truncate(&mut self, keep: u64, rows: &mut Vec<Write>) -> Result<(), StoreError> {
        let target = self.applied.0.saturating_sub(keep);
        if target <= self.progress.truncated.0 {
            return Ok(());
        }
        let term = self.read_term(target)?;
        let space = self.space();
        let gone = self.progress.truncated.0 + 1..=target;
        rows.extend(gone.map(|index| Write::Delete(Tree::Log, space.header(index))));
        self.progress.truncated = (target, term);
        Ok(())
    }

    fn in_window(&self, index: u64) -> Option<&Entry> {
        let first = self.window.front()?.index;
        self.window.get(usize::try_from(index.checked_sub(first)?).ok()?)
    }

    fn read_term(&self, index: u64) -> Result<u64, StoreError> {
        for (known, term) in [self.last, self.applied, self.progress.applied, self.progress.truncated] {
            if known == index {
                return Ok(term);
            }
        }
        if let Some(entry) = self.in_window(index) {
            return Ok(entry.term);
        }
        match self.store.get(Tree::Log, &self.space().header(index))? {
            Some(row) => entry::term_of(&row, index),
            None => Err(self.damaged(format!("entry {index} is missing"))),
        }
    }

    /// Reads entries that are on disk only. Bodies that are not needed any more come out empty.
    fn read_entries(&self, low: u64, high: u64, max_bytes: u64) -> Result<Vec<Entry>, StoreError> {
        let is_catalogue = self.group == GroupId::CATALOGUE;
        let space = self.space();
        let mut entries = Vec::new();
        let mut bytes = 0;
        for index in low..high {
            let Some(row) = self.store.get(Tree::Log, &space.header(index))? else {
                return Err(self.damaged(format!("entry {index} is missing")));
            };
            let mut failure = None;
            let read = entry::from_rows(&row, index, is_catalogue, |position| {
                let key = space.body(BodyRef { index, position });
                self.store.get(Tree::Log, &key).unwrap_or_else(|error| {
                    failure = Some(error);
                    None
                })
            })?;
            if let Some(error) = failure {
                return Err(error);
            }
            bytes += read.data.len() as u64;
            if bytes > max_bytes && !entries.is_empty() {
                break;
            }
            entries.push(read);
        }
        Ok(entries)
    }
}

impl GroupLog {
    /// Tells Raft that what it wanted to read is gone; [`GroupLog::take_failure`] tells the group why.
    fn gone(&self, error: StoreError) -> raft::Error {
        self.failure.set(Some(error));
        raft::Error::Store(StorageError::Compacted)
    }

    /// Why a read for Raft failed since the last time.
    ///
    /// # Errors
    /// The failure, if there was one.
    pub(crate) fn take_failure(&self) -> Result<(), StoreError> {
        self.failure.take().map_or(Ok(()), Err)
    }
}

impl raft::Storage for GroupLog {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let voters = ConfState { voters: self.progress.voters.clone(), ..ConfState::default() };
        Ok(RaftState::new(self.hard_state.clone(), voters))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.progress.truncated.0 {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        let max_bytes = max_size.into().unwrap_or(u64::MAX);
        let first = self.window.front().map_or(self.last.0 + 1, |entry| entry.index);
        if low < first {
            return self.read_entries(low, high.min(first), max_bytes).map_err(|error| self.gone(error));
        }
        let mut bytes = 0;
        let wanted = self.window.iter().skip((low - first) as usize).take((high - low) as usize);
        let fits = |entry: &&Entry| {
            let is_first = bytes == 0;
            bytes += entry.data.len() as u64 + 1;
            is_first || bytes <= max_bytes
        };
        Ok(wanted.take_while(fits).cloned().collect())
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index < self.progress.truncated.0 {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        if index > self.last.0 {
            return Err(raft::Error::Store(StorageError::Unavailable));
        }
        self.read_term(index).map_err(|error| self.gone(error))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.progress.truncated.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last.0)
    }

    /// Names the state that a snapshot would have; its rows travel apart.
    fn snapshot(&self, request_index: u64, _: u64) -> raft::Result<Snapshot> {
        if self.applied.0 < request_index {
            return Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        }
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        (metadata.index, metadata.term) = self.applied;
        metadata.mut_conf_state().voters = self.progress.voters.clone();
        Ok(snapshot)
    }
}
