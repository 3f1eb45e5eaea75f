//! Is a series flat?

/// The median of the slopes between all pairs of points (Theil–Sen): up to 29 % of the points may be anything. 0 when
/// there are fewer than two.
pub(super) fn slope(points: &[(f64, f64)]) -> f64 {
    let mut slopes: Vec<f64> = points
        .iter()
        .enumerate()
        .flat_map(|(i, a)| points[i + 1..].iter().map(move |b| (b.1 - a.1) / (b.0 - a.0)))
        .filter(|slope| slope.is_finite())
        .collect();
    middle(&mut slopes)
}

/// The median of the points' heights; 0 when there is none.
pub(super) fn median(points: &[(f64, f64)]) -> f64 {
    middle(&mut points.iter().map(|point| point.1).collect::<Vec<f64>>())
}

fn middle(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let at = values.len() / 2;
    *values.select_nth_unstable_by(at, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_slope_whatever_a_few_points_do() {
        let mut points: Vec<(f64, f64)> =
            (0..100).map(|x| (f64::from(x), 3.0 + 0.5 * f64::from(x))).collect();
        for point in points.iter_mut().step_by(5) {
            point.1 = 1e6;
        }
        assert!((slope(&points) - 0.5).abs() < 1e-9, "{}", slope(&points));
    }

    #[test]
    fn a_sawtooth_is_flat_and_a_climbing_one_is_not() {
        let saw = |climb: f64| -> Vec<(f64, f64)> {
            (0..600).map(|x| (f64::from(x), f64::from(x % 40) + climb * f64::from(x))).collect()
        };
        assert!(slope(&saw(0.0)).abs() < 0.01, "{}", slope(&saw(0.0)));
        assert!((slope(&saw(0.1)) - 0.1).abs() < 0.01, "{}", slope(&saw(0.1)));
    }

    #[test]
    fn too_few_points_have_no_slope() {
        assert_eq!((slope(&[]), slope(&[(1.0, 5.0)]), median(&[])), (0.0, 0.0, 0.0));
        assert_eq!(median(&[(0.0, 1.0), (1.0, 9.0), (2.0, 5.0)]), 5.0);
    }
}
