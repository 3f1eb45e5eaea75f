//! Cases that chance meets too rarely, in the same world: the model and both replicas check every step.

use cmq_engine::attributes::{
    DeadLetterPolicy, DeadLetterRule, DeduplicationScope, QueueAttributes, QueueId, QueueKind,
};
use cmq_engine::command::{Command, NewMessage, StaleHandle};
use cmq_engine::limits::{CHUNK_MESSAGES, STEPS_MAX};
use cmq_engine::message::DeliveryId;
use cmq_engine::outcome::{Deleted, Delivery, Outcome, Refusal};
use cmq_engine::shard::Counts;

use crate::workload::{Op, dead_letter_slot, is_fifo};
use crate::world::World;

const PLAIN: usize = 0;
const SOURCE: usize = 1;
const FIFO: usize = 3;

fn attributes(slot: usize) -> QueueAttributes {
    let fifo = QueueKind::Fifo { deduplication: DeduplicationScope::Queue };
    let kind = if is_fifo(slot) { fifo } else { QueueKind::Standard };
    QueueAttributes { kind, retention_seconds: 60, max_in_flight: 100_000, ..QueueAttributes::default() }
}

impl World {
    fn put(&mut self, slot: usize, change: impl FnOnce(&mut QueueAttributes)) {
        let mut attributes = attributes(slot);
        change(&mut attributes);
        self.run(&Op::Put { slot, attributes });
    }

    /// A queue and its dead-letter queue.
    fn put_with_dead_letters(&mut self, slot: usize, rule: DeadLetterRule) {
        self.put(dead_letter_slot(slot).expect("a place with one"), |_| ());
        self.put(slot, |attributes| {
            attributes.dead_letter = Some(DeadLetterPolicy { queue: QueueId(0), rule });
        });
    }

    fn send(&mut self, slot: usize, messages: Vec<NewMessage>) {
        self.run(&Op::Send { slot, messages });
    }

    fn receive(&mut self, slot: usize, max: u16) -> (Vec<Delivery>, bool) {
        let receive = Command::Receive { queue: self.queue(slot), max, visibility_ms: None };
        match self.apply(receive).0 {
            Outcome::Received { deliveries, is_partial } => (deliveries, is_partial),
            other => panic!("a receive answered {other:?}"),
        }
    }

    fn delete(&mut self, deliveries: &[Delivery], stale: StaleHandle) -> Vec<Deleted> {
        let deliveries: Vec<DeliveryId> = deliveries.iter().map(|delivery| delivery.id).collect();
        match self.apply(Command::Delete { deliveries, stale }).0 {
            Outcome::Deleted(verdicts) => verdicts,
            other => panic!("a delete answered {other:?}"),
        }
    }

    pub(crate) fn put_plain(&mut self, slot: usize) {
        self.put(slot, |_| ());
    }

    pub(crate) fn send_plain(&mut self, slot: usize, count: u64) {
        self.send(slot, plain(count));
    }

    /// Receives up to `max` messages; answers their sequences.
    pub(crate) fn take(&mut self, slot: usize, max: u16) -> Vec<u64> {
        self.receive(slot, max).0.iter().map(|delivery| delivery.id.sequence).collect()
    }

    /// As `take`, and deletes them.
    pub(crate) fn take_and_delete(&mut self, slot: usize, max: u16) -> Vec<u64> {
        // A hole over whole chunks ends the search for once.
        let mut taken = self.receive(slot, max);
        while taken.0.is_empty() && taken.1 {
            taken = self.receive(slot, max);
        }
        self.delete(&taken.0, StaleHandle::Refuse);
        taken.0.iter().map(|delivery| delivery.id.sequence).collect()
    }

    pub(crate) fn checkpoint(&mut self) {
        self.run(&Op::Checkpoint);
    }

    pub(crate) fn crash(&mut self) {
        self.run(&Op::Crash);
    }

    /// Rows of records.
    pub(crate) fn records(&self) -> usize {
        let rows = self.replica.shard.export();
        rows.iter().filter(|(key, _)| matches!(key, cmq_engine::row::RowKey::Records(..))).count()
    }

    fn counts(&self, slot: usize) -> Counts {
        self.replica.shard.counts(self.queue(slot)).expect("a queue that is there")
    }

