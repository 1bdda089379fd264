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
    /// Waits of user 0 alone.
    pub waits_of_the_crowd: Vec<f32>,
    /// When everybody but user 0 came, and how long they waited, in s.
    pub others: Vec<[f32; 2]>,
    /// When the last job of user 0 was begun, in s.
    pub crowd_begun: f64,
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
    /// A job's first attempt.
    pub(super) fn begin(&mut self, came: f64, now: f64, user: u32) {
        let wait = (now - came) as f32;
        self.waits.push(wait);
        if user == 0 {
            self.crowd_begun = now;
            self.waits_of_the_crowd.push(wait);
        } else {
            self.others.push([came as f32, wait]);
        }
    }

    /// What others waited who came while jobs of user 0 still did.
    #[must_use]
    pub fn waits_beside_the_crowd(&self) -> Vec<f32> {
        let beside = |other: &&[f32; 2]| f64::from(other[0]) < self.crowd_begun;
        self.others.iter().filter(beside).map(|[_, wait]| *wait).collect()
    }

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
