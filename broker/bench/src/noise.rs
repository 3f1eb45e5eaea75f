//! What a noisy client does again and again. A refusal to be repeated is an answer like any other: noise goes on.

use std::cell::Cell;
use std::rc::Rc;

use crate::cmq;
use crate::error::{Error, Result};
use crate::http::Connection;
use crate::json;
use crate::work::Work;

/// Bytes of a message of a batch.
const BATCH_MESSAGE_BYTES: usize = 1024;
/// Bytes of a large message, the largest that a queue takes by default.
const LARGE_MESSAGE_BYTES: usize = 64 << 10;
/// What noise is answered beside success: no message, handles that are stale, and refusals to be repeated.
const CODES_TAKEN: [u64; 6] = [0, 7000, 4430, 6010, 6020, 6000];
/// The code of a refusal to be repeated.
const CODE_RETRY: u64 = 6000;

/// Kinds of noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Noise {
    /// Sends of 16 messages of 1 KiB, which pile up
    Batches,
    /// Sends of single messages of 64 KiB, which pile up
    Large,
    /// Sends, receives and deletes of 16 messages
    Cycles,
    /// Receives and deletes of 16 messages from a deep backlog
    Backlog,
    /// Receives from an empty queue that do not wait
    Polls,
    /// Deletes by 16 handles that are used up
    Deletes,
}

impl Noise {
    /// All of them.
    pub const ALL: [Noise; 6] =
        [Noise::Batches, Noise::Large, Noise::Cycles, Noise::Backlog, Noise::Polls, Noise::Deletes];

    /// Its name in the report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Noise::Batches => "sends of 16 x 1 KiB",
            Noise::Large => "sends of 64 KiB",
            Noise::Cycles => "send, receive, delete of 16",
            Noise::Backlog => "receive, delete of 16 from a backlog",
            Noise::Polls => "receives of nothing",
            Noise::Deletes => "deletes by 16 used handles",
        }
    }
}

/// One connection's noise on one queue.
pub struct Noisy {
    noise: Noise,
    queue: String,
    send: Vec<u8>,
    receive: Vec<u8>,
    /// Handles that are used up, once there are any.
    used: Option<Vec<u8>>,
    /// Refusals to be repeated so far.
    refused: Rc<Cell<u64>>,
}

impl Noisy {
    /// Noise of a kind; `refused` counts the refusals to be repeated.
    #[must_use]
    pub fn new(noise: Noise, queue: &str, seed: u64, refused: Rc<Cell<u64>>) -> Noisy {
        let send = match noise {
            Noise::Large => {
                cmq::request("SendMessage", queue, &[("msgBody", &cmq::body(LARGE_MESSAGE_BYTES, seed))])
            }
            _ => cmq::batch_send(queue, cmq::BATCH_MESSAGES_MAX, BATCH_MESSAGE_BYTES, seed),
        };
        let receive = match noise {
            Noise::Polls => cmq::request("ReceiveMessage", queue, &[("pollingWaitSeconds", "0")]),
            _ => {
                cmq::request("BatchReceiveMessage", queue, &[("numOfMsg", "16"), ("pollingWaitSeconds", "0")])
            }
        };
        Noisy { noise, queue: queue.into(), send, receive, used: None, refused }
    }

    /// As [`Noisy::new`], with a send that is ready-made.
    #[must_use]
    pub fn with_send(noise: Noise, queue: &str, send: Vec<u8>, refused: Rc<Cell<u64>>) -> Noisy {
        Noisy { noise, queue: queue.into(), send, receive: Vec::new(), used: None, refused }
    }

    async fn call<'a>(&self, connection: &'a mut Connection, request: &[u8]) -> Result<&'a [u8]> {
        let answer = connection.call(request).await?;
        match json::number(answer, "code") {
            Some(code) if CODES_TAKEN.contains(&code) => {
                self.refused.set(self.refused.get() + u64::from(code == CODE_RETRY));
                Ok(answer)
            }
            _ => Err(Error::refused("noise", answer)),
        }
    }

    /// Receives and deletes up to 16 messages; gives the delete, if there was any message.
    async fn consume(&self, connection: &mut Connection) -> Result<Option<Vec<u8>>> {
        let answer = self.call(connection, &self.receive).await?;
        let delete = batch_delete(&self.queue, &String::from_utf8_lossy(answer));
        if let Some(delete) = &delete {
            self.call(connection, delete).await?;
        }
        Ok(delete)
    }
}

impl Work for Noisy {
    async fn run(&mut self, connection: &mut Connection) -> Result<u64> {
        match self.noise {
            Noise::Batches | Noise::Large => _ = self.call(connection, &self.send).await?,
            Noise::Cycles => {
                self.call(connection, &self.send).await?;
                self.consume(connection).await?;
            }
            Noise::Backlog => _ = self.consume(connection).await?,
            Noise::Polls => _ = self.call(connection, &self.receive).await?,
            Noise::Deletes => match &self.used {
                Some(used) => _ = self.call(connection, used).await?,
                None => {
                    self.call(connection, &self.send).await?;
                    self.used = self.consume(connection).await?;
                }
            },
        }
        Ok(1)
    }
}

/// The delete of all messages of an answer; None when it has none.
fn batch_delete(queue: &str, answer: &str) -> Option<Vec<u8>> {
    let handles = answer.split("\"receiptHandle\":\"").skip(1).filter_map(|rest| rest.split('"').next());
    let numbered: Vec<(String, &str)> =
        handles.enumerate().map(|(at, handle)| (format!("receiptHandle.{}", at + 1), handle)).collect();
    let parameters: Vec<(&str, &str)> =
        numbered.iter().map(|(name, handle)| (name.as_str(), *handle)).collect();
    (!parameters.is_empty()).then(|| cmq::request("BatchDeleteMessage", queue, &parameters))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delete_names_every_message_of_an_answer() {
        let answer =
            r#"{"code":0,"msgInfoList":[{"msgBody":"a","receiptHandle":"AQ-1"},{"receiptHandle":"AQ-2"}]}"#;
        let request = String::from_utf8(batch_delete("orders", answer).unwrap()).unwrap();
        let form = request.split_once("\r\n\r\n").unwrap().1;
        assert_eq!(
            form,
            "Action=BatchDeleteMessage&queueName=orders&receiptHandle.1=AQ-1&receiptHandle.2=AQ-2"
        );
        assert_eq!(batch_delete("orders", r#"{"code":7000}"#), None);
    }
}
