//! What the test did and what it was told: the record against which every answer of the broker is checked.
//!
//! The ledger lives in the test process, which is never killed. Each operation is entered before it is sent
//! and again when its answer is there; one without an answer is in doubt and may have happened or not, until
//! a later answer shows which. Findings are what no correct queue could have answered. Times are those of one
//! monotonic clock, measured from the start of the ledger; a call has a [`Span`], and the broker acted at
//! some time within it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use body::Bodies;
pub use counts::{Counts, Expected};
pub use finding::Finding;
pub use message::MessageNumber;

use message::{Deletion, Delivery, Message, Sending};

mod body;
mod counts;
mod finding;
mod message;
#[cfg(test)]
mod tests;

/// How far the broker's clock may stand behind or before the test's within one call: both are clocks of one
/// machine, but the broker stamps a turn, not a request, and reports and delays are in whole milliseconds.
pub const CLOCK_TOLERANCE: Duration = Duration::from_millis(100);
/// Findings of one kind that are kept with their details; all are counted.
const FINDINGS_OF_KIND_MAX: u64 = 20;

/// Index of a queue in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueIndex(pub usize);

/// From before a call was sent until after its answer was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Before the call.
    pub start: Duration,
    /// After the answer, or after the call was given up.
    pub end: Duration,
}

/// A queue as the ledger needs to know it.
#[derive(Clone, Debug)]
pub struct Queue {
    /// Name on the wire.
    pub name: String,
    /// How long a lease lasts.
    pub visibility: Duration,
}

/// One message of a receive's answer.
#[derive(Clone, Debug)]
pub struct Handed {
    /// The body as it came.
    pub body: String,
    /// The broker's number of the message.
    pub id: String,
    /// Names this delivery.
    pub handle: String,
    /// How often the broker says it was received.
    pub receive_count: u64,
}

/// A delivery that can be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The message.
    pub message: MessageNumber,
    /// Which of its deliveries.
    pub delivery: usize,
    /// Its queue.
    pub queue: QueueIndex,
    /// Names the delivery on the wire.
    pub handle: String,
}

/// What the broker said to a send or a delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// Done; for a send with the message's number.
    Done(&'a str),
    /// Not done, and not to be done later.
    Refused,
    /// No answer, or one that leaves it open.
    InDoubt,
}

/// Sums over the whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages whose send was acknowledged.
    pub sent: u64,
    /// Messages whose send was refused.
    pub send_refused: u64,
    /// Messages whose send had no answer.
    pub send_in_doubt: u64,
    /// Of these, messages that were handed out later.
    pub send_in_doubt_found: u64,
    /// Deliveries.
    pub received: u64,
    /// Deliveries of messages that had been delivered before.
    pub received_again: u64,
    /// Receives without an answer.
    pub receive_in_doubt: u64,
    /// Messages whose delete was acknowledged.
    pub deleted: u64,
    /// Deletes that were refused: the lease had ended, or an earlier delete without an answer had happened.
    pub delete_refused: u64,
    /// Deletes without an answer.
    pub delete_in_doubt: u64,
    /// Of these, deletes of messages that were handed out later.
    pub delete_in_doubt_undone: u64,
    /// Findings, those beyond the ones that are kept included.
    pub findings: u64,
}

/// A receive whose answer was lost: what it leased is unknown.
#[derive(Clone, Copy, Debug)]
struct LostReceive {
    queue: QueueIndex,
    end: Duration,
    messages_max: u64,
}

/// The record of a run.
#[derive(Debug)]
pub struct Ledger {
    bodies: Bodies,
    queues: Vec<Queue>,
    messages: Vec<Message>,
    /// Messages that are in the queue or may be, by queue.
    open: Vec<BTreeSet<MessageNumber>>,
    lost_receives: Vec<LostReceive>,
    findings: Vec<Finding>,
    findings_by_kind: BTreeMap<&'static str, u64>,
    totals: Totals,
}

impl Ledger {
    /// An empty record over these queues.
    pub fn new(bodies: Bodies, queues: Vec<Queue>) -> Self {
        Self {
            bodies,
            open: vec![BTreeSet::new(); queues.len()],
            queues,
            messages: Vec::new(),
            lost_receives: Vec::new(),
            findings: Vec::new(),
            findings_by_kind: BTreeMap::new(),
            totals: Totals::default(),
        }
    }

    /// The queues, by index.
    pub fn queues(&self) -> &[Queue] {
        &self.queues
    }

