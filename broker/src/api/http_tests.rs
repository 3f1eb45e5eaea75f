//! The server loop on real sockets, with a handler that does as the path says.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;
use crate::metrics::Metrics;

/// Far longer than anything here takes.
const SOON: Duration = Duration::from_secs(20);

/// More than the buffers of two sockets hold.
const LARGE_ANSWER_BYTES: usize = 64 << 20;

#[derive(Clone, Default)]
struct Obedient(Arc<State>);

#[derive(Default)]
struct State {
    /// Ends one call of `/wait`.
    release: Notify,
    waiting: AtomicUsize,
}

/// Counts itself as long as it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Handler for Obedient {
    async fn handle(self, request: Request<Incoming>) -> Response {
        match request.uri().path() {
            "/panic" => panic!("as asked"),
            "/large" => text(StatusCode::OK, vec![b'x'; LARGE_ANSWER_BYTES]),
            "/wait" => {
                self.0.waiting.fetch_add(1, Ordering::SeqCst);
                let _waiting = Waiting(&self.0.waiting);
                self.0.release.notified().await;
                text(StatusCode::OK, "waited")
            }
            _ => {
                let body = request.into_body().collect().await.map(|body| body.to_bytes());
                text(StatusCode::OK, body.unwrap_or_default())
            }
        }
    }

    fn busy(&self) -> Response {
        text(StatusCode::OK, "busy")
    }

    fn panicked(&self) -> Response {
        text(StatusCode::INTERNAL_SERVER_ERROR, "panicked")
    }
}

struct Server {
    address: SocketAddr,
    handler: Obedient,
    metrics: PortMetrics,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Server {
    async fn start(limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (handler, metrics) = (Obedient::default(), Metrics::new().client_port);
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(serve(listener, handler.clone(), limits, metrics.clone(), None, stopped));
        Self { address, handler, metrics, stop, serving }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Returns when exactly so many calls wait.
    async fn waiting(&self, calls: usize) {
        timeout(SOON, async {
            while self.handler.0.waiting.load(Ordering::SeqCst) != calls {
                sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .expect("as many calls should wait");
    }
}

async fn send(stream: &mut TcpStream, request: &str) {
    stream.write_all(request.as_bytes()).await.unwrap();
}

/// Reads until the text is complete with `end`; fails when the peer closes before.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    timeout(SOON, async {
        while !read.ends_with(end.as_bytes()) {
            let mut more = [0; 4096];
            let bytes = stream.read(&mut more).await.unwrap();
            assert!(bytes > 0, "closed after {}", String::from_utf8_lossy(&read));
            read.extend_from_slice(&more[..bytes]);
        }
    })
    .await
    .expect("the answer should come");
    String::from_utf8(read).unwrap()
}

/// What comes until the peer closes.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    timeout(SOON, stream.read_to_end(&mut read)).await.expect("the peer should close").unwrap();
    String::from_utf8(read).unwrap()
}

#[tokio::test]
async fn answers_in_turn_on_one_connection() {
    let server = Server::start(Limits::default()).await;
    let mut stream = server.connect().await;
    for body in ["one", "two!"] {
        let request = format!("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        send(&mut stream, &request).await;
        let answer = read_until(&mut stream, body).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains(&format!("content-length: {}\r\n", body.len())), "{answer}");
        assert!(!answer.contains("transfer-encoding"), "{answer}");
    }
    // Three at once, without waiting for answers.
    let request = "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\n\r\n";
    send(&mut stream, &format!("{request}a{request}b{request}c")).await;
    let answers = read_until(&mut stream, "c").await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "{answers}");
    assert_eq!(server.metrics.accepted.get(), 1);
}

#[tokio::test]
async fn speaks_http2() {
    let server = Server::start(Limits::default()).await;
    let io = TokioIo::new(server.connect().await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = |path: &str, body: &str| {
        let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
        Request::post(format!("http://h{path}")).body(body).unwrap()
    };
    let waiting = tokio::spawn(sender.send_request(request("/wait", "")));
    server.waiting(1).await;
    for (path, body, status) in [("/", "over http/2", 200), ("/panic", "", 500)] {
        let answer = sender.send_request(request(path, body)).await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
    }
    server.stop.send(true).unwrap();
    server.handler.0.release.notify_one();
    let answer =
        timeout(SOON, waiting).await.expect("the call in flight should be answered").unwrap().unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "waited");
    timeout(SOON, server.serving).await.expect("the server should end").unwrap();
    timeout(SOON, connection).await.expect("the connection should be closed").unwrap().unwrap();
}

