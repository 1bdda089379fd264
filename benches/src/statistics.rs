//! Medians and ranges.

use serde::Serialize;

/// The middle and the ends of some measurements.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The middle value, or the mean of the two in the middle.
    pub median: f64,
    /// The smallest value.
    pub low: f64,
    /// The largest value.
    pub high: f64,
}

impl Spread {
    /// Of at least one value.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let half = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[half]
        } else {
            f64::midpoint(values[half - 1], values[half])
        };
        Some(Self { median, low, high })
    }
}

/// Between which values the median of such measurements lies with a probability of about 95 %,
/// whatever their distribution: each is below it as often as above (Conover, Practical
/// Nonparametric Statistics, section 3.2). `None` of fewer than six.
#[must_use]
pub fn interval_of_median(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let count = values.len();
    if count < 6 {
        return None;
    }
    // The binomial distribution by the normal one.
    let rank = ((count as f64 - 1.96 * (count as f64).sqrt()) / 2.0).round();
    let below = (rank as usize).max(1) - 1;
    Some((values[below], values[count - 1 - below]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interval_of_the_median_of_few_and_many() {
        let up_to = |count: u32| interval_of_median((1..=count).map(f64::from));
        assert_eq!(up_to(5), None);
        // As tables of the binomial distribution have it: 0.969, 0.979 and 0.965.
        assert_eq!(up_to(6), Some((1.0, 6.0)));
        assert_eq!(up_to(10), Some((2.0, 9.0)));
        assert_eq!(up_to(100), Some((40.0, 61.0)));
    }

    #[test]
    fn median_of_odd_even_and_none() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, low: 1.0, high: 3.0 }));
        assert_eq!(
            Spread::of([4.0, 1.0, 2.0, 3.0]),
            Some(Spread { median: 2.5, low: 1.0, high: 4.0 })
        );
        assert_eq!(Spread::of([]), None);
    }
}
