//! What a job costs each process and each server, and what everybody costs who waits.

mod meters;
mod report;
mod system;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tonemill_job::queue::Queue as _;
use tonemill_job::queue::redis::{RedisConfig, RedisQueue};
use tonemill_testbed::redis::RedisServer;

use self::meters::{Database, commands, redis};
use self::system::{Batch, Readings, Requests, System};
use super::Options;
use super::figures::Figures;
use super::follow::follow;
use crate::error::BenchError;
use crate::place::Place;
use crate::scaling::costs::{Costs, JobCosts, Work};

/// What is converted: a name, and its seconds.
const KINDS: [(&str, u32); 3] =
    [("clip of 1 s", 1), ("clip of 5 s", 5), ("video of 30 minutes", 1800)];
/// What is longer is a film: few of them are enough, but no fewer than a worker has at a time: what
/// a job costs Redis grows with the time that it lies there.
const FILM_SECONDS: u32 = 60;
const FILMS: u32 = 8;
/// Workers that wait for jobs at a time.
const WAITING: usize = 100;
/// Jobs one at a time, for what they take beside CPU time.
const ALONE: usize = 10;
/// Within this, uploads of finished jobs are removed, and who starts is done with it.
const SETTLING: Duration = Duration::from_secs(3);

/// All that was measured.
struct Found {
    costs: Costs,
    /// Jobs a second of each batch: the database, what was converted, how many.
    rates: Vec<(&'static str, &'static str, f64)>,
    /// What Redis was asked for one job, by kind.
    asked: Vec<String>,
    /// What the store was asked for one job, by kind.
    requests: Vec<String>,
}

/// Measures, and keeps what was measured where the options say.
pub(super) async fn measure(place: &Place, options: &Options) -> Result<String, BenchError> {
    let costs = Costs { header: place.header("Costs")?, ..Costs::default() };
    let mut found = Found { costs, rates: Vec::new(), asked: Vec::new(), requests: Vec::new() };
    for name in Database::NAMES {
        eprintln!("service: Costs over {name}");
        found.over(name, place, options).await?;
    }
    eprintln!("service: Costs at the store");
    found.at_the_store(place, options).await?;
    found.of_waiting_workers(options).await?;
    if let Some(path) = &options.costs {
        found.costs.write(path)?;
    }
    Ok(found.section(options))
}

/// How many jobs with a video of so many seconds.
fn jobs_of(seconds: u32, options: &Options) -> usize {
    let jobs = options.cost_jobs;
    (if seconds > FILM_SECONDS { (jobs / 50).max(FILMS) } else { jobs }) as usize
}

impl Found {
    /// Idle processes, then batches, over one database.
    async fn over(
        &mut self,
        name: &'static str,
        place: &Place,
        options: &Options,
    ) -> Result<(), BenchError> {
        let seconds = Duration::from_secs(options.idle_seconds);
        let mut system = System::start(place, name, false).await?;
        sleep(SETTLING).await;
        let before = commands(&system.redis);
        let api = idle(&system, seconds).await?;
        let of_api = scaled(&before, commands(&system.redis), 1.0 / seconds.as_secs_f64());
        // Of the first database, as what a job costs.
        if self.costs.api.sql.is_empty() {
            (self.costs.api.cpu_ms, self.costs.api.redis) = (api.api_ms, api.redis);
        }
        self.costs.api.sql.insert(name.to_owned(), api.sql);
        system.start_worker(place)?;
        // The first jobs wait for the worker, and for connections of everybody.
        system.batch(&place.video_bytes(1)?, 4).await?;
        sleep(SETTLING).await;
        self.costs.worker.cpu_ms = idle(&system, seconds).await?.worker_ms;
        for (kind, (what, seconds)) in KINDS.into_iter().enumerate() {
            let jobs = jobs_of(seconds, options);
            let video = place.video_bytes(seconds)?;
            let converted = place.convert(&place.video(seconds)?)?;
            let (asked, before) = (commands(&system.redis), system.read()?);
            let batch = system.batch(&video, jobs).await?;
            let used = system.read()?.minus(&before);
            used.check()?;
            let idle = of_api.iter().map(|(name, each)| (name.clone(), each * used.seconds));
            let asked = added(asked, idle);
            let asked = most(scaled(&asked, commands(&system.redis), 1.0 / jobs as f64));
            if Some(&*batch.audio_blake3) != converted["output"]["audio_blake3"].as_str() {
                return Err(BenchError::work("the service and convert made different audio"));
            }
            self.rates.push((name, what, jobs as f64 / batch.converting.as_secs_f64()));
            if self.costs.jobs.len() == kind {
                let mut job = shape(what, seconds, &video, &batch, jobs);
                charge(&mut job, &used, &api);
                job.latency_ms = latency_ms(&system, &video, &job).await?;
                self.costs.jobs.push(job);
                self.asked.push(asked);
            }
            let sql = (used.sql - api.sql.times(used.seconds)).times(1.0 / jobs as f64);
            self.costs.jobs[kind].sql.insert(name.to_owned(), sql.at_least_nothing());
        }
        Ok(())
    }

