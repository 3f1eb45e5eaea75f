use super::super::fuzzing::batch;
use super::batch::{END, HEAD_BYTES, ITEM, START};
use super::*;

/// As many starts of batches, each of which holds the rest of them in its items.
fn nested(starts: usize) -> Vec<u8> {
    let unit: Vec<u8> = [
        &[START, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0, 0, 0, 0, 0][..],
        &[ITEM, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[HEAD_BYTES as u8, 0, 0, 0].repeat(2),
    ]
    .concat();
    unit.repeat(starts)
}

#[test]
fn looking_behind_a_break_ends_soon() {
    let synced = batch(9, BatchRow { first: 7, number: 8, synced: 6 });
    let tail = [nested(40), synced.clone()].concat();
    assert_eq!(synced_after(&tail, 5, u64::MAX), Ok(Some(6)));
    assert_eq!(synced_after(&tail, 6, u64::MAX), Ok(None));
    assert_eq!(newest_in(&tail, 6, u64::MAX), 8);
    let tail = [nested(100_000), synced].concat();
    let bytes_max = 16 * tail.len() as u64;
    assert_eq!(synced_after(&tail, 5, bytes_max), Err(TooLong));
    assert_eq!(newest_in(&tail, 5, bytes_max), 6);
}

#[test]
fn nothing_follows_the_last_number() {
    let row = |first, number| BatchRow { first, number, synced: 0 };
    let bytes = [batch(1, row(1, u64::MAX)), batch(2, row(0, 0))].concat();
    let read = read_whole_batches(&bytes, Path::new("0.jnl"), &mut None, &mut JournalReport::default());
    let error = read.unwrap_err().to_string();
    assert!(error.contains("it starts with batch 0, after batch 18446744073709551615"), "{error}");
}

#[test]
fn bytes_without_batches_are_read_about_once() {
    for byte in [0, START, ITEM, END] {
        let tail = vec![byte; 1 << 16];
        assert_eq!(synced_after(&tail, 0, 64 << 16), Ok(None), "{byte}");
    }
}
