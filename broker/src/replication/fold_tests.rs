//! Whose turn it is, and what is refused.

use cmq_engine::command::{NewMessage, StaleHandle};
use cmq_engine::message::{DeliveryId, LaneId, QueueEpoch};

use super::*;

const NOISY: QueueId = QueueId(1);
const QUIET: QueueId = QueueId(2);

fn client(command: Command, bodies: Vec<Bytes>, message_bytes: usize) -> Operation<u64> {
    Operation::new(Asker::Client(0), command, bodies, message_bytes)
}

fn send(queue: QueueId, bytes: usize) -> Operation<u64> {
    let message = NewMessage { bytes: bytes as u32, delay_ms: None, group: None, deduplication: None };
    client(Command::Send { queue, messages: vec![message] }, vec![vec![0; bytes].into()], 0)
}

fn receive(queue: QueueId, max: u16, message_bytes: usize) -> Operation<u64> {
    client(Command::Receive { queue, max, visibility_ms: None }, Vec::new(), message_bytes)
}

fn delete(queue: QueueId) -> Operation<u64> {
    let queue = QueueEpoch { queue, epoch: 0 };
    let delivery = DeliveryId { queue, lane: LaneId(0), sequence: 0, generation: 1 };
    client(Command::Delete { deliveries: vec![delivery], stale: StaleHandle::Refuse }, Vec::new(), 0)
}

/// The entries of one turn, each as the queues of its operations.
fn turn(fold: &mut Fold<u64>) -> Vec<Vec<QueueId>> {
    let mut allowance = Allowance::default();
    let mut entries = Vec::new();
    while fold.has_more(&allowance) {
        let entry = fold.take(&mut allowance);
        assert!(!entry.is_empty(), "a turn that has more takes something");
        entries.push(entry.iter().map(Operation::queue).collect());
    }
    entries
}

fn count(entries: &[Vec<QueueId>], queue: QueueId) -> usize {
    entries.iter().flatten().filter(|of| **of == queue).count()
}

#[test]
fn a_quiet_queue_is_in_the_first_entry_behind_any_backlog() {
    for noise in [|| send(NOISY, 4_000), || receive(NOISY, 16, 1_000), || delete(NOISY)] {
        for quiet in [|| send(QUIET, 1_000), || receive(QUIET, 1, 1_000), || delete(QUIET)] {
            let mut fold = Fold::default();
            (0..4_000).for_each(|_| fold.push(noise()));
            fold.push(quiet());
            let mut allowance = Allowance::default();
            let first = fold.take(&mut allowance);
            assert!(first.iter().any(|operation| operation.queue() == QUIET), "{:?}", quiet().command);
        }
    }
}

#[test]
fn a_turn_takes_a_bounded_share_and_the_next_ones_the_rest() {
    for (noise, bytes) in [
        (send as fn(QueueId, usize) -> Operation<u64>, 60_000),
        (|queue, bytes| receive(queue, 16, bytes / 16), 60_000),
        (|queue, _| delete(queue), 64),
    ] {
        let mut fold = Fold::default();
        let all = 3 * TURN_BYTES_MAX / bytes;
        (0..all).for_each(|_| fold.push(noise(NOISY, bytes)));
        let mut turns = 0;
        while !fold.is_empty() {
            let taken = count(&turn(&mut fold), NOISY);
            assert!(taken * bytes <= TURN_BYTES_MAX + 2 * bytes, "{taken} operations of {bytes} bytes");
            turns += 1;
        }
        assert!(turns >= 3, "{turns} turns");
        assert_eq!(fold.total, Share::default());
        assert!(fold.shares.is_empty());
    }
}

#[test]
fn queues_share_a_turn_by_bytes() {
    let mut fold = Fold::default();
    (0..150).for_each(|_| fold.push(send(NOISY, 64_000)));
    (0..4_000).for_each(|_| fold.push(send(QUIET, 1_000)));
    let entries = turn(&mut fold);
    let (large, small) = (count(&entries, NOISY) * 64_064, count(&entries, QUIET) * 1_064);
    assert!(large.abs_diff(small) <= 4 * 64_064, "{large} and {small} bytes");
}

#[test]
fn what_needs_an_entry_of_its_own_is_not_held_up_by_others() {
    let mut fold = Fold::default();
    for _ in 0..100 {
        (0..10).for_each(|_| fold.push(receive(QUIET, 1, 1_000)));
        fold.push(send(QUIET, 1_000));
        fold.push(send(NOISY, ENTRY_BYTES_MAX));
        assert_eq!(count(&turn(&mut fold), NOISY), 1);
    }
}

#[test]
fn a_queue_keeps_its_order() {
    let mut fold = Fold::default();
    for at in 0..2_000 {
        let command = Command::Receive { queue: NOISY, max: 1, visibility_ms: Some(at) };
        fold.push(client(command, Vec::new(), 10));
        fold.push(receive(QUIET, 1, 10));
    }
    let mut allowance = Allowance::default();
    let mut next = 0;
    while fold.has_more(&allowance) {
        for operation in fold.take(&mut allowance) {
            if let Command::Receive { visibility_ms: Some(at), .. } = operation.command {
                assert_eq!(at, next);
                next += 1;
            }
        }
    }
    assert_eq!(next, 2_000);
}

#[test]
fn what_waits_is_bounded_for_each_kind_and_one_queue_leaves_room_for_others() {
    for noise in [|| send(NOISY, 10), || receive(NOISY, 16, 10), || delete(NOISY)] {
        let mut fold = Fold::default();
        while fold.has_room(NOISY, 10) {
            fold.push(noise());
        }
        assert_eq!(fold.total.requests, WAITING_OPERATIONS_MAX / 2);
        while fold.has_room(QUIET, 10) {
            fold.push(send(QUIET, 10));
        }
        assert_eq!(fold.total.requests, WAITING_OPERATIONS_MAX * 3 / 4);
        turn(&mut fold);
        assert!(fold.has_room(NOISY, 10) && fold.has_room(QUIET, 10), "room comes back");
    }
    let mut fold = Fold::default();
    while fold.has_room(NOISY, 1 << 20) {
        fold.push(send(NOISY, 1 << 20));
    }
    assert_eq!(fold.total.requests, 8);
    assert!(fold.has_room(QUIET, 1 << 20) && !fold.has_room(QUIET, WAITING_BYTES_MAX));
    assert_eq!(fold.drain().0.len(), 8);
    assert_eq!(fold.total, Share::default());
}

#[test]
fn changes_of_the_catalogue_are_bounded() {
    let mut fold = Fold::default();
    let delete = || CatalogueCommand::Delete { name: "orders".into(), owner: None };
    for token in 0..WAITING_CHANGES_MAX as u64 {
        assert_eq!(fold.push_catalogue(Some(token), delete()), Ok(()));
    }
    assert_eq!(fold.push_catalogue(Some(9), delete()), Err(Some(9)));
    assert_eq!(fold.take_catalogue().len(), CHANGES_PER_ENTRY);
    assert_eq!(fold.push_catalogue(Some(9), delete()), Ok(()));
}
