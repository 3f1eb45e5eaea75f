//! The two rows that the storage keeps for itself in `meta`, and what this binary reads and writes.
//!
//! Their keys start with a zero byte. Layers above must not use such keys: the batch row is written with every commit, and
//! a scan across it would walk all its versions.

use super::StoreError;

/// Keys of `meta` that start with this byte belong to the storage.
pub const RESERVED_PREFIX: u8 = 0;

/// What this binary writes.
pub(super) const FORMAT: u32 = 1;
/// The oldest format that can read what this binary writes.
pub(super) const OLDEST_READER: u32 = 1;

pub(super) const FORMAT_KEY: &[u8] = b"\0cmq.format";
pub(super) const BATCH_KEY: &[u8] = b"\0cmq.batch";

/// First byte of both rows.
const ROW_FORMAT: u8 = 1;
const BATCH_ROW_BYTES: usize = 25;

/// What a volume was written with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FormatRow {
    /// Format of the newest writer.
    pub(super) format: u32,
    /// Oldest format that can read it.
    pub(super) oldest_reader: u32,
    /// Version of the program that wrote the row, for people.
    pub(super) written_by: String,
}

impl FormatRow {
    pub(super) fn current() -> Self {
        Self {
            format: FORMAT,
            oldest_reader: OLDEST_READER,
            written_by: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut row = vec![ROW_FORMAT];
        row.extend(self.format.to_le_bytes());
        row.extend(self.oldest_reader.to_le_bytes());
        row.extend(self.written_by.as_bytes());
        row
    }

    fn decode(row: &[u8]) -> Option<Self> {
        let (&ROW_FORMAT, row) = row.split_first()? else { return None };
        let (format, row) = row.split_first_chunk()?;
        let (oldest_reader, row) = row.split_first_chunk()?;
        Some(Self {
            format: u32::from_le_bytes(*format),
            oldest_reader: u32::from_le_bytes(*oldest_reader),
            written_by: str::from_utf8(row).ok()?.to_owned(),
        })
    }
}

/// Reads the format row and refuses what only a newer program understands.
pub(super) fn check_format(row: &[u8]) -> Result<FormatRow, StoreError> {
    let row = FormatRow::decode(row).ok_or_else(|| StoreError::Damaged {
        place: "the format row".to_owned(),
        detail: format!("{row:02x?} is not one"),
    })?;
    if row.oldest_reader > FORMAT {
        return Err(StoreError::TooNew { format: row.format, known: FORMAT, written_by: row.written_by });
    }
    Ok(row)
}

/// The row that every commit overwrites.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BatchRow {
    /// Number of the oldest batch in the commit. It follows the newest of the commit before.
    pub(super) first: u64,
    /// Number of the newest batch in the commit.
    pub(super) number: u64,
    /// The newest batch that was known to be synced when this row was written. A batch that is missing although a later
    /// one says that it was synced is damage; without such a word it is the tail that a crash may tear.
    pub(super) synced: u64,
}

impl BatchRow {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut row = Vec::with_capacity(BATCH_ROW_BYTES);
        row.push(ROW_FORMAT);
        row.extend(self.first.to_le_bytes());
        row.extend(self.number.to_le_bytes());
        row.extend(self.synced.to_le_bytes());
        row
    }

    pub(super) fn decode(row: &[u8]) -> Option<Self> {
        let row: &[u8; BATCH_ROW_BYTES] = row.try_into().ok()?;
        let (&[ROW_FORMAT], row) = row.split_first_chunk::<1>()? else { return None };
        let (first, row) = row.split_first_chunk::<8>()?;
        let (number, synced) = row.split_first_chunk::<8>()?;
        Some(Self {
            first: u64::from_le_bytes(*first),
            number: u64::from_le_bytes(*number),
            synced: u64::from_le_bytes(*synced.first_chunk::<8>()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_survive_a_round_trip() {
        let row = BatchRow { first: 6, number: 7, synced: 4 };
        assert_eq!(BatchRow::decode(&row.encode()), Some(row));
        assert_eq!(BatchRow::decode(&row.encode()[..24]), None);
        assert_eq!(BatchRow::decode(&[2; 25]), None);
        let row = FormatRow::current();
        assert_eq!(check_format(&row.encode()).unwrap(), row);
    }

    #[test]
    fn a_newer_format_is_refused_with_the_version_that_wrote_it() {
        let row = FormatRow { format: FORMAT + 2, oldest_reader: FORMAT + 1, written_by: "9.8.7".to_owned() };
        let error = check_format(&row.encode()).unwrap_err().to_string();
        assert!(error.contains("9.8.7"), "{error}");
        // A newer writer that says we may read it.
        let row = FormatRow { oldest_reader: FORMAT, ..row };
        assert!(check_format(&row.encode()).is_ok());
        assert!(matches!(check_format(b"\x01ab"), Err(StoreError::Damaged { .. })));
    }
}
