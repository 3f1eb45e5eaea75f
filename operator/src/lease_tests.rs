//! Candidates against a Lease in memory, on a paused clock.

use std::sync::{Arc, Mutex};

use http_body_util::BodyExt;
use hyper::{Method, Request, Response, StatusCode};
use kube::client::Body;
use serde_json::{Value, json};

use super::*;

/// An API server that knows one Lease.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    lease: Option<Value>,
    version: u64,
    down: bool,
}

impl Server {
    fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                Ok::<_, kube::Error>(
                    server.answer(&head.method, serde_json::from_slice(&body).unwrap_or_default()),
                )
            }
        });
        Client::new(service, "cmq-system")
    }

    fn answer(&self, method: &Method, body: Value) -> Response<Body> {
        let mut state = self.0.lock().unwrap();
        let (status, answer) = match (method, state.lease.clone()) {
            _ if state.down => (500, failure("InternalError", 500)),
            (&Method::GET, None) => (404, failure("NotFound", 404)),
            (&Method::GET, Some(lease)) => (200, lease),
            (&Method::POST, Some(_)) => (409, failure("AlreadyExists", 409)),
            (&Method::PUT, Some(lease))
                if body["metadata"]["resourceVersion"] != lease["metadata"]["resourceVersion"] =>
            {
                (409, failure("Conflict", 409))
            }
            _ => (200, state.put(body)),
        };
        let status = StatusCode::from_u16(status).unwrap();
        Response::builder().status(status).body(Body::from(answer.to_string().into_bytes())).unwrap()
    }

    fn set_down(&self, down: bool) {
        self.0.lock().unwrap().down = down;
    }

    fn spec(&self) -> Value {
        self.0.lock().unwrap().lease.clone().unwrap()["spec"].clone()
    }
}

impl State {
    fn put(&mut self, mut lease: Value) -> Value {
        self.version += 1;
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.lease = Some(lease.clone());
        lease
    }
}

fn failure(reason: &str, code: u16) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": reason, "reason": reason, "code": code })
}

fn candidate(server: &Server, identity: &str) -> Candidate {
    Candidate::new(server.client(), "cmq-system", "cmq-operator", identity)
}

#[tokio::test(start_paused = true)]
async fn a_second_candidate_waits_as_long_as_the_first_renews() {
    let server = Server::default();
    let (mut first, mut second) = (candidate(&server, "a"), candidate(&server, "b"));
    first.acquire().await;
    let taken = tokio::select! {
        _ = first.hold() => "lost",
        () = second.acquire() => "taken",
        () = sleep(Duration::from_secs(600)) => "held",
    };
    assert_eq!(taken, "held");
    assert_eq!(
        (&server.spec()["holderIdentity"], &server.spec()["leaseTransitions"]),
        (&json!("a"), &json!(1))
    );
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_nobody_renews_is_taken_after_its_duration() {
    let server = Server::default();
    candidate(&server, "a").acquire().await;
    let begun = Instant::now();
    candidate(&server, "b").acquire().await;
    let waited = begun.elapsed();
    assert!(waited >= DURATION && waited < DURATION + 3 * RETRY, "{waited:?}");
    assert_eq!(
        (&server.spec()["holderIdentity"], &server.spec()["leaseTransitions"]),
        (&json!("b"), &json!(2))
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_cannot_renew_stops_before_the_lease_expires() {
    let server = Server::default();
    let mut holder = candidate(&server, "a");
    holder.acquire().await;
    let begun = Instant::now();
    server.set_down(true);
    holder.hold().await;
    assert!(begun.elapsed() <= RENEW_DEADLINE, "{:?}", begun.elapsed());
    assert!(begun.elapsed() < DURATION);
}

#[tokio::test(start_paused = true)]
async fn a_short_failure_is_lived_through() {
    let server = Server::default();
    let mut holder = candidate(&server, "a");
    holder.acquire().await;
    let failure = async {
        sleep(Duration::from_secs(5)).await;
        server.set_down(true);
        sleep(Duration::from_secs(6)).await;
        server.set_down(false);
        sleep(Duration::from_secs(60)).await;
    };
    let held = tokio::select! { _ = holder.hold() => false, () = failure => true };
    assert!(held);
}

#[tokio::test(start_paused = true)]
async fn whoever_lost_the_lease_to_another_stops_at_the_next_renewal() {
    let server = Server::default();
    let mut holder = candidate(&server, "a");
    holder.acquire().await;
    {
        let mut state = server.0.lock().unwrap();
        let mut lease = state.lease.clone().unwrap();
        lease["spec"]["holderIdentity"] = json!("b");
        state.put(lease);
    }
    let begun = Instant::now();
    holder.hold().await;
    assert!(begun.elapsed() <= RETRY * 2, "{:?}", begun.elapsed());
    assert_eq!(server.spec()["holderIdentity"], json!("b"), "and leaves it to the other");
}

#[tokio::test(start_paused = true)]
async fn a_label_that_somebody_adds_costs_nobody_the_lease() {
    let server = Server::default();
    let mut holder = candidate(&server, "a");
    holder.acquire().await;
    {
        let mut state = server.0.lock().unwrap();
        let mut lease = state.lease.clone().unwrap();
        lease["metadata"]["labels"] = json!({ "team": "pay" });
        state.put(lease);
    }
    let held = tokio::select! { _ = holder.hold() => false, () = sleep(Duration::from_secs(60)) => true };
    assert!(held);
    let lease = server.0.lock().unwrap().lease.clone().unwrap();
    assert_eq!(lease["metadata"]["labels"], json!({ "team": "pay" }));
}

#[tokio::test(start_paused = true)]
async fn a_released_lease_is_taken_at_once() {
    let server = Server::default();
    let mut first = candidate(&server, "a");
    first.acquire().await;
    first.release().await;
    assert_eq!(server.spec()["holderIdentity"], json!(""));
    let begun = Instant::now();
    candidate(&server, "b").acquire().await;
    assert!(begun.elapsed() < RETRY, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn of_two_who_take_an_expired_lease_one_wins() {
    let server = Server::default();
    candidate(&server, "dead").acquire().await;
    let (mut a, mut b) = (candidate(&server, "a"), candidate(&server, "b"));
    for _ in 0..2 {
        assert!(!a.try_to_take().await.unwrap() && !b.try_to_take().await.unwrap());
        sleep(DURATION / 2).await;
    }
    sleep(Duration::from_secs(1)).await;
    // Both have read the same state; the second write meets a newer one.
    let (won_a, won_b) = tokio::join!(a.try_to_take(), b.try_to_take());
    assert_eq!([won_a.unwrap(), won_b.unwrap()].into_iter().filter(|won| *won).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_seized_lease_stops_its_holder_and_waits_for_its_own_duration() {
    let server = Server::default();
    let mut holder = candidate(&server, "a");
    holder.acquire().await;
    let client = server.client();
    let seized = seize(&client, "cmq-system", "cmq-operator", "uninstall", Duration::from_secs(100));
    let (lost, seized) = tokio::join!(holder.hold(), seized);
    assert!(lost.to_string().contains("lost"));
    seized.unwrap();
    assert_eq!(server.spec()["holderIdentity"], "uninstall");

    // Nobody works while it lasts; after that, whoever waits.
    let mut waiting = candidate(&server, "b");
    let begun = Instant::now();
    waiting.acquire().await;
    assert!(begun.elapsed() >= Duration::from_secs(100), "{:?}", begun.elapsed());
    assert_eq!(server.spec()["leaseDurationSeconds"], DURATION.as_secs());
}
