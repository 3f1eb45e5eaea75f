//! Room on the volume: how much is free, when sends must stop, and the ballast that lets a full volume open.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::StoreError;
use super::files::io_error;
use super::options::{BALLAST_BYTES, RESERVE_BYTES, RESERVE_HYSTERESIS_BYTES, VOLUME_BYTES_MIN};

/// Whether new messages may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Yes.
    Plenty,
    /// No: what is left is for receives, deletes and compactions, which win space back.
    BelowReserve,
}

/// A volume as the file system reports it, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Volume {
    /// All of it.
    pub(super) total: u64,
    /// What this process may still write.
    pub(super) free: u64,
}

impl Volume {
    /// Asks the file system that holds `path`.
    ///
    /// # Errors
    /// When it does not answer.
    pub(super) fn of(path: &Path) -> Result<Self, StoreError> {
        let figures =
            statvfs(path).map_err(|error| io_error("ask for free space", path, &io::Error::from(error)))?;
        Ok(Self {
            total: figures.f_blocks.saturating_mul(figures.f_frsize),
            free: figures.f_bavail.saturating_mul(figures.f_frsize),
        })
    }

    /// Refuses a volume that cannot hold the reserve and a useful amount of messages.
    pub(super) fn check_size(self, dir: &Path) -> Result<(), StoreError> {
        if self.total < VOLUME_BYTES_MIN {
            return Err(StoreError::VolumeTooSmall {
                dir: dir.display().to_string(),
                total: self.total,
                minimum: VOLUME_BYTES_MIN,
            });
        }
        Ok(())
    }
}

/// What the last look at the volume said; cheap to read from any thread.
#[derive(Debug)]
pub(super) struct Space {
    dir: PathBuf,
    free: AtomicU64,
    total: AtomicU64,
    short: AtomicBool,
}

impl Space {
    pub(super) fn look(dir: &Path) -> Result<Self, StoreError> {
        let (free, total, short) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        let space = Self { dir: dir.to_owned(), free, total, short };
        space.refresh()?;
        Ok(space)
    }

    /// Looks again.
    pub(super) fn refresh(&self) -> Result<Volume, StoreError> {
        let volume = Volume::of(&self.dir)?;
        self.total.store(volume.total, Ordering::Relaxed);
        self.note(volume.free);
        Ok(volume)
    }

    fn note(&self, free: u64) {
        self.free.store(free, Ordering::Relaxed);
        let was_short = self.short.load(Ordering::Relaxed);
        let limit = if was_short { RESERVE_BYTES + RESERVE_HYSTERESIS_BYTES } else { RESERVE_BYTES };
        let is_short = free < limit;
        if is_short != was_short {
            self.short.store(is_short, Ordering::Relaxed);
            if is_short {
                tracing::warn!(
                    free_bytes = free,
                    reserve_bytes = RESERVE_BYTES,
                    "disk is short, sends are refused"
                );
            } else {
                tracing::info!(free_bytes = free, "disk has room again, sends are taken");
            }
        }
    }

    pub(super) fn free(&self) -> u64 {
        self.free.load(Ordering::Relaxed)
    }

    pub(super) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    pub(super) fn room(&self) -> Room {
        if self.short.load(Ordering::Relaxed) { Room::BelowReserve } else { Room::Plenty }
    }
}

/// A file that does nothing but take room.
#[derive(Debug)]
pub(super) struct Ballast {
    path: PathBuf,
}

impl Ballast {
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Before the database opens: gives the room away if there is so little that recovery, which flushes what the
    /// journals hold, could fail. Says whether it did.
    pub(super) fn release_if_full(&self, free: u64) -> Result<bool, StoreError> {
        if free >= BALLAST_BYTES {
            return Ok(false);
        }
        match std::fs::remove_file(&self.path) {
            Ok(()) => {
                tracing::warn!(free_bytes = free, "the volume is full, the ballast gives way");
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(io_error("release the ballast", &self.path, &error)),
        }
    }

    /// Makes the file again once the reserve is free besides. What goes wrong is not fatal: it is tried again later.
    pub(super) fn restore_if_room(&self, free: u64) {
        if free < RESERVE_BYTES + RESERVE_HYSTERESIS_BYTES + BALLAST_BYTES || self.is_whole() {
            return;
        }
        if let Err(error) = self.make() {
            tracing::warn!(%error, path = %self.path.display(), "could not make the ballast");
            // Half a ballast would look like a whole one by its size only if it were complete: leave none.
            let _ = std::fs::remove_file(&self.path);
        }
    }

    fn is_whole(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|file| file.len() == BALLAST_BYTES)
    }

    fn make(&self) -> io::Result<()> {
        let mut file = File::create(&self.path)?;
        match fallocate(&file, FallocateFlags::empty(), 0, BALLAST_BYTES) {
            Ok(()) => {}
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                let block = vec![0; 1024 * 1024];
                for _ in 0..BALLAST_BYTES / block.len() as u64 {
                    file.write_all(&block)?;
                }
            }
            Err(error) => return Err(error.into()),
        }
        file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn sends_stop_at_the_reserve_and_come_back_above_it() {
        let dir = tempfile::tempdir().unwrap();
        let space = Space::look(dir.path()).unwrap();
        assert!(space.free() > 0);
        for (free, room) in [
            (RESERVE_BYTES, Room::Plenty),
            (RESERVE_BYTES - 1, Room::BelowReserve),
            (RESERVE_BYTES + 1, Room::BelowReserve),
            (RESERVE_BYTES + RESERVE_HYSTERESIS_BYTES, Room::Plenty),
            (RESERVE_BYTES + 1, Room::Plenty),
        ] {
            space.note(free);
            assert_eq!((space.room(), space.free()), (room, free), "{free} bytes free");
        }
    }

    #[test]
    fn a_small_volume_is_refused() {
        let dir = Path::new("/data");
        Volume { total: VOLUME_BYTES_MIN, free: 0 }.check_size(dir).unwrap();
        let error = Volume { total: VOLUME_BYTES_MIN - 1, free: 0 }.check_size(dir).unwrap_err();
        assert!(error.to_string().contains("/data"), "{error}");
    }

    #[test]
    fn the_ballast_takes_real_room_and_gives_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ballast");
        let ballast = Ballast::at(path.clone());
        let plenty = RESERVE_BYTES + RESERVE_HYSTERESIS_BYTES + BALLAST_BYTES;

        ballast.restore_if_room(plenty - 1);
        assert!(!path.exists());
        ballast.restore_if_room(plenty);
        assert!(path.metadata().unwrap().blocks() * 512 >= BALLAST_BYTES);

        assert!(!ballast.release_if_full(BALLAST_BYTES).unwrap());
        assert!(ballast.release_if_full(BALLAST_BYTES - 1).unwrap());
        assert!(!path.exists());
        assert!(!ballast.release_if_full(0).unwrap());
    }
}
