//! Nothing acknowledged is lost: in the end every message was deleted, or its time was over, or its queue is gone.

use cmq_engine::outcome::Deleted;

use super::index::{Acknowledged, Index};
use crate::finding::{Finding, Verdict};

pub(super) fn check(index: &Index<'_>) -> Verdict {
    let end_us = index.end_us();
    for one in &index.acknowledged {
        let queue = index.queue(one.queue);
        let retention_ms = u64::from(queue.attributes.retention_seconds) * 1_000;
        let may_be_over = index.stamp_until(end_us) >= index.stamp_from(one.asked_us) + retention_ms;
        let is_exempt = queue.is_changing() || super::purges::may_be_purged(index, one);
        // One that goes when it is empty goes with nothing.
        let is_there = queue.removal_asked_us.is_none() || queue.goes_empty();
        if is_there && !is_exempt && !may_be_over && !is_finished(index, one) {
            let handed = index.by_body.get(&one.body).map_or(0, Vec::len);
            let detail = format!("{one:?}, handed out {handed} times");
            return Err(Finding::new("nothing acknowledged is lost", detail));
        }
    }
    Ok(())
}

/// Whether a delete of the message succeeded, or may have.
fn is_finished(index: &Index<'_>, one: &Acknowledged) -> bool {
    let handed = index.by_body.get(&one.body).map_or(&[][..], Vec::as_slice);
    super::operator::may_be_removed(index, one.body, 0)
        || handed.iter().any(|one| {
            index
                .attempts(&one.key())
                .iter()
                .any(|attempt| matches!(attempt.verdict, None | Some(Deleted::Done)))
        })
}
