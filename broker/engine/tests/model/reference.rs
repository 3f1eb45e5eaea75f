//! The rules of a message's life, stated as simply as can be: plain lists, walked from end to end. It does not foretell
//! what a shard does where several answers are right; it checks what the shard says that it did.

mod operator;

use std::collections::{BTreeMap, BTreeSet};

use cmq_engine::attributes::{DeadLetterRule, QueueAttributes, QueueId, QueueKind};
use cmq_engine::browse::Place;
use cmq_engine::catalogue::{Rewind, RewindKind};
use cmq_engine::command::{NewMessage, StaleHandle};
use cmq_engine::limits::{DEDUPLICATION_WINDOW_MS, STEPS_MAX};
use cmq_engine::message::{BodyRef, DeliveryId, QueueEpoch};
use cmq_engine::outcome::{Deleted, Delivery, Effects, Outcome, Refusal};
use cmq_engine::shard::Counts;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Delayed(u64),
    Leased(u64),
}

/// Which messages wait behind each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Line {
    Ungrouped,
    /// Messages of a standard queue that were sent with a delay.
    Delayed,
    Group(String),
    /// Messages that rewinds brought back, which come before all others.
    Rewound,
}

/// A deleted message that a rewind could bring back.
#[derive(Clone, Debug)]
struct Kept {
    body: BodyRef,
    bytes: u32,
    sent_ms: u64,
    /// Whether a change of the rewind time put it out of reach.
    is_lost: bool,
}

#[derive(Clone, Debug)]
struct Message {
    body: BodyRef,
    bytes: u32,
    sent_ms: u64,
    line: Line,
    state: State,
    /// Whether it ever was delayed or handed out.
    was_touched: bool,
    generation: u32,
    first_received_ms: u64,
    /// The latest one.
    delivery: Option<DeliveryId>,
    /// When a rewind brought it back.
    rewound_ms: u64,
}

impl Message {
    /// Whether it is hidden at `now`, whatever was noticed.
    fn is_hidden(&self, now: u64) -> bool {
        matches!(self.state, State::Delayed(until) | State::Leased(until) if until > now)
    }
}

#[derive(Clone, Debug)]
struct Queue {
    epoch: u32,
    attributes: QueueAttributes,
    /// In the order of their arrival.
    messages: Vec<Message>,
    kept: Vec<Kept>,
    /// Number of the latest rewind.
    rewinds: u64,
    /// Whether a rewind may have left messages where they do not belong, to be put back.
    is_cut: bool,
    /// Whether messages of several rewinds wait.
    is_mixed: bool,
    /// Whether the rewind time was lowered, but not to 0.
    was_lowered: bool,
    seen: Vec<(u128, u64, BodyRef)>,
    /// Whether it took messages by dead-letter moves, or has some of a deep rewind: one that is too old may stand behind
    /// younger ones, and goes when it is at the head.
    has_disorder: bool,
    /// Whether so much came back by a rewind that the order of the deletes counts, and older ones may be in a later chunk.
    was_deep_rewind: bool,
    /// Whether it ever held more than fits in memory, so that stamps of its backlog may not be known.
    was_deep: bool,
}

/// All queues and what is known about them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    queues: BTreeMap<QueueId, Queue>,
    /// Each delivery with its message.
    handles: Vec<(DeliveryId, BodyRef)>,
    /// Which message stands where, as walks over queues found out.
    places: BTreeMap<(QueueEpoch, Place), BodyRef>,
    /// Bodies that something refers to.
    live: BTreeSet<BodyRef>,
    /// Bodies of removed queues that the clean-up has to free.
    remains: BTreeSet<BodyRef>,
}

impl Queue {
    fn is_fifo(&self) -> bool {
        matches!(self.attributes.kind, QueueKind::Fifo { .. })
    }

    fn rule(&self) -> Option<DeadLetterRule> {
        self.attributes.dead_letter.map(|policy| policy.rule)
    }

    fn is_expired(&self, message: &Message, now: u64) -> bool {
        message.sent_ms + u64::from(self.attributes.retention_seconds) * 1_000 <= now
    }

    /// Whether a message must go to the dead-letter queue when it is seen next.
    fn is_dead_letter(&self, message: &Message, now: u64) -> bool {
        match self.rule() {
            Some(DeadLetterRule::MaxReceiveCount(max)) => message.generation >= max,
            Some(DeadLetterRule::MaxTimeToLiveSeconds(seconds)) => {
                message.sent_ms.max(message.rewound_ms) + u64::from(seconds) * 1_000 <= now
            }
            None => false,
        }
    }

