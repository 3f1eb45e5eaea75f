//! Purge and rewind through the service, over a whole node with its storage.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use cmq_engine::attributes::QueueAttributes;
use tokio::time::timeout;

use super::types::{Outgoing, QueueCounts, ServiceError};
use super::{Rules, Service, Waits};
use crate::testing::TestNode;

/// Longer than anything here takes, and as long as a receive may wait.
const SOON: Duration = Duration::from_secs(60);

/// A node of three shards.
async fn start(waits: Waits) -> (Service, TestNode) {
    let node = TestNode::start(3, Rules { waits, ..Rules::default() }).await;
    (node.service.clone(), node)
}

fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

impl Service {
    async fn send_all(&self, bodies: &[&'static str]) {
        for body in bodies {
            let messages = Outgoing { bodies: vec![Bytes::from_static(body.as_bytes())], delay: None };
            self.send("q", messages).await.unwrap();
        }
    }

    /// Receives everything that is there at once, in order; deletes it if `deletes`. Shards are served one by one.
    async fn take_all(&self, deletes: bool) -> Vec<String> {
        let mut bodies = Vec::new();
        loop {
            let messages = self.receive("q", 16, Some(Duration::ZERO)).await.unwrap();
            if messages.is_empty() {
                bodies.sort();
                return bodies;
            }
            for message in messages {
                bodies.push(String::from_utf8(message.body.to_vec()).unwrap());
                if deletes {
                    let verdicts = self.delete("q", &[&message.receipt_handle]).await.unwrap();
                    assert_eq!(verdicts, [Ok(())]);
                }
            }
        }
    }

    async fn counts(&self) -> QueueCounts {
        QueueCounts { oldest_ms: None, ..self.describe_queue("q").await.unwrap().counts }
    }
}

#[tokio::test]
async fn a_purge_is_seen_by_the_next_call() {
    let (service, _node) = start(Waits { purge: Duration::from_secs(60), ..Waits::default() }).await;
    assert_eq!(service.purge_queue("q").await, Err(ServiceError::QueueMissing("q".into())));
    service.create_queue("q", QueueAttributes::default(), None).await.unwrap();
    service.send_all(&["a", "b", "c", "d", "e"]).await;
    let held = service.receive("q", 1, None).await.unwrap().remove(0);
    service.purge_queue("q").await.unwrap();
    assert_eq!(service.counts().await, QueueCounts::default());
    let verdicts = service.delete("q", &[&held.receipt_handle]).await.unwrap();
    assert_eq!(verdicts, [Err(ServiceError::HandleStale)]);
    service.send_all(&["f"]).await;
    assert_eq!(service.take_all(true).await, ["f"]);
    assert_eq!(service.purge_queue("q").await, Err(ServiceError::PurgedTooSoon("q".into())));
}

#[tokio::test]
async fn a_purge_lets_long_polls_wait_on() {
    let (service, _node) = start(Waits::default()).await;
    service.create_queue("q", QueueAttributes::default(), None).await.unwrap();
    let waits = tokio::spawn({
        let service = service.clone();
        async move { service.receive("q", 1, Some(SOON)).await }
    });
    while service.figures(0).await.unwrap().driver.waiters == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    service.purge_queue("q").await.unwrap();
    service.send_all(&["a"]).await;
    assert_eq!(timeout(SOON, waits).await.unwrap().unwrap().unwrap()[0].body, "a");
}

#[tokio::test]
async fn a_rewind_brings_deleted_messages_back() {
    let (service, _node) = start(Waits::default()).await;
    let kept = QueueAttributes { rewind_seconds: 60, ..QueueAttributes::default() };
    service.create_queue("q", kept.clone(), None).await.unwrap();
    service.create_queue("plain", QueueAttributes::default(), None).await.unwrap();
    let bodies = ["a", "b", "c", "d", "e", "f", "g"];
    service.send_all(&bodies).await;
    assert_eq!(service.take_all(true).await, bodies);
    assert_eq!(service.counts().await, QueueCounts { rewindable: 7, ..QueueCounts::default() });
    // Only what is deleted comes back, as often as it is asked for.
    service.send_all(&["h"]).await;
    for _ in 0..2 {
        service.rewind_queue("q", now_seconds() - 30).await.unwrap();
        assert_eq!(service.counts().await.active, 8);
        let back = service.take_all(true).await;
        assert_eq!(back, ["a", "b", "c", "d", "e", "f", "g", "h"]);
        service.send_all(&["h"]).await;
        assert_eq!(service.take_all(false).await, ["h"]);
        service.purge_queue("q").await.unwrap();
        assert_eq!(service.counts().await, QueueCounts::default());
        service.send_all(&bodies).await;
        assert_eq!(service.take_all(true).await, bodies);
        service.send_all(&["h"]).await;
    }
    let refused = service.rewind_queue("q", now_seconds() - 100).await;
    assert!(matches!(refused, Err(ServiceError::RewindTime { earliest }) if earliest + 62 > now_seconds()));
    let refused = service.rewind_queue("q", now_seconds() + 100).await;
    assert!(matches!(refused, Err(ServiceError::RewindTime { .. })));
    assert_eq!(
        service.rewind_queue("plain", now_seconds()).await,
        Err(ServiceError::RewindOff("plain".into()))
    );
    assert_eq!(
        service.rewind_queue("gone", now_seconds()).await,
        Err(ServiceError::QueueMissing("gone".into()))
    );
}
