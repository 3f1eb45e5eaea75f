//! The content of one file: what is durable in the backing file, and the overlay of what is not.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;

use super::Survival;
use super::overlay::{Edit, Overlay};

/// A write may be torn at these boundaries: the unit that a disk writes whole.
const SECTOR_BYTES: u64 = 512;
/// Writes may reach the disk out of order in these units: the unit of the page cache.
const PAGE_BYTES: u64 = 4096;

/// One file as a reader sees it.
#[derive(Debug)]
pub(super) struct Content {
    /// Size now.
    size: u64,
    /// Size of the backing file.
    durable_size: u64,
    /// Up to here the backing file's bytes still count; a cut sets it back.
    backing_valid: u64,
    backing: Option<File>,
    overlay: Overlay,
}

impl Content {
    /// A file that exists in memory alone.
    pub(super) fn new() -> Self {
        Self::durable(0)
    }

    /// A file as the backing directory holds it, `size` bytes long.
    pub(super) fn durable(size: u64) -> Self {
        Self { size, durable_size: size, backing_valid: size, backing: None, overlay: Overlay::default() }
    }

    /// Bytes that a reader sees.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Memory that unsynced writes hold.
    pub(super) fn unsynced_bytes(&self) -> u64 {
        self.overlay.bytes()
    }

    /// Whether anything was written or resized since the last sync.
    pub(super) fn is_dirty(&self) -> bool {
        !self.overlay.is_clean()
    }

    /// Opens the backing file, so that the content stays readable when its last durable name goes.
    pub(super) fn open_backing(&mut self, path: &Path) -> io::Result<()> {
        if self.backing.is_none() {
            self.backing = Some(OpenOptions::new().read(true).write(true).open(path)?);
        }
        Ok(())
    }

    /// Takes a new, empty backing file and fills it with what was durable in the one before.
    pub(super) fn move_backing(&mut self, file: File) -> io::Result<()> {
        if let Some(old) = self.backing.take() {
            let mut durable = vec![0; self.durable_size as usize];
            old.read_exact_at(&mut durable, 0)?;
            file.write_all_at(&durable, 0)?;
        }
        self.backing = Some(file);
        Ok(())
    }

    /// Closes the backing file; it can be opened again as long as it has a durable name.
    pub(super) fn close_backing(&mut self) {
        self.backing = None;
    }

    /// Up to `length` bytes from `offset`; fewer at the end of the file.
    pub(super) fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let length = (length as u64).min(self.size.saturating_sub(offset)) as usize;
        let mut buffer = vec![0; length];
        let backed = (self.backing_valid.saturating_sub(offset)).min(length as u64) as usize;
        if backed > 0 {
            let file = self.backing.as_ref().ok_or_else(|| io::Error::other("backing file is not open"))?;
            file.read_exact_at(&mut buffer[..backed], offset)?;
        }
        self.overlay.read_into(offset, &mut buffer);
        Ok(buffer)
    }

    /// Writes to the overlay.
    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        self.overlay.write(offset, Bytes::copy_from_slice(data));
        self.size = self.size.max(offset + data.len() as u64);
    }

    /// Cuts or grows the file; what is grown reads as zeros.
    pub(super) fn resize(&mut self, size: u64) {
        if size == self.size {
            return;
        }
        self.overlay.resize(size);
        self.backing_valid = self.backing_valid.min(size);
        self.size = size;
    }

    /// Makes content and size durable: only the dirty extents are written. The backing file must be open.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.overlay.is_clean() {
            return Ok(());
        }
        let file = self.backing.as_ref().ok_or_else(|| io::Error::other("backing file is not open"))?;
        if self.backing_valid < self.durable_size {
            file.set_len(self.backing_valid)?;
            self.durable_size = self.backing_valid;
        }
        for (offset, data) in self.overlay.extents() {
            file.write_all_at(data, offset)?;
            self.durable_size = self.durable_size.max(offset + data.len() as u64);
        }
        if self.durable_size != self.size {
            file.set_len(self.size)?;
        }
        self.durable_size = self.size;
        self.backing_valid = self.size;
        self.overlay.clear();
        Ok(())
    }

    /// Writes to the backing file those unsynced changes that the disk happened to keep, and returns how many
    /// written bytes were lost. The backing file must be open unless nothing survives.
    pub(super) fn survive(&mut self, survival: Survival, random: &mut fastrand::Rng) -> io::Result<u64> {
        let edits = self.overlay.edits();
        let total: u64 = edits.iter().map(edit_bytes).sum();
        let kept = match survival {
            Survival::Nothing => Vec::new(),
            Survival::Prefix => prefix(edits, random),
            Survival::Subset => subset(edits, random),
        };
        let mut kept_bytes = 0;
        if !kept.is_empty() {
            let file = self.backing.as_ref().ok_or_else(|| io::Error::other("backing file is not open"))?;
            for edit in &kept {
                kept_bytes += edit_bytes(edit);
                match edit {
                    Edit::Write { offset, data } => file.write_all_at(data, *offset)?,
                    Edit::Resize(size) => file.set_len(*size)?,
                }
            }
        }
        Ok(total - kept_bytes)
    }
}

fn edit_bytes(edit: &Edit) -> u64 {
    match edit {
        Edit::Write { data, .. } => data.len() as u64,
        Edit::Resize(_) => 0,
    }
}

/// The first few changes, and a part of the one after them.
fn prefix(edits: &[Edit], random: &mut fastrand::Rng) -> Vec<Edit> {
    let whole = random.usize(0..=edits.len());
    let mut kept = edits[..whole].to_vec();
    if let Some(Edit::Write { offset, data }) = edits.get(whole) {
        let end = random.u64(*offset..=offset + data.len() as u64) / SECTOR_BYTES * SECTOR_BYTES;
        if end > *offset {
            kept.push(Edit::Write { offset: *offset, data: data.slice(..(end - offset) as usize) });
        }
    }
    kept
}

/// Each page of each write with even odds, in order.
fn subset(edits: &[Edit], random: &mut fastrand::Rng) -> Vec<Edit> {
    let mut kept = Vec::new();
    for edit in edits {
        match edit {
            Edit::Resize(_) if random.bool() => kept.push(edit.clone()),
            Edit::Resize(_) => {}
            Edit::Write { offset, data } => {
                let mut from = *offset;
                let end = offset + data.len() as u64;
                while from < end {
                    let to = ((from / PAGE_BYTES + 1) * PAGE_BYTES).min(end);
                    if random.bool() {
                        let piece = data.slice((from - offset) as usize..(to - offset) as usize);
                        kept.push(Edit::Write { offset: from, data: piece });
                    }
                    from = to;
                }
            }
        }
    }
    kept
}