    fn checkpoint_and_crash(&mut self) {
        self.run(&Op::Checkpoint);
        self.run(&Op::Crash);
    }

    fn finish(mut self) {
        self.quiesce();
        self.outlive_everything();
        self.end();
    }
}

fn plain(count: u64) -> Vec<NewMessage> {
    (0..count)
        .map(|at| NewMessage { bytes: at as u32, delay_ms: None, group: None, deduplication: None })
        .collect()
}

fn in_group(group: &str, count: u64) -> Vec<NewMessage> {
    plain(count).into_iter().map(|message| NewMessage { group: Some(group.into()), ..message }).collect()
}

fn delayed(mut messages: Vec<NewMessage>, delay_ms: u64) -> Vec<NewMessage> {
    messages.iter_mut().for_each(|message| message.delay_ms = Some(delay_ms));
    messages
}

#[test]
fn chunks_close_and_go_at_every_boundary() {
    for slot in [PLAIN, FIFO] {
        for before in [0, 1, 2, CHUNK_MESSAGES - 1, CHUNK_MESSAGES, CHUNK_MESSAGES + 1] {
            for count in [CHUNK_MESSAGES - 1, CHUNK_MESSAGES, CHUNK_MESSAGES + 1, 3 * CHUNK_MESSAGES] {
                let mut world = World::new();
                world.put(slot, |_| ());
                if before > 0 {
                    world.send(slot, plain(before));
                    let (first, _) = world.receive(slot, before as u16);
                    assert_eq!(first.len() as u64, before);
                    world.delete(&first, StaleHandle::Refuse);
                }
                world.send(slot, plain(count));
                world.checkpoint_and_crash();
                let mut sequences = Vec::new();
                while sequences.len() < count as usize {
                    let (found, is_partial) = world.receive(slot, 100);
                    assert!(!is_partial && !found.is_empty());
                    world.delete(&found, StaleHandle::Refuse);
                    sequences.extend(found.iter().map(|delivery| delivery.id.sequence));
                }
                assert_eq!(sequences, Vec::from_iter(before..before + count));
                assert_eq!(world.counts(slot), Counts::default());
                world.checkpoint_and_crash();
                world.finish();
            }
        }
    }
}

#[test]
fn expiry_gets_on_by_bounded_steps() {
    let steps = STEPS_MAX as u64;
    for count in [steps - 1, steps, steps + 1, 2 * steps, 5_000] {
        for is_delayed in [false, true] {
            let mut world = World::new();
            world.put(PLAIN, |_| ());
            for from in (0..count).step_by(1_000) {
                let batch = plain(1_000.min(count - from));
                world.send(PLAIN, if is_delayed { delayed(batch, 70_000) } else { batch });
            }
            world.now_ms += 70_000;
            let mut left = count;
            while left > 0 {
                world.run(&Op::Expire);
                let stored = world.counts(PLAIN).active + world.counts(PLAIN).delayed;
                assert!(stored < left && left - stored <= steps, "{left} to {stored}");
                left = stored;
            }
            world.finish();
        }
    }
}

#[test]
fn a_receive_past_expired_messages_gets_on() {
    let mut world = World::new();
    world.put(PLAIN, |_| ());
    for _ in 0..4 {
        world.send(PLAIN, plain(1_000));
    }
    world.now_ms += 59_999;
    world.send(PLAIN, plain(3));
    world.now_ms += 1;
    // No expiry has run: the receive drops what it meets, as far as its pages and steps go.
    let mut receives = 0;
    let found = loop {
        receives += 1;
        let (found, is_partial) = world.receive(PLAIN, 10);
        if !is_partial {
            break found;
        }
        assert!(receives < 20);
    };
    assert_eq!((found.len(), found[0].sent_ms + 1), (3, world.now_ms));
    assert!(receives >= 4_000 / STEPS_MAX, "{receives}");
    world.finish();
}

