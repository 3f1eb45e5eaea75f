//! Nothing that was sent before a purge comes out after it.

use super::index::{Acknowledged, Index};
use crate::finding::{Finding, Verdict};

/// Time in which every shard does a purge that was answered, microseconds: as long as a shard may be without a leader.
const SPREADING_US: u64 = 60_000_000;

pub(super) fn check(index: &Index<'_>, replicas: u64) -> Verdict {
    for purge in &index.purges {
        // On one replica it is done everywhere when it is answered; on several at the latest when all are level.
        let done_us = if replicas == 1 { purge.answered_us } else { index.history.rest_us };
        let Some(done_us) =
            done_us.filter(|done_us| purge.answered_us.is_some_and(|at_us| at_us <= *done_us))
        else {
            continue;
        };
        let sent = index.acknowledged.iter();
        for one in sent.filter(|one| one.queue == purge.queue && one.answered_us < purge.asked_us) {
            let handed = index.by_body.get(&one.body).map_or(&[][..], Vec::as_slice);
            if let Some(later) = handed.iter().find(|handed| handed.asked_us > done_us) {
                let detail = format!("{one:?}, {purge:?}, {later:?}");
                return Err(Finding::new("nothing comes out after a purge", detail));
            }
        }
    }
    Ok(())
}

/// Whether a purge may have dropped a message: one that was asked for later, or was still on its way.
pub(super) fn may_be_purged(index: &Index<'_>, one: &Acknowledged) -> bool {
    index.purges.iter().any(|purge| {
        let on_way_us = purge.answered_us.map(|answered_us| answered_us + SPREADING_US);
        purge.queue == one.queue && on_way_us.is_none_or(|until_us| one.asked_us < until_us)
    })
}
