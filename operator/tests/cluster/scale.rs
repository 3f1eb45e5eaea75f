//! The benchmark of docs/performance.md: an operator process of its own against this server over HTTP.
//!
//! ```sh
//! cargo test --release -p cmq-operator --test cluster -- --ignored --nocapture scale::measure
//! ```

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::env;
use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cmq_operator::admin::{
    BrokerConnector, BrokerInfo, CallError, DeclareAnswer, DeclareRequest, Identity, PodAddress, QueuePage,
};
use cmq_operator::context::{Context, SystemClock};
use cmq_operator::metrics::Metrics;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::api::kinds::named;
use crate::api::{Body, Server};
use crate::world::{Snapshot, World};

const BROKERS: usize = 50;
const QUEUES: usize = 10_000;
/// The bounds that the operator must keep.
const SECONDS_MAX: u64 = 120;
const MEMORY_MAX: u64 = 256 << 20;
/// Where the operator finds the server; set for the process that is only the operator.
const ADDRESS: &str = "CMQ_SCALE_SERVER";
/// The operator has settled when it has asked for nothing for so long.
const QUIET: Duration = Duration::from_secs(10);

/// What the operator process did lately.
struct Traffic {
    last: Instant,
    calls: u64,
    /// Objects that were named in a declare call.
    declared: BTreeSet<String>,
}

#[test]
#[ignore = "a benchmark; see docs/performance.md"]
fn measure() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let world = World::start(Snapshot::empty(), &[]);
        world.server.write(|store| {
            for broker in 0..BROKERS {
                let meta = json!({ "name": format!("bus-{broker}"), "namespace": "shop" });
                let object = json!({ "apiVersion": "cmq.dev/v1alpha1", "kind": "Broker", "metadata": meta, "spec": {} });
                crate::api::created(store, object);
            }
            for queue in 0..QUEUES {
                let meta = json!({ "name": format!("queue-{queue}"), "namespace": "shop" });
                let spec = json!({ "brokerRef": { "name": format!("bus-{}", queue % BROKERS) } });
                let object = json!({ "apiVersion": "cmq.dev/v1alpha1", "kind": "Queue", "metadata": meta, "spec": spec });
                crate::api::created(store, object);
            }
        });
        let traffic = Arc::new(Mutex::new(Traffic { last: Instant::now(), calls: 0, declared: BTreeSet::new() }));
        let address = serve(world.clone(), traffic.clone()).await;
        for what in ["first start", "restart"] {
            let (seconds, memory, calls) = settle(&world, &traffic, address).await;
            println!("{what}: {QUEUES} queues on {BROKERS} brokers settled in {seconds} s, {calls} calls, {} MiB", memory >> 20);
            if what == "restart" {
                assert!(seconds <= SECONDS_MAX && memory <= MEMORY_MAX);
            }
        }
    });
}

/// Runs an operator process until it has settled: seconds, its largest resident size in bytes, and its calls.
async fn settle(world: &World, traffic: &Mutex<Traffic>, address: SocketAddr) -> (u64, u64, u64) {
    let started = Instant::now();
    *traffic.lock().unwrap() = Traffic { last: started, calls: 0, declared: BTreeSet::new() };
    let mut operator = Process::start(address);
    let took = loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let traffic = traffic.lock().unwrap();
        let settled = traffic.declared.len() == QUEUES && ready(world) == QUEUES + BROKERS;
        if settled && traffic.last.elapsed() > QUIET {
            break traffic.last.duration_since(started);
        }
        assert!(started.elapsed() < Duration::from_secs(20 * 60), "{} declared", traffic.declared.len());
    };
    let memory = operator.memory();
    operator.0.kill().unwrap();
    operator.0.wait().unwrap();
    (took.as_secs(), memory, traffic.lock().unwrap().calls)
}

fn ready(world: &World) -> usize {
    let store = world.server.read();
    let all = ["Broker", "Queue"].into_iter().flat_map(|kind| store.list(named(kind), None));
    let is_ready = |object: &Value| {
        let conditions = object["status"]["conditions"].as_array();
        conditions.into_iter().flatten().any(|found| found["type"] == "Ready" && found["status"] == "True")
    };
    all.filter(|object| is_ready(object)).count()
}

/// The operator in a process of its own.
struct Process(Child);

impl Process {
    fn start(address: SocketAddr) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "scale::only_the_operator", "--nocapture"]);
        Self(command.env(ADDRESS, format!("http://{address}")).spawn().unwrap())
    }

    /// The largest resident size so far, bytes.
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

