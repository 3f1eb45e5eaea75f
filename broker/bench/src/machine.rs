//! Facts of the machine that figures depend on.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// How long the disk is probed.
const PROBE: Duration = Duration::from_secs(1);

/// Size of a probe's append, in bytes.
const PROBE_BYTES: usize = 1024;

/// What the machine is.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The processor's name for itself.
    pub processor: String,
    /// Cores this process may use.
    pub cores: usize,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// Kernel release.
    pub kernel: String,
    /// Type of the file system that holds the data.
    pub file_system: String,
    /// Appends of 1 KiB, each with its own fdatasync, that one thread does in a second.
    pub syncs_per_second: f64,
}

impl Machine {
    /// Looks at the machine, and probes the disk of `dir` for a second.
    ///
    /// # Errors
    /// `dir` cannot be written.
    pub fn look(dir: &Path) -> Result<Machine> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kibibytes =
            after(&meminfo, "MemTotal:").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
        Ok(Machine {
            processor: after(&cpuinfo, "model name\t:").unwrap_or("unknown").into(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: kibibytes.unwrap_or_default() * 1024,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().into(),
            file_system: file_system(dir)?,
            syncs_per_second: probe(dir)?,
        })
    }

    /// Whether the data lies in memory, where a sync costs nothing and shows nothing.
    #[must_use]
    pub fn keeps_data_in_memory(&self) -> bool {
        matches!(self.file_system.as_str(), "tmpfs" | "ramfs")
    }

    /// The facts in one line.
    #[must_use]
    pub fn line(&self) -> String {
        format!(
            "{}, {} cores, {} GB, Linux {}, {}, {} single fdatasyncs/s",
            self.processor,
            self.cores,
            self.memory_bytes / 1_000_000_000,
            self.kernel,
            self.file_system,
            crate::report::grouped(self.syncs_per_second)
        )
    }
}

fn after<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

fn file_system(dir: &Path) -> Result<String> {
    let dir = fs::canonicalize(dir).map_err(Error::io(format!("cannot find {}", dir.display())))?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    Ok(type_of(&mounts, &dir).unwrap_or("unknown file system").into())
}

/// The type of the innermost mount that holds `dir`; of mounts over each other the last one counts.
fn type_of<'a>(mounts: &'a str, dir: &Path) -> Option<&'a str> {
    let mount = |line: &'a str| {
        let (place, kind) = line.split_once(" - ")?;
        let point = Path::new(place.split(' ').nth(4)?);
        dir.starts_with(point).then_some((point.components().count(), kind.split(' ').next()?))
    };
    mounts.lines().filter_map(mount).max_by_key(|(depth, _)| *depth).map(|(_, kind)| kind)
}

fn probe(dir: &Path) -> Result<f64> {
    let path = dir.join("probe");
    let failed = || Error::io(format!("cannot write {}", path.display()));
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&path).map_err(failed())?;
    let block = [b'x'; PROBE_BYTES];
    let start = Instant::now();
    let mut syncs = 0u32;
    while start.elapsed() < PROBE {
        file.write_all(&block).and_then(|()| file.sync_data()).map_err(failed())?;
        syncs += 1;
    }
    let rate = f64::from(syncs) / start.elapsed().as_secs_f64();
    fs::remove_file(&path).map_err(failed())?;
    Ok(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_gives_the_type() {
        let mounts = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
            25 22 0:5 / /dev rw - devtmpfs udev rw\n\
            26 25 0:20 / /dev/shm rw - tmpfs tmpfs rw\n\
            27 22 0:21 / /data rw - btrfs /dev/vdb rw\n\
            28 22 0:22 / /data rw - xfs /dev/vdc rw";
        assert_eq!(type_of(mounts, Path::new("/home/a")), Some("ext4"));
        assert_eq!(type_of(mounts, Path::new("/dev/shm/x")), Some("tmpfs"));
        assert_eq!(type_of(mounts, Path::new("/devices")), Some("ext4"));
        assert_eq!(type_of(mounts, Path::new("/data")), Some("xfs"));
        assert_eq!(type_of("", Path::new("/")), None);
    }
}
