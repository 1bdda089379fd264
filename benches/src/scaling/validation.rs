//! The simulation beside the real thing, in small: the same jobs at the same times for two workers
//! of one core each, which are killed and replaced at the same times.

mod learning;
mod report;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::time::{sleep, sleep_until};
use tonemill_job::message::{What, now_ms};
use tonemill_job::{JobEvent, JobId, JobMessage};
use tonemill_ledger::dispatcher::Window;

use self::learning::Learned;
use super::simulation::arrivals::{Arrival, Work};
use super::simulation::outcome::Outcome;
use super::simulation::{Fleet, Pod, Settings, simulate};
use crate::error::{BenchError, file};
use crate::place::Place;
use crate::pool::servers::{Servers, log_of};
use crate::process::Process;

/// Seconds of sound, and how many of four jobs have so many.
const LENGTHS: [(u32, u32); 2] = [(5, 3), (600, 1)];
/// Workers, each on a core of its own: this is what a core means to the simulation.
const WORKERS: usize = 2;
/// The cores are busy for this share of the time.
const BUSY: f64 = 0.5;
const LEASE: Duration = Duration::from_secs(5);
/// Jobs of a worker at a time.
const SLOTS: usize = 4;
/// From a kill to the start of another.
const PAUSE: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_mins(1);
/// The simulation is run so often: what is left to chance differs.
const SEEDS: u64 = 25;

/// What happens, when, in s from the beginning.
struct Plan {
    /// Which length.
    arrivals: Vec<(f64, usize)>,
    /// Each is of the worker that has run longest.
    kills: Vec<f64>,
}

/// What came of it: attempts, and for each job when it came, began and ended, in s.
#[derive(Default)]
struct Course {
    attempts: usize,
    jobs: BTreeMap<JobId, [f64; 3]>,
    /// From the start of a worker to when it takes jobs, in s.
    starting: f64,
}

/// Both, so many times; and what is wrong if they differ by more than they may.
pub(super) async fn measure(
    place: &Place,
    jobs: usize,
    rounds: u64,
) -> Result<(String, Option<String>), BenchError> {
    let servers = Servers::start().await?;
    let mut inputs = Vec::new();
    for (seconds, _) in LENGTHS {
        inputs.push(servers.upload(&place.video_bytes(seconds)?).await?);
    }
    let learned = learning::learn(&servers, place, &inputs).await?;
    let mut text = report::introduction(&learned, jobs);
    let mut wrong = Vec::from_iter(report::is_disturbed(&learned));
    for round in 1..=rounds {
        let plan = Plan::draw(&learned.work, jobs, round);
        let course = really(&servers, place, &plan, &inputs).await?;
        let simulated: Vec<Outcome> =
            (0..SEEDS).map(|seed| plan.simulate(&learned, course.starting, seed)).collect();
        text.push_str(&report::rows(round, &plan, &course, &simulated, &mut wrong)?);
    }
    Ok((text, (!wrong.is_empty()).then(|| wrong.join("; "))))
}

/// A worker on this core, with so many jobs at a time, when it takes jobs.
async fn start(
    servers: &Servers,
    place: &Place,
    core: usize,
    slots: usize,
    name: &str,
) -> Result<Process, BenchError> {
    let (lease, slots) = (LEASE.as_secs().to_string(), slots.to_string());
    let arguments = ["--threads", "1", "--jobs", &slots, "--lease", &lease];
    let log = log_of(name);
    let mut worker = servers.worker_on(core, place, &arguments, &log)?;
    let patience = Instant::now() + PATIENCE;
    while !std::fs::read_to_string(&log).map_err(file("read", &log))?.contains("worker started") {
        worker.check()?;
        if Instant::now() > patience {
            return Err(BenchError::work("a worker does not start"));
        }
        sleep(Duration::from_millis(5)).await;
    }
    Ok(worker)
}

impl Plan {
    fn draw(work: &Work, jobs: usize, seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let mean = LENGTHS.map(|(seconds, of_four)| {
            work.job(0.0, 0, f64::from(seconds)).work * f64::from(of_four) / 4.0
        });
        let rate = BUSY * WORKERS as f64 / mean.iter().sum::<f64>();
        let mut at = 0.0;
        let mut arrival = |_| {
            at += -(1.0 - random.f64()).ln() / rate;
            (at, usize::from(random.u32(..4) >= LENGTHS[0].1))
        };
        let arrivals: Vec<_> = (0..jobs).map(&mut arrival).collect();
        let kills = [0.25, 0.5, 0.75].map(|share| at * share).to_vec();
        Self { arrivals, kills }
    }

