//! The port of probes and Prometheus: `/livez`, `/readyz`, `/metrics`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{TEXT_FORMAT, TextEncoder};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::health::Health;
use crate::metrics::Metrics;

/// Connections at once at most; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;
/// Time for the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// Time for which a connection may stay; probes and Prometheus come back by themselves.
const CONNECTION_TIME: Duration = Duration::from_secs(300);

/// Serves until the future is dropped.
pub async fn serve(listener: TcpListener, health: Health, metrics: Arc<Metrics>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = connections.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, mostly: room comes back when other connections end.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (health, metrics) = (health.clone(), metrics.clone());
        tokio::spawn(async move {
            let answer = service_fn(|request: Request<Incoming>| {
                let response = answer(request.method(), request.uri().path(), &health, &metrics);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIME)
                .serve_connection(TokioIo::new(stream), answer);
            let _ = timeout(CONNECTION_TIME, connection).await;
            drop(permit);
        });
    }
}

fn answer(method: &Method, path: &str, health: &Health, metrics: &Metrics) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/livez" => match health.broken_watches() {
            broken if broken.is_empty() => text(StatusCode::OK, "ok\n"),
            broken => {
                let body =
                    format!("not opened for too long, so that changes are missed: {}\n", broken.join(", "));
                text(StatusCode::SERVICE_UNAVAILABLE, body)
            }
        },
        "/readyz" if health.is_ready() => text(StatusCode::OK, "ok\n"),
        "/readyz" => text(
            StatusCode::SERVICE_UNAVAILABLE,
            "not ready: the kinds of cmq.dev are not installed, their objects are still being read, or the process stops\n",
        ),
        "/metrics" => match TextEncoder::new().encode_to_string(&metrics.registry().gather()) {
            Ok(page) => {
                let mut response = text(StatusCode::OK, page);
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(TEXT_FORMAT));
                response
            }
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        },
        _ => text(StatusCode::NOT_FOUND, "this port serves GET /livez, /readyz and /metrics\n"),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn get(path: &str, health: &Health, metrics: &Metrics) -> (u16, String) {
        let response = answer(&Method::GET, path, health, metrics);
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.into()).unwrap())
    }

    #[tokio::test]
    async fn probes_and_metrics() {
        let metrics = Arc::new(Metrics::new());
        let health = Health::new(metrics.clone());
        assert_eq!(get("/livez", &health, &metrics).await, (200, "ok\n".into()));
        assert_eq!(get("/readyz", &health, &metrics).await.0, 503);
        assert!(
            get("/metrics", &health, &metrics).await.1.contains("cmq_operator_build_info"),
            "before it is ready too"
        );
        health.set_ready(true);
        assert_eq!(get("/readyz", &health, &metrics).await.0, 200);
        assert_eq!(get("/", &health, &metrics).await.0, 404);
        assert_eq!(answer(&Method::POST, "/livez", &health, &metrics).status().as_u16(), 405);
    }
}
