//! Snapshots: how a replica that is too far behind gets the state of a group, page by page.
//!
//! The sender captures the rows of the state machine at one applied index, then streams what never changes, chunk rows and
//! bodies, in key order without a view of its own: it takes no checkpoint meanwhile, so no chunk row is deleted. Chunk rows
//! that the state does not need, used up before or closed after it, are left out by the receiver. A body that is deleted
//! meanwhile belongs to a message that the receiver will find finished when it replays the log. The receiver fills the
//! next incarnation of the group and switches to it with one row. A page that got lost is sent again; nothing before it
//! is. What was received is given up when the log was quicker, or the sender falls silent.

use std::collections::VecDeque;

use bytes::Bytes;
use cmq_engine::faults::{self, Fault};
use cmq_engine::row::RowKey;
use raft::eraftpb::Message;

use super::keys::Space;
use super::machine::Machine;
use super::{GroupId, NodeId};
use crate::storage::{ScanLimit, Store, StoreError, Tree, Write};

/// Rows of one page.
const PAGE_ROWS: usize = 4_096;
/// Milliseconds after which a page is sent again.
const RESEND_MS: u64 = 1_000;
/// Milliseconds without a sign of the other side after which either gives up.
const SILENCE_MS: u64 = 30_000;
/// Milliseconds that a snapshot may hold up checkpoints, and so the truncation of the log.
const DURATION_MS_MAX: u64 = 600_000;

/// Names a snapshot: index and term of the entry that it is at.
pub type SnapshotId = (u64, u64);

/// A page of rows.
#[derive(Clone, Debug)]
pub struct Page {
    /// The snapshot.
    pub id: SnapshotId,
    /// Pages are numbered from 0.
    pub number: u64,
    /// Tree, key behind the prefix of the group, value.
    pub rows: Vec<(Tree, Bytes, Bytes)>,
    /// On the last page: what the Raft protocol says of the snapshot.
    pub last: Option<Message>,
}

/// What became of a page.
#[derive(Clone, Copy, Debug)]
pub struct Ack {
    /// The snapshot.
    pub id: SnapshotId,
    /// What the receiver has.
    pub receipt: Receipt,
}

/// What a receiver has of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// All pages up to this one.
    Page(u64),
    /// All that it needs: its own state is as new.
    Enough,
    /// Nothing, for it was started again meanwhile, or takes another snapshot. No page behind the first helps it.
    Nothing,
}

#[derive(Debug)]
enum Phase {
    State,
    Chunks(Bytes),
    Bodies(Bytes),
    Done,
    Refused,
}

/// A snapshot on its way out.
#[derive(Debug)]
pub(crate) struct Sending {
    id: SnapshotId,
    space: Space,
    message: Message,
    rows: VecDeque<(RowKey, Vec<u8>)>,
    phase: Phase,
    /// The page that waits for its acknowledgement.
    page: Option<Page>,
    next_number: u64,
    sent_ms: u64,
    heard_ms: u64,
    started_ms: u64,
    /// The storage has everything that belongs to the snapshot when this batch is durable.
    after_batch: u64,
    page_bytes: usize,
}

/// What a sender does next.
#[derive(Debug)]
pub(crate) enum Step {
    Send(Box<Page>),
    Wait,
    GiveUp,
    Done,
}

impl Sending {
    pub(crate) fn new(
        mut message: Message,
        applied: SnapshotId,
        space: Space,
        machine: &Machine,
        now_ms: u64,
        after_batch: u64,
        page_bytes: usize,
    ) -> Self {
        // The state machine may have moved on since Raft made the message.
        let metadata = message.mut_snapshot().mut_metadata();
        (metadata.index, metadata.term) = applied;
        Self {
            id: applied,
            space,
            message,
            rows: machine.export().into(),
            phase: Phase::State,
            page: None,
            next_number: 0,
            sent_ms: 0,
            heard_ms: now_ms,
            started_ms: now_ms,
            after_batch,
            page_bytes,
        }
    }

    pub(crate) fn acknowledge(&mut self, ack: Ack, now_ms: u64) {
        if ack.id != self.id {
            return;
        }
        self.heard_ms = now_ms;
        match ack.receipt {
            Receipt::Page(number) => {
                let acknowledged = self.page.take_if(|page| page.number == number);
                if acknowledged.is_some_and(|page| page.last.is_some()) {
                    self.phase = Phase::Done;
                }
            }
            Receipt::Enough => self.phase = Phase::Done,
            Receipt::Nothing => self.phase = Phase::Refused,
        }
    }

    pub(crate) fn step(
        &mut self,
        store: &dyn Store,
        now_ms: u64,
        persisted_batch: u64,
    ) -> Result<Step, StoreError> {
        if self.heard_ms + SILENCE_MS <= now_ms || self.started_ms + DURATION_MS_MAX <= now_ms {
            return Ok(Step::GiveUp);
        }
        match self.phase {
            Phase::Done => return Ok(Step::Done),
            Phase::Refused => return Ok(Step::GiveUp),
            Phase::State | Phase::Chunks(_) | Phase::Bodies(_) => {}
        }
        if persisted_batch < self.after_batch {
            return Ok(Step::Wait);
        }
        if let Some(page) = &self.page {
            if self.sent_ms + RESEND_MS > now_ms {
                return Ok(Step::Wait);
            }
            self.sent_ms = now_ms;
            return Ok(Step::Send(Box::new(page.clone())));
        }
        let page = self.next_page(store)?;
        self.page = Some(page.clone());
        self.sent_ms = now_ms;
        Ok(Step::Send(Box::new(page)))
    }

