//! The checker bites: each fault that a queue can have is found, and what a correct queue does is not.

use std::time::Duration;

use super::*;

const QUEUE: QueueIndex = QueueIndex(0);
const OTHER: QueueIndex = QueueIndex(1);
/// Visibility of the queues of these tests, in the units of [`at`].
const VISIBILITY_S: u64 = 10;

fn ledger() -> Ledger {
    let queue = |name: &str| Queue { name: name.into(), visibility: Duration::from_secs(VISIBILITY_S) };
    Ledger::new(Bodies::new(9), vec![queue("one"), queue("two")])
}

/// A call of 10 ms that begins at this second.
fn at(second: u64) -> Span {
    let start = Duration::from_secs(second);
    Span { start, end: start + Duration::from_millis(10) }
}

struct Sent {
    number: MessageNumber,
    body: String,
}

impl Sent {
    fn handed(&self, receive_count: u64) -> Handed {
        let id = format!("id-{}", self.number.0);
        Handed { body: self.body.clone(), id, handle: format!("h{receive_count}"), receive_count }
    }
}

fn send(ledger: &mut Ledger, second: u64, delay_s: u64, answer: Answer<'_>) -> Sent {
    let span = at(second);
    let (number, body) = ledger.sending(QUEUE, span.start, Duration::from_secs(delay_s), 300);
    let id = format!("id-{}", number.0);
    let answer = if let Answer::Done(_) = answer { Answer::Done(&id) } else { answer };
    ledger.sent(number, span.end, answer);
    Sent { number, body }
}

fn kinds(ledger: &Ledger) -> Vec<&'static str> {
    ledger.findings().iter().map(Finding::kind).collect()
}

const DONE: Answer<'static> = Answer::Done("");

