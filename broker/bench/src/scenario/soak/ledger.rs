//! What must come out of one queue, and what came out.
//!
//! A message is outstanding from its send until its delete is acknowledged, its time is over, or its queue is cleared.
//! Every receive is held against that. Times are measured by the client, so each rule leaves the time that a call
//! takes in the broker's favour: what it reports did happen.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::findings::{Finding, Findings};

/// Time since the start of the soak.
pub(super) type Time = Duration;

/// The broker counts milliseconds, so what it calls due may be this much early.
const TICK: Duration = Duration::from_millis(2);

/// The broker takes whole seconds where a rewind begins.
const SECOND: Duration = Duration::from_secs(1);

/// Stamps of the broker may lag by this much behind the moment a call began.
const STAMP_SLACK: Duration = Duration::from_millis(100);

/// When a message moves to the dead-letter queue.
#[derive(Clone, Copy, Debug)]
pub(super) enum DeadLetters {
    /// At the receive that would be one more than this many.
    ByCount(u32),
    /// At this age.
    ByAge(Duration),
}

/// What the queue's attributes promise.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rules {
    /// Time for which a received message is hidden.
    pub(super) visibility: Duration,
    /// Longest wait of a message that somebody asks for all the time; none where messages wait on purpose.
    pub(super) wait: Option<Duration>,
    /// Set where messages are left to expire.
    pub(super) retention: Option<Duration>,
    /// Set where messages are left to become dead letters.
    pub(super) dead_letters: Option<DeadLetters>,
    /// For how long deleted messages can be brought back.
    pub(super) rewind: Option<Duration>,
}

/// Where a message was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Queue,
    DeadLetterQueue,
}

/// How many messages did what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) deleted: u64,
    pub(super) expired: u64,
    pub(super) dead_lettered: u64,
    pub(super) rewound: u64,
    pub(super) cleared: u64,
}

#[derive(Clone, Copy, Debug)]
struct Message {
    /// When the send began; the broker's stamp lies between this and the acknowledgement.
    sent: Time,
    acknowledged: Option<Time>,
    /// Not to be received sooner.
    due: Time,
    /// Since when somebody should have it.
    waits_since: Time,
    deliveries: u32,
    leased_until: Time,
    is_dead_letter: bool,
    /// Its send was under way while the queue was cleared: it may be gone.
    is_doubtful: bool,
}

impl Message {
    fn must_come(&self) -> bool {
        self.acknowledged.is_some() && !self.is_doubtful
    }
}

#[derive(Clone, Copy, Debug)]
struct Deleted {
    message: Message,
    at: Time,
    /// A rewind that has begun reaches it.
    may_return: bool,
}

#[derive(Clone, Copy, Debug)]
struct Rewind {
    from: Time,
    acknowledged: Option<Time>,
}

impl Rewind {
    /// Whether it may bring back a message that was deleted by a call that began at `called`.
    fn may_reach(&self, message: &Message, called: Time) -> bool {
        self.acknowledged.is_none_or(|acknowledged| called <= acknowledged)
            && message.acknowledged.is_none_or(|stored| stored + SECOND >= self.from)
    }
}

/// The book of one queue.
#[derive(Debug)]
pub(super) struct Ledger {
    rules: Rules,
    next: u64,
    outstanding: HashMap<u64, Message>,
    /// Only where messages can be brought back.
    deleted: BTreeMap<u64, Deleted>,
    /// Cleared messages, with the time of the acknowledgement: a receive that began before may still bring them.
    cleared: HashMap<u64, Time>,
    /// A clear is under way.
    is_clearing: bool,
    last_rewind: Option<Rewind>,
    pub(super) totals: Totals,
    pub(super) findings: Findings,
}

impl Ledger {
    pub(super) fn new(rules: Rules) -> Ledger {
        Ledger {
            rules,
            next: 0,
            outstanding: HashMap::new(),
            deleted: BTreeMap::new(),
            cleared: HashMap::new(),
            is_clearing: false,
            last_rewind: None,
            totals: Totals::default(),
            findings: Findings::default(),
        }
    }

