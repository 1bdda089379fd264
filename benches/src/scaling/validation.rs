//! The simulation beside the real thing, in small: the same jobs at the same times for two workers
//! of one thread, which are killed and replaced at the same times.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::time::{sleep, sleep_until};
use tonemill_job::message::{What, now_ms};
use tonemill_job::queue::Queue;
use tonemill_job::{JobId, JobMessage};
use tonemill_ledger::dispatcher::Window;

use super::simulation::arrivals::{Arrival, Work};
use super::simulation::outcome::Outcome;
use super::simulation::{Fleet, Pod, Settings, simulate};
use crate::error::{BenchError, file};
use crate::place::Place;
use crate::pool::servers::{Servers, log_of};
use crate::process::Process;
use crate::statistics::Spread;

/// Seconds of sound, and how many of four jobs have so many.
const LENGTHS: [(u32, u32); 2] = [(5, 3), (600, 1)];
/// Of each length, to learn what it takes.
const LONE: usize = 8;
/// The cores are busy for this share of the time.
const BUSY: f64 = 0.5;
const LEASE: Duration = Duration::from_secs(5);
/// Jobs of a worker at a time.
const SLOTS: usize = 4;
/// From a kill to the start of another.
const PAUSE: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_mins(30);
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

/// Both, so many times.
pub(super) async fn measure(place: &Place, jobs: usize, rounds: u64) -> Result<String, BenchError> {
    let servers = Servers::start().await?;
    let mut inputs = Vec::new();
    for (seconds, _) in LENGTHS {
        inputs.push(servers.upload(&place.video_bytes(seconds)?).await?);
    }
    let work = learn(&servers, place, &inputs).await?;
    let mut text = introduction(&work, jobs);
    for round in 1..=rounds {
        let plan = Plan::draw(&work, jobs, round);
        let course = really(&servers, place, &plan, &inputs).await?;
        let simulated: Vec<Outcome> =
            (0..SEEDS).map(|seed| plan.simulate(&work, course.starting, seed)).collect();
        text.push_str(&rows(round, &plan, &course, &simulated)?);
    }
    Ok(text)
}

/// What a job takes, by CPU time, when it is alone.
async fn learn(
    servers: &Servers,
    place: &Place,
    inputs: &[JobMessage],
) -> Result<Work, BenchError> {
    let worker = start(servers, place, "learn")?;
    let mut cpu = [0.0; 2];
    let mut latency = 0.0;
    run_one(servers, &inputs[0]).await?;
    for (kind, input) in inputs.iter().enumerate() {
        let (before, started) = (worker.cpu_time(), Instant::now());
        for _ in 0..LONE {
            run_one(servers, input).await?;
        }
        cpu[kind] = worker.cpu_time().saturating_sub(before).as_secs_f64() / LONE as f64;
        if kind == 0 {
            latency = (started.elapsed().as_secs_f64() / LONE as f64 - cpu[0]).max(0.0);
        }
    }
    let [short, long] = LENGTHS.map(|(seconds, _)| f64::from(seconds));
    let second = (cpu[1] - cpu[0]) / (long - short);
    Ok(Work { each: (cpu[0] - second * short).max(0.0), second, latency })
}

async fn run_one(servers: &Servers, input: &JobMessage) -> Result<(), BenchError> {
    let job = JobMessage::new(JobId::new(), input.input.clone());
    servers.queue.enqueue(&[job]).await?;
    servers.ends(1).await.map(drop)
}

fn start(servers: &Servers, place: &Place, name: &str) -> Result<Process, BenchError> {
    let (lease, slots) = (LEASE.as_secs().to_string(), SLOTS.to_string());
    let arguments = ["--threads", "1", "--jobs", &slots, "--lease", &lease];
    servers.worker(place, &arguments, &log_of(name))
}

