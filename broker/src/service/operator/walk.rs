//! A page of a walk over the messages of a queue: shard after shard, in bounded stretches, with the bodies that are wanted.

use bytes::Bytes;
use cmq_engine::browse::{Glimpse, Place};
use cmq_engine::catalogue::QueueEntry;
use cmq_engine::message::{BodyRef, DeliveryId, QueueEpoch};
use memchr::memmem;

use super::{
    BodyPart, CALL_LOOKS_MAX, Cursor, MessagePage, MessageQuery, OperatorError, PAGE_BODY_BYTES_MAX,
    PAGE_MESSAGES_MAX, SEARCHED_BYTES_MAX, SEARCHED_MESSAGES_MAX, SeenMessage, address,
};
use crate::replication::GroupId;
use crate::replication::browse::{Filter, LookedUp, Stretch, Walk};
use crate::service::Service;
use crate::service::types::ServiceError;

/// Messages whose bodies are searched at a time.
const SEARCHED_AT_ONCE: usize = 64;
/// Bytes of bodies that are read at a time; one message may be larger.
const READ_AT_ONCE_BYTES: usize = 1 << 20;

impl Service {
    /// Looks at messages without taking them: one page, from where the cursor says. What is promised: a message that is in
    /// the queue, and fits the query, from the first page of a walk to the last is on exactly one of them. One that comes,
    /// goes or changes its state meanwhile may be missed.
    ///
    /// # Errors
    /// Queue missing, a cursor that does not fit it, or the broker cannot take the call now.
    pub async fn messages(&self, queue: &str, query: MessageQuery) -> Result<MessagePage, OperatorError> {
        let entry = self.find(queue)?;
        if query.cursor.is_some_and(|cursor| cursor.place.queue.queue != entry.id) {
            return Err(OperatorError::CursorElsewhere);
        }
        let place = self.inner.walks.try_acquire();
        let _place = place.map_err(|_| ServiceError::Busy("as many walks over messages as may be"))?;
        let mut page = Page {
            limit: query.limit.clamp(1, PAGE_MESSAGES_MAX),
            part: query.body,
            contains: query.contains.as_deref().map(|text| memmem::Finder::new(text.as_bytes())),
            body_bytes: 0,
            searched: (0, 0),
            looked_at: 0,
            messages: Vec::new(),
        };
        let cursor = self.fill(&entry, &query, &mut page).await?;
        Ok(MessagePage { messages: page.messages, cursor, looked_at: page.looked_at })
    }

