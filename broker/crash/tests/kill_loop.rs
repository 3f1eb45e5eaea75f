//! The loop itself, on an honest queue and on the same queue without its sync.

use std::time::Duration;

use cmq_crash::forgetfs::{self, Survival};
use cmq_crash::kill_loop::{self, Plan};
use cmq_crash::ledger::Queue;
use cmq_crash::process::Program;
use cmq_crash::report::{Expectation, Report};
use cmq_crash::volume::Loss;
use tempfile::TempDir;

const KILLS: u32 = 3;

/// Whether the queue syncs before it answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sync {
    On,
    Off,
}

async fn run(loss: Loss, sync: Sync, seed: u64) -> Report {
    let root = TempDir::new().expect("a temporary directory can be made");
    let value = if sync == Sync::Off { "off" } else { "on" };
    let queue = |name: &str, seconds| Queue { name: name.into(), visibility: Duration::from_secs(seconds) };
    let plan = Plan {
        program: Program {
            path: env!("CARGO_BIN_EXE_crash-stand-in").into(),
            arguments: Vec::new(),
            environment: vec![("CMQ_TEST_COMMIT_SYNC".into(), value.into())],
        },
        root: root.path().to_owned(),
        loss,
        kills: KILLS,
        acknowledged_min: 300,
        connections: 10,
        queues: vec![queue("short", 1), queue("long", 4)],
        stop_at_loss: sync == Sync::Off,
        seed,
    };
    let report = kill_loop::run(&plan, |_| {}).await.expect("the loop can be run");
    println!("{report}");
    report
}

fn is_skipped() -> bool {
    let reason = forgetfs::unavailable();
    if let Some(reason) = &reason {
        println!("skipped: {reason}");
    }
    reason.is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_queue_survives_its_process() {
    let report = run(Loss::None, Sync::On, 1).await;
    assert!(report.meets(Expectation::Sound) && !report.meets(Expectation::Loss));
    assert_eq!(report.kills(), KILLS);
    assert!(report.totals().deleted >= 300 && report.totals().received_again > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_queue_survives_a_power_cut() {
    if is_skipped() {
        return;
    }
    let report = run(Loss::PowerCut(None), Sync::On, 2).await;
    assert!(report.meets(Expectation::Sound) && !report.meets(Expectation::Loss));
    assert_eq!(report.kills(), KILLS);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_sync_a_power_cut_loses_and_the_loop_finds_it() {
    for survival in [Survival::Nothing, Survival::Prefix] {
        if is_skipped() {
            return;
        }
        let report = run(Loss::PowerCut(Some(survival)), Sync::Off, 3).await;
        assert!(report.meets(Expectation::Loss) && !report.meets(Expectation::Sound));
        assert!(report.forgotten().bytes > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_sync_a_killed_process_alone_loses_nothing() {
    let report = run(Loss::None, Sync::Off, 4).await;
    assert!(report.meets(Expectation::Sound) && !report.meets(Expectation::Loss));
}
