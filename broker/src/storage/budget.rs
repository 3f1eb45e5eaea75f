//! How the memory of the process is shared out, stated in this one place.

use std::path::Path;

use thiserror::Error;

const MIB: u64 = 1024 * 1024;

/// What `--memory` is at most when nobody sets it, in bytes.
pub const MEMORY_BYTES_DEFAULT_MAX: u64 = 512 * MIB;
/// The least that `--memory` may be, in bytes: below it, memtables would be so small that flushing is all the store does.
pub const MEMORY_BYTES_MIN: u64 = 64 * MIB;

/// Parts of 32 of the whole; what they sum up to is checked below.
const PARTS: u64 = 32;
const PARTS_MEMTABLES: u64 = 10;
const PARTS_BLOCK_CACHE: u64 = 4;
const PARTS_HEAD_CACHE: u64 = 5;
const PARTS_PAGES: u64 = 9;
const PARTS_INBOUND: u64 = 4;
const _: () =
    assert!(PARTS_MEMTABLES + PARTS_BLOCK_CACHE + PARTS_HEAD_CACHE + PARTS_PAGES + PARTS_INBOUND == PARTS);

/// Memtables of one tree at the same time: the one that takes writes, those that wait for their flush (the committer
/// waits when [`SEALED_MEMTABLES_MAX`] do).
const MEMTABLES_PER_TREE: u64 = 1 + SEALED_MEMTABLES_MAX as u64;
/// The committer holds writes back while a tree has this many sealed memtables. fjall itself would sleep 100 ms at a
/// time from 4 on.
pub const SEALED_MEMTABLES_MAX: usize = 3;
/// The log takes nearly all bytes: 12 of 16 parts of the memtables; pages take 3, small rows 1.
const MEMTABLE_PARTS: u64 = 16;
const MEMTABLE_PARTS_LOG: u64 = 12;
const MEMTABLE_PARTS_STATE: u64 = 3;
const MEMTABLE_PARTS_META: u64 = 1;
const _: () = assert!(MEMTABLE_PARTS_LOG + MEMTABLE_PARTS_STATE + MEMTABLE_PARTS_META == MEMTABLE_PARTS);

/// The memory of a broker, split. All figures are bytes, and upper bounds; what is not used is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBudget {
    /// One memtable of the log. There are up to four: one takes writes, three wait for their flush. On a slow disk it may
    /// grow a quarter larger.
    pub memtable_log: u64,
    /// One memtable of the state tree; up to four.
    pub memtable_state: u64,
    /// One memtable of the meta tree; up to four.
    pub memtable_meta: u64,
    /// Blocks of tables.
    pub block_cache: u64,
    /// Bodies of messages that are next to be handed out.
    pub head_cache: u64,
    /// Resident pages of the state machines.
    pub pages: u64,
    /// Requests and peer messages that were read and not yet taken into a turn.
    pub inbound: u64,
}

/// `--memory` is too small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a memory budget of {0} bytes is too small: give at least {MEMORY_BYTES_MIN}")]
pub struct MemoryTooSmall(pub u64);

impl MemoryBudget {
    /// Splits `total` bytes.
    ///
    /// # Errors
    /// When it is below [`MEMORY_BYTES_MIN`].
    pub fn split(total: u64) -> Result<Self, MemoryTooSmall> {
        if total < MEMORY_BYTES_MIN {
            return Err(MemoryTooSmall(total));
        }
        let part = total / PARTS;
        let memtable_part = part * PARTS_MEMTABLES / MEMTABLE_PARTS / MEMTABLES_PER_TREE;
        Ok(Self {
            memtable_log: memtable_part * MEMTABLE_PARTS_LOG,
            memtable_state: memtable_part * MEMTABLE_PARTS_STATE,
            memtable_meta: memtable_part * MEMTABLE_PARTS_META,
            block_cache: part * PARTS_BLOCK_CACHE,
            head_cache: part * PARTS_HEAD_CACHE,
            pages: part * PARTS_PAGES,
            inbound: part * PARTS_INBOUND,
        })
    }

    /// The split of what `--memory` is when nobody sets it.
    pub fn of_this_machine() -> Self {
        let total = default_total(Path::new("/")).max(MEMORY_BYTES_MIN);
        Self::split(total).expect("the total was raised to the least that is allowed")
    }

