//! The desk against a broker in memory, on a paused clock.

use std::sync::atomic::{AtomicUsize, Ordering};

use cmq_crds::queue::QueueSpec;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join, join_all};

use super::*;
use crate::admin::{BrokerInfo, ChangedQueue, Identity, ProblemCode, QueuePage, WithdrawnState};

/// Answers after a second, and remembers what it was asked.
#[derive(Default)]
struct Broker {
    calls: Mutex<Vec<(i32, DeclareRequest)>>,
    at_once: AtomicUsize,
    dead_pods: Vec<i32>,
    dead: std::sync::atomic::AtomicBool,
}

impl Broker {
    fn sizes(&self) -> Vec<usize> {
        self.calls.lock().unwrap().iter().map(|(_, call)| call.queues.len() + call.withdraw.len()).collect()
    }
}

impl BrokerConnector for Broker {
    fn info<'a>(&'a self, _: &'a PodAddress) -> BoxFuture<'a, Result<BrokerInfo, CallError>> {
        unreachable!("the desk does not ask this")
    }

    fn queues<'a>(
        &'a self,
        _: &'a PodAddress,
        _: Option<&'a str>,
    ) -> BoxFuture<'a, Result<QueuePage, CallError>> {
        unreachable!("the desk does not ask this")
    }

    fn declare<'a>(
        &'a self,
        pod: &'a PodAddress,
        request: &'a DeclareRequest,
    ) -> BoxFuture<'a, Result<DeclareAnswer, CallError>> {
        async move {
            assert_eq!(self.at_once.fetch_add(1, Ordering::SeqCst), 0, "one call to a Broker at a time");
            sleep(Duration::from_secs(1)).await;
            self.at_once.fetch_sub(1, Ordering::SeqCst);
            self.calls.lock().unwrap().push((pod.ordinal, request.clone()));
            if self.dead.load(Ordering::SeqCst) || self.dead_pods.contains(&pod.ordinal) {
                return Err(CallError::Unreachable {
                    pod: pod.ordinal.to_string(),
                    problem: "refused".into(),
                });
            }
            if request.queues.iter().any(|queue| queue.name == "poison") {
                let (code, message) = ("invalid_body".into(), "what is that".into());
                return Err(CallError::Refused { pod: pod.ordinal.to_string(), status: 400, code, message });
            }
            let changed = request.queues.iter().filter(|queue| queue.name.starts_with("new"));
            let problems = request.queues.iter().filter(|queue| queue.name.starts_with("bad"));
            let withdrawn = request.withdraw.iter().filter(|withdrawal| withdrawal.name != "unheard");
            Ok(DeclareAnswer {
                changed: changed.map(|queue| changed_queue(&queue.name)).collect(),
                problems: problems.map(|queue| problem(&queue.name)).collect(),
                withdrawn: withdrawn.map(|withdrawal| gone(&withdrawal.name)).collect(),
            })
        }
        .boxed()
    }
}

fn changed_queue(name: &str) -> ChangedQueue {
    let (namespace, queue_name) = ("shop".into(), name.into());
    ChangedQueue { namespace, name: name.into(), queue_name, change: Change::Created }
}

fn problem(name: &str) -> Problem {
    Problem {
        namespace: "shop".into(),
        name: name.into(),
        queue_name: Some(name.into()),
        code: ProblemCode::Exists,
        message: "it exists".into(),
        allowed: None,
    }
}

fn gone(name: &str) -> Withdrawn {
    Withdrawn {
        namespace: "shop".into(),
        name: name.into(),
        queue_name: Some(name.into()),
        state: WithdrawnState::Gone,
        messages: 0,
        reason: None,
    }
}

fn pods(broker: &str, replicas: i32) -> Vec<PodAddress> {
    let text = || String::new();
    let identity = Arc::new(Identity { certificate_pem: text(), key_pem: text(), trusted_pem: text() });
    let pod = |ordinal| PodAddress {
        namespace: "shop".into(),
        broker: broker.into(),
        ordinal,
        identity: identity.clone(),
    };
    (0..replicas).map(pod).collect()
}

fn queue(name: &str) -> DeclaredQueue {
    DeclaredQueue { namespace: "shop".into(), name: name.into(), adopt: false, spec: QueueSpec::default() }
}

