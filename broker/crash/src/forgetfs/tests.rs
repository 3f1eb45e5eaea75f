//! What is there after a loss of power, by example, and the file system against a plain directory at random.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::{ForgetFs, Survival};

/// Operations, and what is left of them when the power goes and nothing unsynced survives.
///
/// `write FILE TEXT` appends, `resize FILE SIZE`, `sync PATH` is `fsync` of a file or a directory; the rest
/// are the system calls of their names. A directory is listed as `NAME/`, a file as `NAME=CONTENT`.
const CASES: &[(&str, &str, &str)] = &[
    ("nothing is synced", "write x one; mkdir d; write d/y two", ""),
    ("a synced file has its name and its content", "write x one; sync x", "x=one"),
    ("bytes after the sync are lost", "write x one; sync x; write x two", "x=one"),
    ("a synced directory has names, not contents", "write x one; sync .", "x="),
    ("the second sync writes only what is new", "write x one; sync x; write x two; sync x", "x=onetwo"),
    ("one file's sync does nothing for another", "write x one; write y two; sync y", "y=two"),
    ("closing is not syncing", "write x one; write x two; write x three", ""),
    ("a cut that is not synced is undone", "write x onetwo; sync x; resize x 3", "x=onetwo"),
    ("a synced cut holds", "write x onetwo; sync x; resize x 3; sync x", "x=one"),
    ("what was cut does not come back", "write x onetwo; sync x; resize x 1; resize x 3; sync x", "x=o00"),
    ("growth is synced", "write x one; resize x 5; sync x", "x=one00"),
    (
        "a new file in a new directory brings its directories",
        "mkdir d; mkdir d/e; write d/e/x one; sync d/e/x",
        "d/ d/e/ d/e/x=one",
    ),
    (
        "a new directory brings its own name, not those in it",
        "mkdir d; mkdir d/e; sync d; write d/x one",
        "d/ d/e/",
    ),
    ("a new directory alone", "mkdir d; write d/x one; sync .", "d/"),
    ("a removed file comes back", "write x one; sync x; remove x", "x=one"),
    ("a removal is durable with its directory", "write x one; sync x; remove x; sync .", ""),
    ("a rename is undone", "write x one; sync x; rename x y", "x=one"),
    ("a rename is durable with its directory", "write x one; sync x; rename x y; sync .", "y=one"),
    (
        "syncing a renamed file does not keep the rename",
        "write x one; sync x; rename x y; write y two; sync y",
        "x=onetwo",
    ),
    ("a file synced first under its second name", "write x one; rename x y; sync y", "y=one"),
    ("replacing by rename is undone", "write x one; sync x; write t two; sync t; rename t x", "t=two x=one"),
    (
        "replacing by rename holds with its directory",
        "write x one; sync x; write t two; sync t; rename t x; sync .",
        "x=two",
    ),
    (
        "replacing with a file that is not synced",
        "write x one; sync x; write t two; rename t x; sync .",
        "x=",
    ),
    ("a removed name that is used again", "write x one; sync x; remove x; write x two; sync .", "x="),
    (
        "a removed name that is used again and synced",
        "write x one; sync x; remove x; write x two; sync x",
        "x=two",
    ),
    (
        "two new names of one file at once",
        "mkdir d; write x one; link x y; link x d/z; sync x",
        "d/ d/z=one x=one y=one",
    ),
    (
        "names that are swapped",
        "write a one; write b two; sync a; sync b; rename a t; rename b a; rename t b; sync .",
        "a=two b=one",
    ),
    (
        "names that are swapped, undone",
        "write a one; write b two; sync a; sync b; rename a t; rename b a; rename t b",
        "a=one b=two",
    ),
    (
        "a move ties both directories: the old one",
        "mkdir d; mkdir e; write d/x one; sync d/x; rename d/x e/x; sync d",
        "d/ e/ e/x=one",
    ),
    (
        "a move ties both directories: the new one",
        "mkdir d; mkdir e; write d/x one; sync d/x; rename d/x e/x; sync e",
        "d/ e/ e/x=one",
    ),
    (
        "a directory that is renamed keeps what was durable in it",
        "mkdir d; write d/x one; sync d/x; rename d e; sync .",
        "e/ e/x=one",
    ),
    (
        "a directory that is renamed, undone",
        "mkdir d; write d/x one; sync d/x; rename d e; write e/y two",
        "d/ d/x=one",
    ),
    (
        "a move does not take along what else is in the other directory",
        "mkdir d; mkdir e; sync .; write e/y two; write d/x one; sync d/x; rename d/x e/x; sync d",
        "d/ e/ e/x=one",
    ),
    (
        "a new file under the old name of another",
        "write x one; sync x; rename x y; write x two; sync x",
        "x=two y=one",
    ),
    (
        "a new file under the old name of a directory",
        "mkdir d; write d/x one; sync d/x; rename d e; write d two; sync d",
        "d=two e/ e/x=one",
    ),
    ("a file in a renamed directory", "mkdir d; sync .; rename d e; write e/y two; sync e/y", "d/ d/y=two"),
    (
        "a directory that is moved",
        "mkdir d; mkdir e; write d/x one; sync d/x; sync .; rename d e/f; sync e",
        "e/ e/f/ e/f/x=one",
    ),
    (
        "a removed directory comes back with its files",
        "mkdir d; write d/x one; sync d/x; remove d/x; rmdir d",
        "d/ d/x=one",
    ),
    (
        "a removed directory takes its files along",
        "mkdir d; write d/x one; sync d/x; remove d/x; rmdir d; sync .",
        "",
    ),
    (
        "what was moved out of a removed directory stays",
        "mkdir d; mkdir e; sync .; write d/x one; sync d/x; rename d/x e/x; rmdir d; sync .",
        "e/ e/x=one",
    ),
    (
        "a directory replaced by another",
        "mkdir d; write d/x one; sync d/x; mkdir e; sync .; remove d/x; rename e d; sync .",
        "d/",
    ),
    ("a second name is undone", "write x one; sync x; link x y", "x=one"),
    ("a second name holds with its directory", "write x one; sync x; link x y; sync .", "x=one y=one"),
    (
        "two names are one file",
        "write x one; sync x; link x y; sync .; write y two; sync x",
        "x=onetwo y=onetwo",
    ),
    (
        "the way of a rewritten pointer file",
        "write P one; sync P; sync .; write .t two; sync .t; rename .t P; sync P; sync .",
        "P=two",
    ),
    (
        "the same, before its directory is synced",
        "write P one; sync P; sync .; write .t two; sync .t; rename .t P; sync P",
        ".t=two P=one",
    ),
];

