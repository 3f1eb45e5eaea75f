//! Edited files. Each must end in an error that says so, or in a store that holds all that had been synced.

use std::path::PathBuf;
use std::sync::LazyLock;

use super::super::super::journal::offsets;
use super::super::super::side_file::SideFile;
use super::*;

const BATCHES: u64 = 40;
const VALUE_BYTES: usize = 3000;

/// All files of a volume, taken while it was open, as a crash would leave them.
#[derive(Clone)]
struct Image {
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Image {
    /// Takes it. The zeros that fjall allocates ahead are left out.
    fn take(dir: &Path) -> Self {
        let mut files = Vec::new();
        let mut folders = vec![dir.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.file_name().unwrap() != "ballast" {
                    let mut bytes = std::fs::read(&path).unwrap();
                    if is_journal(&path) {
                        bytes.truncate(without_zeros(&bytes).len());
                    }
                    files.push((path.strip_prefix(dir).unwrap().to_owned(), bytes));
                }
            }
        }
        files.sort();
        Self { files }
    }

    /// A crash after `BATCHES` synced batches and two that were not, everything still in the journal.
    fn of_journal() -> Self {
        let mut driven = Driven::new();
        for number in 1..=BATCHES {
            driven.apply(vec![put(number, VALUE_BYTES), Write::Put(Tree::State, key(0), key(number))]);
        }
        for number in BATCHES + 1..=BATCHES + 2 {
            driven.submit(vec![put(number, VALUE_BYTES)], SyncMode::Buffer);
            driven.wait();
        }
        Self::take(driven.dir.as_ref().unwrap().path())
    }

    /// Everything in tables, some of it overwritten and deleted.
    fn of_tables() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut driven = Driven::open(&options(dir.path()));
        for round in 0..2 {
            for number in 1..=BATCHES / 2 {
                driven.apply(vec![
                    put(number, VALUE_BYTES + round),
                    Write::Put(Tree::State, key(number), key(number)),
                ]);
            }
            for tree in ALL_TREES {
                driven.store.tree(tree).rotate_memtable_and_wait().unwrap();
            }
        }
        driven.committer.close().unwrap();
        drop((driven.store, driven.events));
        Self::take(dir.path())
    }

    fn journal(&mut self) -> &mut Vec<u8> {
        &mut self.files.iter_mut().find(|(path, _)| is_journal(path)).unwrap().1
    }

    fn journals(&self) -> Vec<(&Path, &[u8])> {
        let journals = self.files.iter().filter(|(path, _)| is_journal(path));
        let mut journals: Vec<_> =
            journals.map(|(path, bytes)| (path.as_path(), without_zeros(bytes))).collect();
        journals.sort();
        journals
    }

    fn lay_out(&self, dir: &Path) {
        for (path, bytes) in &self.files {
            let path = dir.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }
}

fn is_journal(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "jnl")
}

fn without_zeros(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)]
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// Opens and holds batches up to this one, whole.
    Opens(u64),
    Damaged,
    LostTail(u64),
}
use Outcome::{Damaged, LostTail, Opens};

/// Edits the journal, sets what the side file remembers, opens.
fn after(synced: u64, edit: impl FnOnce(&mut Vec<u8>, &[usize])) -> Outcome {
    let (mut image, at) = crashed();
    edit(image.journal(), &at);
    open_and_check(&mut image, synced)
}

fn crashed() -> (Image, Vec<usize>) {
    static CRASHED: LazyLock<Image> = LazyLock::new(Image::of_journal);
    let mut image = CRASHED.clone();
    let at = offsets(image.journal());
    // The first batch is the format row.
    assert_eq!(at.len() as u64, 1 + BATCHES + 2);
    (image, at)
}

fn open_and_check(image: &mut Image, synced: u64) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    image.lay_out(dir.path());
    SideFile::create(&dir.path().join("durable")).unwrap();
    SideFile::open(&dir.path().join("durable")).unwrap().store(synced).unwrap();

    match FjallStore::open(&options(dir.path())) {
        Ok(store) => {
            for number in 1..=BATCHES + 2 {
                let value = store.get(Tree::Log, &key(number)).unwrap();
                let expected = (number <= store.last_batch()).then(|| vec![number as u8; VALUE_BYTES]);
                assert!(value.as_deref() == expected.as_deref(), "row {number} of {}", store.last_batch());
            }
            let state = store.get(Tree::State, &key(0)).unwrap();
            assert_eq!(state, Some(key(store.last_batch().min(BATCHES))), "an overwritten row is the newest");
            Opens(store.last_batch())
        }
        // A refusal changes nothing, so that it stays one, and the bytes are there for whoever looks into it.
        Err(StoreError::Damaged { detail, .. }) if detail.contains("one is missing") => Damaged,
        Err(StoreError::Damaged { .. }) => {
            assert!(Image::take(dir.path()).journals() == image.journals());
            Damaged
        }
        Err(StoreError::LostTail { found, .. }) => LostTail(found),
        Err(error) => panic!("{error}"),
    }
}