    /// Milliseconds after the send for which a deleted message is kept.
    fn reach_ms(&self) -> u64 {
        let seconds = self.attributes.rewind_seconds.min(self.attributes.retention_seconds);
        if self.is_fifo() { 0 } else { u64::from(seconds) * 1_000 }
    }

    fn rewind(&mut self, kind: RewindKind, now: u64) {
        let RewindKind::To(start_ms) = kind else {
            return self.kept.iter_mut().for_each(|kept| kept.is_lost = true);
        };
        let reach_ms = self.reach_ms();
        let comes_back =
            |kept: &mut Kept| !kept.is_lost && kept.sent_ms >= start_ms && kept.sent_ms + reach_ms > now;
        let back: Vec<Kept> = self.kept.extract_if(.., comes_back).collect();
        self.is_mixed = self.is_cut || self.count(|message| message.line == Line::Rewound) > 0;
        self.is_cut |= !self.kept.is_empty();
        self.messages.extend(back.into_iter().map(|Kept { body, bytes, sent_ms, .. }| Message {
            body,
            bytes,
            sent_ms,
            line: Line::Rewound,
            state: State::Ready,
            was_touched: false,
            generation: 0,
            first_received_ms: 0,
            delivery: None,
            rewound_ms: now,
        }));
        self.was_deep |= self.messages.len() > 500;
        self.has_disorder |= self.was_deep;
        self.was_deep_rewind |= self.was_deep;
    }

    fn is_over_age(&self, message: &Message, now: u64) -> bool {
        let by_rule = matches!(self.rule(), Some(DeadLetterRule::MaxTimeToLiveSeconds(_)));
        self.is_expired(message, now) || by_rule && self.is_dead_letter(message, now)
    }

    /// Whether its delay, its lease, or its time after those has ended and waits to be noticed.
    fn is_due(&self, message: &Message, now: u64) -> bool {
        let is_over = message.state != State::Ready || message.was_touched && self.is_over_age(message, now);
        is_over && !message.is_hidden(now)
    }

    /// Delays and leases that ended are noticed.
    fn notice(&mut self, now: u64) {
        for message in &mut self.messages {
            if !message.is_hidden(now) {
                message.state = State::Ready;
            }
        }
    }

    fn count(&self, is_counted: impl Fn(&Message) -> bool) -> u64 {
        self.messages.iter().filter(|message| is_counted(message)).count() as u64
    }

    /// The message that its line hands out next. `now_leased` were handed out by the same receive.
    fn head(&self, line: &Line, now_leased: &BTreeSet<BodyRef>) -> Option<&Message> {
        let mut mates = self.messages.iter().filter(|message| message.line == *line);
        if self.is_fifo() {
            // An operator may return one of a group and leave others out: it stays locked.
            let is_out = |message: &Message| {
                matches!(message.state, State::Leased(_)) && !now_leased.contains(&message.body)
            };
            if mates.clone().any(is_out) {
                return None;
            }
            let first = mates.find(|message| !now_leased.contains(&message.body));
            return first.filter(|message| message.state == State::Ready);
        }
        let mut ready: Vec<&Message> = mates.filter(|message| message.state == State::Ready).collect();
        if *line == Line::Rewound {
            ready.sort_by_key(|message| (message.sent_ms, message.body));
        }
        ready.iter().find(|message| message.was_touched).or(ready.first()).copied()
    }

    fn leased_in(&self, line: &Line) -> usize {
        let is_leased = |message: &&Message| matches!(message.state, State::Leased(_));
        self.messages.iter().filter(|message| message.line == *line).filter(is_leased).count()
    }

    fn lines(&self) -> BTreeSet<Line> {
        self.messages.iter().map(|message| message.line.clone()).collect()
    }
}

