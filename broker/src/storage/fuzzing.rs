//! The files and rows that the storage keeps for itself, and fjall's journals.

use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

use super::format::{BATCH_KEY, BatchRow, FormatRow, check_format};
use super::journal::{self, JournalReport, batch as marks};
use super::side_file;
use crate::fuzzing::Target;

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "side_file",
        run: side_file,
        seeds: || [0, 5].map(|n| side_file::encode(n, n << 40).to_vec()).into(),
    },
    Target { name: "storage_rows", run: storage_rows, seeds: storage_rows_seeds },
    Target { name: "journal", run: journal, seeds: journals },
];

fn side_file(input: &[u8]) {
    if let Ok(slot) = input.try_into()
        && let Some((round, number)) = side_file::decode(slot)
    {
        assert_eq!(side_file::decode(&side_file::encode(round, number)), Some((round, number)));
    }
}

fn storage_rows_seeds() -> Vec<Vec<u8>> {
    vec![BatchRow { first: 1, number: 2, synced: 3 }.encode(), FormatRow::current().encode()]
}

fn storage_rows(input: &[u8]) {
    if let Some(row) = BatchRow::decode(input) {
        assert_eq!(row.encode(), input);
    }
    if let Ok(row) = check_format(input) {
        assert_eq!(row.encode(), input);
    }
}

/// A batch as fjall writes it, with the batch row alone.
pub(super) fn batch(sequence: u64, row: BatchRow) -> Vec<u8> {
    let row = row.encode();
    let mut item = vec![marks::ITEM, 0, 0];
    item.extend(1u64.to_le_bytes());
    item.extend((BATCH_KEY.len() as u16).to_le_bytes());
    item.extend([(row.len() as u32).to_le_bytes(); 2].concat());
    item.extend([BATCH_KEY, &row].concat());
    let mut batch = vec![marks::START];
    batch.extend(1u32.to_le_bytes());
    batch.extend(sequence.to_le_bytes());
    batch.extend(&item);
    batch.push(marks::END);
    batch.extend(xxh3_64(&item).to_le_bytes());
    batch.extend(marks::TRAILER);
    batch
}

fn journals() -> Vec<Vec<u8>> {
    let row = |number| BatchRow { first: number, number, synced: number - 1 };
    let batches: Vec<Vec<u8>> = (1..4).map(|number| batch(number, row(number))).collect();
    vec![
        batches[0].clone(),
        batches.concat(),
        [&batches.concat()[..], &[0; 64]].concat(),
        [&batches[0][..], &batches[1][..40], &batches[2]].concat(),
        [&marks::TRAILER[..], &batches[0]].concat(),
    ]
}

/// As it is, and with checksums that fit: they would keep all that is bent away from what is behind them.
fn journal(input: &[u8]) {
    check_journal(input);
    let mut mended = input.to_vec();
    let mut start = 0;
    for at in memchr::memmem::find_iter(input, &marks::TRAILER) {
        let content = at.checked_sub(9).map(|end| (start + marks::HEAD_BYTES).min(at)..end);
        if let Some(content) = content.and_then(|content| mended.get(content)) {
            let checksum = xxh3_64(content);
            mended[at - 8..at].copy_from_slice(&checksum.to_le_bytes());
        }
        start = at + marks::TRAILER.len();
    }
    check_journal(&mended);
}

fn check_journal(bytes: &[u8]) {
    let mut report = JournalReport::default();
    let mut last = None;
    if let Ok(whole) = journal::read_whole_batches(bytes, Path::new("0.jnl"), &mut last, &mut report) {
        let held = report.newest.map_or(0, |row| row.number);
        if let Ok(Some(later)) = journal::synced_after(&bytes[whole..], held, 64 << 20) {
            assert!(later > held);
        }
        // What is cut off leaves a journal that says the same.
        let mut again = JournalReport::default();
        let cut = journal::read_whole_batches(&bytes[..whole], Path::new("0.jnl"), &mut None, &mut again);
        assert_eq!((cut.ok(), again), (Some(whole), report));
    }
}
