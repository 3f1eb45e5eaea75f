//! The simulated disk does what every store must do, and forgets only what it may.

use bytes::Bytes;
use cmq_broker::storage::{Batch, Store, StoreError, Tree, Write, conformance};
use cmq_sim::disk::{LastBatch, Loss, SimDisk};
use fastrand::Rng;

fn put(disk: &SimDisk, number: u64, is_synced: bool) {
    disk.submit(batch(number));
    disk.complete(is_synced);
}

fn batch(number: u64) -> Batch {
    let key = Bytes::copy_from_slice(&number.to_be_bytes());
    Batch { number, writes: vec![Write::Put(Tree::Log, key.clone(), key)] }
}

fn numbers(disk: &SimDisk) -> Vec<u64> {
    let number = |(key, _): (Bytes, Bytes)| u64::from_be_bytes(key[..].try_into().expect("keys are numbers"));
    disk.rows(Tree::Log).into_iter().map(number).collect()
}

#[test]
fn it_is_a_store() {
    conformance::check(SimDisk::default, |disk, batch| {
        disk.submit(batch);
        disk.show_half();
        disk.complete(true);
    });
}

#[test]
fn synced_batches_survive_a_power_cut_and_others_go_from_the_end() {
    let mut has_lost = false;
    for seed in 0..50 {
        let disk = SimDisk::default();
        (1..=3).for_each(|number| put(&disk, number, true));
        (4..=6).for_each(|number| put(&disk, number, false));
        disk.submit(batch(7));
        disk.show_half();
        let last = disk.crash(Loss::Unsynced, &mut Rng::with_seed(seed));
        let found = numbers(&disk);
        assert!(found.len() >= 3 && found.iter().copied().eq(1..=found.len() as u64), "{found:?}");
        assert_eq!(found.len() == 7, last == LastBatch::Whole);
        assert_eq!(disk.open(false).unwrap(), found.len() as u64);
        has_lost |= found.len() < 6;
    }
    assert!(has_lost);
}

#[test]
fn a_killed_process_loses_at_most_the_batch_in_flight() {
    let disk = SimDisk::default();
    put(&disk, 1, true);
    put(&disk, 2, false);
    disk.submit(batch(3));
    disk.crash(Loss::None, &mut Rng::with_seed(1));
    assert!(numbers(&disk).starts_with(&[1, 2]));
}

#[test]
fn lost_synced_batches_are_noticed_by_the_side_file() {
    for seed in 0..20 {
        let disk = SimDisk::default();
        (1..=200).for_each(|number| put(&disk, number, true));
        disk.write_side_file();
        assert!(disk.has_noticeable_tail());
        disk.crash(Loss::Synced, &mut Rng::with_seed(seed));
        let found = numbers(&disk).len() as u64;
        assert!(found < 200);
        assert!(
            matches!(disk.open(false), Err(StoreError::LostTail { found: at, expected: 200 }) if at == found)
        );
        assert_eq!(disk.open(true).unwrap(), found);
    }
}

#[test]
fn a_damaged_row_cannot_be_read_until_it_is_written_again() {
    let disk = SimDisk::default();
    put(&disk, 1, true);
    assert!(disk.damage(&mut Rng::with_seed(1)));
    let key = 1_u64.to_be_bytes();
    assert!(matches!(disk.get(Tree::Log, &key), Err(StoreError::Damaged { .. })));
    assert!(disk.damage_found());
    disk.submit(Batch { number: 2, ..batch(1) });
    disk.complete(true);
    assert!(disk.get(Tree::Log, &key).unwrap().is_some());
}

#[test]
fn reading_a_row_of_a_batch_in_flight_is_caught() {
    let disk = SimDisk::default();
    put(&disk, 1, true);
    disk.submit(batch(2));
    disk.get(Tree::Log, &1_u64.to_be_bytes()).unwrap();
    assert_eq!(disk.misread(), None);
    disk.get(Tree::Log, &2_u64.to_be_bytes()).unwrap();
    assert!(disk.misread().is_some());
}
