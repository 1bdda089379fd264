//! How workers come, and how they go.

use super::{What, World};
use crate::scaling::simulation::scaler::{Backlog, SYNC};
use crate::scaling::simulation::worker::{State, Worker};

impl World {
    /// A pod is wanted; it does not take jobs yet.
    pub(super) fn add_worker(&mut self) -> usize {
        self.workers.push(Worker::new(self.now));
        self.alive += 1;
        self.workers.len() - 1
    }

    pub(super) fn up(&mut self, number: usize) {
        let now = self.now;
        // Before its connection is as old as a lease, it takes no lease for abandoned.
        let settled = self.settings.lease.as_secs_f64() + self.pause() * fastrand::f64();
        let worker = &mut self.workers[number];
        if worker.state != State::Starting {
            return;
        }
        (worker.state, worker.next_reclaim) = (State::Up, now + settled);
        if self.scaler.is_none() {
            // It was not there before.
            worker.made = now;
        }
        let kills = self.settings.kills;
        if kills.per_hour > 0.0 {
            let after = -(1.0 - fastrand::f64()).ln();
            // Of those that live at its beginning, this share does not see an hour's end.
            let rate = -(1.0 - kills.per_hour).ln();
            let at = now + after / rate * 3600.0;
            if kills.notice_seconds > 0.0 {
                self.at((at - kills.notice_seconds).max(now), What::Notice(number));
            }
            self.at(at, What::Kill(number));
        }
        self.receive(number);
    }

    /// Its machine is to go.
    pub(super) fn notice(&mut self, number: usize) {
        if self.workers[number].state != State::Gone {
            self.outcome.kills += 1;
            self.drain(number);
        }
    }

    /// SIGTERM.
    pub(super) fn drain(&mut self, number: usize) {
        let worker = &mut self.workers[number];
        match worker.state {
            State::Starting => self.gone(number),
            State::Up if worker.jobs.is_empty() => self.gone(number),
            State::Up => {
                worker.state = State::Draining;
                self.alive -= 1;
                let grace = self.settings.grace.as_secs_f64();
                self.at(self.now + grace, What::Release(number));
                self.replace();
            }
            State::Draining | State::Gone => {}
        }
    }

    /// The grace period is over: jobs go back, and no attempt is counted.
    pub(super) fn release(&mut self, number: usize) {
        if self.workers[number].state == State::Gone {
            return;
        }
        self.workers[number].advance(self.now);
        for stopped in std::mem::take(&mut self.workers[number].jobs) {
            self.waste(stopped.spent);
            self.jobs[stopped.job].deliveries -= 1;
            self.queue.released.push_back(stopped.job);
        }
        self.gone(number);
        self.hand_out();
    }

    /// SIGKILL, or the end of the machine.
    pub(super) fn kill(&mut self, number: usize) {
        if self.workers[number].state == State::Gone {
            return;
        }
        // Who was told is counted already.
        self.outcome.kills += usize::from(self.settings.kills.notice_seconds <= 0.0);
        self.workers[number].advance(self.now);
        for stopped in std::mem::take(&mut self.workers[number].jobs) {
            self.waste(stopped.spent);
            self.queue.abandoned += 1;
            let end = stopped.lease_end(self.now, self.settings.lease);
            self.at(end, What::Expire(stopped.job));
        }
        self.gone(number);
    }

    fn waste(&mut self, spent: f64) {
        self.running -= 1;
        self.outcome.busy_hours += spent / 3600.0;
        self.outcome.repeated_hours += spent / 3600.0;
    }

    pub(super) fn gone(&mut self, number: usize) {
        let worker = &mut self.workers[number];
        if matches!(worker.state, State::Starting | State::Up) {
            self.alive -= 1;
        }
        self.pay(number);
        self.workers[number].state = State::Gone;
        self.replace();
    }

    /// What a worker that is still there has cost until now.
    pub(super) fn pay(&mut self, number: usize) {
        let worker = &self.workers[number];
        if worker.state != State::Gone {
            let hours = (self.now - worker.made).max(0.0) / 3600.0;
            self.outcome.core_hours += hours * self.settings.cores;
        }
    }

    pub(super) fn scale(&mut self, is_poll: bool) {
        let backlog =
            Backlog { streams: self.queue.len() + self.running, unfinished: self.unfinished() };
        let Some(scaler) = &mut self.scaler else { return };
        let (wanted, what, after) = if is_poll {
            (scaler.poll(self.now, self.wanted, backlog), What::Poll, scaler.polling)
        } else {
            (scaler.decide(self.now, self.wanted, backlog), What::Decide, SYNC)
        };
        self.wanted = wanted;
        self.at(self.now + after, what);
        // The youngest go first.
        let mut youngest = self.workers.len();
        while self.alive > self.wanted && youngest > 0 {
            youngest -= 1;
            self.drain(youngest);
        }
        self.replace();
    }

    /// Pods for those that are missing.
    fn replace(&mut self) {
        while self.alive < self.wanted
            && let Some([soonest, latest]) = self.scaler.as_ref().map(|scaler| scaler.start)
        {
            let worker = self.add_worker();
            let takes = soonest + (latest - soonest) * fastrand::f64();
            self.at(self.now + takes, What::Up(worker));
        }
    }
}
