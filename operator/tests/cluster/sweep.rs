//! The fault sweep: every scenario again and again, each time with one fault at one of the writes that a faultless run made. The
//! end must be that of the faultless run, and nothing that holds messages may be deleted.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::end::End;
use crate::faults::{Faults, Plan};
use crate::scenario::Scenario;
use crate::scenarios;
use crate::world::Snapshot;

/// A scenario with what a faultless run of it gave.
struct Recorded {
    scenario: Scenario,
    before: Snapshot,
    end: End,
    plans: Vec<Plan>,
}

/// One variant in so many is tried unless `CMQ_SWEEP` is `all`: fewer than there are faults, so that every write has its turn, and
/// no divisor of their number, so that the faults change.
const SAMPLE: usize = 6;

#[test]
fn every_scenario_survives_every_fault_at_every_write() {
    crate::log();
    let (recorded, mut findings) = sort(on_all_cores(&chosen(), record));
    let variants: Vec<(&Recorded, &Plan)> = recorded
        .iter()
        .flat_map(|recorded| recorded.plans.iter().map(move |plan| (recorded, plan)))
        .filter(|(_, plan)| is_chosen(&plan.to_string(), "CMQ_FAULT"))
        .step_by(if std::env::var("CMQ_SWEEP").is_ok_and(|part| part == "all") { 1 } else { SAMPLE })
        .collect();
    let results = on_all_cores(&variants, |(recorded, plan)| {
        without_panic(|| recorded.scenario.survives(recorded.before.clone(), &recorded.end, plan))
            .map_err(|problem| format!("{}: {plan}\n    {problem}", recorded.scenario.name))
    });
    let (happened, more) = sort(results);
    findings.extend(more);
    for recorded in &recorded {
        println!("{}: {} variants", recorded.scenario.name, recorded.plans.len());
    }
    let missed = happened.iter().filter(|happened| !**happened).count();
    println!("{} scenarios, {} variants, {missed} of them without the write", recorded.len(), variants.len());
    assert!(missed * 50 <= variants.len(), "too many faults did not come about");
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

/// The scenarios whose names contain what `CMQ_SCENARIO` says; all without it.
fn chosen() -> Vec<Scenario> {
    scenarios::all().into_iter().filter(|scenario| is_chosen(scenario.name, "CMQ_SCENARIO")).collect()
}

fn is_chosen(name: &str, by: &str) -> bool {
    std::env::var(by).map_or(true, |text| name.contains(&text))
}

/// Runs a scenario without faults, and sees that it led to what it should.
fn record(scenario: &Scenario) -> Result<Recorded, String> {
    let recorded = without_panic(|| {
        let before = scenario.prepare();
        let faults = Faults::default();
        let outcome = scenario.run(before.clone(), &faults);
        (scenario.holds)(&outcome.world);
        assert!(scenario.loses || outcome.lost.is_empty(), "lost {:?}", outcome.lost);
        assert_eq!(outcome.untrusted, [""; 0], "calls failed for a certificate");
        Ok(Recorded { scenario: *scenario, before, end: outcome.end, plans: faults.plans() })
    });
    recorded.map_err(|problem| format!("{}, without a fault: {problem}", scenario.name))
}

/// What a test says when it panics is a finding like others.
fn without_panic<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(message(&*panic)))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}

fn sort<T>(results: Vec<Result<T, String>>) -> (Vec<T>, Vec<String>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(result) => good.push(result),
            Err(problem) => bad.push(problem),
        }
    }
    (good, bad)
}

/// Does the same to each item, as many at once as there are cores; results in the order of the items.
fn on_all_cores<I: Sync, T: Send>(items: &[I], work: impl Fn(&I) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { return };
                    let result = work(item);
                    done.lock().expect("no holder panics").push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no holder panics");
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}