/// Serves the API, and the brokers' admin API beside it.
async fn serve(world: World, traffic: Arc<Mutex<Traffic>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (world, traffic) = (world.clone(), traffic.clone());
            let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                let (world, traffic) = (world.clone(), traffic.clone());
                async move {
                    let (parts, body) = request.into_parts();
                    let body = body.collect().await?.to_bytes();
                    Ok::<_, hyper::Error>(answer(&world, &traffic, Request::from_parts(parts, body)))
                }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    address
}

fn answer(world: &World, traffic: &Mutex<Traffic>, request: Request<Bytes>) -> Response<Body> {
    // Watches are opened again all the time.
    if !request.uri().query().unwrap_or_default().contains("watch=true") {
        let mut traffic = traffic.lock().unwrap();
        traffic.last = Instant::now();
        traffic.calls += 1;
    }
    let Some(call) = request.uri().path().strip_prefix("/brokers/") else {
        return Server::answer(&world.server, request);
    };
    let body: Value = serde_json::from_slice(request.body()).unwrap();
    let text = |field: &str| body["pod"][field].as_str().unwrap().to_owned();
    let pod = PodAddress {
        namespace: text("namespace"),
        broker: text("broker"),
        ordinal: 0,
        identity: Arc::new(Identity {
            certificate_pem: text("certificate"),
            key_pem: String::new(),
            trusted_pem: text("trusted"),
        }),
    };
    let mut brokers = world.brokers();
    let answer = match call {
        "info" => brokers.info(&pod).map(|info| json!(info)),
        "queues" => brokers.queues(&pod, body["cursor"].as_str()).map(|page| json!(page)),
        _ => {
            let request: DeclareRequest = serde_json::from_value(body["request"].clone()).unwrap();
            traffic.lock().unwrap().declared.extend(request.queues.iter().map(|queue| queue.name.clone()));
            brokers.declare(&pod, &request).map(|answer| json!(answer))
        }
    };
    let (status, body) = match answer {
        Ok(answer) => (200, answer),
        Err(error) => (503, json!({ "error": error.to_string() })),
    };
    let body = Full::new(Bytes::from(body.to_string())).map_err(|never: Infallible| match never {});
    Response::builder().status(status).body(body.boxed_unsync()).unwrap()
}

#[test]
#[ignore = "the operator's side of `measure`"]
fn only_the_operator() {
    let Ok(address) = env::var(ADDRESS) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = kube::Client::try_from(kube::Config::new(address.parse().unwrap())).unwrap();
        let connector = Arc::new(Remote(client.clone()));
        let (context, writers) = Context::new(
            client,
            crate::operator::settings(),
            connector,
            Arc::new(SystemClock),
            Arc::new(Metrics::new()),
        );
        cmq_operator::run(context, writers, std::future::pending::<()>().boxed().shared()).await;
    });
}

/// The brokers in the other process.
struct Remote(kube::Client);

impl Remote {
    async fn call<T: DeserializeOwned>(
        &self,
        call: &str,
        pod: &PodAddress,
        mut body: Value,
    ) -> Result<T, CallError> {
        let identity = &pod.identity;
        body["pod"] = json!({
            "namespace": pod.namespace, "broker": pod.broker, "certificate": identity.certificate_pem,
            "trusted": identity.trusted_pem,
        });
        let request = Request::post(format!("/brokers/{call}")).body(body.to_string().into_bytes()).unwrap();
        let failed = |error: kube::Error| CallError::Unreachable {
            pod: pod.broker.clone(),
            problem: error.to_string(),
        };
        self.0.request(request).await.map_err(failed)
    }
}

impl BrokerConnector for Remote {
    fn info<'a>(&'a self, pod: &'a PodAddress) -> BoxFuture<'a, Result<BrokerInfo, CallError>> {
        self.call("info", pod, json!({})).boxed()
    }

    fn declare<'a>(
        &'a self,
        pod: &'a PodAddress,
        request: &'a DeclareRequest,
    ) -> BoxFuture<'a, Result<DeclareAnswer, CallError>> {
        self.call("declare", pod, json!({ "request": request })).boxed()
    }

    fn queues<'a>(
        &'a self,
        pod: &'a PodAddress,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<QueuePage, CallError>> {
        self.call("queues", pod, json!({ "cursor": cursor })).boxed()
    }
}