#[tokio::test]
async fn a_method_that_comes_in_pieces_is_no_http2() {
    let server = Server::start(Limits::default()).await;
    let mut stream = server.connect().await;
    for piece in ["P", "O", "ST / HTTP/1.1\r\nhost: h\r\ncontent-le", "ngth: 2\r\n\r\nok"] {
        send(&mut stream, piece).await;
        sleep(Duration::from_millis(5)).await;
    }
    read_until(&mut stream, "ok").await;
}

#[tokio::test]
async fn a_panic_is_one_callers_error() {
    let server = Server::start(Limits::default()).await;
    let mut stream = server.connect().await;
    send(&mut stream, "GET /panic HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let answer = read_until(&mut stream, "panicked").await;
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    send(&mut stream, "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nok").await;
    read_until(&mut stream, "ok").await;
    assert_eq!(server.metrics.panics.get(), 1);
}

#[tokio::test]
async fn nonsense_is_refused_and_the_port_lives() {
    let server = Server::start(Limits::default()).await;
    let long_line = format!("GET /{} HTTP/1.1\r\nhost: h\r\n\r\n", "x".repeat(limits::BUFFER_BYTES_MAX));
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(limits::HEADERS_MAX + 1));
    for nonsense in [
        "\0\0\0\0\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        "GET / HTTP/9\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        long_line.as_str(),
        many_headers.as_str(),
    ] {
        let mut stream = server.connect().await;
        let _ = stream.write_all(nonsense.as_bytes()).await;
        let mut rest = Vec::new();
        let _ = timeout(SOON, stream.read_to_end(&mut rest)).await.expect("the peer should close");
        let rest = String::from_utf8_lossy(&rest);
        assert!(!rest.starts_with("HTTP/1.1 2"), "{rest}");
        if nonsense == many_headers {
            assert!(rest.starts_with("HTTP/1.1 431 "), "{rest}");
        }
    }
    let mut stream = server.connect().await;
    send(&mut stream, "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nok").await;
    read_until(&mut stream, "ok").await;
}

#[tokio::test]
async fn one_connection_too_many_is_turned_away() {
    let server = Server::start(Limits { connections: 1, ..Limits::default() }).await;
    let mut first = server.connect().await;
    send(&mut first, "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nok").await;
    read_until(&mut first, "ok").await;

    let answer = read_to_end(&mut server.connect().await).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(head.contains(&format!("content-length: {}", body.len())), "{answer}");
    assert_eq!(server.metrics.refused.get(), 1);

    drop(first);
    let served = async {
        loop {
            let mut next = server.connect().await;
            let request = "POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
            let _ = next.write_all(request.as_bytes()).await;
            let mut answer = Vec::new();
            if next.read_to_end(&mut answer).await.is_ok() && answer.ends_with(b"ok") {
                return;
            }
        }
    };
    timeout(SOON, served).await.expect("the place should be free again");
}