#[test]
fn a_fifo_group_waits_for_its_delayed_messages_across_chunks() {
    let mut world = World::new();
    world.put(FIFO, |attributes| attributes.retention_seconds = 1_000);
    // One that is untouched, so that the ones behind it lie in chunks, and one behind them.
    world.send(FIFO, plain(1));
    for _ in 0..3 {
        world.send(FIFO, delayed(plain(700), 5_000));
    }
    world.send(FIFO, plain(1));
    let (first, _) = world.receive(FIFO, 10);
    assert_eq!(first.len(), 1);
    world.delete(&first, StaleHandle::Refuse);
    world.checkpoint_and_crash();
    assert_eq!(world.receive(FIFO, 10), (Vec::new(), false));
    world.now_ms += 5_000;
    world.quiesce();
    world.checkpoint_and_crash();
    let mut sequences = Vec::new();
    while sequences.len() < 2_101 {
        let (found, _) = world.receive(FIFO, 50);
        sequences.extend(found.iter().map(|delivery| delivery.id.sequence));
        world.delete(&found, StaleHandle::Refuse);
    }
    assert_eq!(sequences, Vec::from_iter(1..=2_101));
    world.finish();
}

#[test]
fn a_fifo_group_keeps_its_order_when_a_delay_ends_behind_an_untouched_message() {
    let mut world = World::new();
    world.put(FIFO, |_| ());
    world.send(FIFO, plain(1));
    world.send(FIFO, delayed(plain(1), 1_000));
    world.now_ms += 2_000;
    let found = world.drain(FIFO, 10);
    assert_eq!(found.iter().map(|delivery| delivery.id.sequence).collect::<Vec<_>>(), [0, 1]);
    world.finish();
}

#[test]
fn messages_that_end_behind_untouched_ones_are_forgotten_on_disk_too() {
    let mut world = World::new();
    world.put(FIFO, |_| ());
    // So many groups that one expiry does not reach the untouched messages of all.
    for group in 0..40 {
        let group = format!("group {group}");
        world.send(FIFO, in_group(&group, 1));
        world.send(FIFO, delayed(in_group(&group, 2), 100_000));
    }
    world.now_ms += 100_000;
    for _ in 0..6 {
        world.run(&Op::Expire);
        world.checkpoint_and_crash();
    }
    assert_eq!(world.counts(FIFO), Counts::default());
    world.finish();
}

#[test]
fn clean_up_frees_what_fifo_groups_hold_exactly_once() {
    for waits_ms in [0, 2_000, 100_000] {
        let mut world = World::new();
        world.put_with_dead_letters(FIFO, DeadLetterRule::MaxTimeToLiveSeconds(50));
        for group in 0..20 {
            let group = format!("group {group}");
            world.send(FIFO, in_group(&group, 1));
            world.send(FIFO, delayed(in_group(&group, 700), 1_000));
            world.send(FIFO, delayed(in_group(&group, 2), 55_000));
        }
        world.now_ms += waits_ms;
        world.run(&Op::Expire);
        world.receive(FIFO, 10);
        world.run(&Op::Remove { slot: FIFO });
        while world.replica.shard.has_remains() {
            world.run(&Op::CleanUp);
            world.checkpoint_and_crash();
        }
        world.finish();
    }
}

#[test]
fn groups_of_a_standard_queue_take_turns() {
    let mut world = World::new();
    world.put(PLAIN, |_| ());
    world.send(PLAIN, in_group("a", 6));
    world.send(PLAIN, in_group("b", 2));
    world.send(PLAIN, plain(3));
    let lanes = |found: Vec<Delivery>| found.iter().map(|delivery| delivery.id.lane.0).collect::<Vec<_>>();
    assert_eq!(lanes(world.receive(PLAIN, 2).0), [2, 3]);
    assert_eq!(lanes(world.receive(PLAIN, 5).0), [0, 2, 3, 0, 2]);
    assert_eq!(lanes(world.receive(PLAIN, 10).0), [0, 2, 2, 2]);
    world.finish();
}

#[test]
fn groups_take_turns_when_messages_are_deleted_at_once() {
    for slot in [PLAIN, FIFO] {
        let mut world = World::new();
        world.put(slot, |_| ());
        world.send(slot, in_group("a", 5));
        world.send(slot, in_group("b", 3));
        let mut lanes = Vec::new();
        for turn in 0..10 {
            if turn == 4 {
                world.send(slot, in_group("c", 2));
            }
            let (found, _) = world.receive(slot, 1);
            world.delete(&found, StaleHandle::Refuse);
            lanes.push(found[0].id.lane.0);
        }
        assert_eq!(lanes, [2, 3, 2, 3, 2, 3, 4, 2, 4, 2]);
        world.finish();
    }
}

