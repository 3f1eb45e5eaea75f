//! A node with its storage and the service on it, for tests of what stands above.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::replication::driver;
use crate::replication::runtime::{Node, NodeHandle};
use crate::service::{Feed, Rules, Service};
use crate::storage::budget::MemoryBudget;
use crate::storage::fjall_store::FjallStore;
use crate::storage::options::Options;

/// Far longer than anything here takes.
pub(crate) const SOON: Duration = Duration::from_secs(120);
const MEMORY_BYTES: u64 = 256 << 20;

/// A node of one replica. Without [`TestNode::end`] it runs until the tests are over.
pub(crate) struct TestNode {
    pub(crate) service: Service,
    pub(crate) handle: NodeHandle,
    node: Node,
    /// Where its data is a directory of its own.
    dir: Option<TempDir>,
}

impl TestNode {
    /// Starts one on a directory of its own, and waits until it is ready.
    pub(crate) async fn start(shards: u16, rules: Rules) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let node = Self::start_in(&dir.path().join("data"), shards, rules).await;
        Self { dir: Some(dir), ..node }
    }

    /// Starts one on a directory that outlives it.
    pub(crate) async fn start_in(data: &Path, shards: u16, rules: Rules) -> Self {
        let budget = MemoryBudget::split(MEMORY_BYTES).unwrap();
        let store = FjallStore::open(&Options::new(data, budget)).unwrap();
        let feed = Feed::default();
        let (recovered, mut has_recovered) = watch::channel(false);
        let on_event = {
            let feed = feed.clone();
            move |event| feed.apply(event)
        };
        let config = driver::Config::standalone(shards, (1, [7; 32]));
        let node = Node::start(config, store, budget.inbound as usize, on_event, recovered).unwrap();
        timeout(SOON, has_recovered.wait_for(|recovered| *recovered)).await.unwrap().unwrap();
        let handle = node.handle();
        let service = Service::new(handle.clone(), feed, shards, rules);
        let founded = async {
            while service.cluster_id().await.is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(SOON, founded).await.unwrap();
        Self { service, handle, node, dir: None }
    }

    /// Stops it, and fails if it failed.
    pub(crate) async fn end(self) {
        self.handle.stop();
        tokio::task::spawn_blocking(move || self.node.join()).await.unwrap().unwrap();
        drop(self.dir);
    }
}
