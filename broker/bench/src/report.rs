//! What a run prints: Markdown tables and gates.

use std::fmt::{self, Display, Formatter};

use crate::stats::Series;

/// What a gate asks of its figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// The figure must reach this.
    AtLeast(f64),
    /// The figure may reach this.
    AtMost(f64),
    /// The figure must stay below this.
    Below(f64),
}

/// A figure that decides whether the run passes.
#[derive(Clone, Debug)]
pub struct Gate {
    /// What is measured, with its unit.
    pub what: String,
    /// The figure.
    pub value: f64,
    /// What is asked of it.
    pub bound: Bound,
}

impl Gate {
    /// Whether the figure meets the bound. A figure that is no number never does.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self.bound {
            Bound::AtLeast(bound) => self.value >= bound,
            Bound::AtMost(bound) => self.value <= bound,
            Bound::Below(bound) => self.value < bound,
        }
    }
}

impl Display for Bound {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Bound::AtLeast(bound) => write!(f, "at least {}", short(*bound)),
            Bound::AtMost(bound) => write!(f, "at most {}", short(*bound)),
            Bound::Below(bound) => write!(f, "below {}", short(*bound)),
        }
    }
}

/// The result of one measurement.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// Heading.
    pub title: String,
    /// How it was measured, one sentence or two.
    pub how: String,
    /// Heads of the table's columns; the first one is usually empty.
    pub columns: Vec<String>,
    /// Rows of the table, as long as `columns`.
    pub rows: Vec<Vec<String>>,
    /// What decides whether it passes.
    pub gates: Vec<Gate>,
}

impl Section {
    /// A section without rows.
    #[must_use]
    pub fn new(title: &str, how: String, columns: &[&str]) -> Section {
        let columns = columns.iter().map(ToString::to_string).collect();
        Section { title: title.into(), how, columns, ..Section::default() }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// Adds a gate.
    pub fn gate(&mut self, what: &str, value: f64, bound: Bound) {
        self.gates.push(Gate { what: what.into(), value, bound });
    }

    /// Whether every gate passes.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.gates.iter().all(Gate::passes)
    }
}

impl Display for Section {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "### {}\n\n{}\n", self.title, self.how)?;
        let rules: Vec<&str> = (0..self.columns.len()).map(|i| if i == 0 { "---" } else { "--:" }).collect();
        writeln!(f, "| {} |\n|{}|", self.columns.join(" | "), rules.join("|"))?;
        for row in &self.rows {
            writeln!(f, "| {} |", row.join(" | "))?;
        }
        if self.gates.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n| Gate | Figure | Bound | |\n|---|--:|--:|---|")?;
        for gate in &self.gates {
            let verdict = if gate.passes() { "pass" } else { "**fail**" };
            writeln!(f, "| {} | {} | {} | {verdict} |", gate.what, short(gate.value), gate.bound)?;
        }
        Ok(())
    }
}

/// Median, smallest and largest figure with `decimals` places.
#[must_use]
pub fn spread(series: &Series, decimals: usize) -> String {
    let text = |value| if decimals == 0 { grouped(value) } else { format!("{value:.decimals$}") };
    format!("{} ({} – {})", text(series.median()), text(series.min()), text(series.max()))
}

/// A whole number with commas between groups of three digits.
#[must_use]
pub fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    if value < 0.0 && digits != "0" {
        text.push('-');
    }
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes as megabytes (10⁶).
#[must_use]
pub fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// A figure with as many places as it is worth.
fn short(value: f64) -> String {
    if value.abs() >= 100.0 || value.fract() == 0.0 { grouped(value) } else { format!("{value:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_hold_at_their_bounds_as_their_words_say() {
        let passes = |value, bound| Gate { what: String::new(), value, bound }.passes();
        assert!(passes(0.5, Bound::AtLeast(0.5)) && !passes(0.499, Bound::AtLeast(0.5)));
        assert!(passes(2.5, Bound::AtMost(2.5)) && !passes(2.501, Bound::AtMost(2.5)));
        assert!(passes(4.999, Bound::Below(5.0)) && !passes(5.0, Bound::Below(5.0)));
        for bound in [Bound::AtLeast(0.0), Bound::AtMost(0.0), Bound::Below(0.0)] {
            assert!(!passes(f64::NAN, bound), "{bound}");
        }
    }

    #[test]
    fn numbers_are_grouped() {
        let texts: Vec<String> = [0.0, 7.4, 999.6, 1234.0, 29_310.2, 5e6, -1234.0].map(grouped).into();
        assert_eq!(texts, ["0", "7", "1,000", "1,234", "29,310", "5,000,000", "-1,234"]);
    }

    #[test]
    fn a_section_is_a_markdown_table_with_verdicts() {
        let mut section = Section::new("Send", "One call.".into(), &["", "floor", "broker"]);
        section.row(["rate".into(), spread(&[2.0, 1.0, 3000.0].into_iter().collect(), 0), "9".into()]);
        section.gate("rate against the floor", 0.51, Bound::AtLeast(0.5));
        assert!(section.passes());
        section.gate("memory, MB", 312.4, Bound::Below(300.0));
        assert!(!section.passes());
        let text = section.to_string();
        for line in [
            "### Send",
            "|  | floor | broker |",
            "|---|--:|--:|",
            "| rate | 2 (1 – 3,000) | 9 |",
            "| rate against the floor | 0.51 | at least 0.50 | pass |",
            "| memory, MB | 312 | below 300 | **fail** |",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
