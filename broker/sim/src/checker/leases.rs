//! No message is out under two live leases.

use super::index::{Handed, Index};
use crate::finding::{Finding, Verdict};

const RULE: &str = "no two live leases";

pub(super) fn check(index: &Index<'_>) -> Verdict {
    for handed in index.by_message.values() {
        for pair in handed.windows(2) {
            check_pair(index, &pair[0], &pair[1])?;
        }
        for one in handed {
            if one.delivery.receive_count != one.delivery.id.generation {
                return Err(Finding::new(RULE, format!("count and generation differ: {one:?}")));
            }
        }
    }
    Ok(())
}

fn check_pair(index: &Index<'_>, first: &Handed<'_>, second: &Handed<'_>) -> Verdict {
    let wrong = |what: &str| Err(Finding::new(RULE, format!("{what}: {first:?} and {second:?}")));
    let (before, after) = (first.delivery, second.delivery);
    if before.id.generation == after.id.generation {
        return wrong("one delivery in two answers");
    }
    let is_returned = index.may_be_returned(&first.key(), before.id.generation, second.answered_us);
    if first.until_ms() > second.stamp_ms && !is_returned {
        return wrong("handed out while a lease lasted");
    }
    // The same in the time that clients know, as far as the clocks agree.
    let lease_ms = first.until_ms() - first.stamp_ms;
    if index.stamp_until(second.answered_us) < index.stamp_from(first.asked_us) + lease_ms && !is_returned {
        return wrong("handed out before the time of a lease had passed");
    }
    if (before.body, before.bytes, before.sent_ms, before.first_received_ms)
        != (after.body, after.bytes, after.sent_ms, after.first_received_ms)
    {
        return wrong("one message with two stories");
    }
    Ok(())
}
