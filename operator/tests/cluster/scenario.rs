//! What happens to a cluster in a test: what is there before, what users do then, and what must hold at the end.

use std::time::Duration;

use crate::end::{self, End};
use crate::faults::{Faults, Plan};
use crate::operator::{Operator, run_to_rest};
use crate::world::{Snapshot, World};

/// One thing that a user, or the world, does. Each begins when the cluster is at rest.
pub(crate) type Act = fn(&World);

#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// Kinds that the cluster lacks.
    pub(crate) absent: &'static [&'static str],
    /// Done before without faults; what the scenario is about begins behind it.
    pub(crate) before: &'static [Act],
    pub(crate) acts: &'static [Act],
    /// Whether a user asked for messages to be deleted.
    pub(crate) loses: bool,
    /// Whether somebody else takes the certificates, so that calls may fail until there are others.
    pub(crate) robs: bool,
    /// What must hold at the end.
    pub(crate) holds: fn(&World),
}

impl Scenario {
    pub(crate) const fn new(name: &'static str, acts: &'static [Act], holds: fn(&World)) -> Self {
        Self { name, absent: &[], before: &[], acts, loses: false, robs: false, holds }
    }

    /// The same after something else, which no fault disturbs.
    pub(crate) const fn after(self, before: &'static [Act]) -> Self {
        Self { before, ..self }
    }

    /// The same where messages go because a user asked for it.
    pub(crate) const fn losing(self) -> Self {
        Self { loses: true, ..self }
    }

    /// The same where somebody else takes the certificates.
    pub(crate) const fn robbing(self) -> Self {
        Self { robs: true, ..self }
    }

    /// Does what comes before, and sees that an operator that starts then has nothing to do.
    pub(crate) fn prepare(&self) -> Snapshot {
        let before = simulated(async {
            let world = World::start(Snapshot::empty(), self.absent);
            let faults = Faults::default();
            let mut operator = Operator::start(&world, &faults);
            for act in self.before {
                act(&world);
                run_to_rest(&world, &faults, &mut operator).await;
            }
            world.snapshot()
        });
        let again = before.clone();
        simulated(async {
            let world = World::start(again, self.absent);
            let faults = Faults::default();
            let mut operator = Operator::start(&world, &faults);
            run_to_rest(&world, &faults, &mut operator).await;
            assert_eq!(
                faults.writes(),
                [""; 0],
                "{}: an operator that starts at rest writes nothing",
                self.name
            );
        });
        before
    }

    /// Does the acts, each to rest; what became of the cluster.
    pub(crate) fn run(&self, before: Snapshot, faults: &Faults) -> Outcome {
        simulated(async {
            let world = World::start(before, self.absent);
            let mut operator = Operator::start(&world, faults);
            // Its watches open before anything happens, as in a cluster where it has been running.
            tokio::time::sleep(Duration::from_secs(5)).await;
            for act in self.acts {
                act(&world);
                run_to_rest(&world, faults, &mut operator).await;
            }
            let (lost, untrusted) = {
                let brokers = world.brokers();
                (brokers.lost.clone(), if self.robs { Vec::new() } else { brokers.untrusted.clone() })
            };
            Outcome { end: end::of(&world), lost, untrusted, world }
        })
    }

    /// Runs with a fault at one write. Says whether the write was made: two that are made at once may become one.
    ///
    /// # Errors
    ///
    /// What is wrong with the end.
    pub(crate) fn survives(&self, before: Snapshot, expected: &End, plan: &Plan) -> Result<bool, String> {
        let faults = Faults::planned(plan.clone());
        let outcome = self.run(before, &faults);
        let mut problems = end::differences(expected, &outcome.end);
        if !self.loses {
            problems.extend(outcome.lost.iter().map(|what| format!("lost: {what}")));
        }
        problems
            .extend(outcome.untrusted.iter().map(|call| format!("a call failed for a certificate: {call}")));
        problems.truncate(12);
        match problems.is_empty() {
            true => Ok(faults.happened()),
            false => Err(problems.join("\n    ")),
        }
    }
}

/// What a run led to.
pub(crate) struct Outcome {
    pub(crate) end: End,
    pub(crate) lost: Vec<String>,
    pub(crate) untrusted: Vec<String>,
    pub(crate) world: World,
}

/// Runs in a runtime of its own whose clock jumps to the next timer whenever nothing else is to be done.
pub(crate) fn simulated<T>(run: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().expect("a runtime without I/O starts").block_on(run)
}
