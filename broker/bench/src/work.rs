//! What one connection does again and again, for each of the two servers.

use crate::cmq;
use crate::error::{Error, Result};
use crate::http::{self, Connection};

/// Size of a floor cycle's second append, in bytes: a delete is a short row.
const FLOOR_DELETE_BYTES: usize = 64;

/// Receives of one cycle that may come back empty before the cycle counts as failed.
const EMPTY_RECEIVES_MAX: u32 = 1000;

/// A unit of work: a send, or a whole cycle.
pub trait Work {
    /// Does one unit over `connection`; gives the number of messages that it moved.
    fn run(&mut self, connection: &mut Connection) -> impl Future<Output = Result<u64>>;
}

/// The floor's side of a send: one append.
pub struct FloorSend {
    append: Vec<u8>,
}

impl FloorSend {
    /// Appends of `bytes` bytes.
    #[must_use]
    pub fn new(bytes: usize, seed: u64) -> FloorSend {
        FloorSend { append: append(bytes, seed) }
    }
}

impl Work for FloorSend {
    async fn run(&mut self, connection: &mut Connection) -> Result<u64> {
        connection.call(&self.append).await?;
        Ok(1)
    }
}

/// The floor's side of a cycle: append, empty exchange, append.
pub struct FloorCycle {
    send: Vec<u8>,
    receive: Vec<u8>,
    delete: Vec<u8>,
}

impl FloorCycle {
    /// Cycles whose first append has `bytes` bytes.
    #[must_use]
    pub fn new(bytes: usize, seed: u64) -> FloorCycle {
        FloorCycle {
            send: append(bytes, seed),
            receive: http::post("/empty", cmq::FORM, b""),
            delete: append(FLOOR_DELETE_BYTES, seed),
        }
    }
}

impl Work for FloorCycle {
    async fn run(&mut self, connection: &mut Connection) -> Result<u64> {
        connection.call(&self.send).await?;
        connection.call(&self.receive).await?;
        connection.call(&self.delete).await?;
        Ok(1)
    }
}

fn append(bytes: usize, seed: u64) -> Vec<u8> {
    http::post("/append", cmq::FORM, cmq::body(bytes, seed).as_bytes())
}

/// A durable send of one message, or of one batch.
pub struct Send {
    action: &'static str,
    request: Vec<u8>,
    messages: u64,
}

impl Send {
    /// One message of `bytes` bytes a call.
    #[must_use]
    pub fn one(queue: &str, bytes: usize, seed: u64) -> Send {
        let action = "SendMessage";
        let body = cmq::body(bytes, seed);
        Send { action, request: cmq::request(action, queue, &[("msgBody", &body)]), messages: 1 }
    }

    /// As many messages of `bytes` bytes as a call may hold.
    #[must_use]
    pub fn batch(queue: &str, bytes: usize, seed: u64) -> Send {
        let count = cmq::BATCH_MESSAGES_MAX;
        let request = cmq::batch_send(queue, count, bytes, seed);
        Send { action: "BatchSendMessage", request, messages: count as u64 }
    }
}

impl Work for Send {
    async fn run(&mut self, connection: &mut Connection) -> Result<u64> {
        cmq::call(connection, self.action, &self.request).await?;
        Ok(self.messages)
    }
}

/// Send a message, receive one, delete it. What is received may be another connection's message.
pub struct Cycle {
    send: Send,
    receive: Vec<u8>,
    delete_form: String,
    delete_form_fixed: usize,
    delete: Vec<u8>,
}

impl Cycle {
    /// Cycles of one message of `bytes` bytes.
    #[must_use]
    pub fn new(queue: &str, bytes: usize, seed: u64) -> Cycle {
        let delete_form = cmq::form("DeleteMessage", queue, &[("receiptHandle", "")]);
        Cycle {
            send: Send::one(queue, bytes, seed),
            receive: cmq::request("ReceiveMessage", queue, &[("pollingWaitSeconds", "0")]),
            delete_form_fixed: delete_form.len(),
            delete_form,
            delete: Vec::new(),
        }
    }

    /// Receives and deletes one message. Each connection has sent before it receives, so there is one for it,
    /// but an answer may come from before another message was visible: then it asks again.
    async fn consume(&mut self, connection: &mut Connection) -> Result<()> {
        for _ in 0..EMPTY_RECEIVES_MAX {
            let Some(handle) = cmq::receive(connection, &self.receive).await? else { continue };
            let text = std::str::from_utf8(handle).map_err(|_| Error::refused("ReceiveMessage", handle))?;
            self.delete_form.truncate(self.delete_form_fixed);
            self.delete_form.push_str(text);
            http::write_post(&mut self.delete, cmq::PATH, cmq::FORM, self.delete_form.as_bytes());
            cmq::call(connection, "DeleteMessage", &self.delete).await?;
            return Ok(());
        }
        Err(Error::refused("ReceiveMessage", b"no message, though one was sent and acknowledged"))
    }
}

impl Work for Cycle {
    async fn run(&mut self, connection: &mut Connection) -> Result<u64> {
        self.send.run(connection).await?;
        self.consume(connection).await?;
        Ok(1)
    }
}
