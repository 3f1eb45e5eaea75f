//! Calls to the service and back.

use std::time::Duration;

use cmq_engine::attributes::{AttributesPatch, DeadLetterChange};

use super::answer::Outcome;
use super::call::{Call, Page};
use super::error::Error;
use crate::service::Service;
use crate::service::types::ReceivedMessage;

/// Does what a call asks.
///
/// # Errors
/// What the service refuses, in the words of the protocol; no message within the waiting time is one of them.
pub(super) async fn execute(call: Call, service: &Service) -> Result<Outcome, Error> {
    if call.is_management() {
        service.admit_management()?;
    }
    Ok(match call {
        Call::CreateQueue { queue, attributes, dead_letter_queue } => Outcome::QueueCreated(
            service.create_queue(&queue, attributes, dead_letter_queue.as_deref()).await?,
        ),
        Call::ListQueue { page: Page { search, offset, limit } } => {
            Outcome::Queues(service.list_queues(&search, offset, limit))
        }
        Call::GetQueueAttributes { queue } => Outcome::Queue(Box::new(service.describe_queue(&queue).await?)),
        Call::SetQueueAttributes { queue, changes } => {
            let id = service.change_queue(&queue, changes.clone()).await?;
            Outcome::QueueChanged(id, Box::new(changes))
        }
        Call::UnbindDeadLetterQueue { queue } => {
            let unbind = AttributesPatch { dead_letter: DeadLetterChange::Unbind, ..Default::default() };
            service.change_queue(&queue, unbind).await?;
            Outcome::Done
        }
        Call::ListDeadLetterSourceQueues { queue, page: Page { search, offset, limit } } => {
            Outcome::Queues(service.list_sources(&queue, &search, offset, limit)?)
        }
        Call::ClearQueue { queue } => {
            service.purge_queue(&queue).await?;
            Outcome::Done
        }
        Call::RewindQueue { queue, start } => {
            service.rewind_queue(&queue, start).await?;
            Outcome::Done
        }
        Call::QueryQueueRoute { queue } => {
            service.check_queue(&queue)?;
            return Err(Error::no_route());
        }
        Call::DeleteQueue { queue } => {
            service.delete_queue(&queue).await?;
            Outcome::Done
        }
        Call::SendMessage { queue, messages } => {
            let ids = service.send(&queue, messages).await?;
            Outcome::Sent(ids.into_iter().next().ok_or(Error::INTERNAL)?)
        }
        Call::BatchSendMessage { queue, messages } => {
            Outcome::SentBatch(service.send(&queue, messages).await?)
        }
        Call::ReceiveMessage { queue, wait } => {
            let message = receive(service, &queue, 1, wait).await?.into_iter().next();
            Outcome::Received(message.ok_or(Error::NO_MESSAGE)?)
        }
        Call::BatchReceiveMessage { queue, max, wait } => {
            Outcome::ReceivedBatch(receive(service, &queue, max, wait).await?)
        }
        Call::DeleteMessage { queue, handle } => {
            service.delete(&queue, &[&handle]).await?.into_iter().next().ok_or(Error::INTERNAL)??;
            Outcome::Done
        }
        Call::BatchDeleteMessage { queue, handles } => delete_batch(service, &queue, handles).await?,
    })
}

async fn receive(
    service: &Service,
    queue: &str,
    max: usize,
    wait: Option<Duration>,
) -> Result<Vec<ReceivedMessage>, Error> {
    let messages = service.receive(queue, max, wait).await?;
    if messages.is_empty() { Err(Error::NO_MESSAGE) } else { Ok(messages) }
}

async fn delete_batch(service: &Service, queue: &str, handles: Vec<String>) -> Result<Outcome, Error> {
    let borrowed: Vec<&str> = handles.iter().map(String::as_str).collect();
    let outcomes = service.delete(queue, &borrowed).await?;
    let asked = handles.len();
    if outcomes.len() != asked {
        return Err(Error::INTERNAL);
    }
    let failures: Vec<(String, Error)> = handles
        .into_iter()
        .zip(outcomes)
        .filter_map(|(handle, outcome)| outcome.err().map(|refusal| (handle, refusal.into())))
        .collect();
    Ok(match failures.len() {
        0 => Outcome::Done,
        failed if failed == asked => Outcome::NotDeleted { error: Error::DELETE_FAILED, failures },
        _ => Outcome::NotDeleted { error: Error::DELETE_PARTLY_FAILED, failures },
    })
}
