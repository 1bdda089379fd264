//! A worker: its jobs share its cores evenly, as far as each can use them.

use std::time::Duration;

use tonemill_worker::RENEWALS;

/// A job under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Running {
    pub(super) job: usize,
    /// Seconds of a core that are to be done.
    left: f64,
    /// Cores that it uses at most: what it waits for besides makes it slower.
    most: f64,
    /// Cores that it uses.
    rate: f64,
    started: f64,
    /// Seconds of a core that went into it.
    pub(super) spent: f64,
}

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Starting,
    Up,
    /// Takes no more.
    Draining,
    Gone,
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) state: State,
    pub(super) jobs: Vec<Running>,
    /// When it was made, which is when it begins to cost.
    pub(super) made: f64,
    /// When it looks at the leases of others again.
    pub(super) next_reclaim: f64,
    /// Whether it waits for a job.
    pub(super) waits: bool,
    /// Changes with its jobs: an end that was foreseen before does not come.
    pub(super) version: u64,
    updated: f64,
}

impl Worker {
    pub(super) fn new(made: f64) -> Self {
        Self {
            state: State::Starting,
            jobs: Vec::new(),
            made,
            next_reclaim: 0.0,
            waits: false,
            version: 0,
            updated: made,
        }
    }

    pub(super) fn begin(&mut self, now: f64, job: usize, work: f64, width: f64, latency: f64) {
        self.advance(now);
        let most = work / (work / width + latency).max(f64::MIN_POSITIVE);
        self.jobs.push(Running { job, left: work, most, rate: 0.0, started: now, spent: 0.0 });
        self.updated = now;
    }

    /// What was done until now.
    pub(super) fn advance(&mut self, now: f64) {
        let seconds = now - self.updated;
        for job in &mut self.jobs {
            job.left -= job.rate * seconds;
            job.spent += job.rate * seconds;
        }
        self.updated = now;
    }

    /// Shares the cores anew; when the first job will be done.
    pub(super) fn share(&mut self, cores: f64) -> Option<f64> {
        self.version += 1;
        self.jobs.sort_by(|a, b| a.most.total_cmp(&b.most));
        let (mut cores, mut jobs) = (cores, self.jobs.len());
        let mut first: Option<f64> = None;
        for job in &mut self.jobs {
            job.rate = job.most.min(cores / jobs as f64);
            cores -= job.rate;
            jobs -= 1;
            let end = self.updated + job.left.max(0.0) / job.rate;
            first = Some(first.map_or(end, |first: f64| first.min(end)));
        }
        first
    }

    /// Takes those away that are done.
    pub(super) fn done(&mut self) -> Vec<Running> {
        // Times are rounded: a nanosecond of work is none.
        self.jobs.extract_if(.., |job| job.left <= 1e-9).collect()
    }
}

impl Running {
    /// When its lease ends, if its worker dies now.
    pub(super) fn lease_end(&self, now: f64, lease: Duration) -> f64 {
        let lease = lease.as_secs_f64();
        let pace = lease / f64::from(RENEWALS);
        self.started + ((now - self.started) / pace).floor() * pace + lease
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_shared_evenly_among_those_who_can_use_them() {
        let mut worker = Worker::new(0.0);
        worker.begin(0.0, 1, 4.0, 4.0, 0.0);
        let close = |a: Option<f64>, b: f64| assert!((a.unwrap() - b).abs() < 1e-9, "{a:?} {b}");
        close(worker.share(2.0), 2.0);
        // A clip takes one core at most; the film has the other.
        worker.begin(1.0, 2, 1.0, 1.0, 0.0);
        close(worker.share(2.0), 2.0);
        worker.advance(2.0);
        assert_eq!(worker.done().iter().map(|job| job.job).collect::<Vec<_>>(), [2]);
        close(worker.share(2.0), 2.5);
        // Three clips on two cores.
        let mut worker = Worker::new(0.0);
        (0..3).for_each(|job| worker.begin(0.0, job, 1.0, 1.0, 0.0));
        close(worker.share(2.0), 1.5);
        // What a job waits for besides.
        let mut worker = Worker::new(0.0);
        worker.begin(0.0, 1, 1.0, 1.0, 0.25);
        close(worker.share(2.0), 1.25);
    }

    #[test]
    fn leases_end_after_the_last_renewal() {
        let job = Running { job: 0, left: 1.0, most: 1.0, rate: 1.0, started: 5.0, spent: 0.0 };
        let lease = Duration::from_secs(30);
        assert!((job.lease_end(6.0, lease) - 35.0).abs() < 1e-9);
        assert!((job.lease_end(27.0, lease) - 55.0).abs() < 1e-9);
    }
}
