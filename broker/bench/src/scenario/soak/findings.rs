//! What a broker must never do, counted.

/// Findings that are kept with their text.
const SHOWN_MAX: usize = 5;

/// A kind of wrong answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// Acknowledged, and neither received nor at its end by a rule.
    Lost,
    /// Received, and never sent; or with another body, or from another queue.
    Invented,
    /// Received after it was deleted, expired, dead-lettered or cleared.
    CameBack,
    /// Received before its delay, or dead-lettered before its limit.
    Early,
    /// Received, dead-lettered or expired too late.
    Late,
    /// Received while another receive still held it.
    TwoLeases,
    /// The broker's own counts are not those of the ledger.
    Miscounted,
}

impl Finding {
    /// All kinds, in the order of the table.
    pub(super) const ALL: [Finding; 7] = [
        Finding::Lost,
        Finding::Invented,
        Finding::CameBack,
        Finding::Early,
        Finding::Late,
        Finding::TwoLeases,
        Finding::Miscounted,
    ];

    /// In words.
    pub(super) fn name(self) -> &'static str {
        match self {
            Finding::Lost => "lost",
            Finding::Invented => "invented",
            Finding::CameBack => "came back",
            Finding::Early => "early",
            Finding::Late => "late",
            Finding::TwoLeases => "two leases",
            Finding::Miscounted => "miscounted",
        }
    }
}

/// Counts by kind, and the first few in words.
#[derive(Debug, Default)]
pub(super) struct Findings {
    counts: [u64; Finding::ALL.len()],
    shown: Vec<String>,
}

impl Findings {
    pub(super) fn add(&mut self, finding: Finding, text: String) {
        self.counts[finding as usize] += 1;
        if self.shown.len() < SHOWN_MAX {
            self.shown.push(format!("{}: {text}", finding.name()));
        }
    }

    pub(super) fn count(&self, finding: Finding) -> u64 {
        self.counts[finding as usize]
    }

    pub(super) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(super) fn shown(&self) -> &[String] {
        &self.shown
    }
}
