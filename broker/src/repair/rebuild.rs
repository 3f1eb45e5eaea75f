//! Writes a fresh volume from what can be read of an old one.

use std::path::Path;
use std::sync::mpsc::channel;

use cmq_engine::attributes::QueueId;

use super::losses::Losses;
use crate::inspect::volume::Volume;
use crate::storage::budget::{MEMORY_BYTES_MIN, MemoryBudget};
use crate::storage::committer::{CommitEvent, Committer, SyncMode};
use crate::storage::fjall_store::FjallStore;
use crate::storage::options::Options;
use crate::storage::{Batch, StoreError, Write};

/// Bytes of one batch, about.
const BATCH_BYTES: usize = 4 << 20;

/// Writes the volume into `fresh`, which is made anew.
pub(super) fn write(
    volume: &mut Volume,
    losses: &Losses,
    is_lossy: bool,
    fresh: &Path,
) -> Result<(), StoreError> {
    let fail = |error: std::io::Error| StoreError::Io("write the new volume", error.to_string());
    if fresh.exists() {
        std::fs::remove_dir_all(fresh).map_err(fail)?;
    }
    let budget = MemoryBudget::split(MEMORY_BYTES_MIN)
        .map_err(|error| StoreError::Io("split the memory", error.to_string()))?;
    let store = FjallStore::open(&Options::new(fresh, budget))?;
    let (sender, events) = channel();
    let committer = Committer::start(
        store,
        Box::new(move |event| {
            if let CommitEvent::Failed(error) = event {
                // Whoever waits for it may be gone.
                let _ = sender.send(error);
            }
        }),
    )?;
    let mut writer = Writer { committer, number: 1, writes: Vec::new(), bytes: 0 };
    if is_lossy {
        let mut handle_key = [0; 32];
        getrandom::fill(&mut handle_key)
            .map_err(|error| StoreError::Io("get random bytes", error.to_string()))?;
        let queues = volume.shards().iter().filter_map(|group| group.shard()?.queues().max()).max();
        volume.groups[0].go_on_after_loss(queues.unwrap_or(QueueId(0)), handle_key);
    }
    let Volume { image, groups, .. } = volume;
    let shards = groups.len() - 1;
    writer.put(crate::replication::offline::shards_row(shards as u16));
    for (at, group) in groups.iter_mut().enumerate() {
        let substitutes = losses.chunks.iter().filter(|(of, _)| *of == at).map(|(_, key)| *key);
        let substitutes: Vec<_> = substitutes.collect();
        group.write_anew(image, &substitutes, is_lossy, &mut |write| writer.put(write));
    }
    writer.finish()?;
    match events.try_recv() {
        Ok(error) => Err(error),
        Err(_) => Ok(()),
    }
}

struct Writer {
    committer: Committer,
    number: u64,
    writes: Vec<Write>,
    bytes: usize,
}

impl Writer {
    fn put(&mut self, write: Write) {
        self.bytes += write.key().len()
            + match &write {
                Write::Put(_, _, value) => value.len(),
                Write::Delete(..) => 0,
            };
        self.writes.push(write);
        if self.bytes >= BATCH_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let writes = std::mem::take(&mut self.writes);
        self.committer.submit(Batch { number: self.number, writes }, SyncMode::Sync);
        self.number += 1;
        self.bytes = 0;
    }

    fn finish(mut self) -> Result<(), StoreError> {
        self.flush();
        self.committer.close()
    }
}
