//! Nothing is invented: what comes out was sent, to this queue, once, and is intact.

use std::collections::BTreeMap;

use cmq_broker::replication::Reply;

use super::index::{BodyKey, Handed, Index};
use crate::finding::{Finding, Verdict};
use crate::history::{Origin, body};

const RULE: &str = "nothing is invented";

pub(super) fn check(index: &Index<'_>) -> Verdict {
    let mut places: BTreeMap<Origin, BodyKey> = BTreeMap::new();
    for handed in &index.handed {
        let Some(origin) = handed.origin.filter(|origin| is_intact(index, *origin, handed)) else {
            return Err(Finding::new("bodies are intact", format!("{handed:?}")));
        };
        let sent_to = index.sent_to(handed);
        let is_moved = sent_to.and_then(|queue| index.queue(queue).dead_letter) == Some(handed.queue);
        if sent_to != Some(handed.queue) && !is_moved {
            return Err(Finding::new(RULE, format!("it was sent to queue {sent_to:?}: {handed:?}")));
        }
        if index.queue(handed.queue).id != Some(handed.delivery.id.queue.queue) {
            return Err(Finding::new(RULE, format!("the handle is of another queue: {handed:?}")));
        }
        check_acknowledgement(index, origin, handed)?;
        let place = *places.entry(origin).or_insert(handed.body_key());
        if place != handed.body_key() {
            return Err(Finding::new(RULE, format!("the message is stored at {place:?} too: {handed:?}")));
        }
    }
    // Two messages in one place would be one body for two acknowledgements.
    let mut owners: BTreeMap<BodyKey, Origin> = BTreeMap::new();
    for one in &index.acknowledged {
        let is_deduplicated = index.history.sent(one.origin).is_some_and(|sent| sent.deduplication.is_some());
        if !is_deduplicated && let Some(other) = owners.insert(one.body, one.origin) {
            return Err(Finding::new(
                RULE,
                format!("{other:?} and {:?} have one place {:?}", one.origin, one.body),
            ));
        }
    }
    Ok(())
}

fn is_intact(index: &Index<'_>, origin: Origin, handed: &Handed<'_>) -> bool {
    index
        .history
        .sent(origin)
        .is_some_and(|sent| sent.bytes == handed.delivery.bytes && body(origin, sent.bytes) == *handed.body)
}

/// What comes out was not refused, and lies where the acknowledgement said.
fn check_acknowledgement(index: &Index<'_>, origin: Origin, handed: &Handed<'_>) -> Verdict {
    match &index.history.operation(origin.operation).reply {
        None => Ok(()),
        Some(Reply::Sent(shard, bodies))
            if *shard == handed.shard && bodies.get(origin.place as usize) == Some(&handed.delivery.body) =>
        {
            Ok(())
        }
        Some(reply) => Err(Finding::new(RULE, format!("the send was answered {reply:?}: {handed:?}"))),
    }
}
