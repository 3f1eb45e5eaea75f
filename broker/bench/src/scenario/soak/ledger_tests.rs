use super::*;

const fn s(seconds: u64) -> Time {
    Duration::from_secs(seconds)
}

fn ledger(rules: Rules) -> Ledger {
    Ledger::new(Rules { visibility: s(30), wait: Some(s(10)), ..rules })
}

/// A message that was sent and acknowledged at `at`.
fn sent(ledger: &mut Ledger, at: Time) -> u64 {
    let number = ledger.send(at, Duration::ZERO);
    ledger.acknowledge(number, at);
    number
}

fn check(mut ledger: Ledger, expected: &[Finding]) {
    ledger.close();
    let found: Vec<Finding> =
        Finding::ALL.into_iter().filter(|finding| ledger.findings.count(*finding) > 0).collect();
    assert_eq!(found, expected, "{:?}", ledger.findings);
}

#[test]
fn a_message_that_comes_out_once_is_right() {
    let mut ledger = ledger(Rules::default());
    let number = sent(&mut ledger, s(1));
    assert_eq!(ledger.receive(number, Place::Queue, s(1), s(2)), Some(s(1)));
    ledger.delete(number, s(3), s(3));
    assert_eq!((ledger.outstanding(), ledger.totals.deleted), (0, 1));
    check(ledger, &[]);
}

#[test]
fn what_is_never_seen_again_is_lost_only_when_it_was_acknowledged() {
    let mut ledger = ledger(Rules::default());
    ledger.send(s(1), Duration::ZERO);
    sent(&mut ledger, s(1));
    ledger.close();
    assert_eq!(ledger.findings.count(Finding::Lost), 1);
}

#[test]
fn what_was_not_sent_or_was_deleted_must_not_come_out() {
    let mut ledger = ledger(Rules::default());
    ledger.receive(0, Place::Queue, s(1), s(1));
    let number = sent(&mut ledger, s(1));
    ledger.receive(number, Place::Queue, s(2), s(2));
    ledger.delete(number, s(3), s(3));
    ledger.receive(number, Place::Queue, s(40), s(40));
    check(ledger, &[Finding::Invented, Finding::CameBack]);
}

#[test]
fn leases_hide_and_delays_hold_back() {
    let mut leased = ledger(Rules::default());
    let number = sent(&mut leased, s(1));
    leased.receive(number, Place::Queue, s(2), s(3));
    leased.receive(number, Place::Queue, s(31), s(32));
    leased.delete(number, s(33), s(33));
    check(leased, &[]);

    let mut leased = ledger(Rules::default());
    let number = sent(&mut leased, s(1));
    leased.receive(number, Place::Queue, s(2), s(3));
    leased.receive(number, Place::Queue, s(30), s(31));
    leased.delete(number, s(33), s(33));
    check(leased, &[Finding::TwoLeases]);

    let mut delayed = ledger(Rules::default());
    let number = delayed.send(s(1), s(5));
    delayed.acknowledge(number, s(2));
    delayed.receive(number, Place::Queue, s(5), Duration::from_millis(5_990));
    delayed.delete(number, s(6), s(6));
    check(delayed, &[Finding::Early]);

    let mut slow = ledger(Rules::default());
    let number = slow.send(s(1), s(5));
    slow.acknowledge(number, s(2));
    assert_eq!(slow.receive(number, Place::Queue, s(16), s(17)), Some(s(11)));
    slow.delete(number, s(17), s(17));
    check(slow, &[Finding::Late]);
}

#[test]
fn expired_messages_stay_away() {
    let rules = Rules { retention: Some(s(60)), ..Rules::default() };
    let mut expiring = ledger(Rules { wait: None, ..rules });
    expiring.rules.wait = None;
    let number = sent(&mut expiring, s(1));
    expiring.receive(number, Place::Queue, s(60), s(60));
    expiring.expire(s(61));
    assert_eq!(expiring.outstanding(), 1);
    expiring.expire(s(63));
    assert_eq!((expiring.outstanding(), expiring.totals.expired), (0, 1));
    check(expiring, &[]);

    let mut stays = ledger(rules);
    stays.rules.wait = None;
    let number = sent(&mut stays, s(1));
    stays.receive(number, Place::Queue, s(62), s(62));
    stays.expire(s(63));
    check(stays, &[Finding::CameBack]);
}

#[test]
fn dead_letters_by_count_come_after_exactly_so_many_receives() {
    let run = |receives: u32| {
        let mut ledger = ledger(Rules { dead_letters: Some(DeadLetters::ByCount(2)), ..Rules::default() });
        ledger.rules.visibility = s(1);
        let number = sent(&mut ledger, s(1));
        for i in 1..=receives {
            ledger.receive(number, Place::Queue, s(u64::from(i) * 2), s(u64::from(i) * 2));
        }
        let end = s(u64::from(receives) * 2 + 2);
        ledger.receive(number, Place::DeadLetterQueue, end, end);
        assert_eq!(ledger.totals.dead_lettered, 1);
        ledger.delete(number, end, end);
        ledger
    };
    check(run(1), &[Finding::Early]);
    check(run(2), &[]);
    check(run(3), &[Finding::Late]);
}