struct Mounted {
    /// None once it is unmounted.
    fs: Option<ForgetFs>,
    dirs: TempDir,
}

impl Mounted {
    /// None, and a line that says why, where FUSE cannot be had.
    fn new() -> Option<Self> {
        if let Some(reason) = super::unavailable() {
            println!("skipped: {reason}");
            return None;
        }
        let dirs = TempDir::new().unwrap();
        for name in ["backing", "mount", "plain"] {
            fs::create_dir(dirs.path().join(name)).unwrap();
        }
        let fs = ForgetFs::mount(&dirs.path().join("backing"), &dirs.path().join("mount"), Duration::ZERO);
        Some(Self { fs: Some(fs.unwrap()), dirs })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dirs.path().join(name)
    }

    fn forget(&self, survival: Survival, seed: u64) -> super::Forgotten {
        self.fs.as_ref().unwrap().forget(survival, seed).unwrap()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(fs) = self.fs.take() {
            let unmounted = fs.unmount();
            assert!(unmounted.is_ok() || std::thread::panicking(), "{unmounted:?}");
        }
    }
}

fn run(root: &Path, operation: &str) -> io::Result<()> {
    let words: Vec<&str> = operation.split_whitespace().collect();
    let at = |index: usize| root.join(words[index]);
    match words[0] {
        "write" => OpenOptions::new().append(true).create(true).open(at(1))?.write_all(words[2].as_bytes()),
        "resize" => OpenOptions::new().write(true).open(at(1))?.set_len(words[2].parse().unwrap()),
        "sync" => File::open(at(1))?.sync_all(),
        "mkdir" => fs::create_dir(at(1)),
        "rmdir" => fs::remove_dir(at(1)),
        "remove" => fs::remove_file(at(1)),
        "rename" => fs::rename(at(1), at(2)),
        "link" => fs::hard_link(at(1), at(2)),
        other => panic!("unknown operation {other}"),
    }
}