impl Model {
    /// A queue is as given; a higher epoch than before purges it.
    pub(crate) fn put(
        &mut self,
        id: QueueId,
        epoch: u32,
        rewinds: &[Rewind],
        attributes: &QueueAttributes,
        now: u64,
    ) {
        if self.queues.get(&id).is_some_and(|queue| queue.epoch < epoch) {
            self.remove(id);
        }
        let queue = self.queues.entry(id).or_insert_with(|| Queue {
            epoch,
            attributes: attributes.clone(),
            messages: Vec::new(),
            kept: Vec::new(),
            rewinds: rewinds.last().map_or(0, |rewind| rewind.number),
            is_cut: false,
            is_mixed: false,
            was_lowered: false,
            seen: Vec::new(),
            has_disorder: false,
            was_deep_rewind: false,
            was_deep: false,
        });
        for rewind in
            rewinds.iter().filter(|rewind| rewind.number > queue.rewinds).copied().collect::<Vec<_>>()
        {
            queue.rewind(rewind.kind, now);
            queue.rewinds = rewind.number;
        }
        let reach_ms = queue.reach_ms();
        queue.attributes = attributes.clone();
        let lower_ms = queue.reach_ms();
        if lower_ms < reach_ms {
            queue.was_lowered |= lower_ms > 0;
            queue.kept.iter_mut().for_each(|kept| kept.is_lost |= kept.sent_ms + lower_ms <= now);
        }
    }

    /// Whether the rewind time may become so much: raising it again after lowering it leaves open what of a segment is
    /// out of reach.
    pub(crate) fn allows_rewind(&self, id: QueueId, seconds: u32) -> bool {
        self.queues.get(&id).is_none_or(|queue| {
            let old = queue.attributes.rewind_seconds;
            seconds <= old || old == 0 || !queue.was_lowered
        })
    }

    pub(crate) fn remove(&mut self, id: QueueId) {
        let Some(queue) = self.queues.remove(&id) else { return };
        self.remains.extend(queue.messages.iter().map(|message| message.body));
        self.remains.extend(queue.kept.iter().map(|kept| kept.body));
    }

    pub(crate) fn queues(&self) -> Vec<QueueId> {
        self.queues.keys().copied().collect()
    }

    /// Handles of deliveries, oldest first.
    pub(crate) fn handles(&self) -> &[(DeliveryId, BodyRef)] {
        &self.handles
    }

    pub(crate) fn live_bodies(&self) -> usize {
        self.live.len()
    }

    pub(crate) fn send(
        &mut self,
        id: QueueId,
        messages: &[NewMessage],
        first: BodyRef,
        now: u64,
        outcome: &Outcome,
        effects: &Effects,
    ) {
        let bodies: Vec<BodyRef> = (0..messages.len()).map(|offset| first.later(offset)).collect();
        self.live.extend(&bodies);
        let Some(queue) = self.queues.get_mut(&id) else {
            assert_eq!(*outcome, Outcome::Refused(Refusal::QueueMissing));
            return self.free(&bodies, &effects.dead_bodies);
        };
        let own_delay_ms = u64::from(queue.attributes.delay_seconds) * 1_000;
        let delayed = messages.iter().filter(|new| new.delay_ms.unwrap_or(own_delay_ms) > 0).count() as u64;
        let heap = queue.messages.len() as u64 + messages.len() as u64;
        let delayed_before = (
            queue.count(|message| matches!(message.state, State::Delayed(until) if until > now)),
            queue.count(|message| matches!(message.state, State::Delayed(_))),
        );
        let max_delayed = u64::from(queue.attributes.max_delayed);
        match outcome {
            Outcome::Refused(Refusal::HeapFull) => assert!(heap > queue.attributes.max_messages),
            Outcome::Refused(Refusal::TooManyDelayed) => {
                assert!(delayed > 0 && delayed_before.1 + delayed > max_delayed);
            }
            Outcome::Sent(sent) => {
                assert!(heap <= queue.attributes.max_messages);
                assert!(delayed == 0 || delayed_before.0 + delayed <= max_delayed);
                let mut duplicates = Vec::new();
                let mut expected = Vec::new();
                for (new, body) in messages.iter().zip(&bodies) {
                    let original = new.deduplication.and_then(|hash| {
                        queue.seen.iter().find(|(seen, until, _)| *seen == hash && *until > now)
                    });
                    if let Some((_, _, original)) = original {
                        expected.push(*original);
                        duplicates.push(*body);
                        continue;
                    }
                    if let Some(hash) = new.deduplication {
                        queue.seen.retain(|(seen, ..)| *seen != hash);
                        queue.seen.push((hash, now + DEDUPLICATION_WINDOW_MS, *body));
                    }
                    expected.push(*body);
                    let delay_ms = new.delay_ms.unwrap_or(own_delay_ms);
                    let line = match &new.group {
                        _ if delay_ms > 0 && !queue.is_fifo() => Line::Delayed,
                        None => Line::Ungrouped,
                        Some(group) => Line::Group(group.to_string()),
                    };
                    queue.messages.push(Message {
                        body: *body,
                        bytes: new.bytes,
                        sent_ms: now,
                        line,
                        state: if delay_ms > 0 { State::Delayed(now + delay_ms) } else { State::Ready },
                        was_touched: delay_ms > 0,
                        generation: 0,
                        first_received_ms: 0,
                        delivery: None,
                        rewound_ms: 0,
                    });
                }
                queue.was_deep |= queue.messages.len() > 500;
                assert_eq!(*sent, expected);
                return self.free(&duplicates, &effects.dead_bodies);
            }
            other => panic!("a send answered {other:?}"),
        }
        self.free(&bodies, &effects.dead_bodies);
    }

