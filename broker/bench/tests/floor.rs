//! The generator against the floor program, as processes, for a second.

#![allow(clippy::unwrap_used, reason = "in a test a failure may panic")]

use std::process::Command;
use std::time::Duration;

use cmq_bench::http::{Connection, get, post};
use cmq_bench::json;
use cmq_bench::load::{OpenPlan, Plan, closed_loop, load_calls, open_loop};
use cmq_bench::process::Server;
use cmq_bench::work::{FloorCycle, FloorSend};
use tokio::task::LocalSet;

const PATIENCE: Duration = Duration::from_secs(30);

async fn start(dir: &std::path::Path) -> Server {
    let mut command = Command::new(env!("CARGO_BIN_EXE_floor"));
    command.arg("--file").arg(dir.join("data"));
    Server::start("floor", &mut command, &dir.join("log"), PATIENCE).await.unwrap()
}

async fn counts(floor: &Server) -> (u64, u64) {
    let mut connection = Connection::open(floor.client).await.unwrap();
    let answer = connection.call(&get("/stats")).await.unwrap();
    (json::number(answer, "messages").unwrap(), json::number(answer, "flushes").unwrap())
}

#[tokio::test(flavor = "current_thread")]
async fn every_call_that_was_answered_is_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    LocalSet::new()
        .run_until(async {
            let floor = start(dir.path()).await;
            load_calls(floor.client, 8, 1000, PATIENCE, |i| FloorSend::new(1024, i)).await.unwrap();
            let (messages, flushes) = counts(&floor).await;
            assert_eq!(messages, 1000);
            assert!(
                (125..=1000).contains(&flushes),
                "8 connections cannot share more than 8 a flush: {flushes}"
            );
            assert_eq!(std::fs::metadata(dir.path().join("data")).unwrap().len(), 1000 * 1024);
            floor.stop().await.unwrap();
        })
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_closed_loop_counts_what_the_server_counts() {
    let dir = tempfile::tempdir().unwrap();
    LocalSet::new()
        .run_until(async {
            let floor = start(dir.path()).await;
            let plan = Plan { connections: 8, warm_up: Duration::ZERO, window: Duration::from_secs(1) };
            let make = |i| FloorCycle::new(1024, i);
            let round = closed_loop(floor.client, plan, make, || floor.usage()).await.unwrap();
            let (messages, _) = counts(&floor).await;
            // Two appends a cycle; the last call of each connection may end after the window.
            let cycles = messages / 2;
            assert!((round.messages..=round.messages + 8).contains(&cycles), "{cycles} {round:?}");
            assert!((0.9..5.0).contains(&round.seconds), "{round:?}");
            assert!(round.cpu_seconds > 0.0, "{round:?}");
            floor.stop().await.unwrap();
        })
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn an_open_loop_makes_the_calls_of_its_schedule() {
    let dir = tempfile::tempdir().unwrap();
    LocalSet::new()
        .run_until(async {
            let floor = start(dir.path()).await;
            let window = Duration::from_secs(1);
            let plan = OpenPlan { rate: 500.0, connections: 16, warm_up: Duration::ZERO, window, seed: 3 };
            let mut round = open_loop(floor.client, plan, |i| FloorSend::new(1024, i)).await.unwrap();
            let (messages, _) = counts(&floor).await;
            assert_eq!(round.latencies.count() as u64, messages);
            assert!((400..600).contains(&messages), "{messages} calls in a second at 500/s");
            assert!(round.latencies.per_mille(500) > 0.0);
            assert!(round.latencies.per_mille(500) >= round.delays.per_mille(500));
            floor.stop().await.unwrap();
        })
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_call_that_the_server_refuses_ends_the_round() {
    let dir = tempfile::tempdir().unwrap();
    let floor = start(dir.path()).await;
    let mut connection = Connection::open(floor.client).await.unwrap();
    let error = connection.call(&post("/elsewhere", "text/plain", b"x")).await.unwrap_err().to_string();
    assert!(error.contains("404"), "{error}");
    floor.kill();
}
