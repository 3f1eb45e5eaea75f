//! What calls need of the catalogue, kept in step with it by the driver's thread.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use cmq_engine::attributes::QueueId;
use cmq_engine::catalogue::{CatalogueEvent, QueueEntry};

use super::types::{QueuePage, QueueSummary};

/// The queues by name and number; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    queues: Arc<RwLock<Queues>>,
}

#[derive(Debug, Default)]
struct Queues {
    by_name: BTreeMap<Box<str>, Arc<QueueEntry>>,
    by_id: HashMap<QueueId, Arc<QueueEntry>>,
}

impl Directory {
    /// Takes a change of the catalogue.
    pub(super) fn apply(&self, event: CatalogueEvent) {
        let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            CatalogueEvent::Founded => {}
            CatalogueEvent::Reloaded(entries) => {
                queues.by_id = entries.iter().map(|entry| (entry.id, entry.clone())).collect();
                queues.by_name = entries.into_iter().map(|entry| (entry.name.clone(), entry)).collect();
            }
            CatalogueEvent::Put(entry) => {
                queues.by_id.insert(entry.id, entry.clone());
                queues.by_name.insert(entry.name.clone(), entry);
            }
            CatalogueEvent::Removed(entry) => {
                queues.by_id.remove(&entry.id);
                queues.by_name.remove(&entry.name);
            }
        }
    }

    /// Queues that exist.
    pub(super) fn len(&self) -> usize {
        self.read(|queues| queues.by_name.len())
    }

    /// The queue of this name.
    pub(super) fn find(&self, name: &str) -> Option<Arc<QueueEntry>> {
        self.read(|queues| queues.by_name.get(name).cloned())
    }

    /// Whether there is a queue of this name, or of one that differs only in case. Looks at all of them.
    pub(super) fn has_folded(&self, name: &str) -> bool {
        let is_it = |known: &str| known.eq_ignore_ascii_case(name);
        self.read(|queues| {
            queues.by_name.contains_key(name) || queues.by_name.keys().any(|known| is_it(known))
        })
    }

    /// The queue of this number.
    pub(super) fn find_id(&self, id: QueueId) -> Option<Arc<QueueEntry>> {
        self.read(|queues| queues.by_id.get(&id).cloned())
    }

    /// All queues, in the order of their names.
    pub(super) fn all(&self) -> Vec<Arc<QueueEntry>> {
        self.read(|queues| queues.by_name.values().cloned().collect())
    }

    /// One page of the queues whose name contains `search`, in the order of names.
    pub(super) fn list(&self, search: &str, offset: usize, limit: usize) -> QueuePage {
        self.page(offset, limit, |entry| entry.name.contains(search))
    }

    /// One page of the queues whose name contains `search` and whose dead-letter queue is `target`.
    pub(super) fn list_sources(
        &self,
        target: QueueId,
        search: &str,
        offset: usize,
        limit: usize,
    ) -> QueuePage {
        let is_source = |entry: &QueueEntry| {
            entry.attributes.dead_letter.is_some_and(|policy| policy.queue == target)
                && entry.name.contains(search)
        };
        self.page(offset, limit, is_source)
    }

    /// Queues whose name contains `search` and comes behind `after`, in the order of names; and whether there are more.
    pub(super) fn page_after(
        &self,
        search: &str,
        after: Option<&str>,
        limit: usize,
    ) -> (Vec<Arc<QueueEntry>>, bool) {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.read(|queues| {
            let behind = queues.by_name.range::<str, _>((start, Bound::Unbounded));
            let mut matching = behind.map(|(_, entry)| entry).filter(|entry| entry.name.contains(search));
            let page = matching.by_ref().take(limit).cloned().collect();
            (page, matching.next().is_some())
        })
    }

    /// One page of the queues that match, in the order of names.
    fn page(&self, offset: usize, limit: usize, matches: impl Fn(&QueueEntry) -> bool) -> QueuePage {
        self.read(|queues| {
            let matching = || queues.by_name.values().filter(|entry| matches(entry));
            let summary =
                |entry: &Arc<QueueEntry>| QueueSummary { id: entry.id, name: entry.name.to_string() };
            let total = matching().count();
            QueuePage { total, queues: matching().skip(offset).take(limit).map(summary).collect() }
        })
    }

    fn read<R>(&self, look: impl FnOnce(&Queues) -> R) -> R {
        look(&self.queues.read().unwrap_or_else(PoisonError::into_inner))
    }
}
