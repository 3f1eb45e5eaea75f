//! Checks while no load runs: the counts after a restart, and the drain at the end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::cmq::CallError;
use crate::desk::Desk;
use crate::ledger::{Finding, QueueIndex};
use crate::session::{BATCH_MAX, Session};

/// Counts may trail by this much: sums over shards are announced now and then, and an ended lease is seen
/// when its end is applied.
const COUNTS_WITHIN: Duration = Duration::from_secs(3);
const COUNTS_POLL: Duration = Duration::from_millis(50);
/// Empty answers in a row, after all leases and delays have ended, that show that a queue is empty.
const EMPTY_ANSWERS: u32 = 3;
const DRAIN_PAUSE: Duration = Duration::from_millis(20);
/// Time to drain, counted from when the last lease and delay end.
const DRAIN_WITHIN: Duration = Duration::from_secs(120);

/// Compares the counts of all queues with the ledger.
///
/// # Errors
/// The broker gives no answer.
pub(crate) async fn check_counts(desk: &Arc<Desk>, address: SocketAddr) -> Result<(), CallError> {
    let mut session = Session::connect(desk.clone(), address).await?;
    for queue in queues(desk) {
        let deadline = desk.now() + COUNTS_WITHIN;
        loop {
            let Some((span, counts)) = session.counts(queue).await? else { break };
            let finding = desk.ledger().check_counts(queue, span, counts);
            let Some(finding) = finding else { break };
            if desk.now() > deadline {
                desk.ledger().find(finding);
                break;
            }
            tokio::time::sleep(COUNTS_POLL).await;
        }
    }
    Ok(())
}

/// Receives and deletes everything, waiting until the last lease and delay have ended; then closes the ledger
/// and compares the counts once more.
///
/// # Errors
/// The broker gives no answer.
pub(crate) async fn drain(desk: &Arc<Desk>, address: SocketAddr) -> Result<(), CallError> {
    let drains =
        queues(desk).into_iter().map(|queue| tokio::spawn(drain_queue(desk.clone(), address, queue)));
    for drain in drains.collect::<Vec<_>>() {
        drain.await.expect("a drain does not panic")?;
    }
    desk.ledger().close();
    desk.ledger().settle_drained();
    check_counts(desk, address).await
}

async fn drain_queue(desk: Arc<Desk>, address: SocketAddr, queue: QueueIndex) -> Result<(), CallError> {
    let mut session = Session::connect(desk.clone(), address).await?;
    let deadline = desk.now().max(desk.ledger().settled_at(queue)) + DRAIN_WITHIN;
    let mut empty_answers = 0;
    while empty_answers < EMPTY_ANSWERS {
        let is_settled = desk.now() > desk.ledger().settled_at(queue);
        let received = session.receive(queue, BATCH_MAX, 0).await?;
        if received.is_empty() {
            empty_answers = if is_settled { empty_answers + 1 } else { 0 };
            tokio::time::sleep(DRAIN_PAUSE).await;
        } else {
            empty_answers = 0;
            session.delete(&received).await?;
        }
        if desk.now() > deadline {
            let open = desk.ledger().open(queue);
            let reason = format!("queue {} is not empty in time; {open} messages are open", queue.0);
            desk.ledger().find(Finding::NotServing { reason });
            break;
        }
    }
    Ok(())
}

fn queues(desk: &Desk) -> Vec<QueueIndex> {
    (0..desk.ledger().queues().len()).map(QueueIndex).collect()
}
