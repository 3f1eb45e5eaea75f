//! Two operators, of which one works.

use std::time::Duration;

use cmq_operator::lease::{Candidate, DURATION};
use tokio::time::{Instant, timeout};

use crate::api::Server;
use crate::api::store::Store;

#[tokio::test(start_paused = true)]
async fn the_second_works_when_the_first_is_gone_and_not_before() {
    let server = Server::new(Store::new());
    let mut first = Candidate::new(server.plain_client(), "default", "cmq-operator", "first");
    let mut second = Candidate::new(server.plain_client(), "default", "cmq-operator", "second");
    first.acquire().await;
    let holding = async {
        let wait = Duration::from_secs(120);
        timeout(wait, async { tokio::join!(first.hold(), second.acquire()) }).await
    };
    assert!(holding.await.is_err(), "the first holds on, and the second waits");
    let gone = Instant::now();
    second.acquire().await;
    assert!(gone.elapsed() + Duration::from_secs(3) >= DURATION, "{:?}", gone.elapsed());
    // The first was only stopped for some time: it must see that it lost.
    timeout(Duration::from_secs(12), first.hold()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_released_lease_is_taken_at_once() {
    let server = Server::new(Store::new());
    let mut first = Candidate::new(server.plain_client(), "default", "cmq-operator", "first");
    let mut second = Candidate::new(server.plain_client(), "default", "cmq-operator", "second");
    first.acquire().await;
    first.release().await;
    let free = Instant::now();
    second.acquire().await;
    assert!(free.elapsed() < Duration::from_secs(4), "{:?}", free.elapsed());
}
