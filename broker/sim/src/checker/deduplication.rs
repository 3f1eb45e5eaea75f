//! Inside the window a deduplication id stores one message, outside it stores another.

use std::collections::BTreeMap;

use cmq_engine::limits::DEDUPLICATION_WINDOW_MS;

use super::index::{BodyKey, Index};
use crate::finding::{Finding, Verdict};
use crate::history::Origin;
use crate::tally::{Sight, Tally};

/// What is known of one stored message with a deduplication id.
#[derive(Debug, Default)]
struct Stored {
    /// Its stamp, if it was handed out.
    sent_ms: Option<u64>,
    /// Acknowledgements that named it: when they were asked for and answered.
    acknowledged: Vec<(Origin, u64, u64)>,
}

#[derive(Debug, Default)]
struct Id {
    /// When somebody used it first.
    first_asked_us: Option<u64>,
    stored: BTreeMap<BodyKey, Stored>,
}

pub(super) fn check(index: &Index<'_>, tally: &mut Tally) -> Verdict {
    for (id, known) in collect(index) {
        for stored in known.stored.values() {
            for _ in 1..stored.acknowledged.len() {
                tally.sight(Sight::Duplicate);
            }
            check_forgotten(index, id, stored)?;
        }
        check_window(index, id, &known)?;
    }
    Ok(())
}

fn collect(index: &Index<'_>) -> BTreeMap<u128, Id> {
    let mut ids: BTreeMap<u128, Id> = BTreeMap::new();
    let id_of = |origin: Origin| index.history.sent(origin).and_then(|sent| sent.deduplication);
    for (operation, asked) in (0..).zip(&index.history.operations) {
        for place in 0.. {
            let Some(sent) = index.history.sent(Origin { operation, place }) else { break };
            if let Some(id) = sent.deduplication {
                ids.entry(id).or_default().first_asked_us.get_or_insert(asked.asked_us);
            }
        }
    }
    for one in &index.acknowledged {
        if let Some(id) = id_of(one.origin) {
            let stored = ids.entry(id).or_default().stored.entry(one.body).or_default();
            stored.acknowledged.push((one.origin, one.asked_us, one.answered_us));
        }
    }
    for handed in &index.handed {
        if let Some(id) = handed.origin.and_then(id_of) {
            let stored = ids.entry(id).or_default().stored.entry(handed.body_key()).or_default();
            stored.sent_ms = Some(handed.delivery.sent_ms);
        }
    }
    ids
}

/// Two messages with one id were surely stored a window apart.
fn check_window(index: &Index<'_>, id: u128, known: &Id) -> Verdict {
    let earliest_ms = index.stamp_from(known.first_asked_us.unwrap_or(0));
    let stored: Vec<_> = known.stored.iter().collect();
    for pair in stored.windows(2) {
        let ((first_place, first), (second_place, second)) = (pair[0], pair[1]);
        let from_ms = first.sent_ms.unwrap_or(earliest_ms);
        let acknowledged_ms =
            second.acknowledged.iter().map(|(_, _, answered_us)| index.stamp_until(*answered_us)).min();
        let Some(until_ms) = second.sent_ms.or(acknowledged_ms) else { continue };
        if until_ms < from_ms + DEDUPLICATION_WINDOW_MS {
            let detail = format!("id {id:x}: {first_place:?} {first:?} and {second_place:?} {second:?}");
            return Err(Finding::new("deduplication inside its window", detail));
        }
    }
    Ok(())
}

/// A send after the window was not taken for a duplicate.
fn check_forgotten(index: &Index<'_>, id: u128, stored: &Stored) -> Verdict {
    let Some(sent_ms) = stored.sent_ms else { return Ok(()) };
    let late = stored
        .acknowledged
        .iter()
        .find(|(_, asked_us, _)| index.stamp_from(*asked_us) >= sent_ms + DEDUPLICATION_WINDOW_MS);
    match late {
        None => Ok(()),
        Some(late) => {
            let detail = format!("id {id:x}: {late:?} was taken for a duplicate of {stored:?}");
            Err(Finding::new("deduplication ends with its window", detail))
        }
    }
}
