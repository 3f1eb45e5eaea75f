//! A volume opened for looking: files, rows and state machines, with everything that is wrong with them.

use std::collections::BTreeMap;
use std::path::Path;

use cmq_engine::attributes::{QueueAttributes, QueueId};

use crate::replication::GroupId;
use crate::replication::offline::{Fault, GroupImage, shards};
use crate::storage::offline::{Guard, Image, Survey};
use crate::storage::{StoreError, Tree};

/// What a volume holds.
#[derive(Debug)]
pub struct Volume {
    /// What its files say.
    pub survey: Survey,
    /// Its rows.
    pub image: Image,
    /// The catalogue and the shards, in order.
    pub groups: Vec<GroupImage>,
    /// What is wrong with rows that belong to no group.
    pub faults: Vec<Fault>,
    _guard: Guard,
}

impl Volume {
    /// Opens the volume in `dir`, by a copy under `scratch`.
    ///
    /// # Errors
    /// When a process uses it, a newer program wrote it, or nothing of it can be read.
    pub fn open(dir: &Path, scratch: &Path) -> Result<Self, StoreError> {
        let guard = Guard::take(dir)?;
        let survey = Survey::of(dir)?;
        if !survey.has_database {
            let detail = match survey.synced() {
                0 => "no broker has stored anything in it".to_owned(),
                synced => {
                    format!("the database is gone, {synced} batches had been durable: only a backup helps")
                }
            };
            return Err(StoreError::Io("open the data directory", format!("{}: {detail}", dir.display())));
        }
        let image = Image::open(dir, scratch, survey.journal_break.as_ref(), &survey.tree_faults)?;
        let mut faults = Vec::new();
        match image.format() {
            Ok(Some(_)) => {}
            Ok(None) => faults
                .push(Fault { place: "the format row".to_owned(), detail: "the row is missing".to_owned() }),
            Err(error @ StoreError::TooNew { .. }) => return Err(error),
            Err(error) => {
                faults.push(Fault { place: "the format row".to_owned(), detail: error.to_string() });
            }
        }
        let (shards, fault) = shards(&image);
        faults.extend(fault);
        // State that is newer than the row that says which entry it is at must not be replayed on.
        let has_log = !image.is_ahead(Tree::State) && !image.is_ahead(Tree::Meta);
        let catalogue = GroupImage::read(&image, GroupId::CATALOGUE, &BTreeMap::new(), has_log);
        let attributes: BTreeMap<QueueId, QueueAttributes> =
            catalogue.queues().map(|entry| (entry.id, entry.attributes.clone())).collect();
        let read = |id| GroupImage::read(&image, GroupId(id), &attributes, has_log);
        let groups = std::iter::once(catalogue).chain((1..=shards).map(read)).collect();
        Ok(Self { survey, image, groups, faults, _guard: guard })
    }

    /// The catalogue.
    pub fn catalogue(&self) -> &GroupImage {
        &self.groups[0]
    }

    /// The shards.
    pub fn shards(&self) -> &[GroupImage] {
        &self.groups[1..]
    }
}