#[test]
fn a_message_moves_at_the_receive_that_would_be_once_too_often() {
    for slot in [SOURCE, FIFO] {
        let target = dead_letter_slot(slot).expect("a place with one");
        let mut world = World::new();
        world.put_with_dead_letters(slot, DeadLetterRule::MaxReceiveCount(3));
        world.send(slot, in_group("a", 2));
        for receive_count in 1..=3 {
            let (found, _) = world.receive(slot, 10);
            assert_eq!(
                found.iter().map(|delivery| delivery.receive_count).collect::<Vec<_>>(),
                [receive_count; 2]
            );
            world.now_ms += 10_000;
            assert_eq!(world.receive(slot, 10), (Vec::new(), false));
            world.now_ms += 20_000;
            assert_eq!(world.counts(target).active, 0);
            if receive_count == 1 {
                // Retention counts from the first send: a longer one, for 90 s pass here.
                let queue = Op::Put {
                    slot: target,
                    attributes: QueueAttributes { retention_seconds: 600, ..attributes(target) },
                };
                world.run(&queue);
                world.put(slot, |attributes| {
                    attributes.retention_seconds = 600;
                    let rule = DeadLetterRule::MaxReceiveCount(3);
                    attributes.dead_letter = Some(DeadLetterPolicy { queue: QueueId(0), rule });
                });
            }
        }
        assert_eq!(world.receive(slot, 10), (Vec::new(), false));
        assert_eq!((world.counts(slot), world.counts(target).active), (Counts::default(), 2));
        let (found, _) = world.receive(target, 10);
        assert_eq!(found.iter().map(|delivery| delivery.id.sequence).collect::<Vec<_>>(), [0, 1]);
        assert_eq!((found[0].receive_count, found[0].sent_ms), (1, world.now_ms - 90_000));
        world.finish();
    }
}

#[test]
fn leases_that_ended_make_room_in_flight() {
    let mut world = World::new();
    world.put(PLAIN, |attributes| attributes.max_in_flight = 3);
    world.send(PLAIN, plain(10));
    assert_eq!(world.receive(PLAIN, 10).0.len(), 3);
    let full = Command::Receive { queue: world.queue(PLAIN), max: 1, visibility_ms: None };
    assert_eq!(world.apply(full).0, Outcome::Refused(Refusal::TooManyInFlight));
    assert!(world.replica.shard.is_at_flight_limit(world.queue(PLAIN)));
    world.now_ms += 30_000;
    assert_eq!(world.receive(PLAIN, 10).0.len(), 3);
    world.finish();
}

#[test]
fn a_stale_handle_does_what_its_protocol_says() {
    use Deleted::{Done, Stale};
    // Whether the lease has ended, whether the message went out again, and what the older handle does.
    for (stale, ended, again, verdict) in [
        (StaleHandle::Refuse, false, false, Done),
        (StaleHandle::Refuse, true, false, Stale),
        (StaleHandle::Refuse, true, true, Stale),
        (StaleHandle::Delete, false, false, Done),
        (StaleHandle::Delete, true, false, Done),
        (StaleHandle::Delete, true, true, Stale),
    ] {
        for is_noticed in [false, true] {
            let mut world = World::new();
            world.put(PLAIN, |_| ());
            world.send(PLAIN, plain(1));
            let (first, _) = world.receive(PLAIN, 1);
            world.now_ms += if ended { 30_000 } else { 29_999 };
            if is_noticed {
                world.quiesce();
            }
            if again {
                assert_eq!(world.receive(PLAIN, 1).0.len(), 1);
            }
            assert_eq!(world.delete(&first, stale), [verdict]);
            assert_eq!(world.delete(&first, stale), [Stale]);
            world.finish();
        }
    }
}

