//! A port that speaks TLS, on real sockets: what peers may do to it before and after they agree on TLS.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::limits::HANDSHAKE_WITHIN;
use super::*;
use crate::metrics::Metrics;
use crate::tls::Peers;
use crate::tls::testing::{Authority, BROKER_NAME, ask, client, connect, write};

/// Far longer than anything here takes.
const SOON: Duration = Duration::from_secs(60);

/// Answers with the path and the body.
#[derive(Clone)]
struct Echo;

impl Handler for Echo {
    async fn handle(self, request: Request<Incoming>) -> Response {
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        text(StatusCode::OK, [path.as_bytes(), &body].concat())
    }

    fn busy(&self) -> Response {
        text(StatusCode::SERVICE_UNAVAILABLE, "busy")
    }

    fn panicked(&self) -> Response {
        text(StatusCode::INTERNAL_SERVER_ERROR, "panicked")
    }
}

struct Server {
    address: SocketAddr,
    authority: Authority,
    metrics: PortMetrics,
    _stop: watch::Sender<bool>,
    _dir: TempDir,
}

impl Server {
    async fn start(limits: Limits) -> Self {
        let (dir, authority) = (TempDir::new().unwrap(), Authority::new("a"));
        write(dir.path(), &authority.broker(), &[]);
        let tls = Tls::open(dir.path(), Peers::Anonymous).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Metrics::new().client_port;
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(serve(listener, Echo, limits, metrics.clone(), Some(tls), stopped));
        Self { address, authority, metrics, _stop: stop, _dir: dir }
    }

    async fn asks(&self) -> String {
        let client = client(&[&self.authority], None, &[]);
        let answer = timeout(SOON, ask(self.address, &client, "POST", "/path", " and body")).await;
        answer.expect("an answer").unwrap()
    }
}

#[tokio::test]
async fn both_versions_of_http_are_spoken() {
    let server = Server::start(Limits::default()).await;
    let answer = server.asks().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("/path and body"), "{answer}");

    let http2 = client(&[&server.authority], None, &["h2", "http/1.1"]);
    let stream = connect(server.address, &http2).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let io = TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    for body in ["one".to_owned(), "x".repeat(1 << 20)] {
        let request =
            Request::post(format!("https://{BROKER_NAME}/p")).body(Full::new(Bytes::from(body.clone())));
        let answer = sender.send_request(request.unwrap()).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), format!("/p{body}"));
    }
    // Who speaks neither has no connection.
    assert!(connect(server.address, &client(&[&server.authority], None, &["h3"])).await.is_err());
    assert_eq!(server.metrics.handshake_errors.get(), 1);
}

#[tokio::test]
async fn strangers_to_tls_are_told_or_left() {
    let server = Server::start(Limits::default()).await;
    let mut plain = TcpStream::connect(server.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(SOON, plain.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(answer.ends_with("this port speaks TLS: use https\n"), "{answer}");

    // A look whether the port is open is no error; noise is.
    drop(TcpStream::connect(server.address).await.unwrap());
    let mut noise = TcpStream::connect(server.address).await.unwrap();
    noise.write_all(&[0xff; 100]).await.unwrap();
    let mut rest = Vec::new();
    // Closed in whatever way.
    let _ = timeout(SOON, noise.read_to_end(&mut rest)).await.unwrap();
    // A client that does not trust the authority.
    let other = Authority::new("b");
    assert!(connect(server.address, &client(&[&other], None, &[])).await.is_err());
    timeout(SOON, async {
        while server.metrics.handshake_errors.get() < 3 {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    assert!(server.asks().await.ends_with("/path and body"));
    assert_eq!(server.metrics.handshake_errors.get(), 3);
}

/// Handshakes that do not go on hold up nobody, count as connections, and end.
#[tokio::test]
async fn slow_handshakes_are_bounded() {
    let server = Server::start(Limits { connections: 20, ..Limits::default() }).await;
    let started = Instant::now();
    let mut slow = Vec::new();
    for at in 0..19_u8 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        // Some say nothing, some begin a record and never end it.
        stream.write_all(&[0x16, 3, 1, 1, 0, 1][..usize::from(at % 7).min(6)]).await.unwrap();
        slow.push(stream);
    }
    assert!(server.asks().await.ends_with("/path and body"));
    assert!(started.elapsed() < HANDSHAKE_WITHIN / 2, "{:?}", started.elapsed());
    // The last place is taken, and one more is closed without a word that it could not read.
    slow.push(TcpStream::connect(server.address).await.unwrap());
    sleep(Duration::from_millis(200)).await;
    let mut refused = TcpStream::connect(server.address).await.unwrap();
    let mut nothing = Vec::new();
    timeout(SOON, refused.read_to_end(&mut nothing)).await.unwrap().unwrap();
    assert_eq!((nothing.len(), server.metrics.refused.get()), (0, 1));

    let mut last = slow.pop().unwrap();
    // Closed in whatever way.
    let _ = timeout(SOON, last.read_to_end(&mut nothing)).await.unwrap();
    let took = started.elapsed();
    assert!(took >= HANDSHAKE_WITHIN && took < 3 * HANDSHAKE_WITHIN, "{took:?}");
    assert!(server.asks().await.ends_with("/path and body"));
    assert_eq!(server.metrics.handshake_errors.get(), 20);
}
