//! What inspections show of a group.

use std::sync::Arc;

use cmq_engine::catalogue::{Catalogue, QueueEntry};
use cmq_engine::message::BodyRef;
use cmq_engine::shard::Shard;

use super::super::GroupId;
use super::super::entry;
use super::super::keys::Space;
use super::GroupImage;
use crate::storage::offline::Image;
use crate::storage::{StoreError, Tree};

/// Bits of a message id below the number of its shard.
const ADDRESS_BITS: u32 = 54;

impl GroupImage {
    /// The catalogue's queues; none of a shard.
    pub fn queues(&self) -> impl Iterator<Item = &Arc<QueueEntry>> {
        self.machine.catalogue().into_iter().flat_map(Catalogue::queues)
    }

    /// Identity of the cluster; None before it was founded, and of a shard.
    pub fn cluster_id(&self) -> Option<u128> {
        self.machine.catalogue().map(Catalogue::cluster_id).filter(|id| *id != 0)
    }

    /// The shard; None of the catalogue.
    pub fn shard(&self) -> Option<&Shard> {
        self.machine.shard()
    }

    /// Stamp of the newest entry.
    pub fn stamp_ms(&self) -> u64 {
        self.machine.stamp_ms()
    }

    /// The number that clients know a message by.
    pub fn message_id(&self, body: BodyRef) -> String {
        (u64::from(self.id.0) << ADDRESS_BITS | body.packed()).to_string()
    }

    /// Entries from an index on, as far as header rows are there: term and content, which a new leader's first entry
    /// does not have.
    pub fn entries(&self, image: &Image, from: u64, limit: usize) -> Vec<(u64, EntryRead)> {
        let space = self.space();
        let is_catalogue = self.id == GroupId::CATALOGUE;
        let mut found = Vec::new();
        image.salvage(Tree::Log, &space.header(from), &space.end(), |key, row| {
            let Some((index, 0)) = Space::log_position(&key) else { return };
            if found.len() >= limit {
                return;
            }
            let read = entry::from_rows(&row, index, is_catalogue, |_| None).and_then(|read| {
                let decoded = match read.data.is_empty() {
                    true => None,
                    false => Some(entry::decode(&read.data, is_catalogue, index)?.0),
                };
                Ok((read.term, decoded))
            });
            found.push((index, read));
        });
        found
    }
}

/// Term and content of an entry, or why it cannot be read.
pub type EntryRead = Result<(u64, Option<entry::Entry>), StoreError>;
