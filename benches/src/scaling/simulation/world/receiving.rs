//! How workers receive jobs: what waits in Redis, and what others have left there.

use tonemill_job::queue::redis::reclaim_pause;
use tonemill_worker::failure::MAX_ATTEMPTS;

use super::{What, World};
use crate::scaling::simulation::worker::State;

impl World {
    /// Workers that wait get what there is.
    pub(super) fn hand_out(&mut self) {
        while self.queue.ready.len() + self.queue.released.len() > 0
            && let Some(worker) = self.queue.next_waiting()
        {
            self.workers[worker].waits = false;
            self.receive(worker);
        }
    }

    /// A worker with room takes one job after the other, or waits.
    pub(super) fn receive(&mut self, worker: usize) {
        let mut is_changed = false;
        while self.workers[worker].state == State::Up
            && self.workers[worker].jobs.len() < self.settings.slots
            && !self.workers[worker].waits
        {
            let reclaims = self.now >= self.workers[worker].next_reclaim;
            if reclaims {
                self.workers[worker].next_reclaim = self.now + self.pause();
            }
            let Some(job) = self.queue.take(reclaims) else {
                self.workers[worker].waits = true;
                self.queue.waiting.push(worker);
                self.plan_reclaim();
                break;
            };
            is_changed |= self.begin(worker, job);
        }
        if is_changed {
            self.share(worker);
        }
    }

    pub(super) fn pause(&self) -> f64 {
        reclaim_pause(self.settings.lease).as_secs_f64()
    }

    /// Begins an attempt, unless there were too many.
    fn begin(&mut self, worker: usize, number: usize) -> bool {
        let job = &mut self.jobs[number];
        job.deliveries += 1;
        let attempt = job.history.attempts + job.deliveries;
        if attempt.saturating_sub(job.history.forgiven) > MAX_ATTEMPTS {
            self.outcome.given_up += 1;
            return false;
        }
        if !job.is_begun {
            job.is_begun = true;
            self.outcome.begin(job.arrival.at, self.now, job.arrival.user);
        }
        self.outcome.attempts += 1;
        self.running += 1;
        // Whoever had it before died with it: it runs in a process of its own.
        let alone = job.history.suspect || job.deliveries > 1;
        self.workers[worker].begin(self.now, number, &job.arrival, alone, self.settings.cores);
        true
    }

    /// Looks at leases when the first of those who wait does; who is busy does so when it is not.
    pub(super) fn plan_reclaim(&mut self) {
        if self.reclaims || self.queue.expired.is_empty() {
            return;
        }
        let mut first: Option<f64> = None;
        for place in 0..self.queue.waiting.len() {
            let worker = self.queue.waiting[place];
            if self.workers[worker].state != State::Up {
                continue;
            }
            // Who waits has looked now and then; when it last did does not matter.
            if self.workers[worker].next_reclaim < self.now {
                self.workers[worker].next_reclaim = self.now + self.pause() * fastrand::f64();
            }
            let at = self.workers[worker].next_reclaim;
            first = Some(first.map_or(at, |first| first.min(at)));
        }
        if let Some(first) = first {
            self.reclaims = true;
            self.at(first, What::Reclaim);
        }
    }

    pub(super) fn reclaim(&mut self) {
        self.reclaims = false;
        let (workers, now) = (&self.workers, self.now);
        let is_due = |worker: &usize| {
            workers[*worker].state == State::Up && workers[*worker].next_reclaim <= now
        };
        if let Some(place) = self.queue.waiting.iter().position(is_due) {
            let worker = self.queue.waiting.swap_remove(place);
            self.workers[worker].waits = false;
            self.receive(worker);
        }
        self.plan_reclaim();
    }
}
