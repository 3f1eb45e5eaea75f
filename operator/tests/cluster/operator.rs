//! The operator in a cluster in memory: started, stopped by faults, started again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cmq_operator::admin::{
    BrokerConnector, BrokerInfo, CallError, DeclareAnswer, DeclareRequest, PodAddress, QueuePage,
};
use cmq_operator::context::{Clock, Context, Settings};
use cmq_operator::metrics::Metrics;
use cmq_operator::watch::Scope;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use jiff::Timestamp;
use tokio::task::JoinHandle;

use crate::api::refusal::Refusal;
use crate::api::{Body, Call, Server, refused};
use crate::broker::Brokers;
use crate::end;
use crate::faults::{Fault, Faults};
use crate::world::World;

/// The image of brokers that name none.
pub(crate) const IMAGE: &str = "registry.test/cmq-broker:1";

/// The life of one operator process. Once it has ended, none of its calls goes anywhere, whoever makes it.
#[derive(Clone)]
struct Life {
    world: World,
    faults: Faults,
    ended: Arc<AtomicBool>,
}

/// A running operator.
pub(crate) struct Operator {
    life: Life,
    task: JoinHandle<()>,
}

impl Operator {
    pub(crate) fn start(world: &World, faults: &Faults) -> Self {
        let life = Life { world: world.clone(), faults: faults.clone(), ended: Arc::default() };
        let calls = life.clone();
        let client = world.server.client(move |server, request| calls.clone().api_call(server, request));
        let connector = Arc::new(life.clone());
        let clock = Arc::new(life.clone());
        let (context, writers) = Context::new(client, settings(), connector, clock, Arc::new(Metrics::new()));
        let never = std::future::pending::<()>().boxed().shared();
        let task = tokio::spawn(cmq_operator::run(context, writers, never));
        Self { life, task }
    }

    /// Ends it as a kill would.
    pub(crate) fn kill(&self) {
        self.life.ended.store(true, Ordering::SeqCst);
        self.task.abort();
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) fn settings() -> Settings {
    Settings {
        scope: Scope::Cluster,
        broker_image: IMAGE.into(),
        broker_image_pull_policy: None,
        namespace: "cmq-system".into(),
        pod_labels: [("app.kubernetes.io/name".to_owned(), "cmq-operator".to_owned())].into(),
        ipv6: false,
    }
}

/// Runs an operator until the cluster is at rest; one that a fault ends is followed by another.
///
/// # Panics
///
/// When the cluster does not come to rest.
pub(crate) async fn run_to_rest(world: &World, faults: &Faults, operator: &mut Operator) {
    /// Longer than any wait after which the operator may go on by itself: the longest are five minutes.
    const REST: Duration = Duration::from_secs(13 * 60);
    /// No scenario takes longer.
    const LONGEST: Duration = Duration::from_secs(4 * 60 * 60);
    let started = tokio::time::Instant::now();
    loop {
        let before = state(world);
        tokio::select! {
            () = faults.stop.notified() => {
                *operator = Operator::start(world, faults);
                continue;
            }
            () = tokio::time::sleep(REST) => {}
        }
        if state(world) == before {
            return;
        }
        assert!(
            started.elapsed() < LONGEST,
            "no rest; what changed last:\n{}",
            end::recent(world, 12).join("\n")
        );
    }
}

/// What changes while anything happens.
pub(crate) fn state(world: &World) -> (u64, u64) {
    (world.server.read().revision_of_state(), world.brokers().revision)
}

impl Life {
    fn ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// Ends the operator in the middle of a call, to which no answer will come.
    async fn end<T>(self) -> T {
        self.ended.store(true, Ordering::SeqCst);
        self.faults.stop.notify_one();
        std::future::pending().await
    }

