//! Deleted messages come back by a rewind, those that it reaches, and only by one.

use cmq_engine::outcome::Deleted;

use super::index::{Handed, Index, MessageKey};
use crate::finding::{Finding, Verdict};
use crate::history::QueueNumber;
use crate::tally::{Sight, Tally};

pub(super) fn check(index: &Index<'_>, tally: &mut Tally) -> Verdict {
    for handed in index.by_body.values() {
        let mut handed: Vec<&Handed<'_>> = handed.iter().collect();
        handed.sort_by_key(|one| (one.queue, one.stamp_ms, one.operation));
        for of_queue in handed.chunk_by(|one, next| one.queue == next.queue) {
            check_lives(index, of_queue, tally)?;
        }
    }
    Ok(())
}

/// Goes through the lives of one message in one queue, each of which has a key of its own.
fn check_lives(index: &Index<'_>, handed: &[&Handed<'_>], tally: &mut Tally) -> Verdict {
    let mut lives: Vec<&Handed<'_>> = Vec::new();
    for one in handed {
        if lives.iter().any(|life| life.key() == one.key()) {
            continue;
        }
        if let Some(before) = lives.last()
            && !may_be_deleted(index, &before.key(), one.answered_us)
        {
            let detail = format!("{before:?} was not deleted and came back as {one:?}");
            return Err(Finding::new("only deleted messages come back", detail));
        }
        let rewinds = rewinds_for(index, one);
        if rewinds < lives.len() {
            let detail = format!("life {} after {rewinds} rewinds: {one:?}", lives.len() + 1);
            return Err(Finding::new("nothing deleted comes back without a rewind", detail));
        }
        if !lives.is_empty() {
            tally.sight(Sight::CameBack);
        }
        lives.push(one);
    }
    Ok(())
}

fn may_be_deleted(index: &Index<'_>, key: &MessageKey, by_us: u64) -> bool {
    let may_be = |verdict: Option<Deleted>| matches!(verdict, None | Some(Deleted::Done));
    index.attempts(key).iter().any(|attempt| attempt.asked_us < by_us && may_be(attempt.verdict))
}

/// How many rewinds may have reached the message of a delivery before it.
fn rewinds_for(index: &Index<'_>, one: &Handed<'_>) -> usize {
    let sent_ms = one.delivery.sent_ms;
    let reach_ms = u64::from(index.queue(one.queue).attributes.rewind_seconds) * 1_000;
    let reaches = |asked_us: u64, start_ms: u64| {
        start_ms <= sent_ms && sent_ms + reach_ms > index.stamp_from(asked_us) && asked_us < one.answered_us
    };
    let of_queue = index.rewinds.iter().filter(|(order, _)| order.queue == one.queue);
    of_queue.filter(|(order, start_ms)| reaches(order.asked_us, *start_ms)).count()
}

/// Whether the message of a delivery was deleted for certain before a time.
fn is_deleted(index: &Index<'_>, one: &Handed<'_>, by_us: u64) -> bool {
    let is_done = |verdict: Option<Deleted>| verdict == Some(Deleted::Done);
    index.attempts(&one.key()).iter().any(|attempt| attempt.answered_us < by_us && is_done(attempt.verdict))
}

/// In the end of a whole run every message that was deleted before a rewind which reaches it came out again, where nothing
/// gets out of reach; and what was counted at rest as deleted and in reach is what was deleted.
pub(super) fn check_all_came_back(index: &Index<'_>) -> Verdict {
    for handed in index.by_body.values() {
        // What moved away does not come back.
        let is_moved = handed.iter().any(|one| !index.queue(one.queue).keeps_all());
        let Some(first) = handed.first().filter(|_| !is_moved) else { continue };
        for (order, start_ms) in &index.rewinds {
            let is_reached = order.queue == first.queue
                && order.answered_us.is_some()
                && *start_ms <= first.delivery.sent_ms
                && handed.iter().all(|one| one.answered_us <= order.asked_us)
                && !super::operator::may_be_removed(index, first.body_key(), order.asked_us);
            let last = handed.iter().max_by_key(|one| (one.stamp_ms, one.operation));
            if is_reached && last.is_some_and(|last| is_deleted(index, last, order.asked_us)) {
                let detail = format!("{last:?} was deleted, and not brought back by {order:?} to {start_ms}");
                return Err(Finding::new("a rewind brings back what it reaches", detail));
            }
        }
    }
    for (queue, counted) in &index.history.rewindable {
        check_count(index, *queue, *counted)?;
    }
    Ok(())
}

fn check_count(index: &Index<'_>, queue: QueueNumber, counted: u64) -> Verdict {
    let rest_us = index.history.rest_us.unwrap_or(u64::MAX);
    let mut certain = 0;
    let mut possible = 0;
    if index.queue(queue).keeps_all() {
        for handed in index.by_body.values().filter(|handed| handed.iter().any(|one| one.queue == queue)) {
            let before = handed.iter().filter(|one| one.answered_us < rest_us);
            let last =
                before.max_by_key(|one| (one.stamp_ms, one.operation)).filter(|one| one.queue == queue);
            possible += u64::from(handed.iter().any(|one| may_be_deleted(index, &one.key(), rest_us)));
            let comes_later = handed.iter().any(|one| one.answered_us >= rest_us);
            let is_certain = !comes_later && last.is_some_and(|one| is_deleted(index, one, rest_us));
            certain += u64::from(is_certain);
        }
    }
    // What was never handed out is in no answer.
    let untouched = index.removals.iter().filter(|removal| {
        removal.meant.queue == queue
            && removal.may_be_done(rest_us)
            && !index.by_body.contains_key(&(removal.meant.shard.0, removal.meant.body))
    });
    possible += untouched.count() as u64;
    if (certain..=possible).contains(&counted) {
        return Ok(());
    }
    let detail = format!("{counted} of queue {queue} are in reach, {certain} to {possible} were deleted");
    Err(Finding::new("counts are wrong", detail))
}
