//! What some measurements come to: the middle, what nearly all are below, the ends.

/// Measurements of one thing, in any order.
#[derive(Debug, Clone, Default)]
pub(super) struct Figures(Vec<f64>);

impl Figures {
    pub(super) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The value that this share of all, in percent, is not above (nearest rank); 0 if there is
    /// none.
    pub(super) fn percentile(&self, percent: f64) -> f64 {
        let mut values = self.0.clone();
        values.sort_by(f64::total_cmp);
        let rank = (percent / 100.0 * values.len() as f64).ceil() as usize;
        values.get(rank.max(1) - 1).copied().unwrap_or(0.0)
    }

    pub(super) fn median(&self) -> f64 {
        self.percentile(50.0)
    }

    pub(super) fn low(&self) -> f64 {
        self.percentile(0.0)
    }

    pub(super) fn high(&self) -> f64 {
        self.percentile(100.0)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Extend<f64> for Figures {
    fn extend<T: IntoIterator<Item = f64>>(&mut self, values: T) {
        self.0.extend(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let mut figures = Figures::default();
        assert!(figures.median().abs() < 1e-9);
        figures.extend((1..=20).rev().map(f64::from));
        let of = |percent| figures.percentile(percent) as u32;
        assert_eq!([0.0, 50.0, 95.0, 99.0, 100.0].map(of), [1, 10, 19, 20, 20]);
    }
}
