//! One queue on one shard: its lanes, whose turn it is, what is due, and the rules of a message's life.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::attributes::{DeadLetterRule, QueueAttributes, QueueId, QueueKind};
use crate::chunk::{ChunkKey, Pages};
use crate::codec::{DecodeError, Reader, Writer};
use crate::command::{NewMessage, StaleHandle};
use crate::deduplication::Deduplication;
use crate::faults::{self, Fault};
use crate::lane::{Head, Lane, ReadyKey, Record, State};
use crate::limits::{CHUNK_MESSAGES, LANES_TOUCHED_MAX, STEPS_MAX};
use crate::message::{BodyRef, DEFAULT_LANE, DeliveryId, LaneId, QueueEpoch, Slot};
use crate::outcome::{Deleted, Delivery, Effects, Outcome, Refusal, Totals};
use crate::row::{Dirty, RowKey};

const FORMAT: u8 = 1;

/// Where a standard queue keeps its delayed messages, whatever their group.
const DELAYED_LANE: LaneId = LaneId(1);

/// A message on its way to a dead-letter queue of the same shard.
#[derive(Clone, Debug)]
pub(crate) struct Move {
    pub(crate) target: QueueId,
    pub(crate) group: Option<Box<str>>,
    pub(crate) slot: Slot,
}

/// What an operation reads and changes beside the queue itself.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) stamp_ms: u64,
    pub(crate) pages: &'a Pages,
    pub(crate) effects: &'a mut Effects,
    pub(crate) dirty: &'a mut Dirty,
    pub(crate) moves: &'a mut Vec<Move>,
    /// Drops, moves and timers that this operation may still do.
    pub(crate) steps: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Queue {
    pub(crate) epoch: QueueEpoch,
    pub(crate) attributes: QueueAttributes,
    lanes: BTreeMap<LaneId, Lane>,
    groups: HashMap<Box<str>, LaneId>,
    next_lane: u64,
    next_ticket: u64,
    ready: BTreeSet<ReadyKey>,
    timers: BTreeSet<(u64, LaneId, u64)>,
    age_timers: BTreeSet<(u64, LaneId)>,
    /// Stamp of the oldest message of each lane that holds any.
    oldest: BTreeSet<(u64, LaneId)>,
    deduplication: Deduplication,
    stored: u64,
    in_flight: u64,
    delayed: u64,
    records: usize,
    /// The entry of this queue in the shard's table of what is due next.
    pub(crate) registered_due_ms: Option<u64>,
    pub(crate) totals: Totals,
}

impl Queue {
    pub(crate) fn new(epoch: QueueEpoch, attributes: QueueAttributes) -> Self {
        let mut queue = Self {
            epoch,
            attributes,
            lanes: BTreeMap::new(),
            groups: HashMap::new(),
            next_lane: DELAYED_LANE.0 + 1,
            next_ticket: 0,
            ready: BTreeSet::new(),
            timers: BTreeSet::new(),
            age_timers: BTreeSet::new(),
            oldest: BTreeSet::new(),
            deduplication: Deduplication::default(),
            stored: 0,
            in_flight: 0,
            delayed: 0,
            records: 0,
            registered_due_ms: None,
            totals: Totals::default(),
        };
        queue.lanes.insert(DEFAULT_LANE, Lane::new(None));
        queue
    }

    pub(crate) fn is_fifo(&self) -> bool {
        matches!(self.attributes.kind, QueueKind::Fifo { .. })
    }