    /// Checks that exactly `expected` died.
    fn free(&mut self, expected: &[BodyRef], dead: &[BodyRef]) {
        assert_eq!(dead, expected);
        dead.iter().for_each(|body| assert!(self.live.remove(body), "{body:?} died twice"));
    }

    /// Takes out what was dropped or moved, and checks that it had to be.
    fn drop_and_move(&mut self, effects: &Effects, now: u64) -> Vec<(QueueId, Message)> {
        for body in &effects.dead_bodies {
            let targets: Vec<QueueId> = self.queues();
            if self.forget_kept(body, now) {
                assert!(self.live.remove(body), "{body:?} died twice");
                continue;
            }
            let (queue, message) = self.take(body);
            let target = queue.attributes.dead_letter.map(|policy| policy.queue);
            let is_lost =
                queue.is_dead_letter(&message, now) && target.is_some_and(|id| !targets.contains(&id));
            assert!(queue.is_expired(&message, now) || is_lost, "{message:?} was dropped at {now}");
            assert!(!message.is_hidden(now), "{message:?} was dropped while it was hidden");
            assert!(self.live.remove(body), "{body:?} died twice");
        }
        let mut moved = Vec::new();
        for entry in &effects.moved {
            let (queue, message) = self.take(&entry.body);
            assert_eq!(queue.attributes.dead_letter.map(|policy| policy.queue), Some(entry.to));
            assert!(queue.is_dead_letter(&message, now), "{message:?} moved at {now}");
            assert!(!queue.is_expired(&message, now), "{message:?} moved when it was expired");
            assert!(!message.is_hidden(now), "{message:?} moved while it was hidden");
            let is_group = matches!(message.line, Line::Group(_));
            let line = if is_group { message.line } else { Line::Ungrouped };
            let fresh = Message {
                line,
                state: State::Ready,
                was_touched: false,
                generation: 0,
                first_received_ms: 0,
                delivery: None,
                rewound_ms: 0,
                ..message
            };
            moved.push((entry.to, fresh));
        }
        moved
    }

    /// Forgets a deleted message that was kept, and checks that it had to go; answers whether there is one.
    fn forget_kept(&mut self, body: &BodyRef, now: u64) -> bool {
        for queue in self.queues.values_mut() {
            let reach_ms = queue.reach_ms();
            if let Some(at) = queue.kept.iter().position(|kept| kept.body == *body) {
                let kept = queue.kept.remove(at);
                assert!(kept.is_lost || kept.sent_ms + reach_ms <= now, "{kept:?} was forgotten at {now}");
                return true;
            }
        }
        false
    }

    fn take(&mut self, body: &BodyRef) -> (&Queue, Message) {
        for queue in self.queues.values_mut() {
            if let Some(at) = queue.messages.iter().position(|message| message.body == *body) {
                let message = queue.messages.remove(at);
                return (queue, message);
            }
        }
        panic!("{body:?} is no body of a message that is there");
    }

    fn adopt(&mut self, moved: Vec<(QueueId, Message)>) {
        for (id, message) in moved {
            let queue = self.queues.get_mut(&id).expect("a message moved to a queue that is not there");
            queue.messages.push(message);
            queue.has_disorder = true;
            queue.was_deep |= queue.messages.len() > 500;
        }
    }