#[test]
fn a_purge_leaves_nothing_of_before() {
    let mut world = World::new();
    world.put_with_dead_letters(SOURCE, DeadLetterRule::MaxReceiveCount(1));
    let target = dead_letter_slot(SOURCE).expect("a place with one");
    world.send(SOURCE, plain(2 * CHUNK_MESSAGES + 10));
    let (old, _) = world.receive(SOURCE, 16);
    world.run(&Op::Purge { slot: SOURCE });
    assert_eq!(world.counts(SOURCE), Counts::default());
    assert_eq!(world.delete(&old, StaleHandle::Delete), vec![Deleted::Stale; 16]);
    // What moves into a purged queue stays there, and its remains free only what is theirs.
    world.send(SOURCE, plain(3));
    world.receive(SOURCE, 16);
    world.run(&Op::Purge { slot: target });
    world.run(&Op::Wait { ms: 30_000 });
    assert!(world.receive(SOURCE, 16).0.is_empty());
    assert_eq!(world.counts(target).active, 3);
    world.checkpoint_and_crash();
    world.run(&Op::Purge { slot: SOURCE });
    world.run(&Op::Purge { slot: SOURCE });
    assert_eq!(world.drain(target, 16).len(), 3);
    world.checkpoint_and_crash();
    world.finish();
}

#[test]
fn the_oldest_message_is_known_where_dead_letters_came_behind_younger_ones() {
    for slot in [SOURCE, FIFO] {
        for in_between in [1, CHUNK_MESSAGES - 1, CHUNK_MESSAGES, CHUNK_MESSAGES + 100] {
            let mut world = World::new();
            let target = dead_letter_slot(slot).expect("a place with one");
            world.put(target, |attributes| attributes.retention_seconds = 4_000);
            world.put(slot, |attributes| {
                let rule = DeadLetterRule::MaxReceiveCount(1);
                attributes.dead_letter = Some(DeadLetterPolicy { queue: QueueId(0), rule });
                attributes.retention_seconds = 4_000;
            });
            let first_ms = world.now_ms;
            world.send(slot, plain(300));
            world.run(&Op::Wait { ms: 1 });
            world.send(slot, plain(400));
            assert_eq!(world.receive(slot, 700).0.len(), 700);
            world.run(&Op::Wait { ms: 10_000 });
            world.send(target, plain(in_between));
            world.send(target, delayed(plain(20), 50_000));
            world.run(&Op::Wait { ms: 20_000 });
            assert!(world.drain(slot, 16).is_empty());
            world.send(target, plain(CHUNK_MESSAGES));
            world.checkpoint_and_crash();
            // The model compares the oldest at each step; here is said that it is not the one at the head.
            let oldest_ms = |world: &World| {
                world.replica.exact_counts(world.queue(target)).and_then(|counts| counts.oldest_ms)
            };
            assert_eq!(oldest_ms(&world), Some(first_ms));
            let mut found = world.drain(target, 16);
            world.run(&Op::Wait { ms: 20_000 });
            found.extend(world.drain(target, 16));
            world.checkpoint_and_crash();
            // In flight, in the order of their arrival; the youngest are deleted first.
            found.sort_by_key(|delivery| std::cmp::Reverse(delivery.sent_ms));
            for some in found.chunks(100) {
                world.delete(some, StaleHandle::Delete);
            }
            world.run(&Op::Wait { ms: 30_000 });
            while world.counts(target).active > 0 {
                let (some, _) = world.receive(target, 100);
                world.delete(&some, StaleHandle::Refuse);
            }
            world.checkpoint_and_crash();
            world.finish();
        }
    }
}

