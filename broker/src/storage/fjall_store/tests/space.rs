use super::super::super::options::{JOURNAL_BYTES_AHEAD, JOURNAL_BYTES_MAX};
use super::*;

/// A drained backlog gives its disk back without a restart.
#[test]
fn space_comes_back_while_the_process_runs() {
    let dir = tempfile::tempdir().unwrap();
    let reclaim = ReclaimPolicy {
        interval: Duration::from_millis(300),
        tree_bytes_min: 1 << 20,
        quiet_bytes_max: 1 << 20,
        ..ReclaimPolicy::default()
    };
    let mut driven = Driven::open(&Options { reclaim, ..options(dir.path()) });
    let rows = 40_000;
    for first in (0..rows).step_by(500) {
        driven.submit((first..first + 500).map(|number| put(number, 1000)).collect(), SyncMode::Sync);
    }
    driven.wait();
    let full = driven.store.tree_figures(Tree::Log).bytes;
    // What is not here yet is in memtables that wait for their flush.
    assert!(full > 10_000_000, "{full}");
    // All but the last hundred.
    for first in (0..rows - 100).step_by(500) {
        let last = (first + 500).min(rows - 100);
        driven.submit(
            (first..last).map(|number| Write::Delete(Tree::Log, key(number))).collect(),
            SyncMode::Sync,
        );
    }
    driven.wait();
    let started = Instant::now();
    while driven.store.tree_figures(Tree::Log).bytes > full / 20 {
        let figures = driven.store.tree_figures(Tree::Log);
        assert!(started.elapsed() < Duration::from_secs(60), "{figures:?} of {full} bytes");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(driven.store.pressure().unwrap().forced_compactions >= 1);
    // Nothing is written any more that would have fjall look after its files.
    let started = Instant::now();
    while driven.store.replaced_bytes(Tree::Log).unwrap() > 1 << 20 {
        assert!(started.elapsed() < Duration::from_secs(20), "replaced tables stay on disk");
        std::thread::sleep(Duration::from_millis(50));
    }
    for number in rows - 100..rows {
        assert!(driven.get(Tree::Log, &key(number)).unwrap().is_some());
    }
    let left = driven.scan(Tree::Log, &key(0), &key(rows), ScanLimit { rows: 1000, bytes: 1 << 20 }).unwrap();
    assert_eq!(left.len(), 100);
}

/// Bytes that were written to the journals of a data directory.
fn written(dir: &Path) -> u64 {
    let journals = std::fs::read_dir(dir.join("db")).unwrap().map(|entry| entry.unwrap().path());
    let journals = journals.filter(|path| path.extension().is_some_and(|extension| extension == "jnl"));
    let bytes = journals.map(|path| match std::fs::read(&path) {
        Ok(bytes) => bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1),
        // Deleted meanwhile.
        Err(_) => 0,
    });
    bytes.sum()
}

/// Journals stay within their limit although one tree hardly writes and would hold them back for ever.
#[test]
fn journals_stay_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let mut driven = Driven::open(&options(dir.path()));
    driven.apply(vec![Write::Put(Tree::State, key(0), Bytes::from_static(b"the only row"))]);
    let mut most = 0;
    for round in 0..240 {
        driven.apply((0..4).map(|row| put(round * 4 + row, 500_000)).collect());
        let bytes = driven.store.journal_bytes().unwrap();
        if bytes > JOURNAL_BYTES_MAX {
            let written = written(dir.path());
            assert!(written <= JOURNAL_BYTES_MAX, "{written} of {bytes}");
        }
        most = most.max(bytes);
    }
    assert!(most <= JOURNAL_BYTES_MAX + JOURNAL_BYTES_AHEAD, "{most}");
    assert!(most > 64 << 20, "480 MB went through a journal: {most}");
    assert!(driven.get(Tree::State, &key(0)).unwrap().is_some());
}
