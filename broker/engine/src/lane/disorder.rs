//! What a lane knows of messages that stand behind younger ones. Only dead-letter moves bring them there, so other lanes
//! have none of this.

use std::collections::{BTreeMap, BTreeSet};

use super::{Lane, State};
use crate::chunk::{ChunkKey, NamedPages};
use crate::codec::{DecodeError, Reader, Writer};
use crate::limits::{CHUNK_MESSAGES, DISORDERED_CHUNKS_MAX};
use crate::message::{LaneId, QueueEpoch, Slot};

/// When the messages of a lane were sent that took some out of the order of the sends: about 60 bytes for each chunk that
/// has some, and for each message with a record.
#[derive(Clone, Debug)]
pub(super) struct Disorder {
    /// No message that came was sent after this stamp.
    newest_ms: u64,
    /// Chunks in which an untouched message stands behind a younger one, and when the oldest of these was sent.
    chunks: BTreeMap<u64, u64>,
    /// The same, oldest first. Follows from `chunks`.
    by_age: BTreeSet<(u64, u64)>,
    /// As one of `chunks`, but stands for all chunks up to this one for which there was no room.
    rest: Option<(u64, u64)>,
    /// How many messages that have a record were sent at each stamp. Follows from the records.
    records: BTreeMap<u64, u32>,
}

impl Disorder {
    fn new(newest_ms: u64) -> Self {
        Self {
            newest_ms,
            chunks: BTreeMap::new(),
            by_age: BTreeSet::new(),
            rest: None,
            records: BTreeMap::new(),
        }
    }

    /// When the oldest of the untouched messages behind younger ones was sent.
    fn behind_ms(&self) -> Option<u64> {
        let known_ms = self.by_age.first().map(|(sent_ms, _)| *sent_ms);
        [known_ms, self.rest.map(|(_, sent_ms)| sent_ms)].into_iter().flatten().min()
    }

    /// When the oldest message with a record was sent.
    fn record_ms(&self) -> Option<u64> {
        self.records.first_key_value().map(|(sent_ms, _)| *sent_ms)
    }

    /// Takes an untouched message, the last one so far.
    pub(super) fn push(&mut self, sequence: u64, sent_ms: u64) {
        if sent_ms >= self.newest_ms {
            self.newest_ms = sent_ms;
            return;
        }
        let number = sequence / CHUNK_MESSAGES;
        match self.chunks.get(&number) {
            Some(oldest_ms) if *oldest_ms <= sent_ms => {}
            None if self.chunks.len() >= DISORDERED_CHUNKS_MAX => {
                let oldest_ms = self.rest.map_or(sent_ms, |(_, oldest_ms)| oldest_ms.min(sent_ms));
                self.rest = Some((number, oldest_ms));
            }
            Some(_) | None => self.set(number, Some(sent_ms)),
        }
    }

    /// Says when the oldest message of a chunk that stands behind a younger one was sent.
    fn set(&mut self, number: u64, oldest_ms: Option<u64>) {
        let before = match oldest_ms {
            Some(oldest_ms) => self.chunks.insert(number, oldest_ms),
            None => self.chunks.remove(&number),
        };
        if let Some(before) = before {
            self.by_age.remove(&(before, number));
        }
        self.by_age.extend(oldest_ms.map(|oldest_ms| (oldest_ms, number)));
    }

    /// Forgets the chunks before one.
    fn forget_before(&mut self, number: u64) {
        while let Some((first, _)) = self.chunks.first_key_value().filter(|(first, _)| **first < number) {
            self.set(*first, None);
        }
        self.rest.take_if(|(last, _)| *last < number);
    }

    /// Whether a message of a chunk is the oldest that is known of it.
    fn is_oldest(&self, number: u64, sent_ms: u64) -> bool {
        self.chunks.get(&number).is_some_and(|oldest_ms| sent_ms <= *oldest_ms)
    }

    /// A message got a record.
    pub(super) fn add_record(&mut self, sent_ms: u64) {
        *self.records.entry(sent_ms).or_default() += 1;
    }

    /// A message with a record is finished.
    pub(super) fn remove_record(&mut self, sent_ms: u64) {
        if let Some(count) = self.records.get_mut(&sent_ms) {
            *count -= 1;
            if *count == 0 {
                self.records.remove(&sent_ms);
            }
        }
    }

    /// Appends what does not follow from the records, for a lane whose first untouched message has the sequence `fresh`.
    pub(super) fn encode(&self, fresh: u64, out: &mut Writer) {
        let first = fresh / CHUNK_MESSAGES;
        out.int(self.newest_ms).int_option(self.rest.map(|(last, _)| last - first));
        if let Some((_, sent_ms)) = self.rest {
            out.delta(sent_ms, self.newest_ms);
        }
        let mut base = first;
        for (number, sent_ms) in &self.chunks {
            out.int(number - base).delta(*sent_ms, self.newest_ms);
            base = *number;
        }
    }

    /// Takes what [`Disorder::encode`] appended, up to the end of the row.
    pub(super) fn decode(fresh: u64, tail: u64, from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut disorder = Self::new(from.int()?);
        let numbers = fresh / CHUNK_MESSAGES..tail.div_ceil(CHUNK_MESSAGES);
        let after = |base: u64, step: u64| base.checked_add(step).filter(|number| numbers.contains(number));
        if let Some(step) = from.int_option()? {
            let last = after(numbers.start, step).ok_or_else(|| from.error())?;
            disorder.rest = Some((last, from.delta(disorder.newest_ms)?));
        }
        let mut base = numbers.start;
        while !from.is_empty() {
            let step = from.int()?;
            let is_later = step > 0 || disorder.chunks.is_empty();
            base = after(base, step).filter(|_| is_later).ok_or_else(|| from.error())?;
            disorder.set(base, Some(from.delta(disorder.newest_ms)?));
        }
        Ok(disorder)
    }
}

