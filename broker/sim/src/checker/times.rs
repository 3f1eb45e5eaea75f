//! Stamps keep to the clock, delays hide messages, and nothing comes out after its time.

use cmq_engine::attributes::DeadLetterRule;

use super::index::{Handed, Index};
use crate::finding::{Finding, Verdict};

pub(super) fn check(index: &Index<'_>) -> Verdict {
    for handed in &index.handed {
        let is_on_time = index.stamp_from(handed.asked_us) <= handed.stamp_ms
            && handed.stamp_ms <= index.stamp_until(handed.answered_us);
        if !is_on_time {
            return Err(Finding::new("stamps keep to the clock", format!("{handed:?}")));
        }
        check_age(index, handed)?;
        check_delay(index, handed)?;
    }
    Ok(())
}

fn check_age(index: &Index<'_>, handed: &Handed<'_>) -> Verdict {
    let attributes = &index.queue(handed.queue).attributes;
    let seconds = match attributes.dead_letter.map(|policy| policy.rule) {
        Some(DeadLetterRule::MaxTimeToLiveSeconds(seconds)) => seconds.min(attributes.retention_seconds),
        _ => attributes.retention_seconds,
    };
    if handed.stamp_ms >= handed.delivery.sent_ms + u64::from(seconds) * 1_000 {
        return Err(Finding::new("nothing comes out after its time", format!("{seconds} s: {handed:?}")));
    }
    Ok(())
}

fn check_delay(index: &Index<'_>, handed: &Handed<'_>) -> Verdict {
    let sent = handed.origin.and_then(|origin| index.history.sent(origin));
    let Some((sent, queue)) = sent.zip(index.sent_to(handed)) else { return Ok(()) };
    let delay_ms = sent.delay_ms.unwrap_or(u64::from(index.queue(queue).attributes.delay_seconds) * 1_000);
    if handed.stamp_ms < handed.delivery.sent_ms + delay_ms
        && !super::operator::may_have_ended_delay(index, handed)
    {
        return Err(Finding::new("delays hide messages", format!("{delay_ms} ms: {handed:?}")));
    }
    Ok(())
}
