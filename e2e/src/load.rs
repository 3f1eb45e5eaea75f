//! The load program, which runs in the cluster's network for the length of a scenario.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde::Deserialize;

use crate::check;
use crate::failure::{Failure, Result};
use crate::flags::Flags;
use crate::wait;

/// Sends that must have succeeded before something is done to the cluster.
const FLOWING: u64 = 50;
/// The longest gap that a killed or replaced pod may cause.
pub(crate) const GAP_MAX_SECONDS: f64 = 15.0;

/// A line of the load program; the last one has the verdict.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Report {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) refused: u64,
    failed: BTreeMap<String, u64>,
    send_gap_seconds: f64,
    receive_gap_seconds: f64,
    r#final: bool,
    clean: bool,
    lost: u64,
    first_lost: Vec<u64>,
    doubles: BTreeMap<String, u64>,
    damaged: u64,
    invented: u64,
    errors: BTreeMap<String, u64>,
}

/// The running program.
pub(crate) struct Load {
    process: Child,
    input: Option<ChildStdin>,
    latest: Arc<Mutex<Report>>,
    reader: Option<JoinHandle<()>>,
}

impl Load {
    /// Starts it and waits until messages flow.
    pub(crate) fn start(flags: &Flags, endpoint: &str, queue: &str, more: &[&str]) -> Result<Self> {
        let mut words = flags.client.split_whitespace();
        let program =
            words.next().ok_or_else(|| Failure::new("--client says how the load program is run"))?;
        let mut process = Command::new(program)
            .args(words)
            .args([endpoint, queue])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::new(format!("{}: {error}", flags.client)))?;
        let input = process.stdin.take();
        let output = process.stdout.take().ok_or_else(|| Failure::new("the load program has no output"))?;
        let latest = Arc::new(Mutex::new(Report::default()));
        let reader = std::thread::spawn({
            let latest = latest.clone();
            move || follow(BufReader::new(output), &latest)
        });
        let load = Self { process, input, latest, reader: Some(reader) };
        load.wait_for("messages flow", 60, |report| report.sent >= FLOWING)?;
        Ok(load)
    }

    pub(crate) fn report(&self) -> Report {
        self.latest.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    pub(crate) fn wait_for(
        &self,
        what: &str,
        seconds: u64,
        good: impl Fn(&Report) -> bool,
    ) -> Result<Report> {
        wait::until(what, seconds, || Ok(self.report()), good).map(|(_, report)| report)
    }

    /// Waits until sends succeed (again).
    pub(crate) fn wait_until_sending(&self) -> Result<()> {
        let sent = self.report().sent;
        self.wait_for("sends succeed", 60, |report| report.sent >= sent + FLOWING).map(drop)
    }

    /// Stops sending, drains, and prints the verdict, which must be clean.
    pub(crate) fn finish(mut self, scenario: &str) -> Result<Report> {
        drop(self.input.take());
        if let Some(reader) = self.reader.take() {
            reader.join().map_err(|_| Failure::new("the load program's reader panicked"))?;
        }
        self.process.wait()?;
        let report = self.report();
        check::that(report.r#final, format!("{scenario}: the load program ended without a verdict"))?;
        check::fact(format!(
            "{scenario}: longest client gap {:.1} s; {} sent, {} lost, {} failed calls; doubles {:?}",
            report.gap_seconds(),
            report.sent,
            report.lost,
            report.failed_calls(),
            report.doubles
        ));
        check::that(report.clean, format!("{scenario}: {report:?}"))?;
        Ok(report)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // After `finish` it is gone already; otherwise an area failed, and nobody asks how this ends.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Report {
    /// The longer of the longest gaps between sends and between receives that succeeded.
    pub(crate) fn gap_seconds(&self) -> f64 {
        self.send_gap_seconds.max(self.receive_gap_seconds)
    }

    pub(crate) fn failed_calls(&self) -> u64 {
        self.failed.values().sum()
    }

    pub(crate) fn expect_gap_within_bound(&self) -> Result<()> {
        let gap = self.gap_seconds();
        check::that(
            gap <= GAP_MAX_SECONDS,
            format!("a client gap of {gap:.1} s, more than {GAP_MAX_SECONDS} s"),
        )
    }

    pub(crate) fn expect_no_failed_call(&self) -> Result<()> {
        check::that(self.failed_calls() == 0, format!("calls failed: {:?}", self.errors))
    }
}

fn follow(output: impl BufRead, latest: &Mutex<Report>) {
    for line in output.lines().map_while(std::result::Result::ok) {
        match serde_json::from_str(&line) {
            Ok(report) => *latest.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = report,
            Err(error) => eprintln!("a line of the load program: {error}: {line}"),
        }
    }
}
