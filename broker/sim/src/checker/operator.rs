//! What operators remove is gone and what they return was out; closed queues take nothing, and go with nothing.

use cmq_engine::outcome::Handled;

use super::index::{Attempt, BodyKey, Handed, Index, MessageKey, Operated};
use crate::finding::{Finding, Verdict};

pub(super) fn check(index: &Index<'_>) -> Verdict {
    for removal in &index.removals {
        check_removal(index, removal)?;
    }
    for (key, returns) in &index.returns {
        for one in returns {
            check_return(index, key, one, returns)?;
        }
    }
    check_closed(index)
}

/// Whether an operator may have removed the message of a body after a time.
pub(super) fn may_be_removed(index: &Index<'_>, body: BodyKey, after_us: u64) -> bool {
    let is_of = |removal: &&Operated| (removal.meant.shard.0, removal.meant.body) == body;
    let mut of_body = index.removals.iter().filter(is_of);
    of_body.any(|removal| {
        let is_after = removal.verdict.is_none() || removal.answered_us >= after_us;
        is_after && removal.may_be_done(u64::MAX)
    })
}

/// Whether an operator may have ended the delay of a message before a delivery, perhaps in another queue or life: what was
/// removed and came back by a rewind waits for nothing.
pub(super) fn may_have_ended_delay(index: &Index<'_>, handed: &Handed<'_>) -> bool {
    index.returns.values().flatten().chain(&index.removals).any(|one| {
        (one.meant.shard.0, one.meant.body) == handed.body_key()
            && one.meant.message.generation == 0
            && one.may_be_done(handed.answered_us)
    })
}

/// What was removed does not come out again, in no queue; but by a rewind.
fn check_removal(index: &Index<'_>, removal: &Operated) -> Verdict {
    let meant = removal.meant;
    if removal.verdict == Some(Handled::Done) && !index.queue(meant.queue).keeps_deleted() {
        let handed = index.by_body.get(&(meant.shard.0, meant.body)).map_or(&[][..], Vec::as_slice);
        if let Some(later) = handed.iter().find(|one| one.asked_us > removal.answered_us) {
            return Err(Finding::new("nothing removed comes back", format!("{removal:?}, {later:?}")));
        }
    }
    let delivery = current(index, &super::index::key(meant.shard, &meant.message), removal);
    if let Some(delivery) = delivery.filter(|_| removal.verdict == Some(Handled::Missing))
        && is_alone(index, &delivery.key(), removal)
    {
        return Err(Finding::new("what is there can be removed", format!("{removal:?} of {delivery:?}")));
    }
    Ok(())
}

fn check_return(index: &Index<'_>, key: &MessageKey, one: &Operated, all: &[Operated]) -> Verdict {
    let handed = index.by_message.get(key).map_or(&[][..], Vec::as_slice);
    let generation = one.meant.message.generation;
    let is_first = all.iter().all(|other| other.asked_us >= one.asked_us || !other.may_be_done(u64::MAX));
    match one.verdict {
        Some(Handled::Done) => {
            let is_newer = |later: &&Handed<'_>| {
                later.delivery.id.generation > generation && later.answered_us < one.asked_us
            };
            if let Some(newer) = handed.iter().find(is_newer) {
                return Err(Finding::new(
                    "only the latest delivery is returned",
                    format!("{one:?}, {newer:?}"),
                ));
            }
        }
        Some(Handled::Missing | Handled::Unsuited) => {
            if let Some(delivery) = current(index, key, one)
                && delivery.delivery.id.generation == generation
                && is_first
                && is_alone(index, key, one)
            {
                return Err(Finding::new("what is out can be returned", format!("{one:?} of {delivery:?}")));
            }
        }
        None => {}
    }
    Ok(())
}

/// The delivery whose lease lasts for certain while an operator asks, if there is one.
fn current<'a, 'h>(index: &'a Index<'h>, key: &MessageKey, one: &Operated) -> Option<&'a Handed<'h>> {
    let handed = index.by_message.get(key)?.last()?;
    let is_before = handed.answered_us < one.asked_us;
    let lasts = index.stamp_until(one.answered_us) < handed.until_ms();
    let is_returned = index.may_be_returned(key, handed.delivery.id.generation, one.asked_us);
    let queue = index.queue(handed.queue);
    let is_purged = index.purges.iter().any(|purge| purge.queue == handed.queue);
    let is_there = queue.removal_asked_us.is_none() && !is_purged;
    (is_before && lasts && !is_returned && is_there).then_some(handed)
}

/// Whether nobody else may have finished the message before.
fn is_alone(index: &Index<'_>, key: &MessageKey, one: &Operated) -> bool {
    let times = (one.asked_us, one.answered_us);
    let is_itself_or_later = |attempt: &Attempt| {
        (attempt.asked_us, attempt.answered_us) == times || attempt.asked_us > one.answered_us
    };
    index.attempts(key).iter().all(is_itself_or_later)
}

/// From when on every shard knows that a queue is closed, it takes no message.
fn check_closed(index: &Index<'_>) -> Verdict {
    for one in &index.acknowledged {
        let closed_us = index.queue(one.queue).closed_us;
        if closed_us.is_some_and(|closed_us| one.asked_us > closed_us) {
            return Err(Finding::new("a closed queue takes nothing", format!("{one:?} after {closed_us:?}")));
        }
    }
    Ok(())
}