    /// The most that memtables may hold, all trees together.
    pub fn memtables_max(&self) -> u64 {
        (self.memtable_log + self.memtable_state + self.memtable_meta) * MEMTABLES_PER_TREE
    }
}

/// The smaller of half the memory limit of this process's cgroup and 512 MiB. `root` is where `/proc` and `/sys` are.
///
/// Both versions of cgroups are looked at, each with the limits of all ancestors, for the tightest one counts.
pub fn default_total(root: &Path) -> u64 {
    let membership = std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let limit = membership.lines().filter_map(|line| limit_of(root, line)).min();
    limit.map_or(MEMORY_BYTES_DEFAULT_MAX, |bytes| MEMORY_BYTES_DEFAULT_MAX.min(bytes / 2))
}

/// The limit that one line of `/proc/self/cgroup` leads to: `0::/path` is version 2, `N:memory:/path` version 1.
fn limit_of(root: &Path, line: &str) -> Option<u64> {
    let mut fields = line.splitn(3, ':');
    let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let (base, file) = if controllers.is_empty() {
        (root.join("sys/fs/cgroup"), "memory.max")
    } else if controllers.split(',').any(|name| name == "memory") {
        (root.join("sys/fs/cgroup/memory"), "memory.limit_in_bytes")
    } else {
        return None;
    };
    // Inside a container the path may be that of the host: then only the root of the mount is there, and is ours.
    Path::new(path.trim_start_matches('/'))
        .ancestors()
        .filter_map(|ancestor| std::fs::read_to_string(base.join(ancestor).join(file)).ok())
        .filter_map(|text| text.trim().parse::<u64>().ok())
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_never_exceed_the_whole_and_all_grow_with_it() {
        let mut last: Option<MemoryBudget> = None;
        for total in [MEMORY_BYTES_MIN, 100 * MIB + 7, 512 * MIB, 16 * 1024 * MIB] {
            let budget = MemoryBudget::split(total).unwrap();
            let sum = budget.memtables_max()
                + budget.block_cache
                + budget.head_cache
                + budget.pages
                + budget.inbound;
            assert!(sum <= total, "{sum} of {total}");
            assert!(sum > total - total / 100, "{sum} of {total} is wasteful");
            if let Some(last) = last {
                assert!(budget.memtable_log > last.memtable_log && budget.memtable_meta > last.memtable_meta);
            }
            last = Some(budget);
        }
        assert_eq!(MemoryBudget::split(MEMORY_BYTES_MIN - 1), Err(MemoryTooSmall(MEMORY_BYTES_MIN - 1)));
    }

    fn default_with(files: &[(&str, &str)]) -> u64 {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        default_total(root.path())
    }

    #[test]
    fn the_default_follows_the_limit_of_the_cgroup() {
        let v2 = ("proc/self/cgroup", "0::/kube/pod/broker\n");
        let v1 = ("proc/self/cgroup", "5:cpu,cpuacct:/x\n3:memory:/docker/abc\n0::/\n");
        assert_eq!(default_with(&[]), 512 * MIB);
        assert_eq!(default_with(&[v2, ("sys/fs/cgroup/kube/pod/broker/memory.max", "max\n")]), 512 * MIB);
        assert_eq!(
            default_with(&[v2, ("sys/fs/cgroup/kube/pod/broker/memory.max", "536870912\n")]),
            256 * MIB
        );
        assert_eq!(
            default_with(&[
                v2,
                ("sys/fs/cgroup/kube/pod/broker/memory.max", "max\n"),
                ("sys/fs/cgroup/kube/pod/memory.max", "209715200\n"),
                ("sys/fs/cgroup/kube/memory.max", "4294967296\n"),
            ]),
            100 * MIB
        );
        assert_eq!(default_with(&[v2, ("sys/fs/cgroup/memory.max", "8589934592\n")]), 512 * MIB);
        assert_eq!(
            default_with(&[v1, ("sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n")]),
            128 * MIB
        );
        assert_eq!(
            default_with(&[
                v1,
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "134217728\n"),
            ]),
            64 * MIB
        );
    }
}