    async fn api_call(
        self,
        server: Arc<Server>,
        request: Request<Bytes>,
    ) -> Result<Response<Body>, tower::BoxError> {
        if self.ended() {
            return std::future::pending().await;
        }
        let noted = |write: String| self.faults.note(&write, || server.would_change(copy(&request)));
        let Some(fault) = write(&request).and_then(noted) else {
            return Ok(server.answer(request));
        };
        let lost = || -> tower::BoxError { std::io::Error::from(std::io::ErrorKind::TimedOut).into() };
        match fault {
            Fault::StopBefore => self.end().await,
            Fault::StopAfter => {
                drop(server.answer(request));
                self.end().await
            }
            Fault::Conflict => {
                Ok(refused(&Refusal::conflict("the object has been modified: a fault of the test")))
            }
            Fault::LostCall => Err(lost()),
            Fault::LostAnswer => {
                drop(server.answer(request));
                Err(lost())
            }
            Fault::Forbidden => Ok(refused(&Refusal::forbidden("cannot do that: a fault of the test"))),
            Fault::Internal => Ok(refused(&Refusal::internal())),
        }
    }

    async fn broker_call<T>(
        self,
        address: PodAddress,
        write: Option<String>,
        call: impl Fn(&mut Brokers) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        if self.ended() {
            return std::future::pending().await;
        }
        let pod = format!("{}-cmq-{}", address.broker, address.ordinal);
        let lost = || CallError::Unreachable { pod: pod.clone(), problem: "a fault of the test".into() };
        let refused = |status: u16, code: &str| CallError::Refused {
            pod: pod.clone(),
            status,
            code: code.into(),
            message: "a fault of the test".into(),
        };
        let tried = &call;
        let changes = || {
            let mut copy = self.world.brokers().clone();
            let before = copy.revision;
            drop(tried(&mut copy));
            copy.revision != before
        };
        let call = |world: &World| tried(&mut world.brokers());
        match write.and_then(|write| self.faults.note(&write, changes)) {
            None => call(&self.world),
            Some(Fault::StopBefore) => self.end().await,
            Some(Fault::StopAfter) => {
                drop(call(&self.world));
                self.end().await
            }
            Some(Fault::LostCall) => Err(lost()),
            Some(Fault::LostAnswer) => {
                drop(call(&self.world));
                Err(lost())
            }
            Some(Fault::Conflict) => Err(refused(503, "busy")),
            Some(Fault::Forbidden) => Err(refused(403, "forbidden")),
            Some(Fault::Internal) => Err(refused(500, "internal")),
        }
    }
}

fn copy(request: &Request<Bytes>) -> Request<Bytes> {
    let copy = Request::builder().method(request.method()).uri(request.uri()).body(request.body().clone());
    let mut copy = copy.expect("the parts are right");
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// The name of a write; nothing for reads, and for events, which nothing depends on.
fn write(request: &Request<Bytes>) -> Option<String> {
    let call = Call::parse(copy(request), &[])
        .ok()
        .filter(|call| call.verb.writes() && call.kind.name != "Event")?;
    let name = if call.name.is_empty() {
        let body: serde_json::Value = serde_json::from_slice(request.body()).unwrap_or_default();
        body["metadata"]["name"].as_str().unwrap_or_default().to_owned()
    } else {
        call.name
    };
    let part = if call.status { "/status" } else { "" };
    Some(format!("{:?} {} {}/{name}{part}", call.verb, call.kind.name, call.namespace))
}

impl Clock for Life {
    fn now(&self) -> Timestamp {
        self.world.server.read().now()
    }
}

impl BrokerConnector for Life {
    fn info<'a>(&'a self, pod: &'a PodAddress) -> BoxFuture<'a, Result<BrokerInfo, CallError>> {
        self.clone().broker_call(pod.clone(), None, |brokers| brokers.info(pod)).boxed()
    }

    fn declare<'a>(
        &'a self,
        pod: &'a PodAddress,
        request: &'a DeclareRequest,
    ) -> BoxFuture<'a, Result<DeclareAnswer, CallError>> {
        let write = format!("declare {}/{}", pod.namespace, pod.broker);
        self.clone().broker_call(pod.clone(), Some(write), |brokers| brokers.declare(pod, request)).boxed()
    }

    fn queues<'a>(
        &'a self,
        pod: &'a PodAddress,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<QueuePage, CallError>> {
        self.clone().broker_call(pod.clone(), None, move |brokers| brokers.queues(pod, cursor)).boxed()
    }
}