#[test]
fn dead_letters_by_age_come_at_their_age() {
    let run = |at| {
        let mut ledger = ledger(Rules { dead_letters: Some(DeadLetters::ByAge(s(300))), ..Rules::default() });
        let number = sent(&mut ledger, s(1));
        ledger.receive(number, Place::DeadLetterQueue, at, at);
        ledger.delete(number, at, at);
        ledger
    };
    check(run(s(300)), &[Finding::Early]);
    check(run(s(302)), &[]);
    check(run(s(320)), &[Finding::Late]);
}

#[test]
fn a_rewind_brings_back_what_it_reaches_and_nothing_else() {
    let mut ledger = ledger(Rules { rewind: Some(s(60)), ..Rules::default() });
    ledger.rules.wait = None;
    let numbers: Vec<u64> = [10, 20, 30].into_iter().map(|at| sent(&mut ledger, s(at))).collect();
    for number in &numbers {
        ledger.receive(*number, Place::Queue, s(31), s(31));
        ledger.delete(*number, s(32), s(32));
    }
    ledger.begin_rewind(s(20), s(40));
    // Sent in the second where the rewind begins: it may come back.
    ledger.receive(numbers[1], Place::Queue, s(40), s(40));
    ledger.delete(numbers[1], s(41), s(41));
    ledger.rewind(s(20), s(40), s(42));
    assert_eq!((ledger.outstanding(), ledger.totals.rewound), (1, 2));
    ledger.receive(numbers[2], Place::Queue, s(43), s(43));
    ledger.delete(numbers[2], s(44), s(44));
    assert_eq!(ledger.findings.total(), 0, "{:?}", ledger.findings);
    // Out of the rewind's reach, and a second time out of the same rewind.
    ledger.receive(numbers[0], Place::Queue, s(45), s(45));
    ledger.receive(numbers[2], Place::Queue, s(80), s(80));
    assert_eq!(ledger.findings.count(Finding::CameBack), 2);
}

#[test]
fn a_delete_during_a_rewind_may_be_undone_by_it() {
    let mut ledger = ledger(Rules { rewind: Some(s(60)), ..Rules::default() });
    let (during, after) = (sent(&mut ledger, s(10)), sent(&mut ledger, s(10)));
    for number in [during, after] {
        ledger.receive(number, Place::Queue, s(11), s(11));
    }
    ledger.begin_rewind(s(5), s(20));
    ledger.delete(during, s(19), s(21));
    ledger.rewind(s(5), s(20), s(22));
    ledger.delete(after, s(23), s(23));
    ledger.receive(during, Place::Queue, s(24), s(24));
    ledger.delete(during, s(25), s(25));
    assert_eq!((ledger.findings.total(), ledger.outstanding()), (0, 0));
    ledger.receive(after, Place::Queue, s(60), s(60));
    check(ledger, &[Finding::CameBack]);
}

#[test]
fn a_rewind_that_brings_nothing_back_is_a_loss() {
    let mut ledger = ledger(Rules { rewind: Some(s(60)), ..Rules::default() });
    let number = sent(&mut ledger, s(10));
    ledger.receive(number, Place::Queue, s(11), s(11));
    ledger.delete(number, s(12), s(12));
    ledger.begin_rewind(s(5), s(20));
    ledger.rewind(s(5), s(20), s(21));
    check(ledger, &[Finding::Lost]);
}

#[test]
fn cleared_messages_stay_away() {
    let mut ledger = ledger(Rules::default());
    let (gone, during) = (sent(&mut ledger, s(1)), ledger.send(s(10), Duration::ZERO));
    assert!(!ledger.may_be_cleared(gone));
    // A delete may be refused before the answer to the clear is here.
    ledger.begin_clear();
    assert!(ledger.may_be_cleared(gone));
    ledger.acknowledge(during, s(11));
    ledger.clear(s(10), s(12));
    let after = sent(&mut ledger, s(12));
    assert_eq!([gone, during, after].map(|number| ledger.may_be_cleared(number)), [true, true, false]);
    ledger.delete(after, s(12), s(12));
    // A receive that began before the answer may bring what the clear had not reached yet.
    ledger.receive(gone, Place::Queue, s(11), s(13));
    assert_eq!(ledger.findings.total(), 0);
    ledger.receive(gone, Place::Queue, s(13), s(14));
    check(ledger, &[Finding::CameBack]);
}
