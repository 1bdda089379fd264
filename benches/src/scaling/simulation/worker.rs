//! A worker: its jobs share its cores evenly, as far as each can use them.
//!
//! What is encoded stands in one line of segments, whosever they are. Films always have as many in
//! it as they may, which shares the cores evenly among them; a clip's only segment stands behind
//! them all.

use std::time::Duration;

use tonemill_worker::RENEWALS;

use super::arrivals::Arrival;

/// Segments of a job that are under way at most, beside one for each core: one more is queued, and
/// one is with whoever writes.
const MORE_UNDER_WAY: f64 = 2.0;

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
    /// What a segment takes of a core, in s, if it has always as many in the line as it may.
    segment: Option<f64>,
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

    /// Begins a job, or with `alone` one that is encoded in a process of its own.
    pub(super) fn begin(&mut self, now: f64, job: usize, what: &Arrival, alone: bool, cores: f64) {
        self.advance(now);
        let Arrival { work, segments, latency, .. } = *what;
        let is_film = segments > cores + MORE_UNDER_WAY;
        let line = if is_film || alone { 0.0 } else { self.line(cores) };
        let whole = work / segments.min(cores) + latency + line;
        self.jobs.push(Running {
            job,
            left: work,
            most: work / whole.max(f64::MIN_POSITIVE),
            rate: 0.0,
            segment: (is_film && !alone).then_some(work / segments),
            started: now,
            spent: 0.0,
        });
        self.updated = now;
    }

    /// How long whatever is encoded next stands behind the segments of films, in s.
    fn line(&self, cores: f64) -> f64 {
        let films = || self.jobs.iter().filter_map(|job| job.segment);
        let count = films().count() as f64;
        if count == 0.0 {
            return 0.0;
        }
        let mean = films().sum::<f64>() / count;
        // As many as there are cores are under way; the first of them ends after half of the time
        // from one end to the next.
        let ends = count * (cores + MORE_UNDER_WAY) - cores + 0.5;
        ends * mean / cores
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

    fn begin(worker: &mut Worker, now: f64, job: usize, work: f64, segments: f64, latency: f64) {
        let what = Arrival { at: now, user: 1, work, segments, latency };
        worker.begin(now, job, &what, false, 2.0);
    }

    fn close(a: Option<f64>, b: f64) {
        assert!((a.unwrap() - b).abs() < 1e-9, "{a:?} {b}");
    }

    #[test]
    fn cores_are_shared_evenly_among_those_who_can_use_them() {
        let mut worker = Worker::new(0.0);
        begin(&mut worker, 0.0, 1, 4.0, 4.0, 0.0);
        close(worker.share(2.0), 2.0);
        // A clip takes one core at most; the other job has the other.
        begin(&mut worker, 1.0, 2, 1.0, 1.0, 0.0);
        close(worker.share(2.0), 2.0);
        worker.advance(2.0);
        assert_eq!(worker.done().iter().map(|job| job.job).collect::<Vec<_>>(), [2]);
        close(worker.share(2.0), 2.5);
        // Three clips on two cores.
        let mut worker = Worker::new(0.0);
        (0..3).for_each(|job| begin(&mut worker, 0.0, job, 1.0, 1.0, 0.0));
        close(worker.share(2.0), 1.5);
        // What a job waits for besides.
        let mut worker = Worker::new(0.0);
        begin(&mut worker, 0.0, 1, 1.0, 1.0, 0.25);
        close(worker.share(2.0), 1.25);
    }

    /// Two films have four segments each under way, of which two are on the cores: half of the time
    /// between two ends, and six such times more, which are half a segment's each.
    #[test]
    fn a_clip_stands_behind_the_segments_of_films() {
        let mut worker = Worker::new(0.0);
        begin(&mut worker, 0.0, 1, 100.0, 100.0, 0.0);
        begin(&mut worker, 0.0, 2, 100.0, 100.0, 0.0);
        begin(&mut worker, 0.0, 3, 0.25, 1.0, 0.0);
        close(worker.share(2.0), 3.25 + 0.25);
        // Not one that is encoded in a process of its own, nor behind a film that is.
        let clip = Arrival { at: 0.0, user: 1, work: 0.25, segments: 1.0, latency: 0.0 };
        let film = Arrival { work: 100.0, segments: 100.0, ..clip };
        for is_alone in [[false, true], [true, false]] {
            let mut worker = Worker::new(0.0);
            worker.begin(0.0, 1, &film, is_alone[0], 2.0);
            worker.begin(0.0, 2, &clip, is_alone[1], 2.0);
            close(worker.share(2.0), 0.25);
        }
    }

    #[test]
    fn leases_end_after_the_last_renewal() {
        let mut worker = Worker::new(0.0);
        begin(&mut worker, 5.0, 0, 1.0, 1.0, 0.0);
        let lease = Duration::from_secs(30);
        assert!((worker.jobs[0].lease_end(6.0, lease) - 35.0).abs() < 1e-9);
        assert!((worker.jobs[0].lease_end(27.0, lease) - 55.0).abs() < 1e-9);
    }
}
