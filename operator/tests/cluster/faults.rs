//! Every write that an operator makes, and what can go wrong with it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

/// A write by what it is to: the verb, kind and object of an API call, or a call of a broker. The same may be made often.
pub(crate) type Write = String;

/// What goes wrong with one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The operator ends before it.
    StopBefore,
    /// It is done, and the operator ends before it knows.
    StopAfter,
    /// Somebody else was faster.
    Conflict,
    /// It is not done, and no answer comes.
    LostCall,
    /// It is done, and the answer is lost.
    LostAnswer,
    /// A permission is missing, this once.
    Forbidden,
    /// The server has a problem, this once.
    Internal,
}

impl Fault {
    pub(crate) const ALL: [Fault; 7] = [
        Fault::StopBefore,
        Fault::StopAfter,
        Fault::Conflict,
        Fault::LostCall,
        Fault::LostAnswer,
        Fault::Forbidden,
        Fault::Internal,
    ];
}

/// One fault at one write: the n-th of its name that changes anything, counted from 0.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Plan {
    pub(crate) write: Write,
    pub(crate) nth: usize,
    pub(crate) fault: Fault,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {} #{}", self.fault, self.write, self.nth)
    }
}

/// Notes writes, and lets the planned one go wrong; shared by all operators of a cluster.
#[derive(Clone, Default)]
pub(crate) struct Faults {
    state: Arc<Mutex<State>>,
    /// Wakes when an operator has to end.
    pub(crate) stop: Arc<Notify>,
}

#[derive(Default)]
struct State {
    made: BTreeMap<Write, usize>,
    order: Vec<Write>,
    plan: Option<Plan>,
    happened: bool,
}

impl Faults {
    pub(crate) fn planned(plan: Plan) -> Self {
        let faults = Self::default();
        faults.state().plan = Some(plan);
        faults
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    /// Notes a write, if it would change anything; what goes wrong with it.
    pub(crate) fn note(&self, write: &str, changes: impl FnOnce() -> bool) -> Option<Fault> {
        let mut state = self.state();
        let awaited = state.plan.as_ref().is_none_or(|plan| plan.write == write && !state.happened);
        if !awaited || !changes() {
            return None;
        }
        let made = state.made.entry(write.to_owned()).or_default();
        let nth = *made;
        *made += 1;
        state.order.push(write.to_owned());
        let fault = state.plan.as_ref().filter(|plan| plan.nth == nth).map(|plan| plan.fault);
        state.happened |= fault.is_some();
        fault
    }

    /// Whether the planned fault came about.
    pub(crate) fn happened(&self) -> bool {
        self.state().happened
    }

    /// Every write that changed anything, in order; with a plan, only those of its name.
    pub(crate) fn writes(&self) -> Vec<Write> {
        self.state().order.clone()
    }

    /// How often each write changed anything.
    pub(crate) fn made(&self) -> BTreeMap<Write, usize> {
        self.state().made.clone()
    }

    /// Every fault at every write that was made.
    pub(crate) fn plans(&self) -> Vec<Plan> {
        let mut plans = Vec::new();
        for (write, times) in self.made() {
            for nth in 0..times {
                plans.extend(Fault::ALL.map(|fault| Plan { write: write.clone(), nth, fault }));
            }
        }
        plans
    }
}