    /// Sums so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The first findings of each kind, in the order in which they were made.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// How many findings of each kind there are.
    pub fn findings_by_kind(&self) -> &BTreeMap<&'static str, u64> {
        &self.findings_by_kind
    }

    /// How many messages of a queue are there or may be there.
    pub fn open(&self, queue: QueueIndex) -> usize {
        self.open[queue.0].len()
    }

    /// Enters a message that is about to be sent and returns its body, of about `body_bytes`.
    pub fn sending(
        &mut self,
        queue: QueueIndex,
        start: Duration,
        delay: Duration,
        body_bytes: usize,
    ) -> (MessageNumber, String) {
        let number = MessageNumber(self.messages.len() as u64);
        self.messages.push(Message::new(queue, body_bytes, start, delay));
        self.open[queue.0].insert(number);
        (number, self.bodies.body(number.0, body_bytes))
    }

    /// Enters the answer to a send.
    pub fn sent(&mut self, number: MessageNumber, end: Duration, answer: Answer<'_>) {
        let message = &mut self.messages[number.0 as usize];
        message.send_end = end;
        match answer {
            Answer::Done(id) => {
                message.sending = Sending::Stored;
                self.totals.sent += 1;
                self.check_id(number, id);
            }
            Answer::Refused => {
                message.sending = Sending::Refused;
                self.open[message.queue.0].remove(&number);
                self.totals.send_refused += 1;
                if !message.deliveries.is_empty() {
                    self.find(Finding::Invented { what: format!("{number:?} was refused and handed out") });
                }
            }
            Answer::InDoubt => {
                self.totals.send_in_doubt += 1;
                self.totals.send_in_doubt_found += u64::from(message.sending == Sending::Stored);
            }
        }
    }

    /// Enters a receive that had no answer; it may have leased up to `messages_max` messages.
    pub fn receive_in_doubt(&mut self, queue: QueueIndex, end: Duration, messages_max: u64) {
        self.totals.receive_in_doubt += 1;
        self.lost_receives.push(LostReceive { queue, end, messages_max });
    }

    /// Enters and checks one message of a receive's answer. None when it is nothing that could be deleted.
    pub fn received(&mut self, queue: QueueIndex, span: Span, handed: Handed) -> Option<Held> {
        self.totals.received += 1;
        let number = match self.identify(queue, &handed.body) {
            Ok(number) => number,
            Err(finding) => {
                self.find(finding);
                return None;
            }
        };
        self.check_id(number, &handed.id);
        let visibility = self.queues[queue.0].visibility;
        let message = &mut self.messages[number.0 as usize];
        let mut found = message.check_delivery(number, span, handed.receive_count, visibility);
        if message.sending == Sending::InDoubt {
            message.sending = Sending::Stored;
            self.totals.send_in_doubt_found += u64::from(message.send_end < span.end);
        }
        if let Deletion::InDoubt { end } = message.deletion
            && span.start >= end
        {
            message.deletion = Deletion::None;
            self.totals.delete_in_doubt_undone += 1;
        }
        self.totals.received_again += u64::from(!message.deliveries.is_empty());
        let delivery = message.deliveries.len();
        message.deliveries.push(Delivery { span, receive_count: handed.receive_count });
        found.drain(..).for_each(|finding| self.find(finding));
        Some(Held { message: number, delivery, queue, handle: handed.handle })
    }

    /// Enters the answer to a delete.
    pub fn deleted(&mut self, held: &Held, span: Span, answer: Answer<'_>) {
        let visibility = self.queues[held.queue.0].visibility;
        let number = held.message;
        let message = &mut self.messages[number.0 as usize];
        let before = message.deletion;
        let mut found = None;
        match answer {
            Answer::Done(_) => {
                self.totals.deleted += 1;
                found = message.check_deletion(number, held.delivery);
                message.deletion = Deletion::Done { delivery: held.delivery };
                self.open[message.queue.0].remove(&number);
            }
            Answer::Refused => {
                self.totals.delete_refused += 1;
                found = message.check_refusal(number, held.delivery, span, visibility);
            }
            Answer::InDoubt => {
                self.totals.delete_in_doubt += 1;
                if !matches!(before, Deletion::Done { .. }) {
                    message.deletion = Deletion::InDoubt { end: span.end };
                }
            }
        }
        found.into_iter().for_each(|finding| self.find(finding));
    }

    /// When every lease and delay of a queue has ended for certain.
    pub fn settled_at(&self, queue: QueueIndex) -> Duration {
        let visibility = self.queues[queue.0].visibility;
        let open =
            self.open[queue.0].iter().map(|number| self.messages[number.0 as usize].settled_at(visibility));
        let lost = self.lost_receives.iter().filter(|lost| lost.queue == queue);
        open.chain(lost.map(|lost| lost.end + visibility)).max().unwrap_or_default() + CLOCK_TOLERANCE
    }

    /// Closes the record after everything was received and deleted: what was acknowledged and neither came
    /// back nor was deleted is lost.
    pub fn close(&mut self) {
        let open: Vec<MessageNumber> = self.open.iter().flatten().copied().collect();
        for number in open {
            let message = &self.messages[number.0 as usize];
            if message.is_certain() {
                let (queue, last) = (self.queues[message.queue.0].name.clone(), message.deliveries.len());
                let sent = message.send_end;
                self.find(Finding::Lost { number, queue, sent, deliveries: last });
            }
        }
    }

    /// Enters a finding that was made elsewhere.
    pub fn find(&mut self, finding: Finding) {
        self.totals.findings += 1;
        let of_kind = self.findings_by_kind.entry(finding.kind()).or_default();
        *of_kind += 1;
        if *of_kind <= FINDINGS_OF_KIND_MAX {
            self.findings.push(finding);
        }
    }

    fn identify(&self, queue: QueueIndex, body: &str) -> Result<MessageNumber, Finding> {
        let beginning: String = body.chars().take(60).collect();
        let Some(number) = self.bodies.number(body) else {
            return Err(Finding::Invented { what: format!("a body that begins {beginning:?}") });
        };
        let Some(message) = self.messages.get(number as usize) else {
            return Err(Finding::Invented { what: format!("number {number}, which was never sent") });
        };
        if self.bodies.body(number, message.body_bytes) != body {
            return Err(Finding::Corrupt { number: MessageNumber(number), bytes: body.len(), beginning });
        }
        if message.queue != queue {
            let (sent, got) = (&self.queues[message.queue.0].name, &self.queues[queue.0].name);
            return Err(Finding::Invented {
                what: format!("number {number} of queue {sent} in queue {got}"),
            });
        }
        if message.sending == Sending::Refused {
            return Err(Finding::Invented { what: format!("number {number}, whose send was refused") });
        }
        Ok(MessageNumber(number))
    }

    fn check_id(&mut self, number: MessageNumber, id: &str) {
        let message = &mut self.messages[number.0 as usize];
        let known = message.id.get_or_insert_with(|| id.to_owned()).clone();
        if known != id {
            self.find(Finding::IdChanged { number, before: known, after: id.to_owned() });
        }
    }
}
