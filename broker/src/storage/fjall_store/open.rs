//! Opening a volume: every state that it can be in ends in an open store or in an error that says what to do.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use fjall::{AbstractTree, Database, Keyspace, PersistMode, SeqNo};
use rustix::io::Errno;

use super::super::files::{io_error, lock_dir, sync_dir};
use super::super::format::{BATCH_KEY, BatchRow, FORMAT_KEY, FormatRow, check_format};
use super::super::options::{FJALL_WORKERS, JOURNAL_BYTES_SEALED, OPEN_FILES_MAX, Options};
use super::super::pressure::Counters;
use super::super::side_file::SideFile;
use super::super::space::{Ballast, Space, Volume};
use super::super::{StoreError, Tree, journal, manifest};
use super::{ALL_TREES, FjallStore, Inner, trees};

/// fjall writes this file last when it makes a database.
pub(in super::super) const FJALL_MARKER: &str = "version";

pub(super) fn open(options: &Options) -> Result<FjallStore, StoreError> {
    let dir = &options.dir;
    std::fs::create_dir_all(dir).map_err(|error| io_error("make the data directory", dir, &error))?;
    let lock = lock_dir(dir)?;
    let volume = Volume::of(dir)?;
    volume.check_size(dir)?;
    let ballast = Ballast::at(dir.join("ballast"));
    ballast.release_if_full(volume.free)?;

    let side_file = open_side_file(dir)?;
    let synced = side_file.number();
    let db_dir = dir.join("db");
    let mut oldest_in_journals = None;
    if db_dir.join(FJALL_MARKER).exists() {
        manifest::check(&db_dir, synced > 0)?;
        oldest_in_journals = journal::check(&db_dir, synced)?.oldest;
    }
    let (db, trees) = open_database(&db_dir, options.memory.block_cache)?;
    let [_, _, meta] = &trees;
    let has_format = has_current_format(meta)?;
    check_journals_reach_tables(meta, &db_dir, oldest_in_journals)?;
    let last_batch = batch_number(meta, SeqNo::MAX)?;
    if last_batch < synced {
        return Err(StoreError::LostTail { found: last_batch, expected: synced });
    }
    if !has_format {
        write_format(&db, meta, last_batch)?;
    }
    // What the journal held was synced when it was opened.
    Ok(FjallStore {
        inner: Arc::new(Inner {
            db,
            trees,
            dir: dir.clone(),
            memory: options.memory,
            reclaim: options.reclaim,
            last_batch,
            durable: AtomicU64::new(last_batch),
            space: Space::look(dir)?,
            ballast,
            counters: Counters::new(),
            side_file: Mutex::new(Some(side_file)),
            _lock: lock,
        }),
    })
}

/// Opens the side file, which is there before the database is, so that one without the other tells what happened.
fn open_side_file(dir: &Path) -> Result<SideFile, StoreError> {
    let path = dir.join("durable");
    let db_dir = dir.join("db");
    let has_database = db_dir.join(FJALL_MARKER).exists();
    if !has_database && !path.exists() {
        if db_dir.exists() {
            return Err(StoreError::Foreign {
                place: db_dir.display().to_string(),
                missing: path.display().to_string(),
            });
        }
        SideFile::create(&path)?;
    }
    let side_file = SideFile::open(&path)?;
    if has_database {
        return Ok(side_file);
    }
    if side_file.number() > 0 {
        return Err(StoreError::LostTail { found: 0, expected: side_file.number() });
    }
    if db_dir.exists() {
        // A crash while the volume was made: nothing was ever stored in it.
        std::fs::remove_dir_all(&db_dir)
            .map_err(|error| io_error("remove a half-made database", &db_dir, &error))?;
        sync_dir(dir)?;
    }
    Ok(side_file)
}

pub(in super::super) fn open_database(
    db_dir: &Path,
    cache_bytes: u64,
) -> Result<(Database, [Keyspace; 3]), StoreError> {
    let open = || {
        let db = Database::builder(db_dir)
            .cache_size(cache_bytes)
            .manual_journal_persist(true)
            .max_journaling_size(JOURNAL_BYTES_SEALED)
            .worker_threads(FJALL_WORKERS)
            .max_cached_files(Some(OPEN_FILES_MAX))
            .open()?;
        let open_tree = |tree| db.keyspace(trees::name(tree), || trees::options(tree));
        let [log, state, meta] = ALL_TREES.map(open_tree);
        Ok::<_, fjall::Error>((db, [log?, state?, meta?]))
    };
    // Damage makes fjall fail an assertion in places.
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(opened)) => Ok(opened),
        Ok(Err(error)) => Err(open_error(db_dir, &error)),
        Err(_) => Err(damaged(db_dir, "fjall failed an assertion while it read it")),
    }
}