#[test]
fn the_oldest_message_is_known_when_an_operator_removed_older_ones() {
    for slot in [SOURCE, FIFO] {
        for in_between in [1, CHUNK_MESSAGES - 2, CHUNK_MESSAGES + 100] {
            let mut world = World::new();
            let target = dead_letter_slot(slot).expect("a place with one");
            world.put(target, |attributes| attributes.retention_seconds = 4_000);
            world.put(slot, |attributes| {
                let rule = DeadLetterRule::MaxReceiveCount(1);
                attributes.dead_letter = Some(DeadLetterPolicy { queue: QueueId(0), rule });
            });
            let first_ms = world.now_ms;
            for count in [3, 4, 5] {
                world.send(slot, plain(count));
                world.run(&Op::Wait { ms: 1 });
            }
            assert_eq!(world.receive(slot, 12).0.len(), 12);
            world.run(&Op::Wait { ms: 10_000 });
            world.send(target, plain(in_between));
            world.run(&Op::Wait { ms: 20_000 });
            assert!(world.drain(slot, 16).is_empty());
            world.send(target, plain(2 * CHUNK_MESSAGES));
            // Each is at the same place of the walk, for the one before is gone.
            for removed in 0..12 {
                let age = (removed >= 3) as u64 + (removed >= 7) as u64;
                let counts = world.replica.exact_counts(world.queue(target));
                assert_eq!(counts.and_then(|counts| counts.oldest_ms), Some(first_ms + age));
                world.run(&Op::RemoveOne { slot: target, nth: in_between as usize });
                if removed % 4 == 1 {
                    world.checkpoint_and_crash();
                }
            }
            world.run(&Op::RemoveOne { slot: target, nth: 0 });
            world.finish();
        }
    }
}

/// Sends, receives and deletes so many messages.
fn consume(world: &mut World, slot: usize, count: u64) {
    world.send(slot, plain(count));
    let found = world.drain(slot, 16);
    assert_eq!(found.len() as u64, count);
    assert_eq!(world.delete(&found, StaleHandle::Refuse), vec![Deleted::Done; found.len()]);
}

#[test]
fn a_rewind_brings_closed_chunks_back_in_order() {
    let mut world = World::new();
    world.put(PLAIN, |attributes| attributes.rewind_seconds = 60);
    let count = 2 * CHUNK_MESSAGES + 100;
    consume(&mut world, PLAIN, count);
    world.checkpoint_and_crash();
    for _ in 0..2 {
        assert_eq!((world.counts(PLAIN).active, world.counts(PLAIN).rewindable), (0, count));
        world.run(&Op::Rewind { slot: PLAIN, back_ms: 30_000 });
        assert_eq!((world.counts(PLAIN).active, world.counts(PLAIN).rewindable), (count, 0));
        world.checkpoint_and_crash();
        // What is sent later waits behind what came back.
        world.send(PLAIN, plain(1));
        let found = world.drain(PLAIN, 16);
        assert!(found.iter().map(|delivery| delivery.body).is_sorted());
        assert_eq!(found.len() as u64, count + 1);
        let (last, back) = found.split_last().unwrap();
        world.delete(back, StaleHandle::Refuse);
        world.run(&Op::Wait { ms: 1_000 });
        assert_eq!(world.delete(&[*last], StaleHandle::Refuse), [Deleted::Done]);
        world.run(&Op::Rewind { slot: PLAIN, back_ms: 0 });
        world.quiesce();
        assert_eq!(world.counts(PLAIN), Counts { rewindable: count + 1, ..Counts::default() });
        world.run(&Op::Purge { slot: PLAIN });
        consume(&mut world, PLAIN, count);
    }
    world.finish();
}

#[test]
fn a_rewind_puts_back_what_was_sent_before_its_start() {
    let mut world = World::new();
    world.put(PLAIN, |attributes| attributes.rewind_seconds = 60);
    consume(&mut world, PLAIN, 10);
    world.run(&Op::Wait { ms: 10_000 });
    consume(&mut world, PLAIN, 7);
    world.run(&Op::Rewind { slot: PLAIN, back_ms: 5_000 });
    world.quiesce();
    assert_eq!((world.counts(PLAIN).active, world.counts(PLAIN).rewindable), (7, 10));
    // An earlier start finds the rest, and not again what is there already.
    world.run(&Op::Rewind { slot: PLAIN, back_ms: 20_000 });
    assert_eq!((world.counts(PLAIN).active, world.counts(PLAIN).rewindable), (17, 0));
    world.checkpoint_and_crash();
    assert_eq!(world.drain(PLAIN, 16).len(), 17);
    world.finish();
}

