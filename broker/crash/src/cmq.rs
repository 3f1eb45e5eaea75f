//! A CMQ client on one keep-alive connection: the v2 form protocol, without signatures.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;

/// Success.
pub(crate) const OK: i64 = 0;
/// A receive found nothing.
pub(crate) const NO_MESSAGE: i64 = 7000;
/// A batch of deletes failed in part.
pub(crate) const DELETED_PARTLY: i64 = 6010;
/// All deletes of a batch failed.
pub(crate) const DELETED_NONE: i64 = 6020;
/// The server failed or is overloaded: whether the call happened is open.
pub(crate) const SERVER_ERROR: i64 = 6000;
/// The queue does not exist.
pub(crate) const QUEUE_MISSING: i64 = 4440;
/// The handle is not valid (any more).
pub(crate) const HANDLE_INVALID: i64 = 4430;

/// Bytes of an answer at most: sixteen messages of the largest size, escaped.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// A call without a long poll has its answer by then.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// The call has no answer; it may have happened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The connection could not be made, or broke.
    #[error("connection: {0}")]
    Io(#[from] std::io::Error),
    /// Not HTTP.
    #[error("http: {0}")]
    Http(#[from] hyper::Error),
    /// Cut short or too large.
    #[error("body: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    /// Not the JSON of an answer.
    #[error("answer: {0}")]
    Json(#[from] serde_json::Error),
    /// An HTTP error, which the protocol does not use.
    #[error("http status {0}")]
    Status(StatusCode),
    /// No answer in a minute.
    #[error("no answer within {ANSWER_WITHIN:?}")]
    Late,
}

/// The JSON of an answer; each action fills its own fields.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Reply {
    /// [`OK`] or an outer error code.
    pub(crate) code: i64,
    /// Text of the error.
    pub(crate) message: String,
    /// `SendMessage`, `ReceiveMessage`: the message's number.
    pub(crate) msg_id: String,
    /// `BatchSendMessage`, in order.
    pub(crate) msg_list: Vec<SentMessage>,
    /// `BatchReceiveMessage`.
    pub(crate) msg_info_list: Vec<ReceivedMessage>,
    /// `BatchDeleteMessage`: what failed.
    pub(crate) error_list: Vec<FailedDelete>,
    /// `GetQueueAttributes`: ready.
    pub(crate) active_msg_num: u64,
    /// `GetQueueAttributes`: under a lease.
    pub(crate) inactive_msg_num: u64,
    /// `GetQueueAttributes`: delayed.
    pub(crate) delay_msg_num: u64,
    /// `ReceiveMessage`: names the delivery.
    pub(crate) receipt_handle: String,
    /// `ReceiveMessage`: what was sent.
    pub(crate) msg_body: String,
    /// `ReceiveMessage`: how often it was handed out.
    pub(crate) dequeue_count: u64,
}

/// One message of a batch that was sent.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SentMessage {
    /// Its number.
    pub(crate) msg_id: String,
}

/// One message that was handed out.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReceivedMessage {
    /// Its number.
    pub(crate) msg_id: String,
    /// Names this delivery.
    pub(crate) receipt_handle: String,
    /// What was sent.
    pub(crate) msg_body: String,
    /// How often it was handed out.
    pub(crate) dequeue_count: u64,
}

/// One delete of a batch that failed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FailedDelete {
    /// Its error code.
    pub(crate) code: i64,
    /// The handle.
    pub(crate) receipt_handle: String,
}

/// One connection to a broker.
#[derive(Debug)]
pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
    address: SocketAddr,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens there.
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self, CallError> {
        Ok(Self { sender: open(address).await?, address })
    }

    /// Calls an action and waits for its answer.
    ///
    /// # Errors
    /// There is no answer. The connection is of no use afterwards.
    pub(crate) async fn call(
        &mut self,
        action: &str,
        parameters: &[(String, String)],
    ) -> Result<Reply, CallError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri("/v2/index.php")
            .header(HOST, self.address.to_string())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::from(encode(action, parameters)))
            .expect("a path and two plain headers are a valid request");
        let (status, body) = exchange(&mut self.sender, request).await?;
        if status == StatusCode::OK {
            Ok(serde_json::from_slice(&body)?)
        } else {
            Err(CallError::Status(status))
        }
    }
}

/// The HTTP status of a path, over a connection of its own.
///
/// # Errors
/// There is no answer.
pub(crate) async fn status_of(address: SocketAddr, path: &str) -> Result<StatusCode, CallError> {
    let request = Request::builder()
        .uri(path)
        .header(HOST, address.to_string())
        .body(Full::default())
        .expect("a path and a plain header are a valid request");
    Ok(exchange(&mut open(address).await?, request).await?.0)
}

fn encode(action: &str, parameters: &[(String, String)]) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("Action", action).extend_pairs(parameters).finish()
}

async fn open(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>, CallError> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Its error reaches the caller by the request that it breaks.
    tokio::spawn(connection);
    Ok(sender)
}

async fn exchange(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), CallError> {
    let whole = async {
        sender.ready().await?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body =
            Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(CallError::Body)?;
        Ok((status, body.to_bytes()))
    };
    tokio::time::timeout(ANSWER_WITHIN, whole).await.map_err(|_| CallError::Late)?
}