    /// Messages that have not come to their end.
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// Whether a message is outstanding that must still come.
    pub(super) fn waits(&self) -> bool {
        self.outstanding.values().any(Message::must_come)
    }

    /// The number of a message whose send begins now.
    pub(super) fn send(&mut self, now: Time, delay: Duration) -> u64 {
        let (number, due) = (self.next, now + delay);
        self.next += 1;
        let message = Message {
            sent: now,
            acknowledged: None,
            due,
            waits_since: due,
            deliveries: 0,
            leased_until: Time::ZERO,
            is_dead_letter: false,
            is_doubtful: false,
        };
        self.outstanding.insert(number, message);
        number
    }

    /// The send was acknowledged.
    pub(super) fn acknowledge(&mut self, number: u64, now: Time) {
        self.totals.sent += 1;
        let deleted = self.deleted.get_mut(&number).map(|deleted| &mut deleted.message);
        if let Some(message) = self.outstanding.get_mut(&number).or(deleted) {
            message.acknowledged = Some(now);
            message.waits_since = message.waits_since.max(now);
        }
    }

    /// A receive that began at `called` brought the message. Gives for how long the message had waited, the first time.
    pub(super) fn receive(&mut self, number: u64, place: Place, called: Time, now: Time) -> Option<Duration> {
        self.totals.received += 1;
        if number >= self.next {
            self.findings.add(Finding::Invented, format!("message {number} was never sent"));
            return None;
        }
        if let Some(deleted) = self.deleted.get(&number).filter(|deleted| deleted.may_return) {
            let back = Message { waits_since: now, leased_until: Time::ZERO, ..deleted.message };
            self.deleted.remove(&number);
            self.outstanding.insert(number, back);
            self.totals.rewound += 1;
        }
        let Some(message) = self.outstanding.get_mut(&number) else {
            if self.cleared.get(&number).is_none_or(|cleared| called > *cleared) {
                self.findings.add(Finding::CameBack, format!("message {number} at {now:.1?}"));
            }
            return None;
        };
        let mut found = |finding, what: &str| {
            self.findings.add(finding, format!("message {number}: {what}, at {now:.1?}, {message:?}"));
        };
        if now + TICK < message.due {
            found(Finding::Early, "before its delay was over");
        }
        if now < message.leased_until {
            found(Finding::TwoLeases, "received inside the lease of another receive");
        }
        let stored = message.acknowledged.unwrap_or(now);
        if self.rules.retention.is_some_and(|retention| called > stored + retention + STAMP_SLACK) {
            found(Finding::CameBack, "received after its retention");
        }
        let newly_dead = place == Place::DeadLetterQueue && !message.is_dead_letter;
        match (self.rules.dead_letters, place) {
            (_, Place::Queue) if message.is_dead_letter => {
                found(Finding::CameBack, "in its queue although it is a dead letter");
            }
            (Some(DeadLetters::ByCount(limit)), Place::Queue) if message.deliveries >= limit => {
                found(Finding::Late, "received more often than the dead-letter policy says");
            }
            (Some(DeadLetters::ByCount(limit)), Place::DeadLetterQueue)
                if newly_dead && message.deliveries < limit =>
            {
                found(Finding::Early, "a dead letter before its last receive");
            }
            (Some(DeadLetters::ByAge(age)), Place::DeadLetterQueue)
                if newly_dead && now + TICK < message.sent + age =>
            {
                found(Finding::Early, "a dead letter before its age");
            }
            (None, Place::DeadLetterQueue) => found(Finding::Invented, "its queue has no dead letters"),
            _ => {}
        }
        let since = match (self.rules.dead_letters, newly_dead) {
            (Some(DeadLetters::ByAge(age)), true) => stored + age,
            (Some(DeadLetters::ByCount(_)), true) => message.leased_until,
            _ => message.waits_since.max(message.leased_until),
        };
        let waited = now.saturating_sub(since);
        if self.rules.wait.is_some_and(|longest| waited > longest) {
            found(Finding::Late, "waited too long");
        }
        if newly_dead {
            message.is_dead_letter = true;
            self.totals.dead_lettered += 1;
        }
        let is_first = message.deliveries == 0;
        message.deliveries += 1;
        message.leased_until = called + self.rules.visibility;
        is_first.then_some(waited)
    }

