//! What a run did and found, as a table for people.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use crate::desk::Desk;
use crate::forgetfs::Forgotten;
use crate::ledger::{Finding, Totals};

/// A restart takes about this long before one was measured.
const USUAL_RESTART: Duration = Duration::from_millis(200);
/// Findings of each kind that are shown in full.
const FINDINGS_SHOWN: usize = 3;

/// What a run did and found.
#[derive(Debug)]
pub struct Report {
    seed: u64,
    began: Instant,
    elapsed: Duration,
    kills: u32,
    recovery_kills: u32,
    acknowledged: u64,
    acknowledged_least: Option<u64>,
    restarts: Vec<Duration>,
    power_cuts: u32,
    forgotten: Forgotten,
    forgotten_last: Forgotten,
    is_drained: bool,
    totals: Totals,
    findings: Vec<Finding>,
    findings_by_kind: BTreeMap<&'static str, u64>,
}

/// What a run should show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// Nothing acknowledged is lost, and nothing else is wrong.
    Sound,
    /// Something acknowledged is lost, or the broker itself found that its data is gone and refused to serve.
    Loss,
}

impl Report {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            began: Instant::now(),
            elapsed: Duration::ZERO,
            kills: 0,
            recovery_kills: 0,
            acknowledged: 0,
            acknowledged_least: None,
            restarts: Vec::new(),
            power_cuts: 0,
            forgotten: Forgotten::default(),
            forgotten_last: Forgotten::default(),
            is_drained: false,
            totals: Totals::default(),
            findings: Vec::new(),
            findings_by_kind: BTreeMap::new(),
        }
    }

    /// Kills under load.
    pub fn kills(&self) -> u32 {
        self.kills
    }

    /// What no correct queue does: the first findings of each kind, in the order in which they were made.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Sums over the run.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// What the power cuts took, in all.
    pub fn forgotten(&self) -> Forgotten {
        self.forgotten
    }

    /// Whether the run showed what it should.
    pub fn meets(&self, expectation: Expectation) -> bool {
        match expectation {
            Expectation::Sound => self.is_drained && self.totals.findings == 0,
            Expectation::Loss => self.findings.iter().any(Finding::is_loss) || self.refused_to_serve(),
        }
    }

    /// Whether the broker, once it had served, did not come up after a power cut that took something.
    fn refused_to_serve(&self) -> bool {
        let is_down = self.findings.iter().any(|finding| matches!(finding, Finding::NotServing { .. }));
        is_down && !self.is_drained && self.acknowledged > 0 && self.forgotten_last.bytes > 0
    }

    pub(crate) fn restarted(&mut self, after: Duration) {
        self.restarts.push(after);
    }

    pub(crate) fn killed(&mut self, acknowledged: u64, forgotten: Option<Forgotten>) {
        self.kills += 1;
        self.acknowledged += acknowledged;
        self.acknowledged_least =
            Some(self.acknowledged_least.map_or(acknowledged, |least| least.min(acknowledged)));
        self.power_cut(forgotten);
    }

    pub(crate) fn killed_in_recovery(&mut self, forgotten: Option<Forgotten>) {
        self.recovery_kills += 1;
        self.power_cut(forgotten);
    }

    pub(crate) fn drained(&mut self) {
        self.is_drained = true;
    }

    pub(crate) fn usual_restart(&self) -> Duration {
        self.restarts.last().copied().unwrap_or(USUAL_RESTART)
    }

    pub(crate) fn close(&mut self, desk: &Desk) {
        self.elapsed = self.began.elapsed();
        let ledger = desk.ledger();
        self.totals = ledger.totals();
        self.findings = ledger.findings().to_vec();
        self.findings_by_kind = ledger.findings_by_kind().clone();
    }

    /// One line with the sums so far.
    pub(crate) fn progress(&self, desk: &Desk) -> String {
        let totals = desk.ledger().totals();
        format!(
            "kill {} (+{} in recovery): {} acknowledged, {} sent, {} deleted, {} findings, {} unsynced bytes lost",
            self.kills,
            self.recovery_kills,
            self.acknowledged,
            totals.sent,
            totals.deleted,
            totals.findings,
            self.forgotten.bytes,
        )
    }

    fn power_cut(&mut self, forgotten: Option<Forgotten>) {
        let Some(forgotten) = forgotten else { return };
        self.power_cuts += 1;
        // A kill during recovery may find nothing unsynced; what the cut before it took still counts.
        if forgotten.bytes > 0 {
            self.forgotten_last = forgotten;
        }
        self.forgotten.files += forgotten.files;
        self.forgotten.bytes += forgotten.bytes;
        self.forgotten.names += forgotten.names;
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let totals = self.totals;
        let mut restarts = self.restarts.clone();
        restarts.sort();
        let median = restarts.get(restarts.len() / 2).copied().unwrap_or_default();
        let slowest = restarts.last().copied().unwrap_or_default();
        let (cuts, forgotten) = (self.power_cuts, self.forgotten);
        vec![
            ("seed", self.seed.to_string()),
            ("kills under load", self.kills.to_string()),
            ("kills during recovery", self.recovery_kills.to_string()),
            ("sends and deletes acknowledged (calls)", self.acknowledged.to_string()),
            ("of these between two kills, at least", self.acknowledged_least.unwrap_or_default().to_string()),
            ("messages sent", totals.sent.to_string()),
            ("messages handed out", totals.received.to_string()),
            ("of these again", totals.received_again.to_string()),
            ("messages deleted", totals.deleted.to_string()),
            ("sends refused", totals.send_refused.to_string()),
            ("sends in doubt", totals.send_in_doubt.to_string()),
            ("of these found", totals.send_in_doubt_found.to_string()),
            ("receives in doubt", totals.receive_in_doubt.to_string()),
            ("deletes refused", totals.delete_refused.to_string()),
            ("deletes in doubt", totals.delete_in_doubt.to_string()),
            ("of these not done", totals.delete_in_doubt_undone.to_string()),
            ("ready after a restart, median and slowest", format!("{median:.0?}, {slowest:.0?}")),
            ("power cuts", cuts.to_string()),
            (
                "unsynced bytes lost, changes of names undone",
                format!("{}, {}", forgotten.bytes, forgotten.names),
            ),
            ("drained to the end", if self.is_drained { "yes" } else { "no" }.to_owned()),
            ("run time", format!("{:.0?}", self.elapsed)),
            ("findings", totals.findings.to_string()),
        ]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | how many |")?;
        writeln!(f, "|---|--:|")?;
        for (name, value) in self.rows() {
            writeln!(f, "| {name} | {value} |")?;
        }
        for (kind, count) in &self.findings_by_kind {
            writeln!(f, "| finding: {kind} | {count} |")?;
        }
        for kind in self.findings_by_kind.keys() {
            let of_kind = self.findings.iter().filter(|finding| finding.kind() == *kind);
            for finding in of_kind.take(FINDINGS_SHOWN) {
                writeln!(f, "\n{finding}")?;
            }
        }
        Ok(())
    }
}
