//! Medians and percentiles.

/// Figures of the rounds of one measurement.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series(Vec<f64>);

impl Series {
    /// The smallest figure; 0 when there is none.
    #[must_use]
    pub fn min(&self) -> f64 {
        self.0.first().copied().unwrap_or_default()
    }

    /// The largest figure; 0 when there is none.
    #[must_use]
    pub fn max(&self) -> f64 {
        self.0.last().copied().unwrap_or_default()
    }

    /// The middle figure, the mean of the two middle ones when their number is even; 0 when there is none.
    #[must_use]
    pub fn median(&self) -> f64 {
        let Series(sorted) = self;
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => 0.0,
            n if n % 2 == 1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        }
    }
}

impl FromIterator<f64> for Series {
    fn from_iter<I: IntoIterator<Item = f64>>(figures: I) -> Series {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        Series(sorted)
    }
}

/// Latencies in nanoseconds, kept one by one: percentiles are exact.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    nanos: Vec<u64>,
    sorted: bool,
}

impl Latencies {
    /// Adds one.
    pub fn add(&mut self, latency: std::time::Duration) {
        self.nanos.push(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
        self.sorted = false;
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.nanos.len()
    }

    /// The latency, in milliseconds, that `per_mille` of 1,000 do not exceed (nearest rank); 0 when there is
    /// none.
    #[must_use]
    pub fn per_mille(&mut self, per_mille: u32) -> f64 {
        if !self.sorted {
            self.nanos.sort_unstable();
            self.sorted = true;
        }
        let rank = (self.nanos.len() * per_mille as usize).div_ceil(1000).max(1);
        self.nanos.get(rank - 1).map_or(0.0, |nanos| *nanos as f64 / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn medians_of_odd_and_even_numbers() {
        let odd: Series = [5.0, 1.0, 9.0].into_iter().collect();
        assert_eq!((odd.min(), odd.median(), odd.max()), (1.0, 5.0, 9.0));
        let even: Series = [4.0, 1.0, 2.0, 8.0].into_iter().collect();
        assert_eq!((even.min(), even.median(), even.max()), (1.0, 3.0, 8.0));
        let none = Series::default();
        assert_eq!((none.min(), none.median(), none.max()), (0.0, 0.0, 0.0));
    }

    #[test]
    fn percentiles_are_nearest_rank() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.per_mille(500), 0.0);
        for millis in (1..=1000).rev() {
            latencies.add(Duration::from_millis(millis));
        }
        assert_eq!(latencies.per_mille(500), 500.0);
        assert_eq!(latencies.per_mille(990), 990.0);
        assert_eq!(latencies.per_mille(999), 999.0);
        assert_eq!(latencies.per_mille(1000), 1000.0);
        latencies.add(Duration::from_millis(5000));
        assert_eq!(latencies.per_mille(1000), 5000.0, "sorted again after an addition");
        let mut few = Latencies::default();
        few.add(Duration::from_millis(7));
        few.add(Duration::from_millis(9));
        assert_eq!((few.per_mille(500), few.per_mille(501), few.per_mille(999)), (7.0, 9.0, 9.0));
    }
}