/// A history, and the kinds of findings that it must have, in order.
type Case = (&'static str, fn(&mut Ledger), &'static [&'static str]);

const CASES: &[Case] = &[
    ("sent, received, deleted", |l| life(l, 5), &[]),
    (
        "lost",
        |l| {
            send(l, 1, 0, DONE);
        },
        &["lost"],
    ),
    (
        "lost after it was handed out",
        |l| {
            let sent = send(l, 1, 0, DONE);
            l.received(QUEUE, at(2), sent.handed(1));
        },
        &["lost"],
    ),
    (
        "lost though a refused delete was tried after the lease",
        |l| {
            let sent = send(l, 1, 0, DONE);
            let held = l.received(QUEUE, at(2), sent.handed(1)).unwrap();
            l.deleted(&held, at(2 + VISIBILITY_S), Answer::Refused);
        },
        &["lost"],
    ),
    (
        "a send in doubt may be gone",
        |l| {
            send(l, 1, 0, Answer::InDoubt);
        },
        &[],
    ),
    (
        "a send in doubt that was handed out must not be lost after",
        |l| {
            let sent = send(l, 1, 0, Answer::InDoubt);
            l.received(QUEUE, at(2), sent.handed(1));
        },
        &["lost"],
    ),
    (
        "a refused send may be gone",
        |l| {
            send(l, 1, 0, Answer::Refused);
        },
        &[],
    ),
    (
        "a refused send that comes back",
        |l| {
            let sent = send(l, 1, 0, Answer::Refused);
            assert_eq!(l.received(QUEUE, at(2), sent.handed(1)), None);
        },
        &["invented"],
    ),
    (
        "a delete in doubt may have happened",
        |l| {
            let sent = send(l, 1, 0, DONE);
            let held = l.received(QUEUE, at(2), sent.handed(1)).unwrap();
            l.deleted(&held, at(3), Answer::InDoubt);
        },
        &[],
    ),
    (
        "a delete in doubt that happened is refused when repeated",
        |l| {
            let sent = send(l, 1, 0, DONE);
            let held = l.received(QUEUE, at(2), sent.handed(1)).unwrap();
            l.deleted(&held, at(3), Answer::InDoubt);
            l.deleted(&held, at(4), Answer::Refused);
        },
        &[],
    ),
    (
        "a delete in doubt that did not happen: the message must come back for good",
        |l| {
            let sent = send(l, 1, 0, DONE);
            let held = l.received(QUEUE, at(2), sent.handed(1)).unwrap();
            l.deleted(&held, at(3), Answer::InDoubt);
            l.received(QUEUE, at(20), sent.handed(2));
        },
        &["lost"],
    ),
    (
        "a body that nobody sent",
        |l| {
            let body = "hello".into();
            l.received(QUEUE, at(2), Handed { body, id: "1".into(), handle: "h".into(), receive_count: 1 });
        },
        &["invented"],
    ),
    (
        "a number that was not used yet",
        |l| {
            let body = Bodies::new(9).body(77, 300);
            l.received(QUEUE, at(2), Handed { body, id: "1".into(), handle: "h".into(), receive_count: 1 });
        },
        &["invented"],
    ),
    (
        "a message of another run",
        |l| {
            send(l, 1, 0, Answer::InDoubt);
            let body = Bodies::new(8).body(0, 300);
            l.received(QUEUE, at(2), Handed { body, id: "1".into(), handle: "h".into(), receive_count: 1 });
        },
        &["invented"],
    ),
    (
        "a message of another queue",
        |l| {
            let sent = send(l, 1, 0, Answer::InDoubt);
            l.received(OTHER, at(2), sent.handed(1));
        },
        &["invented"],
    ),
    (
        "a corrupt body",
        |l| {
            let mut sent = send(l, 1, 0, Answer::InDoubt);
            sent.body.pop();
            sent.body.push('x');
            l.received(QUEUE, at(2), sent.handed(1));
        },
        &["corrupt"],
    ),
    (
        "a body that is cut",
        |l| {
            let mut sent = send(l, 1, 0, Answer::InDoubt);
            sent.body.pop();
            l.received(QUEUE, at(2), sent.handed(1));
        },
        &["corrupt"],
    ),
    (
        "resurrected: handed out after the delete",
        |l| {
            let sent = send(l, 1, 0, DONE);
            let held = l.received(QUEUE, at(2), sent.handed(1)).unwrap();
            l.deleted(&held, at(3), DONE);
            l.received(QUEUE, at(20), sent.handed(2));
        },
        &["resurrected"],
    ),
    (
        "a stale handle that deletes",
        |l| {
            let sent = send(l, 1, 0, DONE);
            let held = l.received(QUEUE, at(2), sent.handed(1)).unwrap();
            l.received(QUEUE, at(20), sent.handed(2));
            l.deleted(&held, at(21), DONE);
        },
        &["resurrected"],
    ),
    (
        "deleted twice",
        |l| {
            let sent = send(l, 1, 0, DONE);
            let held = l.received(QUEUE, at(2), sent.handed(1)).unwrap();
            l.deleted(&held, at(3), DONE);
            l.deleted(&held, at(4), DONE);
        },
        &["deleted twice"],
    ),
    (
        "a second lease while the first runs",
        |l| {
            let sent = send(l, 1, 0, Answer::InDoubt);
            l.received(QUEUE, at(2), sent.handed(1));
            let held = l.received(QUEUE, at(2 + VISIBILITY_S - 1), sent.handed(2)).unwrap();
            l.deleted(&held, at(12), DONE);
        },
        &["double lease"],
    ),
    (
        "a second lease after the first",
        |l| {
            let sent = send(l, 1, 0, Answer::InDoubt);
            l.received(QUEUE, at(2), sent.handed(1));
            let held = l.received(QUEUE, at(2 + VISIBILITY_S), sent.handed(2)).unwrap();
            l.deleted(&held, at(13), DONE);
        },
        &[],
    ),
    (
        "a delay that ends early",
        |l| {
            let sent = send(l, 1, 5, Answer::InDoubt);
            let held = l.received(QUEUE, at(5), sent.handed(1)).unwrap();
            l.deleted(&held, at(6), DONE);
        },
        &["early"],
    ),
    (
        "a delay that ends in time",
        |l| {
            let sent = send(l, 1, 5, Answer::InDoubt);
            let held = l.received(QUEUE, at(6), sent.handed(1)).unwrap();
            l.deleted(&held, at(7), DONE);
        },
        &[],
    ),
    (
        "the handle of a running lease is refused",
        |l| {
            let sent = send(l, 1, 0, Answer::InDoubt);
            let held = l.received(QUEUE, at(2), sent.handed(1)).unwrap();
            l.deleted(&held, at(5), Answer::Refused);
            l.deleted(&held, at(6), Answer::InDoubt);
        },
        &["handle refused"],
    ),
    (
        "the handle of an earlier delivery is refused",
        |l| {
            let sent = send(l, 1, 0, Answer::InDoubt);
            let first = l.received(QUEUE, at(2), sent.handed(1)).unwrap();
            let second = l.received(QUEUE, at(13), sent.handed(2)).unwrap();
            l.deleted(&first, at(14), Answer::Refused);
            l.deleted(&second, at(14), DONE);
        },
        &[],
    ),
    (
        "a receive count that falls",
        |l| {
            let sent = send(l, 1, 0, Answer::InDoubt);
            l.received(QUEUE, at(2), sent.handed(2));
            let held = l.received(QUEUE, at(20), sent.handed(1)).unwrap();
            l.deleted(&held, at(21), DONE);
        },
        &["receive count fell"],
    ),
    (
        "a message with another number",
        |l| {
            let sent = send(l, 1, 0, DONE);
            let handed = Handed { id: "other".into(), ..sent.handed(1) };
            let held = l.received(QUEUE, at(2), handed).unwrap();
            l.deleted(&held, at(3), DONE);
        },
        &["number changed"],
    ),
];

fn life(ledger: &mut Ledger, messages: u64) {
    for second in 0..messages {
        let sent = send(ledger, second, 0, DONE);
        let held = ledger.received(QUEUE, at(second), sent.handed(1)).unwrap();
        ledger.deleted(&held, at(second), DONE);
    }
}

#[test]
fn finds_each_fault_and_nothing_else() {
    for (title, history, findings) in CASES {
        let mut ledger = ledger();
        life(&mut ledger, 1);
        history(&mut ledger);
        ledger.close();
        assert_eq!(kinds(&ledger), *findings, "{title}: {:?}", ledger.findings());
    }
}

#[test]
fn counts_have_the_bounds_that_doubt_leaves() {
    let mut ledger = ledger();
    send(&mut ledger, 1, 0, DONE);
    send(&mut ledger, 1, 0, Answer::InDoubt);
    send(&mut ledger, 1, 0, Answer::Refused);
    send(&mut ledger, 1, 60, DONE);
    let leased = send(&mut ledger, 1, 0, DONE);
    ledger.received(QUEUE, at(2), leased.handed(1));
    let doubtful = send(&mut ledger, 1, 0, DONE);
    let held = ledger.received(QUEUE, at(2), doubtful.handed(1)).unwrap();
    ledger.deleted(&held, at(3), Answer::InDoubt);
    ledger.receive_in_doubt(QUEUE, at(3).end, 4);
    assert_eq!(ledger.expected(QUEUE, at(4)), Expected { total: 3..=5, in_flight: 1..=6, delayed: 1..=1 });
    assert_eq!(ledger.expected(QUEUE, at(30)), Expected { total: 3..=5, in_flight: 0..=0, delayed: 1..=1 });
    assert_eq!(ledger.expected(QUEUE, at(90)), Expected { total: 3..=5, in_flight: 0..=0, delayed: 0..=0 });
    let check = |active, in_flight, delayed, span| {
        ledger.check_counts(QUEUE, span, Counts { active, in_flight, delayed }).map(|finding| finding.kind())
    };
    assert_eq!(check(1, 1, 1, at(4)), None);
    assert_eq!(check(2, 2, 1, at(4)), None);
    assert_eq!(check(0, 1, 1, at(4)), Some("missing"));
    assert_eq!(check(4, 1, 1, at(4)), Some("wrong counts"));
    assert_eq!(check(2, 0, 1, at(4)), Some("wrong counts"));
    assert_eq!(check(2, 1, 0, at(4)), Some("wrong counts"));
    assert_eq!(check(2, 1, 1, at(30)), Some("wrong counts"));
    assert_eq!(ledger.settled_at(QUEUE), at(61).end + CLOCK_TOLERANCE);
    assert_eq!(ledger.settled_at(OTHER), CLOCK_TOLERANCE);
}

#[test]
fn bodies_are_unique_and_made_again() {
    let bodies = Bodies::new(3);
    for number in 0..200 {
        let body = bodies.body(number, 2000);
        assert_eq!(bodies.number(&body), Some(number));
        assert_eq!(body, bodies.body(number, 2000));
        assert!((2000..2010).contains(&body.len()));
    }
}
