//! The admin API over a whole broker, for tests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cmq_engine::attributes::QueueAttributes;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Console, Volume, serve};
use crate::metrics::Metrics;
use crate::replication::runtime::NodeHandle;
use crate::service::types::{Outgoing, ReceivedMessage, ServiceError};
use crate::service::{Rules, Service};
use crate::testing::{SOON, TestNode};

/// The header that a call must have which changes something.
pub(crate) const BY: &str = "x-requested-by: test\r\n";

/// A whole broker of one replica with its admin port.
pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
    pub(crate) service: Service,
    pub(crate) node: NodeHandle,
    pub(crate) running: TestNode,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) serving: JoinHandle<()>,
}

impl Broker {
    pub(crate) async fn start(shards: u16, shows_bodies: bool) -> Self {
        Self::start_with(shards, Console::new(shows_bodies, None, None)).await
    }

    pub(crate) async fn start_with(shards: u16, console: Console) -> Self {
        let running = TestNode::start(shards, Rules::default()).await;
        let (node, service) = (running.handle.clone(), running.service.clone());
        let console = Arc::new(console);
        let volume = Volume { takes_sends: true, free_bytes: 1, total_bytes: 2 };
        console.open(service.clone(), move || volume);

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let (_, ready) = watch::channel(true);
        let serving =
            tokio::spawn(async move { serve(listener, &Metrics::new(), console, ready, stopped).await });
        Self { address, service, node, running, stop, serving }
    }

    pub(crate) async fn queue(&self, name: &str, change: impl FnOnce(&mut QueueAttributes)) {
        let mut attributes = QueueAttributes::default();
        change(&mut attributes);
        self.service.create_queue(name, attributes, None).await.unwrap();
    }

    pub(crate) async fn send(&self, queue: &str, bodies: &[&[u8]], delay: Option<Duration>) {
        let bodies = bodies.iter().map(|body| Bytes::copy_from_slice(body)).collect();
        self.service.send(queue, Outgoing { bodies, delay }).await.unwrap();
    }

    pub(crate) async fn try_send(&self, queue: &str) -> Result<(), ServiceError> {
        let bodies = vec![Bytes::from_static(b"body")];
        self.service.send(queue, Outgoing { bodies, delay: None }).await.map(drop)
    }

    pub(crate) async fn receive(&self, queue: &str, max: usize) -> Vec<ReceivedMessage> {
        self.service.receive(queue, max, Some(Duration::ZERO)).await.unwrap()
    }

    /// One request with extra header lines; status and JSON.
    pub(crate) async fn ask(&self, method: &str, target: &str, headers: &str) -> (u16, Value) {
        self.ask_with(method, target, headers, "").await
    }

    pub(crate) async fn ask_with(
        &self,
        method: &str,
        target: &str,
        headers: &str,
        body: &str,
    ) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!("{method} {target} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n");
        let request = format!("{head}{headers}content-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        timeout(SOON, stream.read_to_end(&mut answer)).await.expect("an answer").unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("content-type: application/json"), "{head}");
        (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap())
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, value) = self.ask("GET", &format!("/api/v1/{path}"), "").await;
        assert_eq!(status, 200, "{path}: {value}");
        value
    }

    /// Status and code of a refused call.
    pub(crate) async fn refused(&self, method: &str, path: &str, headers: &str) -> String {
        let (status, value) = self.ask(method, &format!("/api/v1/{path}"), headers).await;
        assert!(value["error"]["message"].is_string(), "{value}");
        format!("{status} {}", value["error"]["code"].as_str().unwrap())
    }

    pub(crate) async fn messages(&self, queue: &str, query: &str) -> Vec<Value> {
        let page = self.get(&format!("queues/{queue}/messages?{query}")).await;
        page["messages"].as_array().unwrap().clone()
    }

    pub(crate) async fn end(self) {
        self.stop.send_replace(true);
        self.running.end().await;
        self.serving.await.unwrap();
    }
}