/// Waits until a worker takes jobs, by its log.
async fn is_up(name: &str) -> Result<(), BenchError> {
    let (log, patience) = (log_of(name), Instant::now() + PATIENCE);
    while !std::fs::read_to_string(&log).map_err(file("read", &log))?.contains("worker started") {
        if Instant::now() > patience {
            return Err(BenchError::work("a worker does not start"));
        }
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

impl Plan {
    fn draw(work: &Work, jobs: usize, seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let mean = LENGTHS.map(|(seconds, of_four)| {
            work.job(0.0, 0, f64::from(seconds)).work * f64::from(of_four) / 4.0
        });
        let rate = BUSY * 2.0 / mean.iter().sum::<f64>();
        let mut at = 0.0;
        let mut arrival = |_| {
            at += -(1.0 - random.f64()).ln() / rate;
            (at, usize::from(random.u32(..4) >= LENGTHS[0].1))
        };
        let arrivals: Vec<_> = (0..jobs).map(&mut arrival).collect();
        let kills = [0.25, 0.5, 0.75].map(|share| at * share).to_vec();
        Self { arrivals, kills }
    }

    fn simulate(&self, work: &Work, starting: f64, seed: u64) -> Outcome {
        let unlimited = Window { least: u64::MAX, per_running: 1, most: u64::MAX };
        let settings = Settings {
            cores: 1.0,
            slots: SLOTS,
            lease: LEASE,
            window: unlimited,
            ..Settings::usual()
        };
        let mut pods = vec![Pod { up: 0.0, killed: None }; 2];
        for (number, kill) in self.kills.iter().enumerate() {
            pods[number].killed = Some(*kill);
            pods.push(Pod { up: kill + PAUSE.as_secs_f64() + starting, killed: None });
        }
        let arrivals =
            self.arrivals.iter().enumerate().map(|(user, (at, kind))| {
                work.job(*at, user as u32 + 1, f64::from(LENGTHS[*kind].0))
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
    for name in ["first", "second"] {
        let began = Instant::now();
        workers.push(start(servers, place, name)?);
        is_up(name).await?;
        course.starting = began.elapsed().as_secs_f64();
    }
    let (start_at, start_ms) = (tokio::time::Instant::now(), now_ms());
    let (queue, arrivals) = (servers.queue.clone(), plan.arrivals.clone());
    let inputs: Vec<_> = inputs.iter().map(|input| input.input.clone()).collect();
    let coming = tokio::spawn(async move {
        let mut came = Vec::new();
        for (at, kind) in arrivals {
            sleep_until(start_at + Duration::from_secs_f64(at)).await;
            let job = JobMessage::new(JobId::new(), inputs[kind].clone());
            came.push((job.job, (now_ms() - start_ms) as f64 / 1e3));
            queue.enqueue(&[job]).await?;
        }
        Ok::<_, BenchError>(came)
    });
    let killing = kill(servers, place, plan, workers, start_at);
    let hearing = hear(&*servers.queue, plan.arrivals.len(), start_ms, &mut course);
    let (workers, heard) = tokio::join!(killing, hearing);
    heard?;
    drop(workers?);
    for (job, at) in coming.await?? {
        let times = course.jobs.get_mut(&job);
        times.ok_or_else(|| BenchError::work(format!("nobody heard of {job}")))?[0] = at;
    }
    Ok(course)
}

/// Kills the oldest at each time, and starts another; those that are left.
async fn kill(
    servers: &Servers,
    place: &Place,
    plan: &Plan,
    mut workers: Vec<Process>,
    start_at: tokio::time::Instant,
) -> Result<Vec<Process>, BenchError> {
    for (number, at) in plan.kills.iter().enumerate() {
        sleep_until(start_at + Duration::from_secs_f64(*at)).await;
        // SIGKILL.
        drop(workers.remove(0));
        sleep(PAUSE).await;
        workers.push(start(servers, place, &format!("heir-{number}"))?);
    }
    Ok(workers)
}

/// Hears of jobs until all are finished.
async fn hear(
    queue: &dyn Queue,
    jobs: usize,
    start_ms: u64,
    course: &mut Course,
) -> Result<(), BenchError> {
    let (patience, mut finished) = (Instant::now() + PATIENCE, 0);
    while finished < jobs {
        if Instant::now() > patience {
            return Err(BenchError::work(format!("{finished} of {jobs} jobs ended")));
        }
        let events = queue.events(1000, Duration::from_millis(500)).await?;
        let (ids, events): (Vec<_>, Vec<_>) = events.into_iter().unzip();
        queue.confirm(&ids).await?;
        for event in events {
            let at = event.at_ms.saturating_sub(start_ms) as f64 / 1e3;
            let times = course.jobs.entry(event.job).or_insert([0.0, f64::MAX, 0.0]);
            match event.what {
                What::Started => {
                    course.attempts += 1;
                    times[1] = times[1].min(at);
                }
                What::Finished(_) => {
                    finished += 1;
                    times[2] = at;
                }
                other => return Err(BenchError::work(format!("{other:?}"))),
            }
        }
    }
    Ok(())
}

fn introduction(work: &Work, jobs: usize) -> String {
    format!(
        "{jobs} jobs that come by chance, three of four with 5 s of video, the others with ten\n\
         minutes, for two workers of one thread and {SLOTS} jobs, busy for {:.0} % of the time; a\n\
         lease of {} s. At a quarter, half and three quarters of it the oldest worker is killed,\n\
         and another starts {} s later. Measured of one worker before: {:.1} ms of CPU a job,\n\
         {:.2} ms more for a second of sound, {:.0} ms beside that. Redis, the store and measuring\n\
         share the cores with the workers, of which the simulation knows nothing. Of {SEEDS}\n\
         simulations, medians of these figures. In s.\n\n\
         | round | | attempts | wait: median | p90 | worst | whole: median | p90 | worst \
         | the last ended |\n|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|\n",
        BUSY * 100.0,
        LEASE.as_secs(),
        PAUSE.as_secs(),
        work.each * 1e3,
        work.second * 1e3,
        work.latency * 1e3,
    )
}

/// Both, and what the simulation says in shares of what was.
fn rows(
    round: u64,
    plan: &Plan,
    course: &Course,
    simulated: &[Outcome],
) -> Result<String, BenchError> {
    let times = course.jobs.values();
    let waits: Vec<f32> = times.clone().map(|[at, begun, _]| (begun - at) as f32).collect();
    let wholes: Vec<f32> = times.clone().map(|[at, _, end]| (end - at) as f32).collect();
    let last = times.map(|[.., end]| *end).fold(0.0, f64::max);
    let real = figures(course.attempts, &waits, &wholes, last);
    if simulated.iter().any(|run| run.finished != plan.arrivals.len()) {
        return Err(BenchError::work("the simulation lost a job"));
    }
    let runs: Vec<[f64; 8]> = simulated
        .iter()
        .map(|run| figures(run.attempts, &run.waits, &run.times, run.end))
        .collect();
    let median = |place: usize| {
        Spread::of(runs.iter().map(|run| run[place])).map_or(0.0, |spread| spread.median)
    };
    let model: Vec<f64> = (0..real.len()).map(median).collect();
    let mut text = String::new();
    for (name, figures) in [("real", &real[..]), ("simulated", &model)] {
        let _ = write!(text, "| {round} | {name} | {:.0} |", figures[0]);
        for figure in &figures[1..] {
            let _ = write!(text, " {figure:.2} |");
        }
        text.push('\n');
    }
    Ok(text)
}

fn figures(attempts: usize, waits: &[f32], wholes: &[f32], last: f64) -> [f64; 8] {
    let of = Outcome::percentile;
    [
        attempts as f64,
        of(waits, 50.0),
        of(waits, 90.0),
        of(waits, 100.0),
        of(wholes, 50.0),
        of(wholes, 90.0),
        of(wholes, 100.0),
        last,
    ]
}
