//! A caller with one connection: typed answers, latencies, failures counted instead of ending the soak.

use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;

use super::ledger::Time;
use super::world::{Kind, World};
use crate::cmq;
use crate::http::{self, Connection};

/// The codes that callers look at.
const CODE_OK: u64 = 0;
const CODE_NO_MESSAGE: u64 = 7000;
const CODE_HANDLE_INVALID: u64 = 4430;

/// Wait after a failed call, so that a broker that is gone is not called in a loop.
const PAUSE: Duration = Duration::from_millis(200);

/// A message as it was received.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) handle: String,
    pub(super) body: String,
}

/// Parameters of a call.
pub(super) type Parameters<'a> = &'a [(&'a str, &'a str)];

/// One connection, opened when it is needed.
pub(super) struct Client {
    world: Rc<World>,
    connection: Option<Connection>,
}

impl Client {
    pub(super) fn new(world: &Rc<World>) -> Client {
        Client { world: world.clone(), connection: None }
    }

    /// Makes a call; `kind` and `since` say under what to count its latency and from when. None when it failed.
    async fn call(
        &mut self,
        action: &str,
        queue: &str,
        parameters: Parameters<'_>,
        timed: Option<(Kind, Time)>,
        codes: &[u64],
    ) -> Option<(u64, Value)> {
        let escaped: Vec<(&str, String)> = parameters
            .iter()
            .map(|(name, value)| (*name, form_urlencoded::byte_serialize(value.as_bytes()).collect()))
            .collect();
        let escaped: Vec<(&str, &str)> =
            escaped.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let request = http::post(cmq::PATH, cmq::FORM, cmq::form(action, queue, &escaped).as_bytes());
        let failure = match self.exchange(&request).await {
            Ok(answer) => {
                if let Some((kind, since)) = timed {
                    self.world.time(kind, self.world.now().saturating_sub(since));
                }
                match answer.get("code").and_then(Value::as_u64) {
                    Some(code) if codes.contains(&code) => return Some((code, answer)),
                    _ => answer.to_string(),
                }
            }
            Err(error) => {
                self.connection = None;
                error.to_string()
            }
        };
        self.world.fail(format!("{action} on {queue}: {failure}"));
        tokio::time::sleep(PAUSE).await;
        None
    }

    async fn exchange(&mut self, request: &[u8]) -> crate::error::Result<Value> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(Connection::open(self.world.broker).await?),
        };
        let answer = connection.call(request).await?;
        serde_json::from_slice(answer).map_err(|error| crate::error::Error::Http(error.to_string()))
    }

    /// A call that gives nothing but success.
    pub(super) async fn ask(
        &mut self,
        kind: Kind,
        action: &str,
        queue: &str,
        parameters: Parameters<'_>,
    ) -> bool {
        let now = self.world.now();
        self.call(action, queue, parameters, Some((kind, now)), &[CODE_OK]).await.is_some()
    }

    /// Sends the bodies, as a batch if they are several; `since` is when they should have been sent.
    pub(super) async fn send(&mut self, queue: &str, bodies: &[String], delay: u64, since: Time) -> bool {
        let names: Vec<String> = (1..=bodies.len()).map(|i| format!("msgBody.{i}")).collect();
        let delay = delay.to_string();
        let mut parameters = vec![("delaySeconds", delay.as_str())];
        let (action, kind) = if let [body] = bodies {
            parameters.push(("msgBody", body));
            ("SendMessage", Kind::Send)
        } else {
            parameters.extend(names.iter().map(String::as_str).zip(bodies.iter().map(String::as_str)));
            ("BatchSendMessage", Kind::BatchSend)
        };
        self.call(action, queue, &parameters, Some((kind, since)), &[CODE_OK]).await.is_some()
    }

    /// Receives up to `max` messages. A receive that does not wait is timed.
    pub(super) async fn receive(&mut self, queue: &str, max: usize, wait: u32) -> Vec<Received> {
        let (wait_text, max_text) = (wait.to_string(), max.to_string());
        let mut parameters = vec![("pollingWaitSeconds", wait_text.as_str())];
        let (action, kind) = if max == 1 {
            ("ReceiveMessage", Kind::Receive)
        } else {
            parameters.push(("numOfMsg", &max_text));
            ("BatchReceiveMessage", Kind::BatchReceive)
        };
        let timed = (wait == 0).then(|| (kind, self.world.now()));
        let codes = [CODE_OK, CODE_NO_MESSAGE];
        let Some((code, answer)) = self.call(action, queue, &parameters, timed, &codes).await else {
            return Vec::new();
        };
        if code == CODE_NO_MESSAGE {
            return Vec::new();
        }
        let one = std::slice::from_ref(&answer);
        let list = answer.get("msgInfoList").and_then(Value::as_array).map_or(one, Vec::as_slice);
        let text = |message: &Value, name| Some(message.get(name)?.as_str()?.to_owned());
        list.iter()
            .filter_map(|message| {
                let received =
                    Received { handle: text(message, "receiptHandle")?, body: text(message, "msgBody")? };
                Some(received)
            })
            .collect()
    }

    /// Deletes what was received. A handle may be refused only where `may_refuse` says so: the messages were cleared
    /// meanwhile.
    pub(super) async fn delete(
        &mut self,
        queue: &str,
        messages: &[Received],
        may_refuse: impl FnOnce() -> bool,
    ) -> bool {
        let names: Vec<String> = (1..=messages.len()).map(|i| format!("receiptHandle.{i}")).collect();
        let now = self.world.now();
        let (action, kind, parameters) = if let [message] = messages {
            ("DeleteMessage", Kind::Delete, vec![("receiptHandle", message.handle.as_str())])
        } else {
            let handles = messages.iter().map(|message| message.handle.as_str());
            ("BatchDeleteMessage", Kind::BatchDelete, names.iter().map(String::as_str).zip(handles).collect())
        };
        let codes = [CODE_OK, CODE_HANDLE_INVALID];
        match self.call(action, queue, &parameters, Some((kind, now)), &codes).await {
            Some((CODE_OK, _)) => true,
            Some((_, answer)) => {
                if !may_refuse() {
                    self.world.fail(format!("{action} on {queue}: {answer}"));
                }
                false
            }
            None => false,
        }
    }
}
