use std::collections::HashMap;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::super::committer::{CommitEvent, Committer, SyncMode};
use super::super::options::ReclaimPolicy;
use super::super::{Batch, Write, conformance};
use super::*;

mod crash;
mod damage;
mod space;

fn options(dir: &Path) -> Options {
    Options::new(dir, MemoryBudget::split(64 << 20).unwrap())
}

/// A store with its committer, driven one step at a time.
struct Driven {
    committer: Committer,
    events: Receiver<CommitEvent>,
    store: FjallStore,
    next: u64,
    /// Dropped last.
    dir: Option<tempfile::TempDir>,
}

impl Driven {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut driven = Self::open(&options(dir.path()));
        driven.dir = Some(dir);
        driven
    }

    fn open(options: &Options) -> Self {
        let store = FjallStore::open(options).unwrap();
        let (sender, events) = channel();
        let on_commit = Box::new(move |event| sender.send(event).unwrap());
        let committer = Committer::start(store.clone(), on_commit).unwrap();
        Self { committer, events, next: store.last_batch() + 1, store, dir: None }
    }

    fn submit(&mut self, writes: Vec<Write>, mode: SyncMode) {
        self.committer.submit(Batch { number: self.next, writes }, mode);
        self.next += 1;
    }

    fn wait(&self) {
        loop {
            match self.events.recv_timeout(Duration::from_secs(60)).unwrap() {
                CommitEvent::Committed { last, .. } if last + 1 == self.next => return,
                CommitEvent::Committed { .. } => {}
                CommitEvent::Failed(error) => panic!("{error}"),
            }
        }
    }

    fn apply(&mut self, writes: Vec<Write>) {
        self.submit(writes, SyncMode::Sync);
        self.wait();
    }
}

fn key(number: u64) -> Bytes {
    Bytes::copy_from_slice(&[&b"group-01"[..], &number.to_be_bytes()].concat())
}

fn put(number: u64, bytes: usize) -> Write {
    Write::Put(Tree::Log, key(number), vec![number as u8; bytes].into())
}

impl Store for Driven {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.store.get(tree, key)
    }

    fn scan(
        &self,
        tree: Tree,
        from: &[u8],
        to: &[u8],
        limit: ScanLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.store.scan(tree, from, to, limit)
    }
}

#[test]
fn it_conforms() {
    conformance::check(Driven::new, |store, batch| store.apply(batch.writes));
}

/// The same, with every batch flushed to tables and read from there.
#[test]
fn it_conforms_from_tables() {
    conformance::check(Driven::new, |driven, batch| {
        driven.apply(batch.writes);
        if driven.next.is_multiple_of(8) || driven.next < 4 {
            for tree in ALL_TREES {
                driven.store.tree(tree).rotate_memtable_and_wait().unwrap();
            }
        }
    });
}

#[test]
fn a_directory_opens_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = FjallStore::open(&options(dir.path())).unwrap();
    let error = FjallStore::open(&options(dir.path())).err().unwrap();
    assert!(
        matches!(&error, StoreError::InUse(place) if *place == dir.path().display().to_string()),
        "{error}"
    );
    drop(store);
    FjallStore::open(&options(dir.path())).unwrap();
}

#[test]
fn a_foreign_directory_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("db")).unwrap();
    std::fs::write(dir.path().join("db/precious"), "data").unwrap();
    assert!(matches!(FjallStore::open(&options(dir.path())), Err(StoreError::Foreign { .. })));
    assert!(dir.path().join("db/precious").exists());
}

#[test]
fn a_half_made_volume_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    drop(FjallStore::open(&options(dir.path())).unwrap());
    std::fs::remove_file(dir.path().join("db/version")).unwrap();
    let store = FjallStore::open(&options(dir.path())).unwrap();
    assert_eq!(store.last_batch(), 0);
}

#[test]
fn a_volume_of_a_newer_program_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut driven = Driven::open(&options(dir.path()));
    let row =
        super::super::format::FormatRow { format: 9, oldest_reader: 9, written_by: "77.0.1".to_owned() };
    driven.apply(vec![Write::Put(
        Tree::Meta,
        Bytes::from_static(super::super::format::FORMAT_KEY),
        row.encode().into(),
    )]);
    drop(driven);
    let error = FjallStore::open(&options(dir.path())).err().unwrap();
    assert!(
        matches!(error, StoreError::TooNew { format: 9, .. }) && error.to_string().contains("77.0.1"),
        "{error}"
    );
}

/// The driver reads while the committer writes other rows, memtables rotate and tables are compacted.
#[test]
fn rows_at_rest_are_read_whole_while_others_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut driven = Driven::open(&options(dir.path()));
    driven.apply((0..100).map(|number| put(number, 100)).collect());
    let expected: HashMap<_, _> = (0..100).map(|number| (key(number), vec![number as u8; 100])).collect();
    let mut written = 0;
    for round in 0..60 {
        // 100 MB in all, so memtables of 4 MiB rotate many times.
        driven.submit((0..16).map(|row| put(1000 + round * 16 + row, 100_000)).collect(), SyncMode::Sync);
        written += 1;
        let rows =
            driven.scan(Tree::Log, &key(0), &key(100), ScanLimit { rows: 200, bytes: 1 << 20 }).unwrap();
        assert_eq!(rows.len(), 100);
        for (key, value) in rows {
            assert_eq!(value, expected[&key]);
            assert_eq!(driven.get(Tree::Log, &key).unwrap().as_deref(), Some(&value[..]));
        }
    }
    driven.wait();
    assert_eq!(written, 60);
    for number in 1000..1000 + 60 * 16 {
        assert!(driven.get(Tree::Log, &key(number)).unwrap().is_some_and(|value| value.len() == 100_000));
    }
}

#[test]
fn pressure_tells_what_is_there() {
    let mut driven = Driven::new();
    for number in 0..40 {
        driven.apply(vec![put(number, 500_000)]);
    }
    let pressure = driven.store.pressure().unwrap();
    assert_eq!(pressure.durable_batch, 40);
    assert_eq!((pressure.commit_bytes.count(), pressure.commit_batches.sum), (40, 40));
    assert!(pressure.disk_bytes > 20_000_000 && pressure.journals >= 1 && pressure.journal_bytes > 0);
    assert!(pressure.free_bytes > 0 && pressure.commit_micros.sum > 0);
}