    /// Walks until the page is full, a bound is reached or the queue ends; answers where to go on.
    async fn fill(
        &self,
        entry: &QueueEntry,
        query: &MessageQuery,
        page: &mut Page<'_>,
    ) -> Result<Option<Cursor>, OperatorError> {
        let wanted = query.id.map(address);
        let shards = match wanted {
            Some((shard, _)) if shard.0 == 0 || shard.0 > self.inner.shards => return Ok(None),
            Some((shard, _)) => shard.0..=shard.0,
            None => 1..=self.inner.shards,
        };
        let filter = Filter {
            sent_after_ms: query.sent_after_ms,
            sent_before_ms: query.sent_before_ms,
            min_receives: query.min_receives,
            body: wanted.map(|(_, body)| body),
            group: query.group.as_deref().map(Into::into),
        };
        let first = query.cursor.map_or(*shards.start(), |cursor| cursor.shard.0);
        for shard in shards.skip_while(|shard| *shard < first).map(GroupId) {
            let start = query.cursor.filter(|cursor| cursor.shard == shard);
            let mut next = Some(start.map_or(Place::FIRST, |cursor| Place {
                lane: cursor.place.lane,
                sequence: cursor.place.sequence,
            }));
            while let Some(from) = next {
                let walk =
                    Walk { shard, queue: entry.id, from, visited: query.visited, filter: filter.clone() };
                let stretch =
                    self.inner.node.browse(walk, page.wanted(), CALL_LOOKS_MAX - page.looked_at).await?;
                // A shard that does not have the queue yet has no messages of it.
                let epoch = stretch.epoch.unwrap_or(QueueEpoch { queue: entry.id, epoch: 0 });
                if start.is_some_and(|cursor| stretch.epoch.is_some() && cursor.place.queue != epoch) {
                    return Err(OperatorError::CursorOutdated);
                }
                page.looked_at += stretch.looked_at;
                next = stretch.next;
                let full_at = self.take(shard, &stretch, page).await?;
                let is_spent = page.looked_at >= CALL_LOOKS_MAX || page.is_searched_enough();
                if let Some(place) = full_at.or(next.filter(|_| is_spent)) {
                    return Ok(Some(cursor(shard, epoch, place)));
                }
                let is_found = wanted.is_some() && !page.messages.is_empty();
                if is_found || wanted.is_some() && self.is_gone(&stretch, wanted).await? {
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    /// Whether a message that was not found has no body any more: then there is no need to look further.
    async fn is_gone(
        &self,
        stretch: &Stretch,
        wanted: Option<(GroupId, BodyRef)>,
    ) -> Result<bool, OperatorError> {
        let bodies = wanted.iter().map(|(_, body)| *body).collect();
        Ok(self.inner.node.look_up(stretch, bodies).await?.contains(&LookedUp::Gone))
    }

    /// Puts what a stretch found on the page; answers where to go on when the page is full.
    async fn take(
        &self,
        shard: GroupId,
        stretch: &Stretch,
        page: &mut Page<'_>,
    ) -> Result<Option<Place>, OperatorError> {
        if !page.reads_bodies() {
            let seen = stretch.found.iter().map(|glimpse| SeenMessage::new(shard, glimpse.clone(), None));
            page.messages.extend(seen);
            let last = stretch.found.last().filter(|_| page.messages.len() >= page.limit);
            return Ok(last.map(behind));
        }
        let mut rest = &stretch.found[..];
        while let Some(first) = rest.first() {
            let batch = &rest[..batch_len(rest)];
            rest = &rest[batch.len()..];
            let bytes: usize = batch.iter().map(|glimpse| glimpse.slot.bytes as usize).sum();
            if page.is_too_much(bytes) || page.is_searched_enough() {
                return Ok(Some(Place { lane: first.id.lane, sequence: first.id.sequence }));
            }
            page.searched.0 += batch.len();
            page.searched.1 += bytes;
            let bodies = batch.iter().map(|glimpse| glimpse.slot.body).collect();
            let looked_up = self.inner.node.look_up(stretch, bodies).await?;
            for (glimpse, body) in batch.iter().zip(looked_up) {
                if let Some(body) = page.part_of(body) {
                    page.messages.push(SeenMessage::new(shard, glimpse.clone(), body));
                    if page.messages.len() >= page.limit {
                        return Ok(Some(behind(glimpse)));
                    }
                }
            }
        }
        Ok(None)
    }
}

/// A page that is being filled.
struct Page<'a> {
    limit: usize,
    part: BodyPart,
    contains: Option<memmem::Finder<'a>>,
    body_bytes: usize,
    /// Messages and bytes.
    searched: (usize, usize),
    looked_at: usize,
    messages: Vec<SeenMessage>,
}

impl Page<'_> {
    fn reads_bodies(&self) -> bool {
        self.part != BodyPart::None || self.contains.is_some()
    }

    /// Messages that the next stretch may find.
    fn wanted(&self) -> usize {
        if self.contains.is_some() { SEARCHED_AT_ONCE } else { self.limit - self.messages.len() }
    }

    fn is_searched_enough(&self) -> bool {
        self.contains.is_some()
            && (self.searched.0 >= SEARCHED_MESSAGES_MAX || self.searched.1 >= SEARCHED_BYTES_MAX)
    }

    /// Whether so many more bytes of bodies may not go on this page.
    fn is_too_much(&self, bytes: usize) -> bool {
        self.part == BodyPart::Whole
            && !self.messages.is_empty()
            && self.body_bytes + bytes > PAGE_BODY_BYTES_MAX
    }

    /// What the page shows of a body; None when the message does not belong on it.
    fn part_of(&mut self, body: LookedUp) -> Option<Option<LookedUp>> {
        let body = match body {
            LookedUp::Gone => return None,
            LookedUp::Damaged(_) if self.contains.is_some() => return None,
            LookedUp::Damaged(detail) => return Some(Some(LookedUp::Damaged(detail))),
            LookedUp::Found(body) => body,
        };
        if self.contains.as_ref().is_some_and(|finder| finder.find(&body).is_none()) {
            return None;
        }
        let part = match self.part {
            BodyPart::None => return Some(None),
            // A copy, so that the page does not hold the whole body.
            BodyPart::Prefix(bytes) => Bytes::copy_from_slice(&body[..bytes.min(body.len())]),
            BodyPart::Whole => body,
        };
        self.body_bytes += part.len();
        Some(Some(LookedUp::Found(part)))
    }
}

/// How many messages at the front are read together.
fn batch_len(messages: &[Glimpse]) -> usize {
    let mut bytes = 0;
    let fits = |glimpse: &&Glimpse| {
        bytes += glimpse.slot.bytes as usize;
        bytes <= READ_AT_ONCE_BYTES
    };
    messages.iter().take_while(fits).count().max(1)
}

fn behind(glimpse: &Glimpse) -> Place {
    Place { lane: glimpse.id.lane, sequence: glimpse.id.sequence + 1 }
}

fn cursor(shard: GroupId, queue: QueueEpoch, place: Place) -> Cursor {
    Cursor { shard, place: DeliveryId { queue, lane: place.lane, sequence: place.sequence, generation: 0 } }
}
