//! One connection whose every call is entered in the ledger.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::cmq::{self, CallError, Client, Reply};
use crate::desk::Desk;
use crate::ledger::{Answer, Counts, Finding, Handed, Held, MessageNumber, QueueIndex, Span};

/// Messages of a batch at most: the protocol's bound.
pub(crate) const BATCH_MAX: usize = 16;

/// A connection with the desk that it reports to.
#[derive(Debug)]
pub(crate) struct Session {
    desk: Arc<Desk>,
    client: Client,
}

impl Session {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens there.
    pub(crate) async fn connect(desk: Arc<Desk>, address: SocketAddr) -> Result<Self, CallError> {
        Ok(Self { desk, client: Client::connect(address).await? })
    }

    /// Makes a queue of the plan.
    ///
    /// # Errors
    /// There is no answer.
    pub(crate) async fn create_queue(&mut self, queue: QueueIndex) -> Result<Reply, CallError> {
        let visibility = self.desk.ledger().queues()[queue.0].visibility.as_secs().to_string();
        self.call("CreateQueue", queue, vec![("visibilityTimeout".into(), visibility)]).await
    }

    /// Sends one message, or several as a batch, of about these sizes in bytes.
    ///
    /// # Errors
    /// There is no answer; the messages are in doubt.
    pub(crate) async fn send(
        &mut self,
        queue: QueueIndex,
        delay: Duration,
        sizes: &[usize],
    ) -> Result<(), CallError> {
        let start = self.desk.now();
        let mut numbers = Vec::with_capacity(sizes.len());
        let mut parameters = Vec::with_capacity(sizes.len() + 2);
        for (index, size) in sizes.iter().enumerate() {
            let (number, body) = self.desk.ledger().sending(queue, start, delay, *size);
            numbers.push(number);
            let is_single = sizes.len() == 1;
            parameters
                .push((if is_single { "msgBody".into() } else { format!("msgBody.{}", index + 1) }, body));
        }
        if !delay.is_zero() {
            parameters.push(("delaySeconds".into(), delay.as_secs().to_string()));
        }
        let action = if sizes.len() == 1 { "SendMessage" } else { "BatchSendMessage" };
        let reply = self.call(action, queue, parameters).await;
        let end = self.desk.now();
        let ids: Vec<&str> = match &reply {
            Ok(reply) if sizes.len() == 1 => vec![&reply.msg_id],
            Ok(reply) => reply.msg_list.iter().map(|sent| sent.msg_id.as_str()).collect(),
            Err(_) => Vec::new(),
        };
        let mut ledger = self.desk.ledger();
        match &reply {
            Ok(reply) if reply.code == cmq::OK && ids.len() == numbers.len() => {
                self.desk.acknowledge();
                for (number, id) in numbers.iter().zip(ids) {
                    ledger.sent(*number, end, Answer::Done(id));
                }
            }
            Ok(reply) if reply.code == cmq::OK => {
                let answer = format!("{action} of {} messages: {} numbers", numbers.len(), ids.len());
                ledger.find(Finding::Unexpected { answer });
                settle(&mut ledger, &numbers, end, Answer::InDoubt);
            }
            Ok(reply) if reply.code != cmq::SERVER_ERROR => {
                settle(&mut ledger, &numbers, end, Answer::Refused)
            }
            Ok(_) | Err(_) => settle(&mut ledger, &numbers, end, Answer::InDoubt),
        }
        drop(ledger);
        reply.map(|_| ())
    }

    /// Receives up to `messages_max`, waiting for up to `wait_s` seconds.
    ///
    /// # Errors
    /// There is no answer; what was leased is unknown.
    pub(crate) async fn receive(
        &mut self,
        queue: QueueIndex,
        messages_max: usize,
        wait_s: u64,
    ) -> Result<Vec<Held>, CallError> {
        let start = self.desk.now();
        let mut parameters = vec![("pollingWaitSeconds".into(), wait_s.to_string())];
        let is_single = messages_max == 1;
        if !is_single {
            parameters.push(("numOfMsg".into(), messages_max.to_string()));
        }
        let action = if is_single { "ReceiveMessage" } else { "BatchReceiveMessage" };
        let reply = self.call(action, queue, parameters).await;
        let span = self.desk.span_from(start);
        let mut ledger = self.desk.ledger();
        let reply = match reply {
            Ok(reply) if reply.code == cmq::OK => reply,
            Ok(reply) if reply.code == cmq::SERVER_ERROR => {
                ledger.receive_in_doubt(queue, span.end, messages_max as u64);
                return Ok(Vec::new());
            }
            Ok(_) => return Ok(Vec::new()),
            Err(error) => {
                ledger.receive_in_doubt(queue, span.end, messages_max as u64);
                return Err(error);
            }
        };
        let mut handed: Vec<Handed> = Vec::new();
        if is_single {
            handed.push(Handed {
                body: reply.msg_body,
                id: reply.msg_id,
                handle: reply.receipt_handle,
                receive_count: reply.dequeue_count,
            });
        }
        handed.extend(reply.msg_info_list.into_iter().map(|message| Handed {
            body: message.msg_body,
            id: message.msg_id,
            handle: message.receipt_handle,
            receive_count: message.dequeue_count,
        }));
        Ok(handed.into_iter().filter_map(|handed| ledger.received(queue, span, handed)).collect())
    }

