//! KEDA, and the autoscaler that it feeds: how many workers there are to be. What it asks for is in
//! the manifests; how it decides is in Kubernetes' and KEDA's documentation.

use std::collections::VecDeque;

/// What the manifests ask for.
#[derive(Debug, Clone)]
pub struct Scaler {
    /// Workers at most.
    pub most: usize,
    /// Jobs for each worker.
    pub jobs_each: usize,
    /// How often KEDA looks whether there is anything to do while there is no worker, in s.
    pub polling: f64,
    /// How long there must be nothing before the last worker goes, in s.
    pub cooldown: f64,
    /// How often the ledger's backlog is measured, in s.
    pub scrape: f64,
    /// From when a pod is wanted until its worker takes jobs, in s: between these.
    pub start: [f64; 2],
    /// When something was last there to do.
    active: f64,
    scraped: (f64, usize),
    /// What was asked for lately, and when.
    asked: VecDeque<(f64, usize)>,
    /// How many there were when the minute began in which some may go.
    shrinking: (f64, usize),
}

/// How often the autoscaler decides, in s.
pub(super) const SYNC: f64 = 15.0;
/// It does nothing for less than this.
const TOLERANCE: f64 = 0.1;
/// In one decision the fleet doubles at most, or grows by so many if that is more.
const GROWTH: usize = 4;
/// It shrinks to what was wanted at most within so long, in s, and in a minute to three quarters.
const SHRINK_WINDOW: f64 = 300.0;
const SHRINK_PERIOD: f64 = 60.0;
const SHRINK: f64 = 0.75;

/// What there is to do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backlog {
    /// Entries of the streams.
    pub(super) streams: usize,
    /// Jobs that are not over.
    pub(super) unfinished: usize,
}

impl Scaler {
    /// As in the manifests, for a fleet of at most so many: eight jobs for each worker, looks every
    /// ten seconds, the last worker goes after ten minutes; a pod takes 20 to 90 s to start, as it
    /// may need a new machine.
    #[must_use]
    pub fn usual(most: usize) -> Self {
        Self {
            most,
            jobs_each: 8,
            polling: 10.0,
            cooldown: 600.0,
            scrape: 30.0,
            start: [20.0, 90.0],
            active: f64::NEG_INFINITY,
            scraped: (f64::NEG_INFINITY, 0),
            asked: VecDeque::new(),
            shrinking: (f64::NEG_INFINITY, 0),
        }
    }

    fn look(&mut self, now: f64, backlog: Backlog) -> usize {
        if now >= self.scraped.0 + self.scrape {
            self.scraped = (now, backlog.unfinished);
        }
        let jobs = backlog.streams.max(self.scraped.1);
        if jobs > 0 {
            self.active = now;
        }
        jobs
    }

    /// KEDA's own part: from none to one, and from the last to none.
    pub(super) fn poll(&mut self, now: f64, workers: usize, backlog: Backlog) -> usize {
        let jobs = self.look(now, backlog);
        if workers == 0 {
            return usize::from(jobs > 0).min(self.most);
        }
        if jobs == 0 && now > self.active + self.cooldown { 0 } else { workers }
    }

    /// The autoscaler's decision.
    pub(super) fn decide(&mut self, now: f64, workers: usize, backlog: Backlog) -> usize {
        if workers == 0 {
            return 0;
        }
        let jobs = self.look(now, backlog) as f64;
        let target = (workers * self.jobs_each) as f64;
        let is_near = (jobs / target - 1.0).abs() <= TOLERANCE;
        let wanted = (jobs / self.jobs_each as f64).ceil() as usize;
        let wanted = if is_near { workers } else { wanted.clamp(1, self.most) };
        self.asked.push_back((now, wanted));
        while self.asked.front().is_some_and(|(at, _)| *at < now - SHRINK_WINDOW) {
            self.asked.pop_front();
        }
        if wanted >= workers {
            return wanted.min((workers * 2).max(workers + GROWTH)).min(self.most);
        }
        let lately = self.asked.iter().map(|(_, wanted)| *wanted).max().unwrap_or(wanted);
        if now >= self.shrinking.0 + SHRINK_PERIOD {
            self.shrinking = (now, workers);
        }
        let least = (self.shrinking.1 as f64 * SHRINK) as usize;
        lately.max(least).clamp(1, workers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backlog(jobs: usize) -> Backlog {
        Backlog { streams: jobs.min(100), unfinished: jobs }
    }

    #[test]
    fn it_starts_from_none_doubles_and_goes_back() {
        let mut scaler = Scaler::usual(20);
        assert_eq!(scaler.poll(0.0, 0, backlog(0)), 0);
        assert_eq!(scaler.poll(30.0, 0, backlog(1000)), 1);
        let mut workers = 1;
        let mut sizes = Vec::new();
        for sync in 3..7 {
            workers = scaler.decide(f64::from(sync) * SYNC, workers, backlog(1000));
            sizes.push(workers);
        }
        assert_eq!(sizes, [5, 10, 20, 20]);
        // Nothing to do, which is noticed within half a minute: for five minutes nobody goes, then a
        // quarter each minute.
        let mut at = 100.0;
        while workers == 20 {
            at += SYNC;
            workers = scaler.decide(at, workers, backlog(0));
        }
        assert!((405.0..=435.0).contains(&at), "{at}");
        assert_eq!(workers, 15);
        assert_eq!(scaler.poll(500.0, 1, backlog(0)), 1, "it cools down");
        assert_eq!(scaler.poll(800.0, 1, backlog(0)), 0);
    }

    #[test]
    fn what_is_nearly_enough_is_enough() {
        let mut scaler = Scaler::usual(100);
        assert_eq!(scaler.decide(0.0, 10, backlog(87)), 10);
        assert_eq!(scaler.decide(100.0, 10, backlog(97)), 13);
    }
}
