//! The events, in the order of their times, and what each does.

mod fleet;
mod receiving;

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use tonemill_job::message::{FailureKind, History};
use tonemill_ledger::dispatcher::LOOK;
use tonemill_worker::failure::{Next, next};

use super::arrivals::Arrival;
use super::ledger::Ledger;
use super::outcome::Outcome;
use super::queue::Queue;
use super::scaler::{SYNC, Scaler};
use super::worker::{Running, State, Worker};
use super::{Fleet, Settings};

/// What is not over so long after the last arrival, in s, will never be.
const PATIENCE: f64 = 30.0 * 86_400.0;

/// A job as ledger and message have it.
#[derive(Debug)]
struct Job {
    arrival: Arrival,
    history: History,
    /// How often it was received since it was queued.
    deliveries: u32,
    is_begun: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum What {
    Arrive(Arrival),
    Dispatch,
    Up(usize),
    /// Of a worker's first job, if nothing changed meanwhile.
    Done(usize, u64),
    /// A job's lease ends, whose worker is dead.
    Expire(usize),
    /// Somebody who waits looks at the leases of others.
    Reclaim,
    /// A job is to be tried again.
    Due(usize),
    Notice(usize),
    Kill(usize),
    /// A worker that drains gives its jobs back.
    Release(usize),
    Poll,
    Decide,
}

#[derive(Debug, PartialEq)]
struct Event {
    at: f64,
    number: u64,
    what: What,
}

impl Eq for Event {}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives the greatest first.
        other.at.total_cmp(&self.at).then(other.number.cmp(&self.number))
    }
}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

pub(super) struct World {
    settings: Settings,
    scaler: Option<Scaler>,
    now: f64,
    events: BinaryHeap<Event>,
    numbers: u64,
    jobs: Vec<Job>,
    workers: Vec<Worker>,
    /// How many start, or take jobs.
    alive: usize,
    wanted: usize,
    /// Jobs under a lease of a living worker.
    running: usize,
    ledger: Ledger,
    queue: Queue,
    dispatches: bool,
    reclaims: bool,
    outcome: Outcome,
}

impl World {
    pub(super) fn new(settings: Settings, fleet: Fleet) -> Self {
        let mut world = Self {
            settings,
            scaler: None,
            now: 0.0,
            events: BinaryHeap::new(),
            numbers: 0,
            jobs: Vec::new(),
            workers: Vec::new(),
            alive: 0,
            wanted: 0,
            running: 0,
            ledger: Ledger::default(),
            queue: Queue::default(),
            dispatches: false,
            reclaims: false,
            outcome: Outcome::default(),
        };
        match fleet {
            Fleet::Scaled(scaler) => world.scaler = Some(scaler),
            Fleet::Given(pods) => {
                for pod in pods {
                    let worker = world.add_worker();
                    world.at(pod.up, What::Up(worker));
                    if let Some(killed) = pod.killed {
                        world.at(killed, What::Kill(worker));
                    }
                }
            }
        }
        world
    }

    /// Until nobody comes any more and nothing is left.
    pub(super) fn run(mut self, mut arrivals: impl Iterator<Item = Arrival>) -> Outcome {
        let first = arrivals.next();
        let start = first.map_or(0.0, |first| first.at);
        if let Some(first) = first {
            self.at(first.at, What::Arrive(first));
        }
        if self.scaler.is_some() {
            self.at(start, What::Poll);
            self.at(start + SYNC, What::Decide);
        }
        let (mut is_over, mut last) = (first.is_none(), start);
        while let Some(Event { at, what, .. }) = self.events.pop() {
            self.now = at;
            if let What::Arrive(arrival) = what {
                self.arrive(arrival);
                last = at;
                let next = arrivals.next();
                is_over = next.is_none();
                if let Some(next) = next {
                    self.at(next.at, What::Arrive(next));
                }
            } else {
                self.happen(what);
            }
            if is_over && (self.unfinished() == 0 || at > last + PATIENCE) {
                break;
            }
        }
        self.outcome.end = self.now;
        for worker in 0..self.workers.len() {
            self.pay(worker);
        }
        self.outcome
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Arrive(_) => {}
            What::Dispatch => {
                self.dispatches = false;
                self.dispatch();
            }
            What::Up(worker) => self.up(worker),
            What::Done(worker, version) => self.done(worker, version),
            What::Expire(job) => {
                self.queue.abandoned -= 1;
                self.queue.expired.push_back(job);
                self.plan_reclaim();
            }
            What::Reclaim => self.reclaim(),
            What::Due(job) => {
                self.queue.ready.push_back(job);
                self.hand_out();
            }
            What::Notice(worker) => self.notice(worker),
            What::Kill(worker) => self.kill(worker),
            What::Release(worker) => self.release(worker),
            What::Poll => self.scale(true),
            What::Decide => self.scale(false),
        }
    }

    fn at(&mut self, at: f64, what: What) {
        self.numbers += 1;
        self.events.push(Event { at, number: self.numbers, what });
    }

    fn unfinished(&self) -> usize {
        self.outcome.lost()
    }

    fn arrive(&mut self, arrival: Arrival) {
        let job = self.jobs.len();
        self.outcome.jobs += 1;
        self.ledger.accept(job, arrival.user);
        let history = History::default();
        self.jobs.push(Job { arrival, history, deliveries: 0, is_begun: false });
        self.dispatch();
    }

    /// Queues what there is room for; what is left is looked at again.
    fn dispatch(&mut self) {
        let held = self.running + self.queue.held();
        let room = self.settings.window.jobs(held as u64) as usize;
        while self.queue.ready.len() < room
            && let Some(job) = self.ledger.take()
        {
            self.queue.ready.push_back(job);
            self.hand_out();
        }
        if self.ledger.len() > 0 && !self.dispatches {
            self.dispatches = true;
            self.at(self.now + LOOK.as_secs_f64(), What::Dispatch);
        }
    }

    fn share(&mut self, worker: usize) {
        self.workers[worker].advance(self.now);
        if let Some(first) = self.workers[worker].share(self.settings.cores) {
            let version = self.workers[worker].version;
            self.at(first.max(self.now), What::Done(worker, version));
        }
    }

    fn done(&mut self, worker: usize, version: u64) {
        if self.workers[worker].version != version || self.workers[worker].state == State::Gone {
            return;
        }
        self.workers[worker].advance(self.now);
        for ended in self.workers[worker].done() {
            self.settle(ended);
        }
        self.share(worker);
        match self.workers[worker].state {
            State::Draining if self.workers[worker].jobs.is_empty() => self.gone(worker),
            _ => self.receive(worker),
        }
    }

    /// The end of an attempt that nobody disturbed.
    fn settle(&mut self, ended: Running) {
        self.running -= 1;
        self.outcome.busy_hours += ended.spent / 3600.0;
        let job = &mut self.jobs[ended.job];
        if self.settings.failing == 0.0 || fastrand::f64() >= self.settings.failing {
            self.outcome.finished += 1;
            self.outcome.times.push((self.now - job.arrival.at) as f32);
            return;
        }
        self.outcome.repeated_hours += ended.spent / 3600.0;
        let attempt = job.history.attempts + job.deliveries;
        let alone = job.history.suspect || job.deliveries > 1;
        let kind = FailureKind::Transient;
        match next(kind, job.history, attempt, alone, self.settings.retry_delay) {
            Next::GiveUp => self.outcome.given_up += 1,
            Next::TryAgain { history, delay } => {
                (job.history, job.deliveries) = (history, 0);
                self.at(self.now + delay.as_secs_f64(), What::Due(ended.job));
            }
        }
    }
}
