use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bytes::Bytes;

use super::super::budget::MemoryBudget;
use super::super::fjall_store::FjallStore;
use super::super::options::Options;
use super::super::{Batch, Store, Tree, Write};
use super::*;

fn open(dir: &std::path::Path) -> FjallStore {
    FjallStore::open(&Options::new(dir, MemoryBudget::split(64 << 20).unwrap())).unwrap()
}

fn start(store: &FjallStore) -> (Committer, Receiver<CommitEvent>) {
    let (events, receiver) = channel();
    let committer =
        Committer::start(store.clone(), Box::new(move |event| events.send(event).unwrap())).unwrap();
    (committer, receiver)
}

fn batch(number: u64, bytes: usize) -> Batch {
    let key = Bytes::copy_from_slice(&[&[1][..], &number.to_be_bytes()].concat());
    Batch { number, writes: vec![Write::Put(Tree::Log, key, vec![number as u8; bytes].into())] }
}

fn next(events: &Receiver<CommitEvent>) -> (u64, u64, bool) {
    match events.recv_timeout(Duration::from_secs(20)).unwrap() {
        CommitEvent::Committed { first, last, synced } => (first, last, synced),
        CommitEvent::Failed(error) => panic!("{error}"),
    }
}

#[test]
fn batches_are_answered_in_order_and_without_gaps() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (committer, events) = start(&store);
    for number in 1..=500 {
        committer.submit(batch(number, 50_000), SyncMode::Sync);
    }
    let (mut answered, mut commits) = (0, 0);
    while answered < 500 {
        let (first, last, synced) = next(&events);
        assert!(first == answered + 1 && last >= first && synced);
        assert!(last - first < 4 * 1024 * 1024 / 50_000, "{first} to {last} is more than 4 MiB");
        assert!(store.durable_batch() >= last);
        (answered, commits) = (last, commits + 1);
    }
    assert!(commits < 500, "nothing was merged");
    committer.close().unwrap();
    assert_eq!(store.durable_batch(), 500);
    let pressure = store.pressure().unwrap();
    assert_eq!(pressure.commit_batches.count(), commits);
    assert_eq!((pressure.commit_batches.sum, pressure.commit_micros.count()), (500, commits));

    drop(store);
    let store = open(dir.path());
    assert_eq!(store.last_batch(), 500);
    let (committer, events) = start(&store);
    committer.submit(batch(501, 1), SyncMode::Sync);
    assert_eq!(next(&events), (501, 501, true));
}

#[test]
fn unsynced_batches_become_durable_with_the_next_synced_one_or_at_the_close() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (committer, events) = start(&store);
    committer.submit(batch(1, 10), SyncMode::Buffer);
    assert_eq!(next(&events), (1, 1, false));
    assert_eq!(store.durable_batch(), 0);
    committer.submit(batch(2, 10), SyncMode::Sync);
    assert_eq!(next(&events), (2, 2, true));
    assert_eq!(store.durable_batch(), 2);
    committer.submit(batch(3, 10), SyncMode::Buffer);
    committer.close().unwrap();
    assert_eq!((next(&events), store.durable_batch()), ((3, 3, false), 3));
}

#[test]
#[should_panic(expected = "batch 3 follows batch 1")]
fn a_gap_in_the_numbers_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (committer, _events) = start(&store);
    committer.submit(batch(1, 1), SyncMode::Sync);
    committer.submit(batch(3, 1), SyncMode::Sync);
}

#[test]
fn a_failure_is_reported_once_and_ends_everything() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (committer, events) = start(&store);
    committer.submit(batch(1, 10), SyncMode::Sync);
    assert_eq!(next(&events), (1, 1, true));
    let failure = || StoreError::Io("try a failure", "made by the test".to_owned());
    committer.queue.fail(failure());
    committer.queue.fail(failure());
    match events.recv_timeout(Duration::from_secs(20)).unwrap() {
        CommitEvent::Failed(error) => assert!(error.to_string().contains("made by the test")),
        event => panic!("{event:?}"),
    }
    // More than the queue takes: nobody may block on a dead committer.
    for number in 2..100 {
        committer.submit(batch(number, 1 << 20), SyncMode::Sync);
    }
    assert!(committer.close().is_err());
    assert_eq!(events.iter().count(), 0);
    assert_eq!(store.get(Tree::Log, &[&[1][..], &2u64.to_be_bytes()].concat()).unwrap(), None);
}

#[test]
fn the_side_file_follows_within_about_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (committer, events) = start(&store);
    committer.submit(batch(1, 10), SyncMode::Sync);
    next(&events);
    let path = dir.path().join("durable");
    let started = Instant::now();
    while crate::storage::side_file::SideFile::open(&path).unwrap().number() < 1 {
        assert!(started.elapsed() < Duration::from_secs(5), "the number was not stored");
        std::thread::sleep(Duration::from_millis(20));
    }
}