fn withdrawal(name: &str) -> Withdrawal {
    Withdrawal { namespace: "shop".into(), name: name.into(), deletion_policy: None }
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_there_together_are_one_call_and_each_gets_its_answer() {
    let broker = Arc::new(Broker::default());
    let (desk, pods) = (Desk::new(broker.clone()), pods("orders", 1));
    let declare = |name: &str| {
        let (desk, pods, queue) = (desk.clone(), pods.clone(), queue(name));
        async move { desk.declare(&pods, queue).await.unwrap() }
    };
    let first = join_all([declare("new"), declare("old"), declare("bad")]);
    // These come while the first call is under way, and gather for the second.
    let later = async {
        sleep(Duration::from_millis(500)).await;
        join(join_all([declare("new-later"), declare("old-later")]), desk.withdraw(&pods, withdrawal("x")))
            .await
    };
    let (first, (later, withdrawn)) = join(first, later).await;
    let created = Declared::Changed(Change::Created);
    assert_eq!(first, [created.clone(), Declared::Unchanged, Declared::Refused(problem("bad"))]);
    assert_eq!(later, [created, Declared::Unchanged]);
    assert_eq!(withdrawn.unwrap(), gone("x"));
    assert_eq!(broker.sizes(), [3, 3]);
    assert!(desk.0.lock().is_empty(), "nothing is kept of a Broker that nobody asks for");
}

#[tokio::test(start_paused = true)]
async fn one_request_that_cannot_be_read_does_not_stop_the_others() {
    let broker = Arc::new(Broker::default());
    let (desk, pods) = (Desk::new(broker), pods("orders", 1));
    let names = ["a", "b", "poison", "new", "c"];
    let answers = join_all(names.map(|name| desk.declare(&pods, queue(name)))).await;
    for (name, answer) in names.into_iter().zip(answers) {
        match name {
            "poison" => assert!(matches!(answer, Err(CallError::Refused { status: 400, .. })), "{answer:?}"),
            "new" => assert_eq!(answer, Ok(Declared::Changed(Change::Created))),
            _ => assert_eq!(answer, Ok(Declared::Unchanged), "{name}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_withdrawal_without_a_word_is_an_error() {
    let desk = Desk::new(Arc::new(Broker::default()));
    let answer = desk.withdraw(&pods("orders", 1), withdrawal("unheard")).await;
    assert!(
        matches!(&answer, Err(CallError::Refused { code, .. }) if code == "incomplete_answer"),
        "{answer:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_next_pod_is_asked_when_one_does_not_answer() {
    let broker = Arc::new(Broker { dead_pods: vec![0, 1], ..Broker::default() });
    let desk = Desk::new(broker.clone());
    assert_eq!(desk.declare(&pods("orders", 3), queue("old")).await, Ok(Declared::Unchanged));
    let asked: Vec<_> = broker.calls.lock().unwrap().iter().map(|(ordinal, _)| *ordinal).collect();
    assert_eq!(asked, [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_queues_of_a_dead_broker_cost_few_calls_and_hold_up_nobody() {
    let broker = Arc::new(Broker::default());
    broker.dead.store(true, Ordering::SeqCst);
    let desk = Desk::new(broker.clone());
    let dead = pods("dead", 1);
    let begun = Instant::now();
    for round in 0..1_000 {
        let answer = desk.declare(&dead, queue(&format!("q{round}"))).await;
        assert!(
            matches!(answer, Err(CallError::Unreachable { .. } | CallError::Resting { .. })),
            "{answer:?}"
        );
    }
    assert_eq!(broker.sizes(), [1], "one call, and then it rests");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    // Another Broker is served all the while, and the dead one once it is back and its rest is over.
    broker.dead.store(false, Ordering::SeqCst);
    assert_eq!(desk.declare(&pods("alive", 1), queue("old")).await, Ok(Declared::Unchanged));
    sleep(Duration::from_secs(2)).await;
    assert_eq!(desk.declare(&dead, queue("old")).await, Ok(Declared::Unchanged));
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_while_a_call_fails_does_not_wait_for_the_next() {
    let broker = Arc::new(Broker::default());
    broker.dead.store(true, Ordering::SeqCst);
    let (desk, pods) = (Desk::new(broker.clone()), pods("dead", 1));
    let begun = Instant::now();
    let later = async {
        sleep(Duration::from_millis(600)).await;
        desk.declare(&pods, queue("later")).await
    };
    let (first, later) = join(desk.declare(&pods, queue("first")), later).await;
    assert!(first.is_err() && later.is_err());
    assert!(begun.elapsed() < Duration::from_millis(1_200), "{:?}", begun.elapsed());
    assert_eq!(broker.sizes(), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_asker_is_gone_is_not_made() {
    let broker = Arc::new(Broker::default());
    let (desk, pods) = (Desk::new(broker.clone()), pods("orders", 1));
    let gone = tokio::time::timeout(Duration::from_millis(50), desk.declare(&pods, queue("gone"))).await;
    assert!(gone.is_err());
    assert_eq!(desk.declare(&pods, queue("old")).await, Ok(Declared::Unchanged));
    assert_eq!(broker.sizes(), [1]);
}