#[test]
fn what_is_kept_ends_with_its_time_or_with_rewinding() {
    let mut world = World::new();
    world.put(PLAIN, |attributes| attributes.rewind_seconds = 20);
    consume(&mut world, PLAIN, 10);
    world.run(&Op::Wait { ms: 19_999 });
    world.quiesce();
    assert_eq!(world.counts(PLAIN).rewindable, 10);
    world.run(&Op::Wait { ms: 1 });
    world.quiesce();
    assert_eq!(world.counts(PLAIN).rewindable, 0);
    // Off and on again: what was kept is gone, at once.
    consume(&mut world, PLAIN, 10);
    world.put(PLAIN, |_| ());
    assert_eq!(world.counts(PLAIN).rewindable, 0);
    world.put(PLAIN, |attributes| attributes.rewind_seconds = 60);
    consume(&mut world, PLAIN, 3);
    world.run(&Op::Rewind { slot: PLAIN, back_ms: 50_000 });
    world.quiesce();
    assert_eq!(world.drain(PLAIN, 16).len(), 3);
    world.finish();
}

#[test]
fn what_came_back_has_its_time_to_the_dead_letter_queue_again() {
    let mut world = World::new();
    let target = dead_letter_slot(SOURCE).expect("a place with one");
    world.put(target, |attributes| attributes.retention_seconds = 4_000);
    world.put(SOURCE, |attributes| {
        let rule = DeadLetterRule::MaxTimeToLiveSeconds(10);
        attributes.dead_letter = Some(DeadLetterPolicy { queue: QueueId(0), rule });
        (attributes.rewind_seconds, attributes.retention_seconds) = (60, 4_000);
    });
    consume(&mut world, SOURCE, 5);
    world.run(&Op::Wait { ms: 30_000 });
    world.run(&Op::Rewind { slot: SOURCE, back_ms: 50_000 });
    world.run(&Op::Wait { ms: 9_999 });
    world.quiesce();
    assert_eq!((world.counts(SOURCE).active, world.counts(target).active), (5, 0));
    world.run(&Op::Wait { ms: 1 });
    world.quiesce();
    assert_eq!((world.counts(SOURCE).active, world.counts(target).active), (0, 5));
    world.finish();
}

#[test]
fn attributes_hold_at_once_for_messages_in_every_state() {
    let mut world = World::new();
    let long = |attributes: &mut QueueAttributes| attributes.retention_seconds = 4_000;
    world.put(SOURCE, long);
    world.put(dead_letter_slot(SOURCE).expect("a place with one"), long);
    // Untouched in a closed and in the open chunk, returned, leased and delayed.
    world.send(SOURCE, plain(CHUNK_MESSAGES + 20));
    let (leased, _) = world.receive(SOURCE, 16);
    world.run(&Op::Receive { slot: SOURCE, max: 5, visibility_ms: Some(0) });
    let mut delayed = plain(4);
    delayed.iter_mut().for_each(|message| message.delay_ms = Some(100_000));
    world.send(SOURCE, delayed);
    world.run(&Op::Wait { ms: 70_000 });
    world.quiesce();
    assert_eq!(world.counts(SOURCE).delayed, 4);
    // Lower retention: all go but the delayed ones, which go when they would come out.
    world.put(SOURCE, |_| ());
    world.quiesce();
    assert_eq!(world.counts(SOURCE), Counts { delayed: 4, oldest_ms: Some(1_000_000), ..Counts::default() });
    assert_eq!(world.delete(&leased[..1], StaleHandle::Delete), [Deleted::Stale]);
    world.put(SOURCE, long);
    world.run(&Op::Wait { ms: 40_000 });
    world.quiesce();
    assert_eq!(world.counts(SOURCE).active, 4);
    // A rule by receives counts those of before, a limit of messages in flight what is out.
    world.run(&Op::Receive { slot: SOURCE, max: 2, visibility_ms: Some(0) });
    let (held, _) = world.receive(SOURCE, 1);
    world.put(SOURCE, |attributes| {
        long(attributes);
        attributes.max_in_flight = 1;
        let rule = DeadLetterRule::MaxReceiveCount(1);
        attributes.dead_letter = Some(DeadLetterPolicy { queue: QueueId(0), rule });
    });
    let receive = Command::Receive { queue: world.queue(SOURCE), max: 1, visibility_ms: None };
    assert_eq!(world.apply(receive).0, Outcome::Refused(Refusal::TooManyInFlight));
    world.delete(&held, StaleHandle::Refuse);
    let (rest, _) = world.receive(SOURCE, 16);
    assert_eq!(rest[0].receive_count, 1);
    world.finish();
}