    /// A delete that began at `called` was acknowledged.
    pub(super) fn delete(&mut self, number: u64, called: Time, now: Time) {
        let Some(message) = self.outstanding.remove(&number) else { return };
        self.totals.deleted += 1;
        if self.rules.rewind.is_some() {
            let may_return = self.last_rewind.is_some_and(|rewind| rewind.may_reach(&message, called));
            self.deleted.insert(number, Deleted { message, at: now, may_return });
        }
    }

    /// Whether the message was cleared or may have been, so that its handle may be refused.
    pub(super) fn may_be_cleared(&self, number: u64) -> bool {
        self.is_clearing
            || self.cleared.contains_key(&number)
            || self.outstanding.get(&number).is_some_and(|message| message.is_doubtful)
    }

    /// Takes messages out whose retention is over.
    pub(super) fn expire(&mut self, now: Time) {
        let Some(retention) = self.rules.retention else { return };
        let over =
            |message: &Message| message.acknowledged.is_some_and(|stored| now > stored + retention + SECOND);
        let before = self.outstanding.len();
        self.outstanding.retain(|_, message| !over(message));
        self.totals.expired += (before - self.outstanding.len()) as u64;
    }

    /// A rewind to `from` begins: from now on messages may come back.
    pub(super) fn begin_rewind(&mut self, from: Time, now: Time) {
        let kept = self.rules.rewind.unwrap_or_default() * 2;
        self.deleted.retain(|_, deleted| deleted.at + kept > now);
        let rewind = Rewind { from, acknowledged: None };
        self.last_rewind = Some(rewind);
        for deleted in self.deleted.values_mut() {
            deleted.may_return |= rewind.may_reach(&deleted.message, now);
        }
    }

    /// The rewind that began at `called` was acknowledged: what was deleted before it must come back.
    pub(super) fn rewind(&mut self, from: Time, called: Time, now: Time) {
        self.last_rewind = Some(Rewind { from, acknowledged: Some(now) });
        let must = |deleted: &Deleted| deleted.message.sent >= from + SECOND && deleted.at <= called;
        let back: Vec<u64> =
            self.deleted.iter().filter(|(_, deleted)| must(deleted)).map(|(number, _)| *number).collect();
        self.totals.rewound += back.len() as u64;
        for number in back {
            if let Some(Deleted { message, .. }) = self.deleted.remove(&number) {
                let back = Message { waits_since: now, leased_until: Time::ZERO, ..message };
                self.outstanding.insert(number, back);
            }
        }
    }

    /// A clear begins: from now on messages may be gone.
    pub(super) fn begin_clear(&mut self) {
        self.is_clearing = true;
    }

    /// The queue was cleared by a call that began at `called`. What was stored before is gone, what came meanwhile may be.
    pub(super) fn clear(&mut self, called: Time, now: Time) {
        const REMEMBERED: Duration = Duration::from_secs(120);
        self.is_clearing = false;
        self.cleared.retain(|_, cleared| *cleared + REMEMBERED > now);
        let gone = |message: &Message| message.acknowledged.is_some_and(|stored| stored <= called);
        let numbers: Vec<u64> =
            self.outstanding.iter().filter(|(_, m)| gone(m)).map(|(number, _)| *number).collect();
        self.totals.cleared += numbers.len() as u64;
        for number in numbers {
            self.outstanding.remove(&number);
            self.cleared.insert(number, now);
        }
        for message in self.outstanding.values_mut().filter(|message| message.sent <= now) {
            message.is_doubtful = true;
        }
    }

    /// The soak is over and everything had its time: what was acknowledged and is still outstanding is lost.
    pub(super) fn close(&mut self) {
        let lost = self.outstanding.drain().filter(|(_, message)| message.must_come());
        for (number, message) in lost {
            self.findings.add(Finding::Lost, format!("message {number}: {message:?}"));
        }
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