    pub(crate) fn receive(
        &mut self,
        id: QueueId,
        max: u16,
        visibility_ms: Option<u64>,
        now: u64,
        outcome: &Outcome,
        effects: &Effects,
    ) {
        let due = self.queues.get(&id).map_or(0, |queue| queue.count(|message| queue.is_due(message, now)));
        let moved = self.drop_and_move(effects, now);
        let Some(queue) = self.queues.get_mut(&id) else {
            assert_eq!(*outcome, Outcome::Refused(Refusal::QueueMissing));
            return;
        };
        // With very many due, some delays and leases that ended stay unnoticed.
        let is_partial = matches!(outcome, Outcome::Received { is_partial: true, .. });
        let is_exact = due <= STEPS_MAX as u64 && !is_partial;
        if is_exact {
            queue.notice(now);
        }
        let is_leased =
            |message: &Message| matches!(message.state, State::Leased(until) if until > now || is_exact);
        let room = u64::from(queue.attributes.max_in_flight).saturating_sub(queue.count(is_leased));
        let deliveries = match outcome {
            Outcome::Refused(refusal) => {
                assert_eq!((*refusal, room), (Refusal::TooManyInFlight, 0));
                return self.adopt(moved);
            }
            Outcome::Received { deliveries, .. } => deliveries,
            other => panic!("a receive answered {other:?}"),
        };
        assert!(room > 0 || !is_exact);
        let most = room.min(u64::from(max)) as usize;
        let visibility_ms =
            visibility_ms.unwrap_or(u64::from(queue.attributes.visibility_timeout_seconds) * 1_000);
        assert!(deliveries.len() <= most);
        let mut leased = BTreeSet::new();
        for (at, delivery) in deliveries.iter().enumerate() {
            if is_exact {
                queue.check_turn(delivery, &leased, deliveries.get(at + 1));
            }
            queue.hand_out(delivery, now, now + visibility_ms);
            leased.insert(delivery.body);
            self.handles.push((delivery.id, delivery.body));
        }
        if deliveries.len() < most && is_exact {
            for line in queue.lines() {
                assert_eq!(queue.head(&line, &leased).map(|message| message.body), None, "was left out");
            }
        }
        self.adopt(moved);
    }

    pub(crate) fn delete(
        &mut self,
        ids: &[DeliveryId],
        stale: StaleHandle,
        now: u64,
        outcome: &Outcome,
        effects: &Effects,
    ) {
        let Outcome::Deleted(verdicts) = outcome else { panic!("a delete answered {outcome:?}") };
        assert_eq!(verdicts.len(), ids.len());
        let mut dead = Vec::new();
        for (id, verdict) in ids.iter().zip(verdicts) {
            let known = self.handles.iter().find(|(known, _)| known == id).map(|(_, body)| *body);
            let Some(queue) = self.queues.get_mut(&id.queue.queue) else {
                assert_eq!(*verdict, Deleted::Unknown);
                continue;
            };
            let Some(body) = known else {
                assert_ne!(*verdict, Deleted::Done, "{id:?} was never handed out");
                continue;
            };
            let is_current = |message: &Message| {
                message.delivery == Some(*id) && (stale == StaleHandle::Delete || message.is_hidden(now))
            };
            let at = queue.messages.iter().position(|message| message.body == body && is_current(message));
            match at {
                Some(at) => {
                    let Message { bytes, sent_ms, .. } = queue.messages.remove(at);
                    if sent_ms + queue.reach_ms() > now {
                        queue.kept.push(Kept { body, bytes, sent_ms, is_lost: false });
                        queue.was_deep |= queue.kept.len() > 500;
                    } else {
                        dead.push(body);
                    }
                    assert_eq!(*verdict, Deleted::Done, "{id:?}");
                }
                None => assert_eq!(*verdict, Deleted::Stale, "{id:?}"),
            }
        }
        self.free(&dead, &effects.dead_bodies);
    }

    /// What an `Expire` did.
    pub(crate) fn expire(&mut self, now: u64, effects: &Effects) {
        let moved = self.drop_and_move(effects, now);
        self.adopt(moved);
    }

    /// Nothing is due any more: what was due must have happened.
    pub(crate) fn quiesce(&mut self, now: u64) {
        for queue in self.queues.values_mut() {
            queue.notice(now);
            queue.is_cut &= queue.was_deep;
            for message in &queue.messages {
                let is_hidden = message.is_hidden(now) || queue.has_disorder;
                assert!(is_hidden || !queue.is_over_age(message, now), "{message:?} is too old at {now}");
            }
        }
    }

    pub(crate) fn clean_up(&mut self, effects: &Effects) {
        assert!(effects.moved.is_empty() && effects.closed_chunks.is_empty());
        for body in &effects.dead_bodies {
            assert!(self.remains.remove(body), "{body:?} did not remain");
            assert!(self.live.remove(body), "{body:?} died twice");
        }
    }

