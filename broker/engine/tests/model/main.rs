//! The state machine against a naive model. Two replicas run everything, one of which sees only the chunk pages that it
//! named and crashes now and then; their outcomes, their states and what the model allows must agree at every step.

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

proptest! {
    #![proptest_config(config(1_000))]

    #[test]
    fn shard_agrees_with_the_model(ops in workload::ops(), outlives_everything: bool) {
        let mut world = World::new();
        for op in &ops {
            world.run(op);
        }
        world.quiesce();
        assert_same(&world.replica.shard, &world.witness.shard);
        if outlives_everything {
            world.outlive_everything();
        }
        world.end();
    }
}
