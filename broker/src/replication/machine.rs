//! The state machine of a group, whichever it is.

use cmq_engine::catalogue::Catalogue;
use cmq_engine::codec::DecodeError;
use cmq_engine::row::RowKey;
use cmq_engine::shard::Shard;

use super::GroupId;

/// The state machine of a group.
#[derive(Debug)]
pub(crate) enum Machine {
    Catalogue(Box<Catalogue>),
    Shard(Box<Shard>),
}

impl Machine {
    pub(crate) fn new(group: GroupId) -> Self {
        if group == GroupId::CATALOGUE {
            Self::Catalogue(Box::default())
        } else {
            Self::Shard(Box::default())
        }
    }

    pub(crate) fn restore(&mut self, key: &RowKey, row: &[u8]) -> Result<(), DecodeError> {
        match self {
            Self::Catalogue(catalogue) => catalogue.restore(key, row),
            Self::Shard(shard) => shard.restore(key, row),
        }
    }

    /// Whether a row belongs to the state that was restored so far: a closed chunk may be one that was used up, or that
    /// is not closed yet.
    pub(crate) fn needs(&self, key: &RowKey) -> bool {
        match (self, key) {
            (Self::Shard(shard), RowKey::Chunk(key)) => shard.needs_chunk(key),
            _ => true,
        }
    }

    pub(crate) fn finish_restore(&mut self) {
        if let Self::Shard(shard) = self {
            shard.finish_restore();
        }
    }

    pub(crate) fn checkpoint(&mut self) -> Vec<(RowKey, Option<Vec<u8>>)> {
        match self {
            Self::Catalogue(catalogue) => catalogue.checkpoint(),
            Self::Shard(shard) => shard.checkpoint(),
        }
    }

    pub(crate) fn export(&self) -> Vec<(RowKey, Vec<u8>)> {
        match self {
            Self::Catalogue(catalogue) => catalogue.export(),
            Self::Shard(shard) => shard.export(),
        }
    }

    pub(crate) fn dirty_rows(&self) -> usize {
        match self {
            Self::Catalogue(catalogue) => catalogue.dirty_rows(),
            Self::Shard(shard) => shard.dirty_rows(),
        }
    }

    pub(crate) fn stamp_ms(&self) -> u64 {
        match self {
            Self::Catalogue(catalogue) => catalogue.stamp_ms(),
            Self::Shard(shard) => shard.stamp_ms(),
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        match self {
            Self::Catalogue(catalogue) => catalogue.hash(),
            Self::Shard(shard) => shard.hash(),
        }
    }

    pub(crate) fn shard(&self) -> Option<&Shard> {
        match self {
            Self::Shard(shard) => Some(shard),
            Self::Catalogue(_) => None,
        }
    }

    pub(crate) fn shard_mut(&mut self) -> Option<&mut Shard> {
        match self {
            Self::Shard(shard) => Some(shard),
            Self::Catalogue(_) => None,
        }
    }

    pub(crate) fn catalogue(&self) -> Option<&Catalogue> {
        match self {
            Self::Catalogue(catalogue) => Some(catalogue),
            Self::Shard(_) => None,
        }
    }
}
