//! A small file beside the database that remembers the number of the newest batch that was synced.
//!
//! It is the only witness when the database itself comes back shorter than it was. Two slots are written in turn, each
//! in a block of its own and with a checksum, so that a torn write costs the newer number and never the file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::StoreError;
use super::files::{io_error, write_whole};

const SLOT_BYTES: usize = 32;
/// Slots are this far apart, so that no sector or page holds both.
const SLOT_SPACING: u64 = 4096;
const MAGIC: [u8; 8] = *b"cmqdur\0\x01";

/// The open file.
#[derive(Debug)]
pub(super) struct SideFile {
    file: File,
    /// Counts the writes; its parity says which slot is next.
    round: u64,
    /// What the newest slot holds.
    number: u64,
}

impl SideFile {
    /// Makes the file for a new volume, with number 0.
    pub(super) fn create(path: &Path) -> Result<(), StoreError> {
        let mut bytes = vec![0; SLOT_SPACING as usize + SLOT_BYTES];
        bytes[..SLOT_BYTES].copy_from_slice(&encode(0, 0));
        write_whole(path, &bytes)
    }

    /// Opens it and reads the newer of the slots that are whole.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let file = File::options()
            .read(true)
            .write(true)
            .open(path)
            .map_err(|error| missing_or_unreadable(path, &error))?;
        let (round, number) = newest_slot(&file, path)?;
        Ok(Self { file, round, number })
    }

    /// The newest number in the file, which stays as it is; None when there is no file.
    pub(super) fn read(path: &Path) -> Result<Option<u64>, StoreError> {
        match File::open(path) {
            Ok(file) => newest_slot(&file, path).map(|(_, number)| Some(number)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("open the file of the last durable batch", path, &error)),
        }
    }

    /// The newest number that was stored.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Stores a number and syncs it.
    pub(super) fn store(&mut self, number: u64) -> io::Result<()> {
        assert!(number >= self.number, "durable batches never become fewer: {number} after {}", self.number);
        let round = self.round + 1;
        let at = if round.is_multiple_of(2) { 0 } else { SLOT_SPACING };
        self.file.write_all_at(&encode(round, number), at)?;
        self.file.sync_data()?;
        (self.round, self.number) = (round, number);
        Ok(())
    }
}

fn newest_slot(file: &File, path: &Path) -> Result<(u64, u64), StoreError> {
    let slots = [0, SLOT_SPACING].map(|at| {
        let mut slot = [0; SLOT_BYTES];
        file.read_exact_at(&mut slot, at).ok()?;
        decode(&slot)
    });
    slots.into_iter().flatten().max().ok_or_else(|| StoreError::Damaged {
        place: path.display().to_string(),
        detail: "neither of its slots is whole, so nobody knows what had been synced".to_owned(),
    })
}

fn missing_or_unreadable(path: &Path, error: &io::Error) -> StoreError {
    if error.kind() == io::ErrorKind::NotFound {
        return StoreError::Damaged {
            place: PathBuf::from(path).display().to_string(),
            detail: "it is missing, so nobody knows what had been synced".to_owned(),
        };
    }
    io_error("open the file of the last durable batch", path, error)
}

pub(super) fn encode(round: u64, number: u64) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[..8].copy_from_slice(&MAGIC);
    slot[8..16].copy_from_slice(&round.to_le_bytes());
    slot[16..24].copy_from_slice(&number.to_le_bytes());
    let checksum = crc32c::crc32c(&slot[..24]);
    slot[24..28].copy_from_slice(&checksum.to_le_bytes());
    slot
}

pub(super) fn decode(slot: &[u8; SLOT_BYTES]) -> Option<(u64, u64)> {
    let (content, checksum) = slot.split_first_chunk::<24>()?;
    if checksum.first_chunk::<4>()? != &crc32c::crc32c(content).to_le_bytes() {
        return None;
    }
    let (magic, content) = content.split_first_chunk::<8>()?;
    let (round, number) = content.split_first_chunk::<8>()?;
    (*magic == MAGIC).then(|| {
        (
            u64::from_le_bytes(*round),
            u64::from_le_bytes(*number.first_chunk().expect("8 of 24 bytes are left")),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_slot_costs_one_step_and_two_are_reported() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("durable");
        SideFile::create(&path).unwrap();
        let mut file = SideFile::open(&path).unwrap();
        assert_eq!(file.number(), 0);
        for number in [3, 9, 12] {
            file.store(number).unwrap();
        }
        assert_eq!(SideFile::open(&path).unwrap().number(), 12);

        // Round 3 went to the second slot.
        let raw = File::options().write(true).open(&path).unwrap();
        raw.write_all_at(&[0xff; 20], SLOT_SPACING + 6).unwrap();
        let mut file = SideFile::open(&path).unwrap();
        assert_eq!(file.number(), 9);
        file.store(13).unwrap();
        assert_eq!(SideFile::open(&path).unwrap().number(), 13);

        raw.write_all_at(&[0; SLOT_BYTES], 0).unwrap();
        raw.write_all_at(&[0; SLOT_BYTES], SLOT_SPACING).unwrap();
        assert!(matches!(SideFile::open(&path), Err(StoreError::Damaged { .. })));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(SideFile::open(&path), Err(StoreError::Damaged { .. })));
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let slot = encode(5, 77);
        for bit in 0..28 * 8 {
            let mut bad = slot;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bad), None, "bit {bit}");
        }
        assert_eq!(decode(&slot), Some((5, 77)));
    }
}
