//! The rows of the catalogue: what a checkpoint writes, a snapshot holds and a restore reads.

use std::sync::Arc;

use super::{Catalogue, Owner, QueueEntry, Removal, Rewind, row_key};
use crate::attributes::QueueAttributes;
use crate::codec::{DecodeError, Reader, Writer};
use crate::limits::REWINDS_MAX;
use crate::row::RowKey;

const FORMAT: u8 = 1;

impl Catalogue {
    /// The rows that changed since the last checkpoint; None: the row is gone.
    pub fn checkpoint(&mut self) -> Vec<(RowKey, Option<Vec<u8>>)> {
        let keys = self.dirty.take();
        keys.into_iter().map(|key| (key, self.row(&key))).collect()
    }

    /// How many rows a checkpoint would write.
    pub fn dirty_rows(&self) -> usize {
        self.dirty.len()
    }

    /// Every row of the state.
    pub fn export(&self) -> Vec<(RowKey, Vec<u8>)> {
        let ids = self.names.keys().chain(self.removals.keys());
        let keys = ids.map(|id| row_key(*id)).chain([RowKey::Machine]);
        let mut rows: Vec<_> = keys.filter_map(|key| Some((key, self.row(&key)?))).collect();
        rows.sort_unstable_by_key(|(key, _)| *key);
        rows
    }

    fn row(&self, key: &RowKey) -> Option<Vec<u8>> {
        let mut out = Writer::with_format(FORMAT);
        match key {
            RowKey::Machine => {
                out.int(self.revision).int(u64::from(self.next_id)).int(self.stamp_ms).int(self.hash);
                out.int(self.complete_below);
                out.bytes.extend_from_slice(&self.cluster_id.to_be_bytes());
                out.bytes.extend_from_slice(&self.handle_key);
            }
            RowKey::Queue(epoch) => match self.names.get(&epoch.queue) {
                Some(name) => {
                    let entry = &self.queues[name];
                    out.u8(1).int(entry.revision).blob(name.as_bytes());
                    Owner::encode(entry.owner.as_ref(), &mut out);
                    out.int(u64::from(entry.shards));
                    out.int(entry.created_ms).int(entry.modified_ms);
                    out.int(u64::from(entry.epoch))
                        .int_option(entry.purged_ms)
                        .int(entry.rewinds.len() as u64);
                    entry.rewinds.iter().for_each(|rewind| rewind.encode(&mut out));
                    entry.attributes.encode(&mut out);
                }
                None => {
                    let removal = self.removals.get(&epoch.queue)?;
                    out.u8(0).int(removal.revision).blob(removal.name.as_bytes()).int(removal.at_ms);
                }
            },
            _ => return None,
        }
        Some(out.bytes)
    }

    /// Reads one row of a checkpoint, in any order.
    ///
    /// # Errors
    /// When the row is damaged.
    pub fn restore(&mut self, key: &RowKey, row: &[u8]) -> Result<(), DecodeError> {
        let mut from = Reader::with_format(row, FORMAT, "a row of the catalogue")?;
        match key {
            RowKey::Machine => {
                self.revision = from.int()?;
                self.next_id = from.int32()?;
                (self.stamp_ms, self.hash, self.complete_below) = (from.int()?, from.int()?, from.int()?);
                self.cluster_id = u128::from_be_bytes(from.array()?);
                self.handle_key = from.array()?;
            }
            RowKey::Queue(epoch) if from.flag()? => {
                let entry = QueueEntry {
                    id: epoch.queue,
                    revision: from.int()?,
                    name: from.text()?.into(),
                    owner: Owner::decode(&mut from)?,
                    shards: u16::try_from(from.int()?)
                        .ok()
                        .filter(|shards| *shards > 0)
                        .ok_or(from.error())?,
                    created_ms: from.int()?,
                    modified_ms: from.int()?,
                    epoch: from.int32()?,
                    purged_ms: from.int_option()?,
                    rewinds: from.list(REWINDS_MAX, Rewind::decode)?,
                    attributes: QueueAttributes::decode(&mut from)?,
                };
                self.list(Arc::new(entry));
            }
            RowKey::Queue(epoch) => {
                let removal =
                    Removal { revision: from.int()?, name: from.text()?.into(), at_ms: from.int()? };
                self.list_removal(epoch.queue, removal);
            }
            _ => return Err(from.error()),
        }
        from.end()
    }
}