    /// Messages that are stored, and of those the ones in flight and delayed.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        (self.stored, self.in_flight, self.delayed)
    }

    /// Messages with state of their own.
    pub(crate) fn records(&self) -> usize {
        self.records
    }

    /// Lanes, in memory all of them.
    pub(crate) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Deduplication ids inside their window, or just outside.
    pub(crate) fn deduplication_ids(&self) -> usize {
        self.deduplication.len()
    }

    /// Whether a receive would find something, but for messages that turn out too old.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether as many messages are out as may be.
    pub(crate) fn is_at_flight_limit(&self) -> bool {
        self.in_flight >= u64::from(self.attributes.max_in_flight)
    }

    /// When the oldest message that is not finished was sent; exact but for messages that came by a dead-letter move.
    pub(crate) fn oldest_ms(&self) -> Option<u64> {
        self.oldest.first().map(|(sent_ms, _)| *sent_ms)
    }

    /// When something is due next.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        let timer = self.timers.first().map(|timer| timer.0);
        let age = self.age_timers.first().map(|timer| timer.0);
        [timer, age].into_iter().flatten().min()
    }

    /// Whether a send of `messages` is refused, and why.
    pub(crate) fn refuses(&self, messages: &[NewMessage]) -> Option<Refusal> {
        let own_delay_ms = u64::from(self.attributes.delay_seconds) * 1_000;
        let delayed = messages.iter().filter(|message| message.delay_ms.unwrap_or(own_delay_ms) > 0).count();
        if self.stored + messages.len() as u64 > self.attributes.max_messages {
            Some(Refusal::HeapFull)
        } else if delayed > 0 && self.delayed + delayed as u64 > u64::from(self.attributes.max_delayed) {
            Some(Refusal::TooManyDelayed)
        } else {
            None
        }
    }

    /// Stores messages whose bodies begin at `first`.
    pub(crate) fn send(
        &mut self,
        messages: &[NewMessage],
        first: BodyRef,
        context: &mut Context<'_>,
    ) -> Outcome {
        let own_delay_ms = u64::from(self.attributes.delay_seconds) * 1_000;
        let mut sent = Vec::with_capacity(messages.len());
        for (offset, message) in (0_u16..).zip(messages) {
            let body = BodyRef { index: first.index, position: first.position + offset };
            if let Some(hash) = message.deduplication {
                if let Some(original) = self.deduplication.find(hash, context.stamp_ms) {
                    context.effects.dead_bodies.push(body);
                    self.totals.deduplicated += 1;
                    sent.push(original);
                    continue;
                }
                self.deduplication.insert(hash, body, context.stamp_ms, self.epoch, context.dirty);
            }
            let slot = Slot { body, bytes: message.bytes, sent_ms: context.stamp_ms };
            let delay_ms = message.delay_ms.unwrap_or(own_delay_ms);
            self.store(slot, message.group.as_deref(), delay_ms, context);
            self.totals.sent += 1;
            sent.push(body);
        }
        Outcome::Sent(sent)
    }

    /// Stores a message that another queue gave up.
    pub(crate) fn adopt(&mut self, message: &Move, context: &mut Context<'_>) {
        self.store(message.slot, message.group.as_deref(), 0, context);
    }

    fn store(&mut self, slot: Slot, group: Option<&str>, delay_ms: u64, context: &mut Context<'_>) {
        let id =
            if delay_ms > 0 && !self.is_fifo() { self.delayed_lane() } else { self.lane_of(group, context) };
        let due_ms = context.stamp_ms + delay_ms;
        let state = (delay_ms > 0).then_some(State::Delayed { due_ms });
        let lane = self.lanes.get_mut(&id).expect("the lane was just looked up or made");
        let (sequence, closed) = lane.push(slot, state);
        if let Some((number, row)) = closed {
            context.effects.closed_chunks.push((ChunkKey { queue: self.epoch, lane: id, number }, row));
        }
        self.stored += 1;
        if delay_ms > 0 {
            self.delayed += 1;
            self.records += 1;
            self.timers.insert((due_ms, id, sequence));
            context.dirty.mark(RowKey::Records(self.epoch, id, sequence / CHUNK_MESSAGES));
        }
        self.settle(id, false, context);
        context.effects.woken.push(self.epoch.queue);
    }

    fn delayed_lane(&mut self) -> LaneId {
        self.lanes.entry(DELAYED_LANE).or_insert_with(|| Lane::new(None));
        DELAYED_LANE
    }

    fn lane_of(&mut self, group: Option<&str>, context: &mut Context<'_>) -> LaneId {
        let Some(group) = group else { return DEFAULT_LANE };
        if let Some(id) = self.groups.get(group) {
            return *id;
        }
        let id = LaneId(self.next_lane);
        self.next_lane += 1;
        self.groups.insert(group.into(), id);
        self.lanes.insert(id, Lane::new(Some(group.into())));
        context.dirty.mark(RowKey::Queue(self.epoch));
        id
    }

    /// The chunk pages that a receive of `max` messages may touch.
    pub(crate) fn receive_pages(&self, max: u16) -> Vec<ChunkKey> {
        let lanes = usize::from(max).min(LANES_TOUCHED_MAX);
        self.ready.iter().take(lanes).flat_map(|(_, _, id)| self.lane_pages(*id)).collect()
    }

    /// The chunk pages at the head of a lane.
    pub(crate) fn lane_pages(&self, id: LaneId) -> Vec<ChunkKey> {
        let Some(lane) = self.lanes.get(&id) else { return Vec::new() };
        let page = |number| ChunkKey { queue: self.epoch, lane: id, number };
        lane.chunk_numbers().take(2).map(page).collect()
    }

    /// Hands out up to `max` messages.
    pub(crate) fn receive(
        &mut self,
        max: u16,
        visibility_ms: Option<u64>,
        context: &mut Context<'_>,
    ) -> Outcome {
        let room = u64::from(self.attributes.max_in_flight).saturating_sub(self.in_flight);
        if room == 0 {
            return Outcome::Refused(Refusal::TooManyInFlight);
        }
        let visibility_ms =
            visibility_ms.unwrap_or(u64::from(self.attributes.visibility_timeout_seconds) * 1_000);
        let until_ms = context.stamp_ms + visibility_ms;
        let max = room.min(u64::from(max)) as usize;
        let mut deliveries = Vec::with_capacity(max);
        let mut is_partial = false;
        while deliveries.len() < max
            && let Some((_, _, id)) = self.ready.first().copied()
        {
            // With other groups waiting, each gets one message in turn. A FIFO group is taken as long as it has some,
            // for it is locked afterwards.
            let share = if self.is_fifo() || self.ready.len() == 1 { max } else { deliveries.len() + 1 };
            let before = deliveries.len();
            while deliveries.len() < share && !is_partial {
                if context.steps == 0 {
                    is_partial = true;
                    break;
                }
                match self.take(id, (deliveries.len() - before) as u32, context) {
                    Taken::Message(sequence) => {
                        deliveries.push(self.lease(id, sequence, until_ms, context));
                    }
                    Taken::Dropped => context.steps -= 1,
                    Taken::Nothing => break,
                    Taken::PageMissing => is_partial = true,
                }
            }
            self.settle(id, true, context);
            if is_partial {
                break;
            }
        }
        self.totals.received += deliveries.len() as u64;
        Outcome::Received { deliveries, is_partial }
    }

    /// Takes the head of a lane: makes it a record that can be leased, or drops it where its time is over.
    fn take(&mut self, id: LaneId, leased_now: u32, context: &mut Context<'_>) -> Taken {
        let is_fifo = self.is_fifo();
        let Some(lane) = self.lanes.get_mut(&id) else { return Taken::Nothing };
        match lane.head(is_fifo, leased_now) {
            Head::None => Taken::Nothing,
            Head::Returned(sequence) => {
                let record = lane.records[&sequence];
                let too_often = match self.attributes.dead_letter.map(|policy| policy.rule) {
                    Some(DeadLetterRule::MaxReceiveCount(max)) => {
                        record.receive_count >= max + u32::from(faults::is_active(Fault::DeadLetterLate))
                    }
                    _ => false,
                };
                if too_often {
                    self.finish(id, sequence, context);
                    self.dead_letter(id, record.slot, context);
                    return Taken::Dropped;
                }
                if self.is_too_old(&record.slot, context.stamp_ms) {
                    self.finish(id, sequence, context);
                    self.age_out(id, record.slot, context);
                    return Taken::Dropped;
                }
                self.timers.remove(&(self.age_due_ms(&record.slot), id, sequence));
                Taken::Message(sequence)
            }
            Head::Fresh => {
                let Some(slot) = lane.fresh_slot(self.epoch, id, context.pages) else {
                    return Taken::PageMissing;
                };
                let sequence = lane.fresh;
                let is_too_old = self.is_too_old(&slot, context.stamp_ms);
                if !is_too_old {
                    // Before `fresh` moves, for what has no record below it is finished.
                    let lane = self.lanes.get_mut(&id).expect("it was there above");
                    lane.records.insert(sequence, Record::new(slot, State::Returned));
                    lane.returned.insert(sequence);
                    self.records += 1;
                }
                self.take_fresh(id, &slot, context);
                if is_too_old {
                    self.stored -= 1;
                    self.age_out(id, slot, context);
                    return Taken::Dropped;
                }
                Taken::Message(sequence)
            }
        }
    }

    fn take_fresh(&mut self, id: LaneId, slot: &Slot, context: &mut Context<'_>) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let before = lane.records.len();
        if let Some(number) = lane.take_fresh(slot) {
            context.dirty.mark(RowKey::Chunk(ChunkKey { queue: self.epoch, lane: id, number }));
        }
        // Passing finished messages forgets their records.
        self.records -= before - lane.records.len();
    }

    fn lease(&mut self, id: LaneId, sequence: u64, until_ms: u64, context: &mut Context<'_>) -> Delivery {
        let lane = self.lanes.get_mut(&id).expect("the message was just taken from it");
        lane.returned.remove(&sequence);
        lane.in_flight += 1;
        let record = lane.records.get_mut(&sequence).expect("the message was just taken");
        record.state = State::Leased { until_ms };
        record.generation += 1;
        record.receive_count += 1;
        if record.receive_count == 1 {
            record.first_received_ms = context.stamp_ms;
        }
        let record = *record;
        self.in_flight += 1;
        self.timers.insert((until_ms, id, sequence));
        context.dirty.mark(RowKey::Records(self.epoch, id, sequence / CHUNK_MESSAGES));
        Delivery {
            id: DeliveryId { queue: self.epoch, lane: id, sequence, generation: record.generation },
            body: record.slot.body,
            bytes: record.slot.bytes,
            sent_ms: record.slot.sent_ms,
            first_received_ms: record.first_received_ms,
            visible_again_ms: until_ms,
            receive_count: record.receive_count,
        }
    }

    /// Finishes the message of a delivery.
    pub(crate) fn delete(
        &mut self,
        id: &DeliveryId,
        stale: StaleHandle,
        context: &mut Context<'_>,
    ) -> Deleted {
        if id.queue.epoch != self.epoch.epoch {
            return Deleted::Stale;
        }
        let Some(lane) = self.lanes.get(&id.lane) else {
            return if id.lane.0 < self.next_lane { Deleted::Stale } else { Deleted::Unknown };
        };
        let Some(record) = lane.records.get(&id.sequence).copied() else {
            return if id.sequence < lane.fresh { Deleted::Stale } else { Deleted::Unknown };
        };
        if id.generation > record.generation {
            return Deleted::Unknown;
        }
        let is_live = match record.state {
            State::Leased { until_ms } => until_ms > context.stamp_ms || stale == StaleHandle::Delete,
            State::Returned => stale == StaleHandle::Delete,
            State::Delayed { .. } | State::Finished => return Deleted::Stale,
        };
        let is_current = id.generation == record.generation && is_live;
        if !is_current && !faults::is_active(Fault::StaleLease) {
            return Deleted::Stale;
        }
        self.finish(id.lane, id.sequence, context);
        context.effects.dead_bodies.push(record.slot.body);
        self.totals.deleted += 1;
        let is_ready_after = self.is_fifo();
        self.settle(id.lane, false, context);
        if is_ready_after {
            // The group may be unlocked now.
            context.effects.woken.push(self.epoch.queue);
        }
        Deleted::Done
    }

    /// Takes a message with a record out of the queue, but for what becomes of its body.
    fn finish(&mut self, id: LaneId, sequence: u64, context: &mut Context<'_>) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let before = lane.records.len();
        let Some(record) = lane.finish(sequence) else { return };
        self.records -= before - lane.records.len();
        self.stored -= 1;
        let due_ms = match record.state {
            State::Leased { until_ms } => {
                self.in_flight -= 1;
                until_ms
            }
            State::Delayed { due_ms } => {
                self.delayed -= 1;
                due_ms
            }
            State::Returned => self.age_due_ms(&record.slot),
            State::Finished => return,
        };
        self.timers.remove(&(due_ms, id, sequence));
        context.dirty.mark(RowKey::Records(self.epoch, id, sequence / CHUNK_MESSAGES));
    }

    fn age_limit_ms(&self) -> u64 {
        let retention_seconds = self.attributes.retention_seconds;
        let seconds = match self.attributes.dead_letter.map(|policy| policy.rule) {
            Some(DeadLetterRule::MaxTimeToLiveSeconds(seconds)) => seconds.min(retention_seconds),
            _ => retention_seconds,
        };
        u64::from(seconds) * 1_000
    }

    fn age_due_ms(&self, slot: &Slot) -> u64 {
        slot.sent_ms + self.age_limit_ms()
    }

    fn is_too_old(&self, slot: &Slot, stamp_ms: u64) -> bool {
        self.age_due_ms(slot) <= stamp_ms
    }

    /// What becomes of a message that reached its age limit and was taken out of the queue.
    fn age_out(&mut self, id: LaneId, slot: Slot, context: &mut Context<'_>) {
        let retained_until_ms = slot.sent_ms + u64::from(self.attributes.retention_seconds) * 1_000;
        let by_age = self.attributes.dead_letter.map(|policy| policy.rule);
        if retained_until_ms > context.stamp_ms
            && matches!(by_age, Some(DeadLetterRule::MaxTimeToLiveSeconds(_)))
        {
            self.dead_letter(id, slot, context);
        } else {
            context.effects.dead_bodies.push(slot.body);
            self.totals.expired += 1;
        }
    }

    fn dead_letter(&mut self, id: LaneId, slot: Slot, context: &mut Context<'_>) {
        let Some(policy) = self.attributes.dead_letter else { return };
        let group = self.lanes.get(&id).and_then(|lane| lane.group.clone());
        context.moves.push(Move { target: policy.queue, group, slot });
        self.totals.dead_lettered += 1;
    }

    /// Ends the delays and leases that are due, oldest first, as far as the steps go.
    pub(crate) fn end_timers(&mut self, context: &mut Context<'_>) {
        while context.steps > 0
            && let Some((due_ms, id, sequence)) = self.timers.first().copied()
            && due_ms <= context.stamp_ms
        {
            context.steps -= 1;
            let Some(record) = self.lanes.get(&id).and_then(|lane| lane.records.get(&sequence)).copied()
            else {
                self.timers.pop_first();
                continue;
            };
            if self.is_too_old(&record.slot, context.stamp_ms) {
                self.finish(id, sequence, context);
                self.age_out(id, record.slot, context);
            } else {
                self.give_back(id, sequence, context);
            }
            self.settle(id, false, context);
            context.effects.woken.push(self.epoch.queue);
        }
    }

    /// Makes a delayed or leased message ready.
    fn give_back(&mut self, id: LaneId, sequence: u64, context: &mut Context<'_>) {
        self.timers.pop_first();
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let Some(record) = lane.records.get_mut(&sequence) else { return };
        match record.state {
            State::Leased { .. } => {
                lane.in_flight -= 1;
                self.in_flight -= 1;
            }
            State::Delayed { .. } => self.delayed -= 1,
            State::Returned | State::Finished => {}
        }
        record.state = State::Returned;
        lane.returned.insert(sequence);
        let slot = record.slot;
        self.timers.insert((self.age_due_ms(&slot), id, sequence));
        context.dirty.mark(RowKey::Records(self.epoch, id, sequence / CHUNK_MESSAGES));
    }

    /// Lanes whose oldest untouched message may be too old by now.
    pub(crate) fn aged_lanes(&self, stamp_ms: u64, limit: usize) -> Vec<LaneId> {
        let due = self.age_timers.iter().take_while(|(due_ms, _)| *due_ms <= stamp_ms);
        due.take(limit).map(|(_, id)| *id).collect()
    }

    /// Drops, or moves, the untouched messages at the head of a lane that are too old.
    pub(crate) fn age_lane(&mut self, id: LaneId, context: &mut Context<'_>) {
        while context.steps > 0
            && let Some(lane) = self.lanes.get(&id)
            && lane.fresh < lane.tail
            && let Some(slot) = lane.fresh_slot(self.epoch, id, context.pages)
        {
            if !self.is_too_old(&slot, context.stamp_ms) {
                let lane = self.lanes.get_mut(&id).expect("it was there above");
                lane.fresh_sent_ms = slot.sent_ms;
                break;
            }
            context.steps -= 1;
            self.stored -= 1;
            self.take_fresh(id, &slot, context);
            self.age_out(id, slot, context);
        }
        self.settle(id, false, context);
    }

    /// Brings the tables over all lanes in line with a lane that was touched.
    fn settle(&mut self, id: LaneId, was_served: bool, context: &mut Context<'_>) {
        context.dirty.mark(RowKey::Lane(self.epoch, id));
        let is_fifo = self.is_fifo();
        let age_limit_ms = self.age_limit_ms();
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let is_ready = lane.head(is_fifo, 0) != Head::None;
        if is_ready && (was_served || lane.ready.is_none()) {
            lane.ticket = self.next_ticket;
            self.next_ticket += 1;
            context.dirty.mark(RowKey::Queue(self.epoch));
        }
        self.index_lane(id, is_ready, age_limit_ms);
        let lane = &self.lanes[&id];
        if lane.is_drained()
            && let Some(group) = &lane.group
        {
            self.groups.remove(group);
            self.lanes.remove(&id);
        }
    }

    /// Puts a lane where it belongs in the tables of what is ready and of what grows old.
    fn index_lane(&mut self, id: LaneId, is_ready: bool, age_limit_ms: u64) {
        let is_fifo = self.is_fifo();
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let key = is_ready.then_some((if is_fifo { 0 } else { lane.in_flight }, lane.ticket, id));
        if lane.ready != key {
            if let Some(old) = lane.ready.take() {
                self.ready.remove(&old);
            }
            self.ready.extend(key);
            lane.ready = key;
        }
        let due_ms = (lane.fresh < lane.tail).then_some(lane.fresh_sent_ms + age_limit_ms);
        if lane.age_timer_ms != due_ms {
            if let Some(old) = lane.age_timer_ms.take() {
                self.age_timers.remove(&(old, id));
            }
            self.age_timers.extend(due_ms.map(|due_ms| (due_ms, id)));
            lane.age_timer_ms = due_ms;
        }
        let oldest_ms = lane.oldest_ms();
        if lane.listed_oldest_ms != oldest_ms {
            if let Some(old) = lane.listed_oldest_ms.take() {
                self.oldest.remove(&(old, id));
            }
            self.oldest.extend(oldest_ms.map(|sent_ms| (sent_ms, id)));
            lane.listed_oldest_ms = oldest_ms;
        }
    }

    /// Takes new attributes. What hangs on the old age limit is set anew, which walks the records and lanes.
    pub(crate) fn set_attributes(&mut self, attributes: QueueAttributes) {
        let age_limit_ms = self.age_limit_ms();
        self.attributes = attributes;
        if self.age_limit_ms() != age_limit_ms {
            self.index_all();
        }
    }

    /// Rebuilds every table that follows from the lanes.
    fn index_all(&mut self) {
        self.timers.clear();
        (self.stored, self.in_flight, self.delayed, self.records) = (0, 0, 0, 0);
        let age_limit_ms = self.age_limit_ms();
        let is_fifo = self.is_fifo();
        let ids: Vec<LaneId> = self.lanes.keys().copied().collect();
        for id in ids {
            let lane = &self.lanes[&id];
            self.stored += lane.tail - lane.fresh;
            self.records += lane.records.len();
            self.in_flight += u64::from(lane.in_flight);
            for (sequence, record) in &lane.records {
                let due_ms = match record.state {
                    State::Delayed { due_ms } => {
                        self.delayed += 1;
                        due_ms
                    }
                    State::Leased { until_ms } => until_ms,
                    State::Returned => record.slot.sent_ms + age_limit_ms,
                    State::Finished => {
                        // It was counted as untouched above.
                        self.stored -= 1;
                        continue;
                    }
                };
                if *sequence < lane.fresh {
                    self.stored += 1;
                }
                self.timers.insert((due_ms, id, *sequence));
            }
            let is_ready = lane.head(is_fifo, 0) != Head::None;
            self.index_lane(id, is_ready, age_limit_ms);
        }
    }

    pub(crate) fn encode(&self, is_removed: bool) -> Vec<u8> {
        let mut out = Writer::with_format(FORMAT);
        out.u8(u8::from(is_removed)).int(self.next_lane).int(self.next_ticket);
        self.attributes.encode(&mut out);
        out.bytes
    }

    /// Reads a queue row; answers whether the queue is removed and only waits for its clean-up.
    pub(crate) fn decode(epoch: QueueEpoch, row: &[u8]) -> Result<(Self, bool), DecodeError> {
        let mut from = Reader::with_format(row, FORMAT, "a queue row")?;
        let is_removed = from.u8()? == 1;
        let (next_lane, next_ticket) = (from.int()?, from.int()?);
        let mut queue = Self::new(epoch, QueueAttributes::decode(&mut from)?);
        (queue.next_lane, queue.next_ticket) = (next_lane, next_ticket);
        Ok((queue, is_removed))
    }

    pub(crate) fn restore_lane(&mut self, id: LaneId, row: &[u8]) -> Result<(), DecodeError> {
        let lane = Lane::decode(row)?;
        if let Some(group) = &lane.group {
            self.groups.insert(group.clone(), id);
        }
        self.lanes.insert(id, lane);
        Ok(())
    }

    pub(crate) fn restore_records(&mut self, id: LaneId, row: &[u8]) -> Result<(), DecodeError> {
        self.lanes
            .get_mut(&id)
            .ok_or(DecodeError { what: "records of a lane that is not there" })?
            .restore_records(row)
    }

    pub(crate) fn restore_deduplication(&mut self, hash: u128, row: &[u8]) -> Result<(), DecodeError> {
        self.deduplication.restore(hash, row)
    }

    pub(crate) fn finish_restore(&mut self) {
        self.index_all();
    }

    /// The row of a lane, its records or a deduplication id; None when it is gone.
    pub(crate) fn row(&self, key: &RowKey) -> Option<Vec<u8>> {
        match key {
            RowKey::Lane(_, id) => self.lanes.get(id).map(Lane::encode),
            RowKey::Records(_, id, number) => self.lanes.get(id)?.encode_records(*number),
            RowKey::Deduplication(_, hash) => self.deduplication.row(*hash),
            RowKey::Machine | RowKey::Queue(_) | RowKey::Chunk(_) => None,
        }
    }

    /// The keys of all rows of this queue but for closed chunks.
    pub(crate) fn row_keys(&self) -> Vec<RowKey> {
        let mut keys = vec![RowKey::Queue(self.epoch)];
        for (id, lane) in &self.lanes {
            keys.push(RowKey::Lane(self.epoch, *id));
            let numbers: BTreeSet<u64> =
                lane.records.keys().map(|sequence| sequence / CHUNK_MESSAGES).collect();
            keys.extend(numbers.into_iter().map(|number| RowKey::Records(self.epoch, *id, number)));
        }
        keys.extend(self.deduplication.hashes().map(|hash| RowKey::Deduplication(self.epoch, hash)));
        keys
    }

    /// Forgets deduplication ids outside their window, as far as the steps go.
    pub(crate) fn forget_deduplication(&mut self, context: &mut Context<'_>) {
        self.deduplication.forget(context.stamp_ms, STEPS_MAX, self.epoch, context.dirty);
    }

    /// The chunk page that the next step of the clean-up of a removed queue needs.
    pub(crate) fn remains_page(&self) -> Option<ChunkKey> {
        let (id, lane) = self.lanes.first_key_value()?;
        lane.fresh_chunk().map(|number| ChunkKey { queue: self.epoch, lane: *id, number })
    }

    /// One bounded step of the clean-up of a removed queue: frees one chunk or one lane. Answers whether more is left.
    pub(crate) fn clean_up(&mut self, context: &mut Context<'_>) -> bool {
        let Some((id, lane)) = self.lanes.first_key_value() else {
            let epoch = self.epoch;
            let left = self.deduplication.forget(u64::MAX, STEPS_MAX, epoch, context.dirty);
            return left;
        };
        let id = *id;
        if let Some(key) = self.remains_page() {
            let Some(chunk) = context.pages.get(&key) else { return true };
            let last = (key.number + 1) * CHUNK_MESSAGES;
            let lane = self.lanes.get_mut(&id).expect("it was there above");
            for sequence in lane.fresh..last {
                if let Some(slot) = chunk.slot(sequence) {
                    context.effects.dead_bodies.push(slot.body);
                }
            }
            lane.fresh = last;
            context.dirty.mark(RowKey::Chunk(key));
            context.dirty.mark(RowKey::Lane(self.epoch, id));
            return true;
        }
        context.effects.dead_bodies.extend(lane.open_slots().iter().map(|slot| slot.body));
        let below = lane.tail - lane.open_slots().len() as u64;
        context.effects.dead_bodies.extend(lane.records.range(..below).map(|(_, record)| record.slot.body));
        for sequence in lane.records.keys() {
            context.dirty.mark(RowKey::Records(self.epoch, id, sequence / CHUNK_MESSAGES));
        }
        context.dirty.mark(RowKey::Lane(self.epoch, id));
        self.lanes.remove(&id);
        true
    }
}

enum Taken {
    /// A record in state `Returned`, ready to be leased.
    Message(u64),
    /// A message whose time was over.
    Dropped,
    Nothing,
    /// The head is on a page that the prefetch did not name.
    PageMissing,
}