    /// Requests and bytes at the store, counted by a proxy before it.
    async fn at_the_store(&mut self, place: &Place, options: &Options) -> Result<(), BenchError> {
        let mut system = System::start(place, Database::NAMES[0], true).await?;
        system.start_worker(place)?;
        system.batch(&place.video_bytes(1)?, 4).await?;
        for (job, (_, seconds)) in self.costs.jobs.iter_mut().zip(KINDS) {
            let jobs = jobs_of(seconds, options).min(50);
            // What was to be removed of jobs before is gone then.
            sleep(SETTLING).await;
            let counted = system.count_requests();
            system.batch(&place.video_bytes(seconds)?, jobs).await?;
            sleep(SETTLING).await;
            let Requests { by_kind, bytes } = counted
                .lock()
                .map_or_else(|poisoned| poisoned.into_inner().clone(), |counted| counted.clone());
            let share = 1.0 / jobs as f64;
            job.s3.calls = by_kind.values().sum::<f64>() * share;
            [job.s3.in_bytes, job.s3.out_bytes] = bytes.map(|bytes| bytes as f64 * share);
            self.requests.push(most(scaled(&BTreeMap::new(), by_kind, share)));
        }
        Ok(())
    }

    /// What workers without jobs ask of Redis: many clients of it that wait for jobs.
    async fn of_waiting_workers(&mut self, options: &Options) -> Result<(), BenchError> {
        let server = RedisServer::start();
        let mut waiting = JoinSet::new();
        for _ in 0..WAITING {
            let queue = RedisQueue::new(RedisConfig::new(server.url()))
                .map_err(|error| BenchError::work(error.to_string()))?;
            // As long as a worker waits in one call.
            let second = Duration::from_secs(1);
            waiting.spawn(async move { while matches!(queue.receive(second).await, Ok(None)) {} });
        }
        sleep(SETTLING).await;
        let (before, start) = (redis(&server)?, Instant::now());
        sleep(Duration::from_secs(options.idle_seconds)).await;
        let used = (redis(&server)? - before).times(1.0 / start.elapsed().as_secs_f64());
        if waiting.try_join_next().is_some() {
            return Err(BenchError::work("somebody does not wait for jobs"));
        }
        self.costs.worker.redis = used.times(1.0 / WAITING as f64);
        Ok(())
    }
}

/// What a second without jobs costs.
async fn idle(system: &System, seconds: Duration) -> Result<Readings, BenchError> {
    let before = system.read()?;
    sleep(seconds).await;
    let used = system.read()?.minus(&before);
    Ok(used.times(1.0 / used.seconds))
}

fn shape(what: &str, seconds: u32, video: &Bytes, batch: &Batch, jobs: usize) -> JobCosts {
    JobCosts {
        name: what.to_owned(),
        audio_seconds: f64::from(seconds),
        input_bytes: video.len() as f64,
        output_bytes: batch.output_bytes as f64,
        jobs,
        ..JobCosts::default()
    }
}

/// A job's share of what was used, without what an idle API uses in that time.
fn charge(job: &mut JobCosts, used: &Readings, api_idle: &Readings) {
    let share = 1.0 / job.jobs as f64;
    let used = used.minus(&api_idle.times(used.seconds)).times(share);
    job.worker_cpu_ms = used.worker_ms;
    job.api_cpu_ms = used.api_ms.max(0.0);
    job.redis = used.redis.at_least_nothing();
    job.s3 = Work { cpu_ms: used.s3_ms.max(0.0), ..Work::default() };
}

/// What a job takes beside its worker's CPU time when it is alone, in ms: the median; 0 of a film,
/// which works on several cores.
async fn latency_ms(system: &System, video: &Bytes, job: &JobCosts) -> Result<f64, BenchError> {
    if job.audio_seconds > f64::from(FILM_SECONDS) {
        return Ok(0.0);
    }
    let (mut connection, mut figures) = (system.log_in().await?, Figures::default());
    for _ in 0..ALONE {
        let followed = follow(&mut connection, video).await?;
        figures.push(followed.whole.saturating_sub(followed.accepted).as_secs_f64() * 1e3);
    }
    Ok((figures.median() - job.worker_cpu_ms).max(0.0))
}

/// What was counted between two looks, by name, times this.
fn scaled(
    before: &BTreeMap<String, f64>,
    after: BTreeMap<String, f64>,
    factor: f64,
) -> BTreeMap<String, f64> {
    let since = |name: &str| before.get(name).copied().unwrap_or(0.0);
    let scale = |(name, count): (String, f64)| {
        let count = (count - since(&name)) * factor;
        (name, count)
    };
    after.into_iter().map(scale).collect()
}

/// Counts, and more of them.
fn added(
    mut counts: BTreeMap<String, f64>,
    more: impl Iterator<Item = (String, f64)>,
) -> BTreeMap<String, f64> {
    more.for_each(|(name, count)| *counts.entry(name).or_default() += count);
    counts
}

/// Most of what was asked for one job.
fn most(asked: BTreeMap<String, f64>) -> String {
    let mut asked: Vec<(String, f64)> = asked.into_iter().collect();
    asked.retain(|(_, count)| *count >= 0.1);
    asked.sort_by(|a, b| b.1.total_cmp(&a.1));
    let asked: Vec<String> =
        asked.into_iter().map(|(name, count)| format!("{count:.1} {name}")).collect();
    asked.join(", ")
}
