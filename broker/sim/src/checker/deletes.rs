//! Nothing deleted comes back, and handles do what they may, once.

use cmq_engine::command::StaleHandle;
use cmq_engine::outcome::Deleted;

use super::index::{Attempt, Handed, Index, MessageKey};
use crate::finding::{Finding, Verdict};
use crate::history::{Action, HandleSource};

pub(super) fn check(index: &Index<'_>) -> Verdict {
    for (key, attempts) in &index.attempts {
        let mut done = attempts.iter().filter(|attempt| attempt.verdict == Some(Deleted::Done));
        if let (Some(first), Some(second)) = (done.next(), done.next()) {
            return Err(Finding::new("a delete succeeds once", format!("{key:?}: {first:?} and {second:?}")));
        }
        for attempt in attempts {
            check_attempt(index, key, attempt, attempts)?;
        }
    }
    Ok(())
}

fn check_attempt(index: &Index<'_>, key: &MessageKey, attempt: &Attempt, all: &[Attempt]) -> Verdict {
    let handed = index.by_message.get(key).map_or(&[][..], Vec::as_slice);
    let delivery = handed.iter().find(|handed| handed.delivery.id.generation == attempt.generation);
    let is_made_up = is_made_up(index, attempt);
    match attempt.verdict {
        Some(Deleted::Done) => {
            if is_made_up {
                return Err(Finding::new("a made-up handle works", format!("{key:?} {attempt:?}")));
            }
            let is_later = |one: &&Handed<'_>| {
                one.delivery.id.generation > attempt.generation || one.asked_us > attempt.answered_us
            };
            if let Some(later) = handed.iter().find(is_later) {
                let detail = format!("{attempt:?}, but {later:?}");
                return Err(Finding::new("nothing deleted comes back", detail));
            }
            if let Some(delivery) = delivery
                && attempt.stale == StaleHandle::Refuse
                && index.stamp_from(attempt.asked_us) >= delivery.until_ms()
            {
                let detail = format!("{attempt:?} of {delivery:?}");
                return Err(Finding::new("a handle works after its lease", detail));
            }
        }
        Some(verdict) if !is_made_up => {
            let queue = delivery.map(|delivery| index.queue(delivery.queue));
            let is_purged = delivery.is_some_and(|delivery| {
                let of_queue = index.purges.iter().filter(|purge| purge.queue == delivery.queue);
                of_queue.clone().any(|purge| purge.asked_us < attempt.answered_us)
            });
            let is_returned = index.may_be_returned(key, attempt.generation, attempt.answered_us);
            let is_gone =
                is_purged || is_returned || queue.is_none_or(|queue| queue.removal_asked_us.is_some());
            let is_alone = all.iter().all(|other| {
                (other.operation, other.place) == (attempt.operation, attempt.place)
                    || other.asked_us > attempt.answered_us
            });
            let is_live =
                delivery.is_some_and(|delivery| index.stamp_until(attempt.answered_us) < delivery.until_ms());
            if !is_gone && (verdict == Deleted::Unknown || is_alone && is_live) {
                let detail = format!("{attempt:?} of {delivery:?}");
                return Err(Finding::new("a good handle is refused", detail));
            }
        }
        Some(_) | None => {}
    }
    Ok(())
}

fn is_made_up(index: &Index<'_>, attempt: &Attempt) -> bool {
    match &index.history.operation(attempt.operation).action {
        Action::Delete { handles, .. } => handles[attempt.place].source == HandleSource::MadeUp,
        _ => false,
    }
}
