//! The admin API of a broker pod over HTTPS: each side shows a certificate of the Broker's authority.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HeaderName};
use hyper::{Method, Request};
use hyper_rustls::HttpsConnector as Tls;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout};

use super::{
    BrokerConnector, BrokerInfo, CallError, DeclareAnswer, DeclareRequest, Identity, PodAddress, QUEUES_PAGE,
    QueuePage,
};
use crate::metrics::Metrics;
use crate::names;

/// Time for a connection with its TLS session.
const CONNECT_TIME: Duration = Duration::from_secs(3);
/// Time for a call that reads.
const READ_TIME: Duration = Duration::from_secs(5);
/// Time for a declare call, which waits for the broker's disk.
const DECLARE_TIME: Duration = Duration::from_secs(30);
/// Connections to a pod that are kept while nobody uses them.
const IDLE_CONNECTIONS: usize = 2;
/// Time for which they are kept.
const IDLE_TIME: Duration = Duration::from_secs(60);
/// Bytes of an answer at most.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Bytes of an error that are shown at most.
const PROBLEM_BYTES_MAX: usize = 400;
/// A Broker without a call for so long is forgotten with its connections.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// By this header the admin API knows that no web page makes the call.
const REQUESTED_BY: HeaderName = HeaderName::from_static("x-requested-by");

type HttpClient = Client<Tls<HttpConnector>, Full<Bytes>>;

/// The production [`BrokerConnector`]: one pool of connections for each Broker, made anew when the identity changes.
pub struct HttpsConnector {
    pools: Mutex<HashMap<(String, String), Pool>>,
    metrics: Arc<Metrics>,
}

struct Pool {
    identity: Arc<Identity>,
    client: HttpClient,
    used: Instant,
}

/// What a call sends and how far it may go.
struct Call {
    operation: &'static str,
    method: Method,
    path: String,
    body: Bytes,
    time: Duration,
}

impl HttpsConnector {
    /// Counts its calls in these metrics.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { pools: Mutex::default(), metrics }
    }

    async fn call<T: DeserializeOwned>(&self, pod: &PodAddress, call: Call) -> Result<T, CallError> {
        let operation = call.operation;
        let result = match timeout(call.time, self.exchange(pod, call)).await {
            Ok(result) => result,
            Err(_) => Err(unreachable(pod, "no answer in time")),
        };
        let outcome = match &result {
            Ok(_) => "ok",
            Err(CallError::Refused { .. }) => "refused",
            Err(_) => "unreachable",
        };
        self.metrics.broker_called(operation, outcome);
        result
    }

    async fn exchange<T: DeserializeOwned>(&self, pod: &PodAddress, call: Call) -> Result<T, CallError> {
        let host = names::pod_host(&pod.broker, &pod.namespace, pod.ordinal);
        let request = Request::builder()
            .method(call.method)
            .uri(format!("https://{host}:{}{}", names::ADMIN_PORT, call.path))
            .header(REQUESTED_BY, "cmq-operator")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(call.body))
            .map_err(|error| unreachable(pod, &error.to_string()))?;
        let response =
            self.client(pod)?.request(request).await.map_err(|error| unreachable(pod, &chain(&error)))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| unreachable(pod, &error.to_string()))?.to_bytes();
        if !status.is_success() {
            return Err(refusal(pod, status.as_u16(), &body));
        }
        serde_json::from_slice(&body).map_err(|error| CallError::Refused {
            pod: names::pod(&pod.broker, pod.ordinal),
            status: status.as_u16(),
            code: "unreadable_answer".into(),
            message: format!("the answer cannot be read: {error}"),
        })
    }

    fn client(&self, pod: &PodAddress) -> Result<HttpClient, CallError> {
        let key = (pod.namespace.clone(), pod.broker.clone());
        let now = Instant::now();
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get_mut(&key)
            && pool.identity == pod.identity
        {
            pool.used = now;
            return Ok(pool.client.clone());
        }
        let client = client(&pod.identity).map_err(|problem| unreachable(pod, &problem))?;
        pools.retain(|_, pool| now.duration_since(pool.used) < FORGET_AFTER);
        pools.insert(key, Pool { identity: pod.identity.clone(), client: client.clone(), used: now });
        Ok(client)
    }
}

impl BrokerConnector for HttpsConnector {
    fn info<'a>(&'a self, pod: &'a PodAddress) -> BoxFuture<'a, Result<BrokerInfo, CallError>> {
        self.call(pod, read("info", "/api/v1/broker".into())).boxed()
    }

    fn declare<'a>(
        &'a self,
        pod: &'a PodAddress,
        request: &'a DeclareRequest,
    ) -> BoxFuture<'a, Result<DeclareAnswer, CallError>> {
        let body = serde_json::to_vec(request).expect("plain data has a JSON form").into();
        let (method, path) = (Method::POST, "/api/v1/declare".to_owned());
        self.call(pod, Call { operation: "declare", method, path, body, time: DECLARE_TIME }).boxed()
    }

    fn queues<'a>(
        &'a self,
        pod: &'a PodAddress,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<QueuePage, CallError>> {
        let cursor = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        self.call(pod, read("queues", format!("/api/v1/queues?limit={QUEUES_PAGE}{cursor}"))).boxed()
    }
}

fn read(operation: &'static str, path: String) -> Call {
    Call { operation, method: Method::GET, path, body: Bytes::new(), time: READ_TIME }
}

/// A client that shows the identity's certificate and trusts the identity's authorities alone.
fn client(identity: &Identity) -> Result<HttpClient, String> {
    let mut trusted = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(identity.trusted_pem.as_bytes()) {
        let certificate = certificate.map_err(|error| format!("the authority's certificate: {error}"))?;
        trusted.add(certificate).map_err(|error| format!("the authority's certificate: {error}"))?;
    }
    let chain: Vec<_> = CertificateDer::pem_slice_iter(identity.certificate_pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| format!("the operator's certificate: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes())
        .map_err(|error| format!("the operator's key: {error}"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(trusted)
        .with_client_auth_cert(chain, key)
        .map_err(|error| format!("the operator's certificate: {error}"))?;
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(CONNECT_TIME));
    connector.set_nodelay(true);
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_only()
        .enable_http1()
        .wrap_connector(connector);
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIME)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .build(connector))
}

/// An error of the admin API, or the beginning of whatever else answered.
fn refusal(pod: &PodAddress, status: u16, body: &[u8]) -> CallError {
    #[derive(Deserialize)]
    struct Answer {
        error: Problem,
    }
    #[derive(Deserialize)]
    struct Problem {
        code: String,
        message: String,
    }
    let pod = names::pod(&pod.broker, pod.ordinal);
    match serde_json::from_slice::<Answer>(body) {
        Ok(Answer { error }) => {
            CallError::Refused { pod, status, code: error.code, message: shortened(&error.message) }
        }
        Err(_) => {
            let message = shortened(String::from_utf8_lossy(body).trim());
            CallError::Refused { pod, status, code: String::new(), message }
        }
    }
}

fn unreachable(pod: &PodAddress, problem: &str) -> CallError {
    CallError::Unreachable { pod: names::pod(&pod.broker, pod.ordinal), problem: shortened(problem) }
}

/// An error with what is behind it: hyper's own words are only "client error (Connect)".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn shortened(text: &str) -> String {
    text[..text.floor_char_boundary(PROBLEM_BYTES_MAX)].to_owned()
}
