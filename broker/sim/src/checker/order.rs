//! Inside a message group: one receive at a time, and messages in the order in which they were stored.

use std::collections::BTreeMap;

use super::index::{Handed, Index};
use crate::finding::{Finding, Verdict};

/// Shard, queue and group.
type GroupKey<'a> = (u16, usize, &'a str);

pub(super) fn check(index: &Index<'_>) -> Verdict {
    let mut groups: BTreeMap<GroupKey<'_>, Vec<&Handed<'_>>> = BTreeMap::new();
    for handed in index.handed.iter().filter(|handed| index.queue(handed.queue).is_fifo()) {
        let sent = handed.origin.and_then(|origin| index.history.sent(origin));
        let group = sent.and_then(|sent| sent.group.as_deref()).unwrap_or_default();
        groups.entry((handed.shard.0, handed.queue, group)).or_default().push(handed);
    }
    for ((_, queue, _), mut handed) in groups {
        handed.sort_by_key(|one| (one.stamp_ms, one.operation, one.place));
        check_locks(index, &handed)?;
        // What moved here came in the order of the moves.
        if !index.queue(queue).name.starts_with("dead") {
            check_order(&handed)?;
        }
    }
    Ok(())
}

/// Whether the message of a delivery may have been deleted, or be ready again, before an answer was given.
fn may_be_finished(index: &Index<'_>, one: &Handed<'_>, by_us: u64) -> bool {
    let is_returned = index.may_be_returned(&one.key(), one.delivery.id.generation, by_us);
    is_returned || index.attempts(&one.key()).iter().any(|attempt| attempt.asked_us < by_us)
}

/// Of two receives with one stamp either may have been the first; then a lease of no length was over at once.
fn may_be_reversed(first: &Handed<'_>, second: &Handed<'_>) -> bool {
    first.operation != second.operation
        && first.stamp_ms == second.stamp_ms
        && second.until_ms() == second.stamp_ms
}

/// While messages of a group are out, no others of it are handed out.
fn check_locks(index: &Index<'_>, handed: &[&Handed<'_>]) -> Verdict {
    for (at, first) in handed.iter().enumerate() {
        for second in &handed[at + 1..] {
            if second.stamp_ms >= first.until_ms() {
                break;
            }
            if first.operation != second.operation
                && !may_be_reversed(first, second)
                && !may_be_finished(index, first, second.answered_us)
            {
                let detail = format!("{first:?} was out when {second:?} was handed out");
                return Err(Finding::new("a group is locked while messages of it are out", detail));
            }
        }
    }
    Ok(())
}

/// When a message is handed out, all before it are finished, or in the same answer before it.
fn check_order(handed: &[&Handed<'_>]) -> Verdict {
    for (at, earlier) in handed.iter().enumerate() {
        for later in &handed[at + 1..] {
            // `later` was handed out later, so what is behind it in the group may follow, and nothing before it.
            if later.delivery.body >= earlier.delivery.body || may_be_reversed(earlier, later) {
                continue;
            }
            let is_in_the_answer = handed.iter().any(|one| {
                one.operation == earlier.operation && one.place < earlier.place && one.key() == later.key()
            });
            if !is_in_the_answer {
                let detail = format!("{earlier:?} was handed out before {later:?} was finished");
                return Err(Finding::new("order inside a group", detail));
            }
        }
    }
    Ok(())
}
