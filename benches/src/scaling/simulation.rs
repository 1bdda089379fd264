//! A simulation of discrete events: jobs that arrive, workers that come, go and die, and what jobs
//! wait for. The same seed gives the same run, to the last digit.
//!
//! What decides in the real thing decides here: after failures [`tonemill_worker::failure::next`],
//! the dispatcher's [`Window`], the lengths of leases, pauses and grace are the programs' own
//! defaults. `worker` shares cores among jobs, `ledger` gives turns, `queue` is Redis, `scaler` is
//! KEDA with the autoscaler behind it, `arrivals` are the users; `world` has the events.

pub mod arrivals;
mod ledger;
pub mod outcome;
mod queue;
pub mod scaler;
mod worker;
mod world;

use std::time::Duration;

use tonemill_job::queue::redis::RedisConfig;
use tonemill_ledger::dispatcher::Window;
use tonemill_worker::WorkerConfig;

use self::arrivals::Arrival;
use self::outcome::Outcome;
use self::scaler::Scaler;
use self::world::World;

/// How pods end that nobody wanted to end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kills {
    /// Share of the pods that are killed in an hour.
    pub per_hour: f64,
    /// How long before they are told, in s; 0 is not at all.
    pub notice_seconds: f64,
}

/// A worker of a fleet that is given.
#[derive(Debug, Clone, Copy)]
pub struct Pod {
    /// When it begins to take jobs.
    pub up: f64,
    /// When it is killed.
    pub killed: Option<f64>,
}

/// Who provides workers.
#[derive(Debug, Clone)]
pub enum Fleet {
    /// The autoscaler.
    Scaled(Scaler),
    /// These.
    Given(Vec<Pod>),
}

/// What workers are, and what befalls them.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Cores of a worker.
    pub cores: f64,
    /// Jobs of a worker at a time.
    pub slots: usize,
    /// The lease.
    pub lease: Duration,
    /// How long a worker that is to end lets its jobs go on.
    pub grace: Duration,
    /// How long the first retry waits.
    pub retry_delay: Duration,
    /// Jobs that wait in Redis.
    pub window: Window,
    /// Who ends workers.
    pub kills: Kills,
    /// The share of attempts that fail for a passing reason, at their end.
    pub failing: f64,
}

impl Settings {
    /// Workers of two cores and eight jobs, as in the manifests; the rest are the programs'
    /// defaults. Nobody is killed, nothing fails.
    #[must_use]
    pub fn usual() -> Self {
        let worker = WorkerConfig::default();
        Self {
            cores: 2.0,
            slots: 8,
            lease: RedisConfig::new("").lease,
            grace: worker.grace,
            retry_delay: worker.retry_delay,
            window: Window::default(),
            kills: Kills { per_hour: 0.0, notice_seconds: 0.0 },
            failing: 0.0,
        }
    }
}

/// Runs until every job is over.
#[must_use]
pub fn simulate(
    settings: &Settings,
    fleet: Fleet,
    arrivals: impl Iterator<Item = Arrival>,
    seed: u64,
) -> Outcome {
    // What the programs leave to chance comes from the thread's generator.
    fastrand::seed(seed);
    World::new(settings.clone(), fleet).run(arrivals)
}

#[cfg(test)]
mod tests;
