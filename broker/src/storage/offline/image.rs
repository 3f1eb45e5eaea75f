//! The rows of a volume, read from a copy of its database.

use std::ops::Bound;
use std::os::unix::fs::symlink;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use fjall::{AbstractTree, Database, Keyspace, SeqNo};

use super::super::files::io_error;
use super::super::fjall_store::open::{batch_number, open_database, read_error};
use super::super::fjall_store::{ALL_TREES, detached, scan};
use super::super::format::{FORMAT_KEY, FormatRow, check_format};
use super::super::{ScanLimit, Store, StoreError, Tree, manifest};
use super::{JournalBreak, TreeFault, database};

/// Bytes of block cache while a volume is read.
const CACHE_BYTES: u64 = 64 << 20;
/// Doublings until a probe behind a damaged block has left every key behind.
const PROBES_MAX: u32 = 8 * PROBE_KEY_BYTES as u32;
/// Bytes of a key to which probes are filled up; longer than any key of ours.
const PROBE_KEY_BYTES: usize = 40;

/// Keys between which rows of a tree cannot be read, both excluded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The tree.
    pub tree: Tree,
    /// The last key that can be read before it.
    pub after: Bytes,
    /// The first one behind it; None: nothing is behind it.
    pub before: Option<Bytes>,
}

/// An open copy. It is removed when this goes.
pub struct Image {
    trees: [Keyspace; 3],
    _db: Database,
    origin: PathBuf,
    ahead: [bool; 3],
    _copy: tempfile::TempDir,
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Image").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Image {
    /// Opens a copy of the database in `dir`, made under `scratch`, with the journals cut at `cut` and the faults of
    /// trees mended that can be.
    ///
    /// # Errors
    /// When the copy cannot be made, or the database cannot be opened even so.
    pub fn open(
        dir: &Path,
        scratch: &Path,
        cut: Option<&JournalBreak>,
        faults: &[TreeFault],
    ) -> Result<Self, StoreError> {
        let fail = |error: std::io::Error| io_error("copy the database", scratch, &error);
        let copy = tempfile::Builder::new().prefix("cmq-look-").tempdir_in(scratch).map_err(fail)?;
        let (from, to) = (database(dir), copy.path().join("db"));
        copy_folder(&from, &to, cut)?;
        if let Some(fault) = faults.iter().find(|fault| !fault.is_mendable) {
            return Err(StoreError::Damaged {
                place: fault.path.display().to_string(),
                detail: fault.what.clone(),
            });
        }
        for fault in faults {
            let tree =
                fault.path.strip_prefix(&from).map_or_else(|_| fault.path.clone(), |tree| to.join(tree));
            manifest::mend(&tree)?;
        }
        let (db, trees) = open_database(&to, CACHE_BYTES).map_err(|error| renamed(error, &to, &from))?;
        let last = cut.map(|cut| cut.seqno.unwrap_or(0));
        let ahead = trees.each_ref().map(|tree| {
            last.is_some_and(|last| tree.tree.get_highest_persisted_seqno().is_some_and(|seqno| seqno > last))
        });
        Ok(Self { trees, _db: db, origin: from.clone(), ahead, _copy: copy })
    }

    /// Whether tables of a tree hold more than the journals up to the cut.
    pub fn is_ahead(&self, tree: Tree) -> bool {
        self.ahead[position(tree)]
    }

    /// The number of the newest batch.
    ///
    /// # Errors
    /// When the row of it is damaged.
    pub fn batch(&self) -> Result<u64, StoreError> {
        batch_number(self.tree(Tree::Meta), SeqNo::MAX)
    }

    /// The format and the version that wrote it; None: the row is missing.
    ///
    /// # Errors
    /// When the row is damaged, or of a newer program.
    pub fn format(&self) -> Result<Option<(u32, String)>, StoreError> {
        let row = self.get(Tree::Meta, FORMAT_KEY)?;
        let row: Option<FormatRow> = row.map(|row| check_format(&row)).transpose()?;
        Ok(row.map(|row| (row.format, row.written_by)))
    }

    /// Rows of a tree, delete marks included, and bytes of its tables.
    pub fn size(&self, tree: Tree) -> (u64, u64) {
        let keyspace = self.tree(tree);
        (keyspace.approximate_len() as u64, keyspace.disk_space())
    }

