//! Where the broker's data is: a plain directory, or a file system that loses what was not synced.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::forgetfs::{ForgetFs, Forgotten, Survival, detach_stale};

/// A sync takes at least this long on the forgetting file system, as on a disk: in memory it would take no time, and
/// a kill would hardly ever meet anything unsynced.
const SYNC_TAKES: Duration = Duration::from_millis(2);

/// What becomes of unsynced data at a kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The operating system keeps it, as when only the process dies.
    None,
    /// It is lost, as when the machine loses power; what survives is chosen anew at each kill, or fixed.
    PowerCut(Option<Survival>),
}

/// The broker's volume.
#[derive(Debug)]
pub struct Volume {
    data_dir: PathBuf,
    forgetting: Option<(ForgetFs, Option<Survival>)>,
}

impl Volume {
    /// Makes a volume under `root`.
    ///
    /// # Errors
    /// The directories cannot be made, or the file system not be mounted.
    pub fn new(root: &Path, loss: Loss) -> io::Result<Self> {
        let Loss::PowerCut(survival) = loss else {
            let data_dir = root.join("data");
            fs::create_dir_all(&data_dir)?;
            return Ok(Self { data_dir, forgetting: None });
        };
        let (backing, mountpoint) = (root.join("durable"), root.join("volume"));
        detach_stale(&mountpoint)?;
        fs::create_dir_all(&backing)?;
        fs::create_dir_all(&mountpoint)?;
        let fs = ForgetFs::mount(&backing, &mountpoint, SYNC_TAKES)?;
        Ok(Self { data_dir: mountpoint.join("data"), forgetting: Some((fs, survival)) })
    }

    /// The directory for the broker.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Cuts the power, if the volume can lose it: from now on nothing more becomes durable.
    pub fn cut_power(&self) {
        if let Some((fs, _)) = &self.forgetting {
            fs.cut_power();
        }
    }

    /// The broker got its SIGKILL: loses what is to be lost. None on a volume that loses nothing.
    ///
    /// # Errors
    /// The directory under the file system cannot be written or read.
    pub fn lose_power(&self, random: &mut fastrand::Rng) -> io::Result<Option<Forgotten>> {
        let Some((fs, survival)) = &self.forgetting else { return Ok(None) };
        let either = if random.bool() { Survival::Nothing } else { Survival::Prefix };
        fs.forget(survival.unwrap_or(either), random.u64(..)).map(Some)
    }

    /// Unmounts, if something is mounted.
    ///
    /// # Errors
    /// A process still uses the volume.
    pub fn close(self) -> io::Result<()> {
        self.forgetting.map_or(Ok(()), |(fs, _)| fs.unmount())
    }
}