    /// Compares what a shard says of a queue at rest or in between.
    pub(crate) fn check_counts(&self, id: QueueId, counts: Option<Counts>, now: u64) {
        let Some(queue) = self.queues.get(&id) else { return assert_eq!(counts, None) };
        let counts = counts.expect("the queue is there");
        let (stored, messages) =
            (counts.active + counts.in_flight + counts.delayed, queue.messages.len() as u64);
        let lost = queue.kept.iter().filter(|kept| kept.is_lost).count() as u64;
        let all = messages + queue.kept.len() as u64;
        assert!((all - lost..=all).contains(&(stored + counts.rewindable)), "{counts:?}, {lost} of {all}");
        if !queue.is_cut {
            assert_eq!(stored, messages);
        }
        assert!(stored >= messages);
        let leased = |message: &Message| matches!(message.state, State::Leased(_));
        let delayed = |message: &Message| matches!(message.state, State::Delayed(_));
        for (counted, is_it) in
            [(counts.in_flight, &leased as &dyn Fn(&Message) -> bool), (counts.delayed, &delayed)]
        {
            let range = queue.count(|message| is_it(message) && message.is_hidden(now))..=queue.count(is_it);
            assert!(range.contains(&counted), "{counts:?} but {range:?}");
        }
        let oldest_ms = queue.messages.iter().map(|message| message.sent_ms).min();
        if queue.is_cut && stored > messages {
            return;
        }
        assert_eq!(counts.oldest_ms.is_some(), oldest_ms.is_some());
        if !queue.was_deep_rewind {
            assert_eq!(counts.oldest_ms, oldest_ms);
        }
    }
}

impl Queue {
    /// Checks that a message is the next of its line, and its line the next of the queue.
    fn check_turn(&self, delivery: &Delivery, leased: &BTreeSet<BodyRef>, next: Option<&Delivery>) {
        let message = self.find(delivery);
        let line = &message.line;
        if *line == Line::Rewound && (self.is_mixed || self.was_deep) {
            return;
        }
        assert_eq!(self.head(line, leased).map(|head| head.body), Some(delivery.body), "out of order");
        if self.is_fifo() {
            let mut leased = leased.clone();
            leased.insert(delivery.body);
            if let (Some(head), Some(next)) = (self.head(line, &leased), next) {
                assert_eq!(head.body, next.body, "a group is handed out as far as it goes");
            }
            return;
        }
        if *line == Line::Rewound {
            return;
        }
        assert_eq!(self.head(&Line::Rewound, leased).map(|head| head.body), None, "waits behind {line:?}");
        // Message groups share the queue: those with the fewest in flight come first.
        let busy = self.leased_in(line);
        for other in self.lines().iter().filter(|other| *other != line) {
            let waits = self.head(other, leased).is_some();
            assert!(!waits || self.leased_in(other) >= busy, "{other:?} waits behind {line:?}");
        }
    }

    fn find(&self, delivery: &Delivery) -> &Message {
        let found = self.messages.iter().find(|message| message.body == delivery.body);
        found.expect("what is handed out is there")
    }

    /// Checks what a delivery says, and does it.
    fn hand_out(&mut self, delivery: &Delivery, now: u64, until: u64) {
        let message = self.find(delivery);
        assert!(!message.is_hidden(now), "{message:?} is hidden at {now}");
        assert!(!self.is_over_age(message, now), "{message:?} is too old at {now}");
        let is_by_count = matches!(self.rule(), Some(DeadLetterRule::MaxReceiveCount(_)));
        assert!(!is_by_count || !self.is_dead_letter(message, now), "{message:?} went out too often");
        let message = self.messages.iter_mut().find(|message| message.body == delivery.body);
        let message = message.expect("it was found above");
        message.state = State::Leased(until);
        message.was_touched = true;
        message.generation += 1;
        message.delivery = Some(delivery.id);
        if message.generation == 1 {
            message.first_received_ms = now;
        }
        let expected = Delivery {
            id: delivery.id,
            body: message.body,
            bytes: message.bytes,
            sent_ms: message.sent_ms,
            first_received_ms: message.first_received_ms,
            visible_again_ms: until,
            receive_count: message.generation,
        };
        assert_eq!(*delivery, expected);
        assert_eq!(delivery.id.generation, message.generation);
    }
}