#[tokio::test]
async fn one_call_too_many_is_told_so_and_the_connection_stays() {
    let server = Server::start(Limits { calls: 1, ..Limits::default() }).await;
    let mut waiting = server.connect().await;
    send(&mut waiting, "GET /wait HTTP/1.1\r\nhost: h\r\n\r\n").await;
    server.waiting(1).await;
    let mut other = server.connect().await;
    send(&mut other, "GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    read_until(&mut other, "busy").await;
    server.handler.0.release.notify_one();
    read_until(&mut waiting, "waited").await;
    send(&mut other, "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nok").await;
    read_until(&mut other, "ok").await;
}

#[tokio::test]
async fn long_heads_share_their_memory() {
    let server = Server::start(Limits::default()).await;
    let half = format!("GET / HTTP/1.1\r\nhost: h\r\na: {}", "x".repeat(limits::BUFFER_BYTES_MAX / 2));
    let places = limits::LARGE_HEADS_BYTES_MAX / limits::BUFFER_BYTES_MAX;
    let mut halves = Vec::new();
    for _ in 0..places {
        let mut stream = server.connect().await;
        send(&mut stream, &half).await;
        halves.push(stream);
    }
    // Those that have a place are not read again before more comes: their turn is seen from outside only by the next one.
    let refused = async {
        loop {
            let mut stream = server.connect().await;
            let _ = stream.write_all(half.as_bytes()).await;
            let mut answer = [0; 12];
            let read = timeout(Duration::from_millis(200), stream.read_exact(&mut answer)).await;
            if matches!(read, Ok(Ok(_))) {
                assert_eq!(&answer, b"HTTP/1.1 503");
                return;
            }
            if matches!(read, Ok(Err(_))) {
                continue;
            }
            halves.push(stream);
        }
    };
    timeout(SOON, refused).await.expect("one more should be turned away");
    assert!(server.metrics.refused.get() > 0);

    // Short heads need none of it, and a long one that is complete gives its place back.
    let mut short = server.connect().await;
    send(&mut short, "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nok").await;
    read_until(&mut short, "ok").await;
    let mut first = halves.swap_remove(0);
    send(&mut first, "\r\ncontent-length: 0\r\n\r\n").await;
    read_until(&mut first, "\r\n\r\n").await;
    send(&mut short, &format!("{half}\r\ncontent-length: 0\r\n\r\n")).await;
    read_until(&mut short, "\r\n\r\n").await;
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_call() {
    let server = Server::start(Limits::default()).await;
    let mut stream = server.connect().await;
    send(&mut stream, "GET /wait HTTP/1.1\r\nhost: h\r\n\r\n").await;
    server.waiting(1).await;
    drop(stream);
    server.waiting(0).await;
}

#[tokio::test]
async fn the_stop_waits_for_calls_in_flight() {
    let server = Server::start(Limits::default()).await;
    let (mut idle, mut busy) = (server.connect().await, server.connect().await);
    send(&mut idle, "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nok").await;
    read_until(&mut idle, "ok").await;
    send(&mut busy, "GET /wait HTTP/1.1\r\nhost: h\r\n\r\n").await;
    server.waiting(1).await;

    server.stop.send(true).unwrap();
    assert_eq!(read_to_end(&mut idle).await, "", "an idle connection is closed at once");
    timeout(SOON, async { while TcpStream::connect(server.address).await.is_ok() {} })
        .await
        .expect("no connection should be taken any more");
    assert!(!server.serving.is_finished());
    server.handler.0.release.notify_one();
    let answer = read_to_end(&mut busy).await;
    assert!(answer.ends_with("waited") && answer.contains("connection: close\r\n"), "{answer}");
    timeout(SOON, server.serving).await.expect("the server should end").unwrap();
}

#[tokio::test]
async fn the_stop_does_not_wait_for_ever() {
    let limits = Limits { stop_within: Duration::from_millis(50), ..Limits::default() };
    let server = Server::start(limits).await;
    let mut stuck = server.connect().await;
    send(&mut stuck, "GET /wait HTTP/1.1\r\nhost: h\r\n\r\n").await;
    server.waiting(1).await;
    drop(server.stop);
    timeout(SOON, server.serving).await.expect("the server should end").unwrap();
}

#[tokio::test]
async fn a_connection_that_asks_nothing_is_closed() {
    let server = Server::start(Limits::default()).await;
    let silent = server.connect().await;
    let mut half = server.connect().await;
    send(&mut half, "P").await;
    let mut asked = server.connect().await;
    send(&mut asked, "GET /wait HTTP/1.1\r\nhost: h\r\n\r\n").await;
    server.waiting(1).await;
    tokio::time::pause();
    tokio::time::advance(limits::FIRST_BYTES_WITHIN + Duration::from_secs(1)).await;
    tokio::time::resume();
    for mut closed in [silent, half] {
        let mut rest = Vec::new();
        // Closing with unread bytes resets the connection, which is an error here and good enough.
        let _ = timeout(SOON, closed.read_to_end(&mut rest)).await.expect("the peer should close");
        assert!(rest.is_empty(), "{rest:?}");
    }
    server.waiting(1).await;
    server.handler.0.release.notify_one();
    read_until(&mut asked, "waited").await;
}

#[tokio::test]
async fn an_answer_that_is_not_read_ends_its_connection_only() {
    let server = Server::start(Limits::default()).await;
    let mut unread = server.connect().await;
    send(&mut unread, "GET /large HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let mut written = 0;
    timeout(SOON, async {
        while written == 0 || written != server.metrics.bytes_out.get() {
            written = server.metrics.bytes_out.get();
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("the buffers should be full some time");
    tokio::time::pause();
    tokio::time::advance(limits::READS_ANSWER_WITHIN + Duration::from_secs(1)).await;
    tokio::time::resume();
    let mut other = server.connect().await;
    send(&mut other, "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nok").await;
    read_until(&mut other, "ok").await;
    let mut rest = Vec::new();
    // Closing with bytes unsent may reset the connection.
    let _ = timeout(SOON, unread.read_to_end(&mut rest)).await.expect("the peer should close");
    assert!(rest.len() < LARGE_ANSWER_BYTES, "{} bytes", rest.len());
}

#[tokio::test]
async fn a_request_that_stops_half_way_is_given_up() {
    let server = Server::start(Limits::default()).await;
    let mut stream = server.connect().await;
    send(&mut stream, "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nok").await;
    read_until(&mut stream, "ok").await;
    send(&mut stream, "POST / HTTP/1.1\r\nhos").await;
    sleep(Duration::from_millis(50)).await;
    tokio::time::pause();
    tokio::time::advance(limits::NEXT_REQUEST_WITHIN + Duration::from_secs(1)).await;
    tokio::time::resume();
    let mut rest = Vec::new();
    timeout(SOON, stream.read_to_end(&mut rest)).await.expect("the peer should close").unwrap();
}
