//! Space that comes back while the process runs.
//!
//! A delete is a mark over a row, and both stay until a compaction meets them; fjall compacts only after flushes. So when
//! a drained store has gone quiet, the trees in which most rows are dead are flushed and compacted as a whole, on a
//! thread of their own. A busy tree compacts by itself and is left alone, unless the disk is short of room.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::super::fjall_store::{FjallStore, TreeFigures};
use super::super::options::{COMPACTION_BYTES_MAX, ReclaimPolicy};
use super::super::{Room, StoreError, Tree};

/// How long a flush may take before the look at a tree is given up until the next time.
const FLUSH_WAIT_MAX: Duration = Duration::from_secs(30);

/// How often fjall is asked to let go of replaced tables before that is left to the next look: a reader may hold them.
const RELEASE_TRIES: usize = 5;
/// Pause after each time.
const RELEASE_PAUSE: Duration = Duration::from_millis(200);

/// Decides when to look, and runs the thread.
pub(super) struct Reclaimer {
    store: FjallStore,
    looked: Instant,
    written: u64,
    deletes: u64,
    /// Deletes happened that no look has covered, or the last look could not win back what it found.
    is_due: bool,
    running: Option<JoinHandle<Looked>>,
}

impl Reclaimer {
    pub(super) fn new(store: FjallStore) -> Self {
        // A restart may have come between the deletes and the look.
        Self { store, looked: Instant::now(), written: 0, deletes: 0, is_due: true, running: None }
    }

    pub(super) fn tick(&mut self) {
        if let Some(run) = self.running.take_if(|run| run.is_finished()) {
            // A look that panicked won nothing back.
            self.is_due |= run.join().unwrap_or(Looked::TryAgain) == Looked::TryAgain;
        }
        let policy = *self.store.reclaim_policy();
        let is_short = self.store.room() == Room::BelowReserve;
        let interval = if is_short { policy.short_interval } else { policy.interval };
        if self.looked.elapsed() < interval || self.running.is_some() {
            return;
        }
        self.looked = Instant::now();
        let (written, deletes) = self.store.counters().totals();
        let is_quiet = written - self.written <= policy.quiet_bytes_max;
        self.is_due |= deletes != self.deletes;
        (self.written, self.deletes) = (written, deletes);
        if !self.is_due || !(is_quiet || is_short) {
            return;
        }
        let store = self.store.clone();
        let run = std::thread::Builder::new().name("reclaim".to_owned()).spawn(move || {
            let [log, state] = [Tree::Log, Tree::State].map(|tree| look(&store, tree, &policy));
            let mut looked = Looked::Settled;
            for result in [log, state, release(&store, &policy)] {
                match result {
                    Ok(Looked::Settled) => {}
                    Ok(Looked::TryAgain) => looked = Looked::TryAgain,
                    // A compaction that fails has lost nothing. Damage it met is reported by whoever reads the row.
                    Err(error) => tracing::error!(%error, "could not win space back"),
                }
            }
            looked
        });
        match run {
            Ok(run) => {
                self.running = Some(run);
                self.is_due = false;
            }
            Err(error) => tracing::error!(%error, "no thread to win space back"),
        }
    }
}

/// What a look at a tree came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looked {
    /// There is nothing more to win back, until there are more deletes.
    Settled,
    /// There was no room for it, or no time: look again, whether or not there are more deletes.
    TryAgain,
}

fn look(store: &FjallStore, tree: Tree, policy: &ReclaimPolicy) -> Result<Looked, StoreError> {
    if store.tree_figures(tree).bytes < policy.tree_bytes_min {
        return Ok(Looked::Settled);
    }
    if !flush(store, tree)? {
        return Ok(Looked::TryAgain);
    }
    let before = store.tree_figures(tree);
    if !is_worth_it(&before, policy) {
        return Ok(Looked::Settled);
    }
    let needed = live_bytes(&before) + COMPACTION_BYTES_MAX;
    if store.free_bytes() < needed {
        tracing::warn!(
            ?tree,
            free_bytes = store.free_bytes(),
            needed_bytes = needed,
            "no room to win space back"
        );
        return Ok(Looked::TryAgain);
    }
    let started = Instant::now();
    store.compact(tree)?;
    store.counters().forced_compaction();
    tracing::info!(
        ?tree,
        bytes_before = before.bytes,
        bytes_after = store.tree_figures(tree).bytes,
        seconds = started.elapsed().as_secs_f64(),
        "won space back"
    );
    Ok(Looked::Settled)
}

/// Waits until tables that were merged into others are gone from the disk.
fn release(store: &FjallStore, policy: &ReclaimPolicy) -> Result<Looked, StoreError> {
    for _ in 0..RELEASE_TRIES {
        let replaced = store.replaced_bytes(Tree::Log)? + store.replaced_bytes(Tree::State)?;
        if replaced < policy.tree_bytes_min {
            return Ok(Looked::Settled);
        }
        store.let_go_of_replaced_tables()?;
        std::thread::sleep(RELEASE_PAUSE);
    }
    Ok(Looked::TryAgain)
}

/// Delete marks in the memtable are invisible to the figures and to the compaction. Says whether all of it is flushed.
fn flush(store: &FjallStore, tree: Tree) -> Result<bool, StoreError> {
    let started = Instant::now();
    if store.tree_figures(tree).has_memtable {
        store.rotate_tree(tree)?;
    }
    while store.tree_figures(tree).sealed_memtables > 0 && started.elapsed() < FLUSH_WAIT_MAX {
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(store.tree_figures(tree).sealed_memtables == 0)
}

fn is_worth_it(figures: &TreeFigures, policy: &ReclaimPolicy) -> bool {
    figures.bytes >= policy.tree_bytes_min
        && dead_rows(figures) * 100 >= figures.rows * policy.dead_percent_min
}

/// The mark and the row that it hides.
fn dead_rows(figures: &TreeFigures) -> u64 {
    (2 * figures.delete_marks).min(figures.rows)
}

/// About what a compaction writes.
fn live_bytes(figures: &TreeFigures) -> u64 {
    let live = figures.rows - dead_rows(figures);
    u64::try_from(u128::from(figures.bytes) * u128::from(live) / u128::from(figures.rows.max(1)))
        .expect("a part of the bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_large_trees_that_are_mostly_dead_are_compacted() {
        let policy = ReclaimPolicy { tree_bytes_min: 1000, dead_percent_min: 50, ..ReclaimPolicy::default() };
        let figures = |bytes, rows, delete_marks| TreeFigures {
            bytes,
            rows,
            delete_marks,
            has_memtable: false,
            sealed_memtables: 0,
        };
        for (bytes, rows, marks, expected, live) in [
            (1000, 100, 25, true, 500),
            (1000, 100, 24, false, 520),
            (999, 100, 50, false, 0),
            (4000, 100, 80, true, 0),
            (0, 0, 0, false, 0),
        ] {
            let figures = figures(bytes, rows, marks);
            assert_eq!(is_worth_it(&figures, &policy), expected, "{figures:?}");
            assert_eq!(live_bytes(&figures), live, "{figures:?}");
        }
    }
}