fn listing(root: &Path) -> String {
    fn walk(root: &Path, prefix: &str, into: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(root).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_type().unwrap().is_dir() {
                into.insert(name.clone(), "/".into());
                walk(&entry.path(), &format!("{name}/"), into);
            } else {
                let content = fs::read(entry.path()).unwrap();
                assert_eq!(content.len() as u64, entry.metadata().unwrap().len());
                into.insert(name, format!("={}", String::from_utf8(content).unwrap().replace('\0', "0")));
            }
        }
    }
    let mut names = BTreeMap::new();
    walk(root, "", &mut names);
    names.into_iter().map(|(name, rest)| name + &rest).collect::<Vec<_>>().join(" ")
}

#[test]
fn keeps_what_was_synced_and_nothing_else() {
    for (title, operations, left) in CASES {
        let Some(mounted) = Mounted::new() else { return };
        let (mount, plain) = (mounted.path("mount"), mounted.path("plain"));
        for operation in operations.split(';') {
            run(&mount, operation).unwrap_or_else(|error| panic!("{title}: {operation}: {error}"));
            run(&plain, operation).unwrap();
            assert_eq!(listing(&mount), listing(&plain), "{title}: before the loss, after {operation}");
        }
        mounted.forget(Survival::Nothing, 0);
        assert_eq!(listing(&mount), *left, "{title}");
        assert_eq!(listing(&mounted.path("backing")), *left, "{title}: the backing directory");
    }
}

#[test]
fn behaves_as_a_plain_directory_and_a_full_sync_keeps_all() {
    const NAMES: [&str; 9] = ["a", "b", "c", "d", "d/a", "d/b", "e", "e/a", "e/d"];
    for seed in 0..40 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut operations = Vec::new();
        for step in 0..300 {
            let (one, two) = (NAMES[random.usize(0..NAMES.len())], NAMES[random.usize(0..NAMES.len())]);
            operations.push(match random.u8(0..16) {
                0..5 => format!("write {one} t{step}"),
                5 => format!("resize {one} {}", random.u8(0..20)),
                6..8 => format!("sync {one}"),
                8..10 => format!("mkdir {one}"),
                10 => format!("rmdir {one}"),
                11..13 => format!("remove {one}"),
                13..15 => format!("rename {one} {two}"),
                _ => format!("link {one} {two}"),
            });
        }
        if compare(&operations, seed).is_ok() {
            continue;
        }
        // Leave out what can be left out, from the end, so that a reader sees the cause.
        for index in (0..operations.len()).rev() {
            let mut fewer = operations.clone();
            fewer.remove(index);
            if compare(&fewer, seed).is_err() {
                operations = fewer;
            }
        }
        panic!("seed {seed}: {operations:?}: {}", compare(&operations, seed).unwrap_err());
    }
}

/// Runs the operations on both file systems, then loses power: on odd seeds after everything was synced.
fn compare(operations: &[String], seed: u64) -> Result<(), String> {
    let Some(mounted) = Mounted::new() else { return Ok(()) };
    let (mount, plain) = (mounted.path("mount"), mounted.path("plain"));
    let same = |what: &str, left: String, right: String| {
        if left == right { Ok(()) } else { Err(format!("{what}: {left:?} against {right:?}")) }
    };
    for operation in operations {
        let code = |result: io::Result<()>| format!("{:?}", result.map_err(|error| error.raw_os_error()));
        same(operation, code(run(&mount, operation)), code(run(&plain, operation)))?;
        same(operation, listing(&mount), listing(&plain))?;
    }
    if seed.is_multiple_of(2) {
        mounted.forget([Survival::Nothing, Survival::Prefix, Survival::Subset][seed as usize / 2 % 3], seed);
        same("after the loss", listing(&mount), listing(&mounted.path("backing")))
    } else {
        sync_all(&mount);
        mounted.forget(Survival::Nothing, seed);
        same("after a full sync", listing(&mount), listing(&plain))
    }
}

