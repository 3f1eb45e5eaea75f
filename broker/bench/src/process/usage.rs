//! What a process has used, from `/proc`.

use std::fs;

use crate::error::{Error, Result};

/// CPU time and disk writes of a process since it started.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// User and system time of all its threads, in seconds.
    pub cpu_seconds: f64,
    /// Bytes it caused to be written to the disk.
    pub written_bytes: u64,
}

/// Memory of a process.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Resident now, in bytes.
    pub resident_bytes: u64,
    /// The most that was ever resident, in bytes.
    pub peak_bytes: u64,
}

/// Reads CPU time and disk writes of the process.
///
/// # Errors
/// There is no such process, or it belongs to someone else.
pub fn usage(pid: u32) -> Result<Usage> {
    let stat = read(pid, "stat")?;
    let ticks = cpu_ticks(&stat).ok_or_else(|| Error::Server(format!("/proc/{pid}/stat: {stat:?}")))?;
    let io = read(pid, "io")?;
    let written =
        field(&io, "write_bytes:").ok_or_else(|| Error::Server(format!("/proc/{pid}/io: {io:?}")))?;
    let ticks_per_second = rustix::param::clock_ticks_per_second();
    Ok(Usage { cpu_seconds: ticks as f64 / ticks_per_second as f64, written_bytes: written })
}

/// Reads resident memory and its peak.
///
/// # Errors
/// There is no such process.
pub fn memory(pid: u32) -> Result<Memory> {
    let status = read(pid, "status")?;
    let bytes = |name| field(&status, name).map(|kibibytes| kibibytes * 1024);
    match (bytes("VmRSS:"), bytes("VmHWM:")) {
        (Some(resident_bytes), Some(peak_bytes)) => Ok(Memory { resident_bytes, peak_bytes }),
        _ => Err(Error::Server(format!("process {pid} has no memory any more"))),
    }
}

/// Files and sockets that the process has open.
///
/// # Errors
/// There is no such process, or it belongs to someone else.
pub fn handles(pid: u32) -> Result<usize> {
    let path = format!("/proc/{pid}/fd");
    Ok(fs::read_dir(&path).map_err(Error::io(format!("cannot read {path}")))?.count())
}

/// Threads of the process.
///
/// # Errors
/// There is no such process.
pub fn threads(pid: u32) -> Result<u64> {
    let status = read(pid, "status")?;
    field(&status, "Threads:").ok_or_else(|| Error::Server(format!("process {pid} has no threads any more")))
}

fn read(pid: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).map_err(Error::io(format!("cannot read {path}")))
}

/// User plus system time in clock ticks: fields 14 and 15, counted behind the name, which may hold blanks.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let behind_name = &stat[stat.rfind(')')? + 1..];
    let mut fields = behind_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 1234 5 6";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks("42 (cut) S 1"), None);
    }

    #[test]
    fn this_process_can_be_measured() {
        let pid = std::process::id();
        let before = usage(pid).unwrap();
        let start = std::time::Instant::now();
        let mut sum = 0u64;
        while start.elapsed().as_millis() < 200 {
            sum = sum.wrapping_mul(31).wrapping_add(1);
        }
        assert!(std::hint::black_box(sum) > 0);
        let used = usage(pid).unwrap().cpu_seconds - before.cpu_seconds;
        assert!(used > 0.02, "{used} s of CPU in 0.2 s of spinning");
        let memory = memory(pid).unwrap();
        assert!(memory.resident_bytes > 100_000 && memory.peak_bytes >= memory.resident_bytes);
        let before = handles(pid).unwrap();
        let file = std::fs::File::open("/proc/self/stat").unwrap();
        // Other tests of this process open and close files too, so this can only be near.
        assert!(handles(pid).unwrap().abs_diff(before) < 100);
        drop(file);
        assert!(threads(pid).unwrap() > 0);
    }
}