const VALUE: usize = 200;
const ITEM_TAG: usize = 13;
const ITEM_VALUE_LENGTH: usize = 13 + 3 + 8 + 2;
const SEQNO: usize = 5;

#[test]
fn an_unsynced_tail_may_be_torn() {
    let last = BATCHES as usize + 2;
    assert_eq!(after(BATCHES, |_, _| {}), Opens(BATCHES + 2));
    assert_eq!(after(BATCHES, |journal, at| journal.truncate(at[last] + 100)), Opens(BATCHES + 1));
    assert_eq!(after(BATCHES, |journal, at| journal.truncate(at[last])), Opens(BATCHES + 1));
    assert_eq!(after(BATCHES, |journal, at| journal.truncate(at[last - 1] + 5)), Opens(BATCHES));
    // The end mark reached the disk, a page before it did not.
    assert_eq!(after(BATCHES, |journal, at| journal[at[last] + 500..][..2048].fill(0)), Opens(BATCHES + 1));
    // The later of two unsynced batches is whole, the earlier is not.
    assert_eq!(after(BATCHES, |journal, at| journal[at[last - 1] + 500..][..2048].fill(0)), Opens(BATCHES));
    assert_eq!(after(BATCHES, |journal, at| journal[at[last - 1]] = 0), Opens(BATCHES));
    // What was in the blocks before, beyond the end.
    assert_eq!(
        after(BATCHES, |journal, _| journal.extend((0..9000).map(|byte| byte as u8))),
        Opens(BATCHES + 2)
    );
}

#[test]
fn a_synced_tail_that_is_gone_is_noticed_by_the_side_file() {
    let last = BATCHES as usize;
    assert_eq!(after(BATCHES, |journal, at| journal.truncate(at[last] + 100)), Damaged);
    assert_eq!(after(BATCHES, |journal, at| journal.truncate(at[last])), LostTail(BATCHES - 1));
    assert_eq!(after(BATCHES, |journal, at| journal.truncate(at[5])), LostTail(4));
    assert_eq!(after(BATCHES, |journal, _| journal.clear()), LostTail(0));
    // The second that the side file may be behind is the limit of what a single volume can know.
    assert_eq!(after(BATCHES - 1, |journal, at| journal.truncate(at[last] + 100)), Opens(BATCHES - 1));
}

#[test]
fn damage_among_synced_batches_is_noticed_whatever_the_side_file_says() {
    let flips = [
        ("a value", 20, VALUE),
        ("the tag of a batch", 20, 0),
        ("the number of rows", 20, 1),
        ("the tag of a row", 20, ITEM_TAG),
        ("the length of a value", 20, ITEM_VALUE_LENGTH),
        ("a high byte of a length", 20, ITEM_VALUE_LENGTH + 3),
        ("the first value of all", 1, VALUE),
        ("a low byte of a sequence number", 20, SEQNO),
        ("a high byte of a sequence number", 20, SEQNO + 6),
        ("the last batch that a later one calls synced", BATCHES as usize, VALUE),
    ];
    for (what, batch, offset) in flips {
        for bit in [0, 3, 7] {
            assert_eq!(
                after(0, |journal, at| journal[at[batch] + offset] ^= 1 << bit),
                Damaged,
                "{what}, bit {bit}"
            );
        }
    }
    assert_eq!(after(0, |journal, at| journal[at[20] + 500..][..2048].fill(0)), Damaged);
    assert_eq!(after(0, |journal, at| journal[at[20]..at[21]].fill(0)), Damaged);
    let cut_out = |journal: &mut Vec<u8>, at: &[usize]| {
        journal.drain(at[20] + 10..at[21] + 10);
    };
    assert_eq!(after(0, cut_out), Damaged);
}

/// A crash between the sealing of a journal and the flush that lets it go.
#[test]
fn sealed_journals_are_read_and_none_may_be_missing() {
    let split = |edit: fn(&mut Vec<u8>)| {
        let (mut image, at) = crashed();
        let journal = std::mem::take(image.journal());
        let (first, rest) = journal.split_at(at[15]);
        let (second, third) = rest.split_at(at[30] - at[15]);
        let mut sealed = [first.to_vec(), second.to_vec()];
        for sealed in &mut sealed {
            edit(sealed);
            // What fjall allocates ahead and a sealed journal keeps.
            let length = if sealed.is_empty() { 0 } else { sealed.len() + 5000 };
            sealed.resize(length, 0);
        }
        image.journal().clone_from(&third.to_vec());
        for (number, bytes) in sealed.into_iter().enumerate() {
            image.files.push((format!("db/{number}.jnl").into(), bytes));
        }
        let active = image.files.iter().position(|(path, bytes)| path.ends_with("0.jnl") && *bytes == third);
        image.files[active.unwrap()].0 = "db/2.jnl".into();
        image
    };
    let drop_journal = |mut image: Image, name: &str| {
        image.files.retain(|(path, _)| !path.ends_with(name));
        image
    };
    assert_eq!(open_and_check(&mut split(|_| {}), BATCHES), Opens(BATCHES + 2));
    assert_eq!(open_and_check(&mut split(|sealed| sealed.truncate(sealed.len() - 50)), 0), Damaged);
    assert_eq!(open_and_check(&mut split(|sealed| sealed[900] ^= 1), 0), Damaged);
    assert_eq!(open_and_check(&mut drop_journal(split(|_| {}), "0.jnl"), 0), Damaged);
    assert_eq!(open_and_check(&mut drop_journal(split(|_| {}), "1.jnl"), 0), Damaged);
    assert_eq!(open_and_check(&mut drop_journal(split(|_| {}), "2.jnl"), BATCHES), LostTail(29));
}

