//! A message moves to the dead-letter queue exactly when it reached its limit, and not back.

use cmq_broker::replication::Reply;
use cmq_engine::attributes::DeadLetterRule;

use super::index::{Handed, Index};
use crate::finding::{Finding, Verdict};
use crate::history::{Action, QueueNumber};

const RULE: &str = "dead-lettered exactly at the limit";

pub(super) fn check(index: &Index<'_>) -> Verdict {
    for handed in index.by_body.values() {
        let Some(source) = handed.iter().find_map(|one| index.sent_to(one)) else { continue };
        let queue = index.queue(source);
        let (before, after): (Vec<&Handed<'_>>, Vec<&Handed<'_>>) =
            handed.iter().partition(|one| one.queue == source);
        if let Some(max) = queue.max_receive_count()
            && let Some(one) = before.iter().find(|one| one.delivery.receive_count > max)
        {
            return Err(Finding::new(RULE, format!("handed out more than {max} times: {one:?}")));
        }
        if let Some(first) = after.iter().min_by_key(|one| one.stamp_ms) {
            check_move(index, source, &before, first)?;
        }
    }
    Ok(())
}

fn check_move(index: &Index<'_>, source: QueueNumber, before: &[&Handed<'_>], first: &Handed<'_>) -> Verdict {
    // A lease ends with the message, which may have come back after its delete, and moved in its next life.
    let may_be_deleted = |one: &Handed<'_>| {
        let attempts = index.attempts(&one.key()).iter();
        index.queue(source).keeps_deleted()
            && attempts.clone().any(|attempt| attempt.asked_us < first.answered_us)
    };
    let is_out = |one: &&&Handed<'_>| {
        let is_returned = index.may_be_returned(&one.key(), one.delivery.id.generation, first.answered_us);
        let is_over = is_returned || may_be_deleted(one);
        one.stamp_ms > first.stamp_ms || one.until_ms() > first.stamp_ms && !is_over
    };
    if let Some(one) = before.iter().find(is_out) {
        return Err(Finding::new(
            RULE,
            format!("{one:?} was out when it was a dead letter already: {first:?}"),
        ));
    }
    let Some(policy) = index.queue(source).attributes.dead_letter else { return Ok(()) };
    match policy.rule {
        DeadLetterRule::MaxTimeToLiveSeconds(seconds) => {
            if first.stamp_ms < first.delivery.sent_ms + u64::from(seconds) * 1_000 {
                return Err(Finding::new(RULE, format!("before its time: {first:?}")));
            }
        }
        DeadLetterRule::MaxReceiveCount(max) => {
            // What was handed out in answers that nobody knows counts too.
            let unknown = index.history.operations.iter().filter(|operation| {
                matches!(operation.action, Action::Receive { queue, .. } if queue == source)
                    && !matches!(operation.reply, Some(Reply::Received(_) | Reply::Refused(_)))
                    && operation.asked_us < first.answered_us
            });
            if before.len() + unknown.count() < max as usize {
                let detail = format!("moved after {} of {max} receives: {first:?}", before.len());
                return Err(Finding::new(RULE, detail));
            }
        }
    }
    Ok(())
}