/// A journal that is missing as a whole leaves a hole between what tables hold and what the next journal starts with.
fn check_journals_reach_tables(
    meta: &Keyspace,
    db_dir: &Path,
    oldest_in_journals: Option<u64>,
) -> Result<(), StoreError> {
    let in_tables = loop {
        let newest = meta.tree.get_highest_persisted_seqno();
        let number = newest.map_or(Ok(0), |seqno| batch_number(meta, seqno + 1))?;
        // A flush and a compaction in between could have dropped the version that was asked for.
        if meta.tree.get_highest_persisted_seqno() == newest {
            break number;
        }
    };
    match oldest_in_journals {
        Some(oldest) if oldest > in_tables + 1 => Err(damaged(
            db_dir,
            &format!(
                "the tables end with batch {in_tables}, the journals start with {oldest}: one is missing"
            ),
        )),
        _ => Ok(()),
    }
}

/// The number in the batch row, as of before a sequence number. Every commit writes it, so it tells what a tree holds.
pub(in super::super) fn batch_number(meta: &Keyspace, before: SeqNo) -> Result<u64, StoreError> {
    let row = meta
        .tree
        .get(BATCH_KEY, before)
        .map_err(|error| read_error(meta.path(), Tree::Meta, &error.into()))?;
    match row {
        None => Ok(0),
        Some(row) => BatchRow::decode(&row).map(|row| row.number).ok_or_else(|| StoreError::Damaged {
            place: "the batch row".to_owned(),
            detail: format!("{row:02x?} is not one"),
        }),
    }
}

/// Whether the format row is there and says what we would write. Refuses what we could not read.
fn has_current_format(meta: &Keyspace) -> Result<bool, StoreError> {
    let row = meta.get(FORMAT_KEY).map_err(|error| read_error(meta.path(), Tree::Meta, &error))?;
    match row {
        Some(row) => Ok(check_format(&row)?.format >= FormatRow::current().format),
        None => Ok(false),
    }
}

fn write_format(db: &Database, meta: &Keyspace, last_batch: u64) -> Result<(), StoreError> {
    if last_batch > 0 && meta.get(FORMAT_KEY).is_ok_and(|row| row.is_none()) {
        return Err(damaged(meta.path(), "batches are there, but no row with the format"));
    }
    let mut batch = db.batch().durability(Some(PersistMode::SyncAll));
    batch.insert(meta, FORMAT_KEY, FormatRow::current().encode());
    batch.commit().map_err(|error| refused("write the format", &error))
}

fn damaged(place: &Path, detail: &str) -> StoreError {
    StoreError::Damaged { place: place.display().to_string(), detail: detail.to_owned() }
}

/// Why a database did not open.
fn open_error(db_dir: &Path, error: &fjall::Error) -> StoreError {
    use fjall::Error;
    match error {
        Error::Locked => StoreError::InUse(db_dir.display().to_string()),
        Error::Io(error) | Error::Storage(fjall::LsmError::Io(error)) if is_refusal(error) => {
            io_error("open the database", db_dir, error)
        }
        Error::InvalidVersion(_) | Error::Storage(fjall::LsmError::InvalidVersion(_)) => {
            StoreError::Damaged {
                place: db_dir.display().to_string(),
                detail: format!(
                    "{error}: it was written by a version of the database that this program does not know"
                ),
            }
        }
        error => damaged(db_dir, &error.to_string()),
    }
}

/// Whether the operating system refused for a reason outside the files. Everything else is damage, for what a damaged
/// file makes fjall ask for is refused too: files that are not there, places beyond their end, negative offsets.
fn is_refusal(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{
        Deadlock, OutOfMemory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
    };
    let by_kind = matches!(
        error.kind(),
        Deadlock | OutOfMemory | PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull
    );
    let by_number = [Errno::IO, Errno::MFILE, Errno::NFILE].map(|errno| errno.raw_os_error());
    by_kind || error.raw_os_error().is_some_and(|number| by_number.contains(&number))
}

/// Why a read failed.
pub(in super::super) fn read_error(place: &Path, tree: Tree, error: &fjall::Error) -> StoreError {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) if is_refusal(error) => {
            io_error("read a row", place, error)
        }
        error => damaged(place, &format!("a row of {} cannot be read: {error}", trees::name(tree))),
    }
}

/// Why a write failed. The database takes no further ones, so the process has to end.
pub(super) fn refused(what: &'static str, error: &fjall::Error) -> StoreError {
    let detail = match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => error.to_string(),
        fjall::Error::Poisoned => {
            "an earlier write, flush or compaction failed; the log has its cause. Often the volume is full"
                .to_owned()
        }
        error => error.to_string(),
    };
    StoreError::Io(what, detail)
}