    fn next_page(&mut self, store: &dyn Store) -> Result<Page, StoreError> {
        let mut rows = Vec::new();
        let mut bytes = 0;
        let mut last = None;
        while rows.len() < PAGE_ROWS && bytes < self.page_bytes {
            let limit = ScanLimit { rows: PAGE_ROWS - rows.len(), bytes: self.page_bytes - bytes };
            match &self.phase {
                Phase::State => match self.rows.pop_front() {
                    Some((key, row)) => {
                        let mut suffix = Vec::new();
                        key.encode(&mut suffix);
                        bytes += suffix.len() + row.len();
                        rows.push((Tree::State, suffix.into(), row.into()));
                    }
                    None => self.phase = Phase::Chunks(self.space.chunks()),
                },
                Phase::Chunks(from) => {
                    let found = store.scan(Tree::State, from, &self.space.end(), limit)?;
                    self.phase = match found.last() {
                        Some((key, _)) => Phase::Chunks(after(key)),
                        None => Phase::Bodies(self.space.header(1)),
                    };
                    for (key, row) in found {
                        bytes += key.len() + row.len();
                        rows.push((Tree::State, Bytes::copy_from_slice(Space::strip(&key)), row));
                    }
                }
                Phase::Bodies(from) => {
                    let end = self.space.header(self.id.0 + 1);
                    let found = store.scan(Tree::Log, from, &end, limit)?;
                    let next = found.last().map(|(key, _)| after(key));
                    let is_short = faults::is_active(Fault::ShortSnapshot);
                    let bodies = found
                        .into_iter()
                        .filter(|(key, _)| Space::log_position(key).is_some_and(|(_, at)| at > 0));
                    for (key, row) in bodies.filter(|_| !is_short) {
                        bytes += key.len() + row.len();
                        rows.push((Tree::Log, Bytes::copy_from_slice(Space::strip(&key)), row));
                    }
                    match next {
                        Some(next) => self.phase = Phase::Bodies(next),
                        None => {
                            last = Some(self.message.clone());
                            break;
                        }
                    }
                }
                Phase::Done | Phase::Refused => break,
            }
        }
        let number = self.next_number;
        self.next_number += 1;
        Ok(Page { id: self.id, number, rows, last })
    }
}

fn after(key: &[u8]) -> Bytes {
    [key, &b"\0"[..]].concat().into()
}

/// A snapshot on its way in.
#[derive(Debug)]
pub(crate) struct Receiving {
    pub(crate) id: SnapshotId,
    pub(crate) from: NodeId,
    pub(crate) space: Space,
    pub(crate) machine: Machine,
    next_number: u64,
    heard_ms: u64,
}

/// What came of a page.
#[derive(Debug)]
pub(crate) enum Taken {
    /// It is written, or was before: acknowledge it.
    Acknowledge,
    /// It is not the next one.
    Ignore,
    /// It was the last one: Raft has to decide.
    Complete(Box<Message>),
}

impl Receiving {
    pub(crate) fn new(group: GroupId, incarnation: u32, from: NodeId, id: SnapshotId) -> Self {
        let space = Space { group, incarnation };
        Self { id, from, space, machine: Machine::new(group), next_number: 0, heard_ms: 0 }
    }

    /// Whether nothing will come of it: the log is there already, or the sender is gone.
    pub(crate) fn is_over(&self, applied: u64, now_ms: u64) -> bool {
        self.id.0 <= applied || self.heard_ms + SILENCE_MS <= now_ms
    }

    /// Takes a page; `writes` gets its rows.
    pub(crate) fn take(
        &mut self,
        page: Page,
        now_ms: u64,
        writes: &mut Vec<Write>,
    ) -> Result<Taken, StoreError> {
        self.heard_ms = now_ms;
        if page.number < self.next_number {
            return Ok(Taken::Acknowledge);
        }
        if page.number > self.next_number {
            return Ok(Taken::Ignore);
        }
        self.next_number += 1;
        for (tree, suffix, value) in page.rows {
            if tree == Tree::State {
                let damaged = |error| StoreError::Damaged {
                    place: "a snapshot page".into(),
                    detail: format!("{error}"),
                };
                let key = RowKey::decode(&suffix).map_err(damaged)?;
                if !self.machine.needs(&key) {
                    continue;
                }
                self.machine.restore(&key, &value).map_err(damaged)?;
            }
            let key = [&self.space.first()[..], &suffix[..]].concat();
            writes.push(Write::Put(tree, key.into(), value));
        }
        Ok(match page.last {
            Some(message) => {
                self.machine.finish_restore();
                Taken::Complete(Box::new(message))
            }
            None => Taken::Acknowledge,
        })
    }
}