fn sync_all(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { sync_all(&path) } else { File::open(path).unwrap().sync_all().unwrap() }
    }
    File::open(dir).unwrap().sync_all().unwrap();
}

#[test]
fn survivors_are_a_torn_prefix_or_any_pages() {
    const PAGES: usize = 16;
    let mut seen_torn = false;
    let mut seen_hole = false;
    for seed in 0..60 {
        let Some(mounted) = Mounted::new() else { return };
        let path = mounted.path("mount/x");
        let mut file = File::create(&path).unwrap();
        file.write_all(b"synced").unwrap();
        file.sync_all().unwrap();
        for page in 0..PAGES {
            file.write_all(&[b'A' + page as u8; 4096]).unwrap();
        }
        drop(file);
        let survival = if seed % 2 == 0 { Survival::Prefix } else { Survival::Subset };
        let forgotten = mounted.forget(survival, seed);
        let left = fs::read(&path).unwrap();
        assert!(left.starts_with(b"synced"), "what was synced is never touched");
        let written: Vec<u8> = (0..PAGES).flat_map(|page| [b'A' + page as u8; 4096]).collect();
        let rest = &left[6..];
        if survival == Survival::Prefix {
            assert_eq!(rest, &written[..rest.len()]);
            assert_eq!(forgotten.bytes as usize, written.len() - rest.len());
            seen_torn |= !rest.len().is_multiple_of(4096);
        } else {
            assert!(rest.iter().zip(&written).all(|(byte, wrote)| byte == wrote || *byte == 0));
            seen_hole |= rest.contains(&0);
        }
    }
    assert!(seen_torn && seen_hole, "60 seeds show a torn write and a hole");
}

#[test]
fn an_open_file_outlives_its_name_and_locks_end_with_it() {
    let Some(mounted) = Mounted::new() else { return };
    let path = mounted.path("mount/x");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).read(true).open(&path).unwrap();
    file.write_all(b"content").unwrap();
    file.sync_all().unwrap();
    file.try_lock().unwrap();
    assert!(File::open(&path).unwrap().try_lock().is_err(), "a second lock is refused");
    fs::remove_file(&path).unwrap();
    File::open(mounted.path("mount")).unwrap().sync_all().unwrap();
    assert_eq!(listing(&mounted.path("backing")), "");
    let mut content = [0; 7];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut content, 0).unwrap();
    assert_eq!(&content, b"content");
    file.unlock().unwrap();
    mounted.forget(Survival::Nothing, 0);
    assert_eq!(
        file.write_all(b"late").unwrap_err().raw_os_error(),
        Some(rustix::io::Errno::STALE.raw_os_error())
    );
}

#[test]
fn no_sync_ends_after_the_power_is_cut() {
    let Some(mounted) = Mounted::new() else { return };
    let file = File::create(mounted.path("mount/x")).unwrap();
    file.sync_all().unwrap();
    mounted.fs.as_ref().unwrap().cut_power();
    let syncing = std::thread::spawn(move || {
        (&file).write_all(b"late").unwrap();
        file.sync_all().map_err(|error| error.raw_os_error())
    });
    std::thread::sleep(Duration::from_millis(100));
    assert!(!syncing.is_finished());
    mounted.forget(Survival::Nothing, 0);
    assert_eq!(syncing.join().unwrap(), Err(Some(rustix::io::Errno::IO.raw_os_error())));
    assert_eq!(listing(&mounted.path("mount")), "x=");
    assert_eq!(
        run(&mounted.path("mount"), "write x more").and(run(&mounted.path("mount"), "sync x")).ok(),
        Some(())
    );
}

