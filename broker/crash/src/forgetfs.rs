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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuser::{BackgroundSession, Config, MountOption};
use rustix::mount::UnmountFlags;

use tree::Tree;

mod content;
mod fuse;
mod names;
mod overlay;
#[cfg(test)]
mod tests;
mod tree;

/// Threads that answer the kernel.
const THREADS: usize = 2;

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
    tree: Arc<Mutex<Tree>>,
    mountpoint: PathBuf,
    /// None once it is unmounted.
    session: Option<BackgroundSession>,
}

impl ForgetFs {
    /// Mounts the file system at `mountpoint` over `backing`; both must exist.
    ///
    /// # Errors
    /// The backing directory cannot be read or holds something else than files and directories, or the mount
    /// is refused (it needs `/dev/fuse`, and root or `fusermount3`).
    pub fn mount(backing: &Path, mountpoint: &Path) -> io::Result<Self> {
        let tree = Arc::new(Mutex::new(Tree::load(&backing.canonicalize()?, 0)?));
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName("forgetfs".into()),
            MountOption::DefaultPermissions,
            MountOption::NoAtime,
        ];
        config.n_threads = Some(THREADS);
        let session = fuser::spawn_mount(fuse::Adapter::new(tree.clone()), mountpoint, &config)?;
        Ok(Self { tree, mountpoint: mountpoint.to_owned(), session: Some(session) })
    }

    /// Loses power. No process may use the files meanwhile; one that still has a file open gets `ESTALE` from
    /// then on. The same `seed` with the same unsynced changes loses the same.
    ///
    /// # Errors
    /// The backing directory cannot be written or read.
    pub fn forget(&self, survival: Survival, seed: u64) -> io::Result<Forgotten> {
        lock(&self.tree).forget(survival, &mut fastrand::Rng::with_seed(seed))
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
        .is_err_and(|error| error.raw_os_error() == Some(rustix::io::Errno::NOTCONN.raw_os_error()));
    if stale { Ok(rustix::mount::unmount(mountpoint, UnmountFlags::DETACH)?) } else { Ok(()) }
}

fn lock(tree: &Mutex<Tree>) -> MutexGuard<'_, Tree> {
    tree.lock().unwrap_or_else(PoisonError::into_inner)
}
