//! A whole broker for tests of the client port.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::client;
use super::http::limits::Limits;
use crate::access::Access;
use crate::metrics::Metrics;
use crate::replication::driver;
use crate::replication::runtime::Node;
use crate::service::{Feed, Rates, Service, Waits};
use crate::storage::budget::MemoryBudget;
use crate::storage::fjall_store::FjallStore;
use crate::storage::options::Options;

/// Far longer than anything here takes.
pub(crate) const SOON: Duration = Duration::from_secs(60);
const MEMORY_BYTES: u64 = 256 << 20;

/// How the broker of a test is made.
pub(crate) struct Setup {
    pub(crate) access: Access,
    pub(crate) limits: Limits,
    pub(crate) waits: Waits,
    pub(crate) rates: Rates,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            access: Access::open(),
            limits: Limits::default(),
            waits: Waits::default(),
            rates: Rates::default(),
        }
    }
}

/// A broker of one replica on a port and in a directory of its own.
pub(crate) struct Broker {
    pub(crate) service: Service,
    pub(crate) node: Option<Node>,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) serving: JoinHandle<()>,
    pub(crate) address: SocketAddr,
    _dir: TempDir,
}

impl Broker {
    pub(crate) async fn start(setup: Setup) -> Self {
        let Setup { access, limits, waits, rates } = setup;
        let dir = tempfile::tempdir().unwrap();
        let budget = MemoryBudget::split(MEMORY_BYTES).unwrap();
        let store = FjallStore::open(&Options::new(dir.path().join("data"), budget)).unwrap();
        let feed = Feed::default();
        let (recovered, mut has_recovered) = watch::channel(false);
        let on_event = {
            let feed = feed.clone();
            move |event| feed.apply(event)
        };
        let config = driver::Config::standalone(1, (1, [7; 32]));
        let node = Node::start(config, store, budget.inbound as usize, on_event, recovered).unwrap();
        timeout(SOON, has_recovered.wait_for(|recovered| *recovered)).await.unwrap().unwrap();
        let service = Service::new(node.handle(), feed, 1, waits, rates);
        let own_service = service.clone();

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(async move {
            client::serve(listener, service, access, &Metrics::new(), limits, stopped).await;
        });
        Self { service: own_service, node: Some(node), stop, serving, address, _dir: dir }
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