    /// Deletes deliveries of one queue, at most [`BATCH_MAX`].
    ///
    /// # Errors
    /// There is no answer; the deletes are in doubt.
    pub(crate) async fn delete(&mut self, held: &[Held]) -> Result<(), CallError> {
        let Some(first) = held.first() else { return Ok(()) };
        let start = self.desk.now();
        let is_single = held.len() == 1;
        let name = |index: usize| {
            if is_single { "receiptHandle".to_owned() } else { format!("receiptHandle.{}", index + 1) }
        };
        let handles = held.iter().enumerate().map(|(index, held)| (name(index), held.handle.clone()));
        let action = if is_single { "DeleteMessage" } else { "BatchDeleteMessage" };
        let reply = self.call(action, first.queue, handles.collect()).await;
        let span = self.desk.span_from(start);
        let mut ledger = self.desk.ledger();
        for held in held {
            ledger.deleted(held, span, deletion(reply.as_ref().ok(), held));
        }
        if reply.as_ref().is_ok_and(|reply| reply.code == cmq::OK) {
            self.desk.acknowledge();
        }
        drop(ledger);
        reply.map(|_| ())
    }

    /// The counts of a queue, and when they were asked for. None when the broker refuses.
    ///
    /// # Errors
    /// There is no answer.
    pub(crate) async fn counts(&mut self, queue: QueueIndex) -> Result<Option<(Span, Counts)>, CallError> {
        let start = self.desk.now();
        let reply = self.call("GetQueueAttributes", queue, Vec::new()).await?;
        let counts = Counts {
            active: reply.active_msg_num,
            in_flight: reply.inactive_msg_num,
            delayed: reply.delay_msg_num,
        };
        Ok((reply.code == cmq::OK).then(|| (self.desk.span_from(start), counts)))
    }

    /// Calls an action of a queue and enters answers that no load should bring about.
    async fn call(
        &mut self,
        action: &str,
        queue: QueueIndex,
        mut parameters: Vec<(String, String)>,
    ) -> Result<Reply, CallError> {
        let name = self.desk.ledger().queues()[queue.0].name.clone();
        parameters.push(("queueName".into(), name.clone()));
        let reply = self.client.call(action, &parameters).await?;
        let answer = || format!("{action}: {} {}", reply.code, reply.message);
        match reply.code {
            cmq::OK | cmq::NO_MESSAGE | cmq::SERVER_ERROR => {}
            cmq::HANDLE_INVALID | cmq::DELETED_PARTLY | cmq::DELETED_NONE
                if action.ends_with("DeleteMessage") => {}
            cmq::QUEUE_MISSING => {
                self.desk.ledger().find(Finding::QueueLost { queue: name, answer: answer() });
            }
            _ => self.desk.ledger().find(Finding::Unexpected { answer: answer() }),
        }
        Ok(reply)
    }
}

fn settle(ledger: &mut crate::ledger::Ledger, numbers: &[MessageNumber], end: Duration, answer: Answer<'_>) {
    for number in numbers {
        ledger.sent(*number, end, answer);
    }
}

/// What a reply says of one delivery of a delete.
fn deletion(reply: Option<&Reply>, held: &Held) -> Answer<'static> {
    let Some(reply) = reply else { return Answer::InDoubt };
    let code = match reply.code {
        cmq::DELETED_PARTLY | cmq::DELETED_NONE => {
            let failed = reply.error_list.iter().find(|failed| failed.receipt_handle == held.handle);
            failed.map_or(cmq::OK, |failed| failed.code)
        }
        code => code,
    };
    match code {
        cmq::OK => Answer::Done(""),
        cmq::SERVER_ERROR => Answer::InDoubt,
        _ => Answer::Refused,
    }
}
