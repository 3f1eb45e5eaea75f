//! What a client wants, as it is put to a node.

use cmq_broker::replication::{GroupId, Request};
use cmq_engine::attributes::{QueueAttributes, QueueId, QueueKind};
use cmq_engine::catalogue::{CatalogueCommand, Owner, PutMode};
use cmq_engine::command::NewMessage;

use crate::history::{Action, History, KnownQueue, OperationId, Origin, SentMessage, body};

/// Who declares queues.
const OWNER: &str = "operator";

fn put(
    history: &History,
    queue: &KnownQueue,
    mode: PutMode,
    attributes: QueueAttributes,
    shards: u16,
) -> Request {
    Request::Catalogue(CatalogueCommand::Put {
        name: queue.name.as_str().into(),
        mode,
        attributes,
        dead_letter_queue: queue.dead_letter.map(|dead| history.queues[dead].name.as_str().into()),
        owner: queue.deletion.map(|deletion| Owner { name: OWNER.into(), deletion }),
        recreate_wait_ms: 0,
        shards,
    })
}

/// What is put to the node.
pub(super) fn request(history: &History, shards: u16, id: OperationId) -> Request {
    let number = |queue: usize| history.queues[queue].id.unwrap_or(QueueId(u32::MAX));
    match &history.operation(id).action {
        Action::Create(queue) => {
            let queue = &history.queues[*queue];
            let attributes = queue.attributes.clone();
            let is_created = queue.name.starts_with("passing") && queue.deletion.is_none();
            let mode = if is_created { PutMode::Create } else { PutMode::Declare };
            put(history, queue, mode, attributes, shards)
        }
        Action::Change(queue, attributes) => {
            put(history, &history.queues[*queue], PutMode::Update, attributes.clone(), shards)
        }
        Action::Purge(queue) => {
            let name = history.queues[*queue].name.as_str().into();
            Request::Catalogue(CatalogueCommand::Purge { name, wait_ms: 0 })
        }
        Action::Rewind { queue, start_ms } => {
            let name = history.queues[*queue].name.as_str().into();
            Request::Catalogue(CatalogueCommand::Rewind { name, start_ms: *start_ms })
        }
        Action::Remove(queue) => Request::Catalogue(CatalogueCommand::Delete {
            name: history.queues[*queue].name.as_str().into(),
            owner: history.queues[*queue].deletion.map(|_| OWNER.into()),
        }),
        Action::Send { queue, messages, home } => {
            let is_fifo = matches!(history.queues[*queue].attributes.kind, QueueKind::Fifo { .. });
            let new = |message: &SentMessage| NewMessage {
                bytes: message.bytes,
                delay_ms: message.delay_ms,
                group: message.group.clone(),
                deduplication: message.deduplication.filter(|_| is_fifo),
            };
            let body_of =
                |(place, message): (u32, &SentMessage)| body(Origin { operation: id, place }, message.bytes);
            Request::Send {
                queue: number(*queue),
                messages: messages.iter().map(new).collect(),
                bodies: (0..).zip(messages).map(body_of).collect(),
                home: home.map(|home| GroupId(1 + (home % u64::from(shards)) as u16)),
            }
        }
        Action::Receive { queue, max, wait_ms, visibility_ms } => Request::Receive {
            queue: number(*queue),
            max: *max,
            wait_ms: *wait_ms,
            visibility_ms: *visibility_ms,
        },
        Action::Delete { shard, handles, stale } => Request::Delete {
            shard: *shard,
            deliveries: handles.iter().map(|handle| handle.id).collect(),
            stale: *stale,
        },
        Action::Count(queue) => Request::Count(number(*queue)),
        Action::RemoveOne(meant) => Request::Remove { shard: meant.shard, message: meant.message },
        Action::ReturnOne(meant) => Request::Return { shard: meant.shard, message: meant.message },
        Action::Withdraw(queue) => Request::Catalogue(CatalogueCommand::Withdraw {
            name: history.queues[*queue].name.as_str().into(),
            owner: OWNER.into(),
        }),
        Action::DeleteClosed { queue, revision } => Request::Catalogue(CatalogueCommand::DeleteClosed {
            name: history.queues[*queue].name.as_str().into(),
            revision: *revision,
        }),
    }
}