impl Lane {
    /// When the oldest message that is not finished was sent, but for the first untouched one and those younger than it.
    pub(super) fn known_oldest_ms(&self) -> Option<u64> {
        match &self.disorder {
            None => self.records.first_key_value().map(|(_, record)| record.slot.sent_ms),
            Some(disorder) => [disorder.behind_ms(), disorder.record_ms()].into_iter().flatten().min(),
        }
    }

    /// Must precede the [`Lane::push`] of a message that was sent before now, the time `stamp_ms`: it may stand behind younger
    /// ones.
    pub(crate) fn watch_order(&mut self, sent_ms: u64, stamp_ms: u64) {
        if self.disorder.is_some() {
            return;
        }
        let newest_ms = match self.open.back() {
            Some(back) => back.sent_ms,
            // The one before lies in a chunk row, so it may be younger.
            None if self.has_fresh() => stamp_ms,
            None => self.records.last_key_value().map_or(0, |(_, record)| record.slot.sent_ms),
        };
        if newest_ms > sent_ms {
            let mut disorder = Box::new(Disorder::new(stamp_ms));
            let records = self.records.values().filter(|record| record.state != State::Finished);
            records.for_each(|record| disorder.add_record(record.slot.sent_ms));
            self.disorder = Some(disorder);
        }
    }

    /// Forgets what is known of chunks that `fresh` passed.
    pub(super) fn forget_passed(&mut self) {
        if self.is_drained() {
            self.disorder = None;
        } else if let Some(disorder) = &mut self.disorder {
            let is_passed = self.fresh == self.tail;
            disorder.forget_before(if is_passed { u64::MAX } else { self.fresh / CHUNK_MESSAGES });
            // It may be the one that is first now.
            self.fresh_sent_ms = self.fresh_sent_ms.min(disorder.behind_ms().unwrap_or(u64::MAX));
        }
    }

    /// Looks for messages behind younger ones in the rest of a chunk, when the oldest of them was touched: the message of a
    /// sequence, whose slot is `slot`. Must follow its [`Lane::pass_fresh`] or [`Lane::finish_untouched`], with the same pages.
    pub(crate) fn look_again(
        &mut self,
        sequence: u64,
        slot: &Slot,
        (queue, lane): (QueueEpoch, LaneId),
        pages: &NamedPages<'_>,
    ) {
        let number = sequence / CHUNK_MESSAGES;
        let was_oldest = self.disorder.take_if(|disorder| disorder.is_oldest(number, slot.sent_ms));
        let Some(mut disorder) = was_oldest else { return };
        let rest = self.fresh.max(number * CHUNK_MESSAGES)..(number + 1) * CHUNK_MESSAGES;
        // The first untouched message of the lane is known anyway; before any other there may be younger ones.
        let (mut newest_ms, mut oldest_ms) =
            (if rest.start == self.fresh { 0 } else { u64::MAX }, None::<u64>);
        let has_records = self.records.range(rest.clone()).next().is_some();
        let mut look = |(sequence, slot): (u64, Slot)| {
            if has_records && self.records.contains_key(&sequence) {
                return;
            }
            if slot.sent_ms < newest_ms {
                oldest_ms = Some(oldest_ms.map_or(slot.sent_ms, |oldest_ms| oldest_ms.min(slot.sent_ms)));
            }
            newest_ms = newest_ms.max(slot.sent_ms);
        };
        if number < self.open_first() / CHUNK_MESSAGES {
            let page = pages.get(&ChunkKey { queue, lane, number });
            let slot = |sequence| Some((sequence, *page?.slot(sequence)?));
            rest.filter_map(slot).for_each(&mut look);
        } else {
            self.open_slots().for_each(&mut look);
        }
        disorder.set(number, oldest_ms);
        self.disorder = Some(disorder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_counts_until_it_is_passed() {
        let mut disorder = Disorder::new(1_000_000);
        let chunks = DISORDERED_CHUNKS_MAX as u64 + 3;
        for number in 0..chunks {
            disorder.push(number * CHUNK_MESSAGES, 500_000 - number);
        }
        assert_eq!(
            (disorder.chunks.len(), disorder.by_age.len()),
            (DISORDERED_CHUNKS_MAX, DISORDERED_CHUNKS_MAX)
        );
        let mut row = Writer::default();
        disorder.encode(0, &mut row);
        let tail = chunks * CHUNK_MESSAGES;
        let mut read = Disorder::decode(0, tail, &mut Reader::new(&row.bytes, "a lane row")).unwrap();
        assert!(
            Disorder::decode(0, tail - CHUNK_MESSAGES, &mut Reader::new(&row.bytes, "a lane row")).is_err()
        );
        for disorder in [&mut disorder, &mut read] {
            assert_eq!(disorder.behind_ms(), Some(500_000 - (chunks - 1)));
            disorder.forget_before(chunks - 1);
            assert_eq!(disorder.behind_ms(), Some(500_000 - (chunks - 1)));
            disorder.forget_before(chunks);
            assert_eq!(disorder.behind_ms(), None);
            assert!(disorder.chunks.is_empty() && disorder.by_age.is_empty());
        }
    }
}
