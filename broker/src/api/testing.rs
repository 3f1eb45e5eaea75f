//! A whole broker for tests of the client port.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::client;
use super::http::limits::Limits;
use crate::access::Access;
use crate::metrics::Metrics;
use crate::service::{Rates, Rules, Service, Waits};
pub(crate) use crate::testing::SOON;
use crate::testing::TestNode;

/// How the broker of a test is made.
pub(crate) struct Setup {
    pub(crate) access: Access,
    pub(crate) limits: Limits,
    pub(crate) waits: Waits,
    pub(crate) rates: Rates,
    pub(crate) creates_queues: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            access: Access::open(),
            limits: Limits::default(),
            waits: Waits::default(),
            rates: Rates::default(),
            creates_queues: true,
        }
    }
}

/// A broker of one replica on a port and in a directory of its own.
pub(crate) struct Broker {
    pub(crate) service: Service,
    pub(crate) node: TestNode,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) serving: JoinHandle<()>,
    pub(crate) address: SocketAddr,
}

impl Broker {
    pub(crate) async fn start(setup: Setup) -> Self {
        let Setup { access, limits, waits, rates, creates_queues } = setup;
        let node = TestNode::start(1, Rules { waits, rates, creates_queues }).await;
        let (service, own_service) = (node.service.clone(), node.service.clone());

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(async move {
            client::serve(listener, service, access, &Metrics::new(), limits, None, stopped).await;
        });
        Self { service: own_service, node, stop, serving, address }
    }

    pub(crate) async fn open() -> Self {
        Self::start(Setup::default()).await
    }

    /// Sends bytes and reads until the broker closes.
    pub(crate) async fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        timeout(SOON, stream.read_to_end(&mut answer)).await.expect("an answer").unwrap();
        String::from_utf8(answer).unwrap()
    }

    /// Posts a form.
    pub(crate) async fn post(&self, form: &str) -> Value {
        let head = "POST /v2/index.php HTTP/1.1\r\nhost: mq.example\r\nconnection: close\r\n";
        let request = format!("{head}content-length: {}\r\n\r\n{form}", form.len());
        object(&self.raw(request.as_bytes()).await)
    }

    /// Posts a form and gives code and message.
    pub(crate) async fn said(&self, form: &str) -> String {
        let answer = self.post(form).await;
        format!("{} {}", answer["code"], answer["message"].as_str().unwrap())
    }

    pub(crate) async fn get(&self, target: &str) -> Value {
        let request = format!("GET {target} HTTP/1.1\r\nhost: mq.example\r\nconnection: close\r\n\r\n");
        object(&self.raw(request.as_bytes()).await)
    }
}

/// The JSON object of an answer, which always has status 200.
pub(crate) fn object(answer: &str) -> Value {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP: {answer:?}"));
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(head.contains("content-type: application/json"), "{answer}");
    let object: Value = serde_json::from_str(body).unwrap();
    assert!(object["requestId"].as_str().unwrap().parse::<i64>().unwrap() >= 0, "{object}");
    assert!(object["clientRequestId"].is_u64(), "{object}");
    object
}

pub(crate) fn encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}
