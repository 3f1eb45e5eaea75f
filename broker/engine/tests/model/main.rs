//! The state machine against a naive model. Two replicas run everything, one of which sees only the chunk pages that it
//! named and crashes now and then; their outcomes, their states and what the model allows must agree at every step.

mod browse;
mod cases;
mod reference;
mod replica;
mod workload;
mod world;

use proptest::prelude::*;
use replica::assert_same;
use world::World;

/// As many cases as `PROPTEST_CASES` says, or a default that takes seconds.
fn config(cases: u32) -> ProptestConfig {
    let wanted = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig { cases: wanted.unwrap_or(cases), failure_persistence: None, ..ProptestConfig::default() }
}

fn check(ops: &[workload::Op], outlives_everything: bool) {
    let mut world = World::new();
    for op in ops {
        world.run(op);
    }
    world.quiesce();
    assert_same(&world.replica.shard, &world.witness.shard);
    if outlives_everything {
        world.outlive_everything();
    }
    world.end();
}

proptest! {
    #![proptest_config(config(1_000))]

    #[test]
    fn shard_agrees_with_the_model(ops in workload::ops(), outlives_everything: bool) {
        check(&ops, outlives_everything);
    }
}

/// The model notices the bugs that can be put into the state machine on purpose.
#[cfg(feature = "test-faults")]
#[test]
fn each_fault_is_found() {
    use cmq_engine::faults::{Fault, activate};
    use proptest::test_runner::TestRunner;

    for fault in [
        Fault::StaleLease,
        Fault::DeadLetterLate,
        Fault::GroupUnlocked,
        Fault::ShortDeduplication,
        Fault::CheckpointWithoutRecords,
        Fault::RewindMoved,
        Fault::RewindForgets,
        Fault::RewindAgain,
        Fault::PurgeLeaves,
    ] {
        activate(Some(fault));
        let config = ProptestConfig { max_shrink_iters: 0, ..config(1_000) };
        let run =
            TestRunner::new(config).run(&(workload::ops(), any::<bool>()), |(ops, outlives_everything)| {
                check(&ops, outlives_everything);
                Ok(())
            });
        activate(None);
        assert!(run.is_err(), "{fault:?} was not found");
    }
}
