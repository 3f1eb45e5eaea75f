//! Messages in, out and away.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use cmq_engine::attributes::QueueKind;
use cmq_engine::catalogue::QueueEntry;
use cmq_engine::command::{NewMessage, StaleHandle};
use cmq_engine::message::DeliveryId;
use cmq_engine::outcome::{Deleted, Refusal};
use sha2::{Digest, Sha256};

use super::handle::Handles;
use super::types::{BATCH_MESSAGES_MAX, MessageId, Outgoing, ReceivedMessage, ServiceError};
use super::{Service, failure};
use crate::replication::{GroupId, Received, Reply, Request};

/// Bits of a message's address in its number; the shard stands above them.
pub(super) const ADDRESS_BITS: u32 = 54;

impl Service {
    /// Stores messages durably; all or none.
    ///
    /// # Errors
    /// Queue missing, a limit or the rate of the queue, or the broker cannot take the call now.
    pub async fn send(&self, queue: &str, messages: Outgoing) -> Result<Vec<MessageId>, ServiceError> {
        let entry = self.find(queue)?;
        if !self.inner.limiter.send(entry.id) {
            return Err(ServiceError::QueueRate);
        }
        let limit = entry.attributes.max_message_bytes;
        if let Some(body) = messages.bodies.iter().find(|body| body.len() > limit as usize) {
            return Err(ServiceError::MessageTooLarge { size: body.len(), limit });
        }
        let delay_ms = messages.delay.map(|delay| delay.as_millis() as u64);
        let new_message = |body: &Bytes| NewMessage {
            bytes: body.len() as u32,
            delay_ms,
            group: None,
            deduplication: deduplication_hash(&entry, body),
        };
        let request = Request::Send {
            queue: entry.id,
            messages: messages.bodies.iter().map(new_message).collect(),
            bodies: messages.bodies,
            // Messages without a group are one group: hash 0.
            home: entry.home(0).map(GroupId),
        };
        match self.inner.node.request(request).await {
            Reply::Sent(shard, bodies) => {
                Ok(bodies.into_iter().map(|body| message_id(shard, body.packed())).collect())
            }
            Reply::Refused(refusal) => Err(refused(refusal, queue)),
            other => Err(failure(other)),
        }
    }

    /// Hands out up to `max` messages; waits up to `wait` (None: the queue's own) for the first. Empty: there was none.
    ///
    /// # Errors
    /// Queue missing, too many in flight, the rate of the queue, or the broker cannot take the call now.
    pub async fn receive(
        &self,
        queue: &str,
        max: usize,
        wait: Option<Duration>,
    ) -> Result<Vec<ReceivedMessage>, ServiceError> {
        let entry = self.find(queue)?;
        if !self.inner.limiter.receive(entry.id) {
            return Err(ServiceError::QueueRate);
        }
        let own_wait = Duration::from_secs(u64::from(entry.attributes.polling_wait_seconds));
        let request = Request::Receive {
            queue: entry.id,
            max: max.clamp(1, BATCH_MESSAGES_MAX) as u16,
            wait_ms: wait.unwrap_or(own_wait).as_millis() as u64,
            visibility_ms: None,
        };
        match self.inner.node.request(request).await {
            Reply::Received(messages) if messages.is_empty() => Ok(Vec::new()),
            Reply::Received(messages) => {
                let handles = self.handles().await?;
                Ok(messages.into_iter().map(|received| received_message(handles, received)).collect())
            }
            Reply::Refused(refusal) => Err(refused(refusal, queue)),
            other => Err(failure(other)),
        }
    }

    /// Deletes the messages that the handles name; one outcome a handle, in order.
    ///
    /// # Errors
    /// Queue missing, or the broker cannot take the call now.
    pub async fn delete(
        &self,
        queue: &str,
        handles: &[&str],
    ) -> Result<Vec<Result<(), ServiceError>>, ServiceError> {
        let entry = self.find(queue)?;
        let keyed = self.handles().await?;
        let mut verdicts: Vec<Result<(), ServiceError>> =
            handles.iter().map(|_| Err(ServiceError::HandleInvalid)).collect();
        let mut by_shard: BTreeMap<GroupId, Vec<(usize, DeliveryId)>> = BTreeMap::new();
        for (at, handle) in handles.iter().enumerate() {
            let named = keyed.decode(handle).filter(|(_, delivery)| delivery.queue.queue == entry.id);
            if let Some((shard, delivery)) = named {
                by_shard.entry(shard).or_default().push((at, delivery));
            }
        }
        for (shard, named) in by_shard {
            let deliveries = named.iter().map(|(_, delivery)| *delivery).collect();
            let request = Request::Delete { shard, deliveries, stale: StaleHandle::Refuse };
            let outcomes = match self.inner.node.request(request).await {
                Reply::Deleted(outcomes) => outcomes,
                other => return Err(failure(other)),
            };
            for ((at, _), outcome) in named.into_iter().zip(outcomes) {
                verdicts[at] = match outcome {
                    Deleted::Done => Ok(()),
                    Deleted::Stale => Err(ServiceError::HandleStale),
                    Deleted::Unknown => Err(ServiceError::HandleInvalid),
                };
            }
        }
        Ok(verdicts)
    }
}

fn deduplication_hash(entry: &QueueEntry, body: &Bytes) -> Option<u128> {
    let is_wanted =
        entry.attributes.content_based_deduplication && entry.attributes.kind != QueueKind::Standard;
    is_wanted.then(|| {
        let hash = Sha256::digest(body);
        let (first, _) = hash.split_first_chunk::<16>().expect("SHA-256 has 32 bytes");
        u128::from_be_bytes(*first)
    })
}

pub(super) fn message_id(shard: GroupId, address: u64) -> MessageId {
    MessageId(u64::from(shard.0) << ADDRESS_BITS | address)
}

fn received_message(handles: &Handles, received: Received) -> ReceivedMessage {
    let Received { shard, delivery, body } = received;
    ReceivedMessage {
        id: message_id(shard, delivery.body.packed()),
        receipt_handle: handles.encode(shard, &delivery.id),
        body,
        sent_ms: delivery.sent_ms,
        first_received_ms: delivery.first_received_ms,
        visible_again_ms: delivery.visible_again_ms,
        receive_count: delivery.receive_count,
    }
}

fn refused(refusal: Refusal, queue: &str) -> ServiceError {
    match refusal {
        Refusal::QueueMissing => ServiceError::QueueMissing(queue.into()),
        Refusal::HeapFull => ServiceError::HeapFull,
        Refusal::TooManyInFlight | Refusal::TooManyDelayed => ServiceError::TooManyInFlightOrDelayed,
        Refusal::QueueClosed => ServiceError::QueueClosed(queue.into()),
        Refusal::ShardFull => ServiceError::Busy("a shard holds as much state as it may"),
    }
}
