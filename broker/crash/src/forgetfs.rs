//! A FUSE file system that loses what was not synced, as a machine does that loses power.
//!
//! It stands over a backing directory, which always holds exactly what is durable. Everything else is in
//! memory, and [`ForgetFs::forget`] drops it. What counts as durable is as harsh as POSIX allows, with two
//! exceptions that ext4, XFS and btrfs all grant and that correct databases rest on:
//!
//! * `fsync` and `fdatasync` of a file make its content and size durable, and nothing else does: not `close`,
//!   not a rename, not time (only more than 1 GiB of unsynced bytes in all is written back).
//! * Creating, renaming, linking and removing are durable with the next `fsync` of the directory: a removed
//!   file comes back, a renamed one has its old name again.
//! * Exception: the first `fsync` of a new file or directory also makes its present name durable, and those
//!   of new directories above it. POSIX asks for an `fsync` of every parent; but a file system that commits
//!   an inode without the name it was made under would need a second transaction to lose it, and none does.
//!   fjall rests on it: the directory of a new keyspace is synced, the one that holds it is not. Later names
//!   of the same inode get no such favour: a file that is written, synced and renamed into place needs its
//!   directory synced.
//! * Exception: what belongs together is not torn: a rename is one step whichever of its two directories is
//!   synced, and a name is not taken from a file before the file's other names are durable.
//!
//! Permissions and owners are written through; times are not kept. Symbolic links, special files and extended
//! attributes do not exist here. Locks are the kernel's, they end with the process that holds them.
//!
//! Unsynced writes need not all be lost: [`Survival`] chooses what the disk happened to keep.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fuser::{BackgroundSession, Config, MountOption};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use tree::Tree;

mod content;
mod fuse;
mod names;
mod overlay;
#[cfg(test)]
mod tests;
mod tree;

/// Threads that answer the kernel. A sync holds one for as long as it takes.
const THREADS: usize = 6;

/// What of the unsynced changes survives a loss of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Survival {
    /// Nothing.
    Nothing,
    /// Of each file the first few writes, the last of them torn at a sector; the first few changes of names.
    Prefix,
    /// Of each file any pages of any writes, so that later writes may be there without earlier ones; the
    /// first few changes of names (every file system in use keeps those in order).
    Subset,
}

/// What a loss of power took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Files that had unsynced content.
    pub files: u64,
    /// Bytes written to them that are gone.
    pub bytes: u64,
    /// Operations on names that are undone.
    pub names: u64,
}

/// A mounted file system. Dropping it unmounts it without syncing.
#[derive(Debug)]
pub struct ForgetFs {
    disk: Arc<Disk>,
    mountpoint: PathBuf,
    /// None once it is unmounted.
    session: Option<BackgroundSession>,
}

/// The tree, and whether it still has power.
#[derive(Debug)]
struct Disk {
    tree: Mutex<Tree>,
    has_power: Mutex<bool>,
    power_is_back: Condvar,
    sync_takes: Duration,
}

impl ForgetFs {
    /// Mounts the file system at `mountpoint` over `backing`; both must exist. Every sync takes at least
    /// `sync_takes`: the longer, the more is unsynced at any moment.
    ///
    /// # Errors
    /// The backing directory cannot be read or holds something else than files and directories, or the mount
    /// is refused (it needs `/dev/fuse`, and root or `fusermount3`).
    pub fn mount(backing: &Path, mountpoint: &Path, sync_takes: Duration) -> io::Result<Self> {
        let disk = Arc::new(Disk {
            tree: Mutex::new(Tree::load(&backing.canonicalize()?, 0)?),
            has_power: Mutex::new(true),
            power_is_back: Condvar::new(),
            sync_takes,
        });
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName("forgetfs".into()),
            MountOption::DefaultPermissions,
            MountOption::NoAtime,
        ];
        config.n_threads = Some(THREADS);
        let session = fuser::spawn_mount(fuse::Adapter::new(disk.clone()), mountpoint, &config)?;
        Ok(Self { disk, mountpoint: mountpoint.to_owned(), session: Some(session) })
    }

    /// Cuts the power: from now on no sync comes to its end, so that nothing more is acknowledged. Processes that
    /// sync hang until [`ForgetFs::forget`]; kill them before that, they would see an error that no power cut
    /// shows.
    pub fn cut_power(&self) {
        *lock(&self.disk.has_power) = false;
    }

    /// Loses what is not synced, and has power again. A process that still has a file open gets `ESTALE` from then
    /// on. The same `seed` with the same unsynced changes loses the same.
    ///
    /// # Errors
    /// The backing directory cannot be written or read.
    pub fn forget(&self, survival: Survival, seed: u64) -> io::Result<Forgotten> {
        self.cut_power();
        let forgotten = lock(&self.disk.tree).forget(survival, &mut fastrand::Rng::with_seed(seed));
        *lock(&self.disk.has_power) = true;
        self.disk.power_is_back.notify_all();
        forgotten
    }

    /// Unmounts; what is not synced is gone.
    ///
    /// # Errors
    /// A process still uses the files.
    pub fn unmount(mut self) -> io::Result<()> {
        self.session.take().map_or(Ok(()), BackgroundSession::umount_and_join)
    }
}

impl Drop for ForgetFs {
    fn drop(&mut self) {
        if self.session.is_some() {
            // Nobody is left to hear of a failure; who still has files open keeps them until it ends.
            rustix::mount::unmount(&self.mountpoint, UnmountFlags::DETACH).ok();
        }
    }
}

/// Why forgetfs cannot be mounted on this machine, as far as that can be told beforehand.
pub fn unavailable() -> Option<String> {
    let device = std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse");
    device.err().map(|error| format!("/dev/fuse: {error}"))
}

/// Takes away the mount that a forgetfs process left at `mountpoint` when it was killed; does nothing
/// otherwise.
///
/// # Errors
/// The dead mount cannot be detached.
pub fn detach_stale(mountpoint: &Path) -> io::Result<()> {
    let stale = std::fs::metadata(mountpoint)
        .is_err_and(|error| error.raw_os_error() == Some(Errno::NOTCONN.raw_os_error()));
    if stale { Ok(rustix::mount::unmount(mountpoint, UnmountFlags::DETACH)?) } else { Ok(()) }
}

impl Disk {
    fn tree(&self) -> MutexGuard<'_, Tree> {
        lock(&self.tree)
    }

    /// Does `sync`, unless the power is cut before it is done; then it ends with an error once power is back.
    fn sync(&self, sync: impl FnOnce(&mut Tree) -> Result<(), Errno>) -> Result<(), Errno> {
        std::thread::sleep(self.sync_takes);
        let mut has_power = lock(&self.has_power);
        if *has_power {
            // The lock is held, so that the power is not cut within the sync.
            return sync(&mut self.tree());
        }
        while !*has_power {
            has_power = self.power_is_back.wait(has_power).unwrap_or_else(PoisonError::into_inner);
        }
        Err(Errno::IO)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
