//! The rows of a lane: one for the lane itself with its open chunk, and one for the records of each chunk's messages.

use super::disorder::Disorder;
use super::open::OpenChunk;
use super::{Lane, Record, Role, State};
use crate::codec::{DecodeError, Reader, Writer};
use crate::faults::{self, Fault};
use crate::limits::{CHUNK_MESSAGES, SEQUENCE_MAX};
use crate::message::Slot;

const LANE_FORMAT: u8 = 1;
const RECORDS_FORMAT: u8 = 1;

impl Role {
    fn encode(&self, out: &mut Writer) {
        match *self {
            Self::Live => out.u8(0),
            Self::Kept { start_ms, end_ms, floor_ms, is_sorted } => {
                out.u8(1).int(start_ms).delta(end_ms, start_ms).int(floor_ms).u8(u8::from(is_sorted))
            }
            Self::Dropped => out.u8(2),
            Self::Rewound { from_ms, floor_ms, at_ms } => out.u8(3).int(from_ms).int(floor_ms).int(at_ms),
        };
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match from.u8()? {
            0 => Self::Live,
            1 => {
                let start_ms = from.int()?;
                let end_ms = from.delta(start_ms)?;
                Self::Kept { start_ms, end_ms, floor_ms: from.int()?, is_sorted: from.flag()? }
            }
            2 => Self::Dropped,
            3 => Self::Rewound { from_ms: from.int()?, floor_ms: from.int()?, at_ms: from.int()? },
            _ => return Err(from.error()),
        })
    }
}

impl Lane {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::with_format(LANE_FORMAT);
        self.role.encode(&mut out);
        out.text_option(self.group.as_deref())
            .int(self.fresh)
            .int(self.tail)
            .int(self.fresh_sent_ms)
            .int(self.ticket);
        self.open.encode(self.open_first(), &mut out);
        if let Some(disorder) = &self.disorder {
            disorder.encode(self.fresh, &mut out);
        }
        out.bytes
    }

    /// Reads a lane row; its records come from rows of their own.
    pub(crate) fn decode(row: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader::with_format(row, LANE_FORMAT, "a lane row")?;
        let mut role = Role::decode(&mut from)?;
        if matches!(role, Role::Kept { .. }) && faults::is_active(Fault::RewindForgets) {
            role = Role::Dropped;
        }
        let mut lane = Self { role, ..Self::new(from.text_option()?.map(Into::into)) };
        lane.fresh = from.int()?;
        lane.tail = from.int()?;
        lane.fresh_sent_ms = from.int()?;
        lane.ticket = from.int()?;
        let (first, open) = OpenChunk::decode(&mut from)?;
        let is_dense = first.checked_add(open.len() as u64) == Some(lane.tail);
        // The open chunk is trimmed up to `fresh`; what is fresh below it lies in whole chunks.
        let fits = lane.fresh == first || lane.fresh < first && first.is_multiple_of(CHUNK_MESSAGES);
        if lane.tail > SEQUENCE_MAX || !is_dense || !fits {
            return Err(from.error());
        }
        lane.open = open;
        if !from.is_empty() {
            lane.disorder = Some(Box::new(Disorder::decode(lane.fresh, lane.tail, &mut from)?));
        }
        Ok(lane)
    }

    /// The row of the records of one chunk; None when there are none.
    pub(crate) fn encode_records(&self, number: u64) -> Option<Vec<u8>> {
        let first = number.checked_mul(CHUNK_MESSAGES)?;
        let mut records = self.records.range(first..first.saturating_add(CHUNK_MESSAGES)).peekable();
        records.peek()?;
        let mut out = Writer::with_format(RECORDS_FORMAT);
        let mut base = Slot::ZERO;
        for (sequence, record) in records {
            out.int(*sequence);
            record.slot.encode(&base, &mut out);
            base = record.slot;
            match record.state {
                State::Returned => out.u8(0),
                State::Delayed { due_ms } => out.u8(1).delta(due_ms, base.sent_ms),
                State::Leased { until_ms } => out.u8(2).delta(until_ms, base.sent_ms),
                State::Finished => out.u8(3),
            };
            out.int(u64::from(record.generation))
                .int(u64::from(record.receive_count))
                .delta(record.first_received_ms, base.sent_ms);
        }
        Some(out.bytes)
    }

    /// Reads the row of the records of one chunk into this lane.
    pub(crate) fn restore_records(&mut self, number: u64, row: &[u8]) -> Result<(), DecodeError> {
        let mut from = Reader::with_format(row, RECORDS_FORMAT, "a records row")?;
        let mut base = Slot::ZERO;
        while !from.is_empty() {
            let sequence = from.int()?;
            base = Slot::decode(&base, &mut from)?;
            let state = match from.u8()? {
                0 => State::Returned,
                1 => State::Delayed { due_ms: from.delta(base.sent_ms)? },
                2 => State::Leased { until_ms: from.delta(base.sent_ms)? },
                3 => State::Finished,
                _ => return Err(from.error()),
            };
            let record = Record {
                slot: base,
                state,
                generation: from.int32()?,
                receive_count: from.int32()?,
                first_received_ms: from.delta(base.sent_ms)?,
            };
            let is_in_place = sequence < self.tail && sequence / CHUNK_MESSAGES == number;
            // What was handed out is below `fresh`; what is finished needs no record there.
            let is_possible = match state {
                State::Leased { .. } => sequence < self.fresh,
                State::Finished => sequence >= self.fresh,
                State::Delayed { .. } | State::Returned => true,
            };
            if !is_in_place || !is_possible || self.records.insert(sequence, record).is_some() {
                return Err(from.error());
            }
            if let Some(disorder) = &mut self.disorder
                && state != State::Finished
            {
                disorder.add_record(base.sent_ms);
            }
            match state {
                State::Returned => _ = self.returned.insert(sequence),
                State::Leased { .. } => self.in_flight += 1,
                State::Delayed { .. } | State::Finished => {}
            }
        }
        Ok(())
    }
}