    fn simulate(&self, learned: &Learned, starting: f64, seed: u64) -> Outcome {
        let unlimited = Window { least: u64::MAX, per_running: 1, most: u64::MAX };
        let settings = Settings {
            cores: learned.cores,
            slots: SLOTS,
            lease: LEASE,
            window: unlimited,
            ..Settings::usual()
        };
        let mut pods = vec![Pod { up: 0.0, killed: None }; WORKERS];
        for (number, kill) in self.kills.iter().enumerate() {
            pods[number].killed = Some(*kill);
            pods.push(Pod { up: kill + PAUSE.as_secs_f64() + starting, killed: None });
        }
        let arrivals = self.arrivals.iter().enumerate().map(|(user, (at, kind))| {
            learned.work.job(*at, user as u32 + 1, f64::from(LENGTHS[*kind].0))
        });
        let arrivals: Vec<Arrival> = arrivals.collect();
        simulate(&settings, Fleet::Given(pods), arrivals.into_iter(), seed)
    }
}

/// The plan, carried out.
async fn really(
    servers: &Servers,
    place: &Place,
    plan: &Plan,
    inputs: &[JobMessage],
) -> Result<Course, BenchError> {
    let mut course = Course::default();
    let mut workers = Vec::new();
    for core in 0..WORKERS {
        let began = Instant::now();
        let worker = start(servers, place, core, SLOTS, &format!("worker-{core}")).await?;
        workers.push((core, worker));
        course.starting = began.elapsed().as_secs_f64();
    }
    let begin = Begin { at: tokio::time::Instant::now(), ms: now_ms() };
    let coming = come(servers, plan, inputs, &begin);
    let killing = kill(servers, place, plan, workers, &begin);
    let hearing = hear(servers, plan.arrivals.len(), &begin, &mut course);
    // Those that are left work until all is heard.
    let (came, workers, ()) = tokio::try_join!(coming, killing, hearing)?;
    drop(workers);
    for (job, at) in came {
        let times = course.jobs.get_mut(&job);
        times.ok_or_else(|| BenchError::work(format!("nobody heard of {job}")))?[0] = at;
    }
    Ok(course)
}

/// When it began, by both clocks.
struct Begin {
    at: tokio::time::Instant,
    ms: u64,
}

impl Begin {
    async fn wait_until(&self, seconds: f64) {
        sleep_until(self.at + Duration::from_secs_f64(seconds)).await;
    }

    fn seconds(&self, at_ms: u64) -> f64 {
        at_ms.saturating_sub(self.ms) as f64 / 1e3
    }
}

/// Queues each job in time; when that was.
async fn come(
    servers: &Servers,
    plan: &Plan,
    inputs: &[JobMessage],
    begin: &Begin,
) -> Result<Vec<(JobId, f64)>, BenchError> {
    let mut came = Vec::new();
    for (at, kind) in &plan.arrivals {
        begin.wait_until(*at).await;
        let job = JobMessage::new(JobId::new(), inputs[*kind].input.clone());
        came.push((job.job, begin.seconds(now_ms())));
        servers.queue.enqueue(&[job]).await?;
    }
    Ok(came)
}

/// Kills the oldest at each time, and starts another on its core; those that are left.
async fn kill(
    servers: &Servers,
    place: &Place,
    plan: &Plan,
    mut workers: Vec<(usize, Process)>,
    begin: &Begin,
) -> Result<Vec<(usize, Process)>, BenchError> {
    for (number, at) in plan.kills.iter().enumerate() {
        begin.wait_until(*at).await;
        // SIGKILL.
        let (core, killed) = workers.remove(0);
        drop(killed);
        sleep(PAUSE).await;
        let heir = start(servers, place, core, SLOTS, &format!("heir-{number}")).await?;
        workers.push((core, heir));
    }
    Ok(workers)
}

/// Hears of jobs until all are finished.
async fn hear(
    servers: &Servers,
    jobs: usize,
    begin: &Begin,
    course: &mut Course,
) -> Result<(), BenchError> {
    let Course { attempts, jobs: times, .. } = course;
    let tell = |event: JobEvent| {
        let at = begin.seconds(event.at_ms);
        let times = times.entry(event.job).or_insert([0.0, f64::MAX, 0.0]);
        if let What::Finished(_) = event.what {
            times[2] = at;
        } else {
            *attempts += 1;
            times[1] = times[1].min(at);
        }
    };
    servers.events_until(jobs, tell).await
}
