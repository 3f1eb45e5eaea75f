//! The typed operations of the product.

pub mod types;

use std::time::Duration;

use cmq_engine::attributes::{QueueAttributes, QueueId};

use types::{MessageId, Outgoing, QueueDescription, QueuePage, ReceivedMessage, ServiceError};

/// Handle of the running broker; cheap to clone.
#[derive(Clone, Debug)]
pub struct Service {}

impl Service {
    /// Creates a queue. `dead_letter_queue` names the queue that `attributes.dead_letter` means; its id there is ignored.
    ///
    /// # Errors
    /// Name taken, limit reached, dead-letter rules, or the broker cannot take the call now.
    pub async fn create_queue(
        &self,
        _name: &str,
        _attributes: QueueAttributes,
        _dead_letter_queue: Option<&str>,
    ) -> Result<QueueId, ServiceError> {
        unimplemented!()
    }

    /// Deletes a queue with everything in it.
    ///
    /// # Errors
    /// Queue missing, in use as dead-letter queue, declared elsewhere, or the broker cannot take the call now.
    pub async fn delete_queue(&self, _name: &str) -> Result<(), ServiceError> {
        unimplemented!()
    }

    /// Lists queues whose name contains `search`, in the order of names.
    pub fn list_queues(&self, _search: &str, _offset: usize, _limit: usize) -> QueuePage {
        unimplemented!()
    }

    /// Says everything about one queue.
    ///
    /// # Errors
    /// Queue missing, or the broker cannot take the call now.
    pub async fn describe_queue(&self, _name: &str) -> Result<QueueDescription, ServiceError> {
        unimplemented!()
    }

    /// Stores messages durably; all or none.
    ///
    /// # Errors
    /// Queue missing, a limit of the queue, or the broker cannot take the call now.
    pub async fn send(&self, _queue: &str, _messages: Outgoing) -> Result<Vec<MessageId>, ServiceError> {
        unimplemented!()
    }

    /// Hands out up to `max` messages; waits up to `wait` (None: the queue's own) for the first. Empty: there was none.
    ///
    /// # Errors
    /// Queue missing, too many in flight, or the broker cannot take the call now.
    pub async fn receive(
        &self,
        _queue: &str,
        _max: usize,
        _wait: Option<Duration>,
    ) -> Result<Vec<ReceivedMessage>, ServiceError> {
        unimplemented!()
    }

    /// Deletes the messages that the handles name; one outcome a handle, in order.
    ///
    /// # Errors
    /// Queue missing, or the broker cannot take the call now.
    pub async fn delete(
        &self,
        _queue: &str,
        _handles: &[&str],
    ) -> Result<Vec<Result<(), ServiceError>>, ServiceError> {
        unimplemented!()
    }
}
