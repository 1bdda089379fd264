//! What came of a run.

/// What came of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// Jobs that came.
    pub jobs: usize,
    /// Jobs that were finished.
    pub finished: usize,
    /// Jobs that were given up.
    pub given_up: usize,
    /// From coming to the start of the first attempt, in s, in no order.
    pub waits: Vec<f32>,
    /// From coming to the end, in s, in no order.
    pub times: Vec<f32>,
    /// Waits of everybody but user 0.
    pub waits_of_others: Vec<f32>,
    /// Attempts that were begun.
    pub attempts: usize,
    /// Pods whose machines were taken away, with a job or without.
    pub kills: usize,
    /// Hours of cores that pods had, from when they were wanted to their end.
    pub core_hours: f64,
    /// Hours of cores that went into jobs.
    pub busy_hours: f64,
    /// Those of them that were in vain.
    pub repeated_hours: f64,
    /// When the last job was over, in s.
    pub end: f64,
}

impl Outcome {
    /// The share of jobs, in percent, of which such a time is not above this, by nearest rank; 0 of
    /// none.
    #[must_use]
    pub fn percentile(values: &[f32], percent: f64) -> f64 {
        let mut values = values.to_vec();
        if values.is_empty() {
            return 0.0;
        }
        let rank = (percent / 100.0 * values.len() as f64).ceil() as usize;
        let (_, value, _) = values.select_nth_unstable_by(rank.max(1) - 1, f32::total_cmp);
        f64::from(*value)
    }

    /// Jobs that are neither finished nor given up.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.jobs - self.finished - self.given_up
    }
}