#[test]
fn serves_the_calls_of_databases() {
    use rustix::fs::{CWD, FallocateFlags, RenameFlags, fallocate, renameat_with, statvfs};
    let Some(mounted) = Mounted::new() else { return };
    let (x, y) = (mounted.path("mount/x"), mounted.path("mount/y"));
    let file = File::create(&x).unwrap();
    fallocate(&file, FallocateFlags::empty(), 0, 10_000).unwrap();
    fallocate(&file, FallocateFlags::KEEP_SIZE, 0, 50_000).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 10_000);
    let refused = fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, 4096);
    assert_eq!(refused, Err(rustix::io::Errno::OPNOTSUPP));
    File::create(&y).unwrap();
    let refused = renameat_with(CWD, &x, CWD, &y, RenameFlags::NOREPLACE);
    assert_eq!(refused, Err(rustix::io::Errno::EXIST));
    fs::remove_file(&y).unwrap();
    renameat_with(CWD, &x, CWD, &y, RenameFlags::NOREPLACE).unwrap();
    assert_eq!(listing(&mounted.path("mount")), format!("y={}", "0".repeat(10_000)));
    let (disk, backing) = (statvfs(&y).unwrap(), statvfs(mounted.path("backing")).unwrap());
    assert_eq!((disk.f_blocks, disk.f_frsize), (backing.f_blocks, backing.f_frsize));
    let mut options = OpenOptions::new();
    let flags = rustix::fs::OFlags::DSYNC.bits().cast_signed();
    let synced = std::os::unix::fs::OpenOptionsExt::custom_flags(options.create(true).append(true), flags);
    synced.open(mounted.path("mount/z")).unwrap().write_all(b"at once").unwrap();
    mounted.forget(Survival::Nothing, 0);
    assert_eq!(listing(&mounted.path("mount")), "z=at once");
}

#[test]
fn a_database_survives_it() {
    const KEYSPACES: usize = 3;
    let Some(mounted) = Mounted::new() else { return };
    let mut random = fastrand::Rng::with_seed(11);
    let mut synced: u64 = 0;
    let mut forgotten_bytes = 0;
    for round in 0..12 {
        let db =
            fjall::Database::builder(mounted.path("mount/db")).manual_journal_persist(true).open().unwrap();
        let keyspaces: Vec<_> = (0..KEYSPACES)
            .map(|number| {
                let options = || fjall::KeyspaceCreateOptions::default().max_memtable_size(64 << 10);
                db.keyspace(&format!("k{number}"), options).unwrap()
            })
            .collect();
        for number in 0..synced {
            let value = keyspaces[number as usize % KEYSPACES].get(number.to_be_bytes()).unwrap();
            let value = value.unwrap_or_else(|| panic!("round {round}: {number} of {synced} is lost"));
            assert_eq!(value[..8], number.to_be_bytes());
        }
        for _ in 0..random.u64(50..400) {
            let mut batch = db.batch().durability(Some(fjall::PersistMode::SyncData));
            for number in synced..synced + 4 {
                let mut value = [7; 600];
                value[..8].copy_from_slice(&number.to_be_bytes());
                batch.insert(&keyspaces[number as usize % KEYSPACES], number.to_be_bytes(), value);
            }
            batch.commit().unwrap();
            synced += 4;
        }
        let mut unsynced = db.batch().durability(Some(fjall::PersistMode::Buffer));
        for number in synced..synced + 40 {
            unsynced.insert(&keyspaces[0], number.to_be_bytes(), [9; 600]);
        }
        unsynced.commit().unwrap();
        // The database lives on in this process; from here on its files are gone under it, as after a kill.
        let survival = if round % 2 == 0 { Survival::Nothing } else { Survival::Prefix };
        forgotten_bytes += mounted.forget(survival, round).bytes;
        drop((keyspaces, db));
    }
    assert!(forgotten_bytes > 0, "there was something to forget");
}