/// Any single bit of what later batches call synced: it is refused, or it changed nothing.
#[test]
fn no_flipped_bit_in_a_journal_changes_a_row() {
    let mut random = fastrand::Rng::with_seed(11);
    let mut harmless = 0;
    for round in 0..150 {
        // Half of them in the headers, which are few bytes and matter most.
        let (batch, in_header) = (random.usize(0..=BATCHES as usize), round % 2 == 0);
        let flip = |journal: &mut Vec<u8>, at: &[usize]| {
            let length = if in_header { 40 } else { at[batch + 1] - at[batch] };
            journal[at[batch] + random.usize(..length)] ^= 1 << random.u32(..8);
        };
        match after(0, flip) {
            Damaged => {}
            Opens(last) => {
                assert_eq!(last, BATCHES + 2, "batch {batch}");
                harmless += 1;
            }
            LostTail(last) => panic!("batch {batch}: {last}"),
        }
    }
    assert!(harmless < 15, "{harmless} of 150");
}

#[test]
fn without_its_side_file_a_volume_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    drop(FjallStore::open(&options(dir.path())).unwrap());
    std::fs::remove_file(dir.path().join("durable")).unwrap();
    let error = FjallStore::open(&options(dir.path())).err().unwrap();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

/// fjall would delete the tree, and open.
#[test]
fn a_tree_that_lost_its_manifest_is_not_deleted() {
    for name in ["current", "v"] {
        for tree in ["1", "2", "3"] {
            let mut image = Image::of_tables();
            let lost = format!("db/keyspaces/{tree}/{name}");
            image.files.retain(|(path, _)| !path.to_str().unwrap().starts_with(&lost));
            let dir = tempfile::tempdir().unwrap();
            image.lay_out(dir.path());
            let error = FjallStore::open(&options(dir.path())).err().unwrap();
            assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
            assert!(dir.path().join("db/keyspaces").join(tree).join("tables").exists());
        }
    }
}

/// Bits flipped anywhere in the files of tables: whatever opens and reads gives the right rows.
#[test]
fn no_flipped_bit_in_a_table_changes_a_row() {
    let image = Image::of_tables();
    let mut random = fastrand::Rng::with_seed(7);
    let (mut refused, mut failed_reads, mut harmless) = (0, 0, 0);
    for round in 0..150 {
        let mut image = image.clone();
        let tables: Vec<_> = (0..image.files.len())
            .filter(|file| {
                image.files[*file].0.starts_with("db/keyspaces") && !image.files[*file].1.is_empty()
            })
            .collect();
        let (path, bytes) = &mut image.files[tables[round % tables.len()]];
        let at = random.usize(..bytes.len());
        bytes[at] ^= 1 << random.u32(..8);
        let place = format!("byte {at} of {}", path.display());

        let dir = tempfile::tempdir().unwrap();
        image.lay_out(dir.path());
        match FjallStore::open(&options(dir.path())) {
            Err(StoreError::Damaged { .. } | StoreError::LostTail { .. }) => refused += 1,
            Err(error) => panic!("{place}: {error}"),
            Ok(store) => {
                let mut failed = false;
                for number in 1..=BATCHES / 2 {
                    match store.get(Tree::Log, &key(number)) {
                        Ok(value) => {
                            assert!(
                                value.is_some_and(|value| value == vec![number as u8; VALUE_BYTES + 1]),
                                "{place}"
                            );
                        }
                        Err(_) => failed = true,
                    }
                    match store.get(Tree::State, &key(number)) {
                        Ok(value) => assert_eq!(value, Some(key(number)), "{place}"),
                        Err(_) => failed = true,
                    }
                }
                match store.scan(Tree::Log, &key(0), &key(1000), ScanLimit { rows: 1000, bytes: 1 << 30 }) {
                    Ok(rows) => assert_eq!(rows.len() as u64, BATCHES / 2, "{place}"),
                    Err(_) => failed = true,
                }
                if failed { failed_reads += 1 } else { harmless += 1 }
            }
        }
    }
    println!("{refused} refused, {failed_reads} failed reads, {harmless} harmless");
    assert!(refused > 0 && failed_reads > 0);
}