    /// Visits every row with `from <= key < to` that can be read, in order; answers between which keys none can.
    pub fn salvage(
        &self,
        tree: Tree,
        from: &[u8],
        to: &[u8],
        mut visit: impl FnMut(Bytes, Bytes),
    ) -> Vec<Gap> {
        let mut gaps = Vec::new();
        let mut next = Bytes::copy_from_slice(from);
        'readable: loop {
            let mut last = next.clone();
            let mut rows =
                self.tree(tree).range::<&[u8], _>((Bound::Included(&next[..]), Bound::Excluded(to)));
            loop {
                match guarded(|| rows.next()) {
                    Ok(None) => return gaps,
                    Ok(Some((key, value))) => {
                        last = key.clone();
                        visit(key, value);
                    }
                    Err(()) => break,
                }
            }
            // Behind the damage, as far as doubled steps have to go.
            for step in 0..PROBES_MAX {
                let probe = advanced(&last, step);
                if &probe[..] >= to {
                    break;
                }
                let mut rows =
                    self.tree(tree).range::<&[u8], _>((Bound::Included(&probe[..]), Bound::Excluded(to)));
                match guarded(|| rows.next()) {
                    Err(()) => {}
                    Ok(None) => break,
                    Ok(Some((found, _))) => {
                        next = self.first_readable(tree, &last, found);
                        gaps.push(Gap { tree, after: last, before: Some(next.clone()) });
                        continue 'readable;
                    }
                }
            }
            gaps.push(Gap { tree, after: last, before: None });
            return gaps;
        }
    }

    /// Walks back from a key that can be read to the damage before it.
    fn first_readable(&self, tree: Tree, after: &[u8], found: Bytes) -> Bytes {
        let range = (Bound::Excluded(after), Bound::Included(&found[..]));
        let mut rows = self.tree(tree).range::<&[u8], _>(range);
        let mut first = found.clone();
        while let Ok(Some((key, _))) = guarded(|| rows.next_back()) {
            first = key;
        }
        first
    }

    fn tree(&self, tree: Tree) -> &Keyspace {
        &self.trees[position(tree)]
    }
}

impl Store for Image {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let read = catch_unwind(AssertUnwindSafe(|| self.tree(tree).get(key)));
        let place = &self.origin;
        match read {
            Ok(Ok(value)) => Ok(value.map(|value| detached(value.into()))),
            Ok(Err(error)) => Err(read_error(place, tree, &error)),
            Err(_) => Err(StoreError::Damaged {
                place: place.display().to_string(),
                detail: format!("fjall failed an assertion while it read a row of {tree:?}"),
            }),
        }
    }

    fn scan(
        &self,
        tree: Tree,
        from: &[u8],
        to: &[u8],
        limit: ScanLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        scan(self.tree(tree), from, to, limit).map_err(|error| read_error(&self.origin, tree, &error))
    }
}

fn position(tree: Tree) -> usize {
    ALL_TREES.iter().position(|known| *known == tree).expect("all trees are listed")
}

/// A row, or that it cannot be read. Damage makes fjall fail an assertion in places.
fn guarded(next: impl FnOnce() -> Option<fjall::Guard>) -> Result<Option<(Bytes, Bytes)>, ()> {
    catch_unwind(AssertUnwindSafe(|| match next().map(fjall::Guard::into_inner) {
        None => Ok(None),
        Some(Ok((key, value))) => Ok(Some((detached(key.into()), detached(value.into())))),
        Some(Err(_)) => Err(()),
    }))
    .unwrap_or(Err(()))
}

/// A key that is `1 << step` behind another one, both taken as numbers of the same length.
fn advanced(key: &[u8], step: u32) -> Bytes {
    let mut probe = key.to_vec();
    probe.resize(probe.len().max(PROBE_KEY_BYTES), 0);
    let at = probe.len() - 1 - (step / 8) as usize;
    let mut carry = 1_u16 << (step % 8);
    for byte in probe[..=at].iter_mut().rev() {
        let sum = u16::from(*byte) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
        if carry == 0 {
            return probe.into();
        }
    }
    Bytes::from(vec![0xff; PROBE_KEY_BYTES])
}

fn renamed(error: StoreError, copy: &Path, origin: &Path) -> StoreError {
    let name = |text: String| text.replace(&copy.display().to_string(), &origin.display().to_string());
    match error {
        StoreError::Damaged { place, detail } => {
            StoreError::Damaged { place: name(place), detail: name(detail) }
        }
        other => other,
    }
}

fn copy_folder(from: &Path, to: &Path, cut: Option<&JournalBreak>) -> Result<(), StoreError> {
    let fail = |error: std::io::Error| io_error("copy the database", from, &error);
    std::fs::create_dir_all(to).map_err(fail)?;
    for entry in std::fs::read_dir(from).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().map_err(fail)?.is_dir() {
            copy_folder(&path, &target, cut)?;
        } else if from.file_name().is_some_and(|name| name == "tables") {
            let absolute = std::path::absolute(&path).map_err(fail)?;
            symlink(absolute, target).map_err(fail)?;
        } else if cut.is_some_and(|cut| cut.later.contains(&path)) {
            // It is behind the cut.
        } else {
            let mut bytes = std::fs::read(&path).map_err(fail)?;
            if let Some(cut) = cut.filter(|cut| cut.path == path) {
                bytes.truncate(cut.offset as usize);
            }
            std::fs::write(target, bytes).map_err(fail)?;
        }
    }
    Ok(())
}
