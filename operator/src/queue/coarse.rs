//! Counts in steps: a status that showed each message would be written all the time.

use crate::admin::QueueCounts;

/// What is in a queue, coarsely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Coarse {
    /// Messages that wait to be received, to two digits.
    pub backlog: i64,
    /// Age of the oldest message in one unit; nothing for an empty queue.
    pub oldest: Option<String>,
}

impl From<&QueueCounts> for Coarse {
    fn from(counts: &QueueCounts) -> Self {
        Self {
            backlog: two_digits(counts.ready),
            oldest: counts.oldest_age_ms.map(|age| coarse_age(age / 1_000)),
        }
    }
}

/// A number with all but its first two digits zero.
fn two_digits(number: u64) -> i64 {
    let unit = 10_u64.pow(number.max(1).ilog10().saturating_sub(1));
    i64::try_from(number / unit * unit).unwrap_or(i64::MAX)
}

/// An age in one unit, in steps that grow with it.
fn coarse_age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{}s", seconds / 10 * 10),
        60..600 => format!("{}m", seconds / 60),
        600..3_600 => format!("{}m", seconds / 600 * 10),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_two_digits() {
        let cases = [
            (0, 0),
            (9, 9),
            (10, 10),
            (99, 99),
            (100, 100),
            (119, 110),
            (98_765, 98_000),
            (u64::MAX, i64::MAX),
        ];
        for (number, expected) in cases {
            assert_eq!(two_digits(number), expected, "{number}");
        }
    }

    #[test]
    fn ages_have_one_unit() {
        for (seconds, expected) in
            [(0, "0s"), (47, "40s"), (60, "1m"), (3_599, "50m"), (7_300, "2h"), (86_400 * 9, "9d")]
        {
            assert_eq!(coarse_age(seconds), expected, "{seconds}");
        }
    }
}
