//! What it costs to be watched: clips of one second by a worker whose metrics are fetched and whose
//! traces are sent to a collector, and by one of which neither is.
//!
//! Both run throughout, each on servers of its own, and batches go to one and the other in turn:
//! what the machine does besides changes within seconds, and the two batches of a round are that
//! close.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tonemill_testbed::collector::Collector;

use super::Options;
use super::servers::{Servers, log_of, same_length};
use crate::error::{BenchError, file};
use crate::place::Place;
use crate::process::Process;
use crate::statistics::{Spread, interval_of_median};

/// How often metrics are fetched.
const SCRAPE: Duration = Duration::from_secs(5);
/// Spans of a job: attempt, fetch, decode, encode, store, settle.
const SPANS: usize = 6;
const PATIENCE: Duration = Duration::from_secs(30);

/// A worker, watched or not, and its servers.
struct Side {
    servers: Servers,
    worker: Process,
    watching: Option<Watching>,
    jobs: usize,
}

/// Who watches a worker.
struct Watching {
    collector: Collector,
    scraping: JoinHandle<()>,
}

/// Some jobs that were done.
struct Batch {
    jobs_per_second: f64,
    /// CPU time of the worker for a job.
    cpu_ms: f64,
    audio_blake3: String,
}

pub(super) async fn measure(place: &Place, options: &Options) -> Result<String, BenchError> {
    let clip = place.video_bytes(1)?;
    let mut plain = Side::start(place, false).await?;
    let mut watched = Side::start(place, true).await?;
    // The first jobs find connections, threads and memory that the next ones need not make.
    plain.batch(&clip, options.clips).await?;
    watched.batch(&clip, options.clips).await?;
    let (mut rates, mut costs) = (Vec::new(), Vec::new());
    for round in 0..options.rounds {
        let (without, with) = if round % 2 == 0 {
            let without = plain.batch(&clip, options.clips).await?;
            (without, watched.batch(&clip, options.clips).await?)
        } else {
            let with = watched.batch(&clip, options.clips).await?;
            (plain.batch(&clip, options.clips).await?, with)
        };
        if without.audio_blake3 != with.audio_blake3 {
            return Err(BenchError::work("outputs differ".to_owned()));
        }
        rates.push((without.jobs_per_second, with.jobs_per_second));
        costs.push((without.cpu_ms, with.cpu_ms));
    }
    plain.end().await?;
    watched.end().await?;
    let (clips, rounds) = (options.clips, options.rounds);
    Ok(format!(
        "## Telemetry\n\n{rounds} rounds of {clips} videos of one second ({} bytes) for each of two workers,\n\
         in turn, each first in every other round. One is watched: metrics fetched every {} s, every job\n\
         traced to a collector beside it ({SPANS} spans a job, of which all arrived). Both keep metrics and\n\
         log warnings only. CPU is the kernel's count of the worker's time. The interval has the median of\n\
         ratios in it with a probability of 95 %.\n\n\
         | | not watched, median | watched, median | ratio in a round, median | interval | from | to |\n\
         |---|--:|--:|--:|--:|--:|--:|\n{}{}",
        clip.len(),
        SCRAPE.as_secs(),
        row("jobs/s", &rates)?,
        row("CPU ms a job", &costs)?,
    ))
}

/// What came of all rounds: without and with being watched.
fn row(what: &str, rounds: &[(f64, f64)]) -> Result<String, BenchError> {
    let few = || BenchError::work("six rounds at least".to_owned());
    let ratios: Vec<f64> = rounds.iter().map(|(without, with)| with / without).collect();
    let without = Spread::of(rounds.iter().map(|round| round.0)).ok_or_else(few)?;
    let with = Spread::of(rounds.iter().map(|round| round.1)).ok_or_else(few)?;
    let ratio = Spread::of(ratios.iter().copied()).ok_or_else(few)?;
    let (low, high) = interval_of_median(ratios).ok_or_else(few)?;
    Ok(format!(
        "| {what} | {:.2} | {:.2} | **{:.4}** | {low:.4}–{high:.4} | {:.3} | {:.3} |\n",
        without.median, with.median, ratio.median, ratio.low, ratio.high
    ))
}

impl Side {
    async fn start(place: &Place, is_watched: bool) -> Result<Self, BenchError> {
        let (servers, collector) = (Servers::start().await?, Collector::start().await);
        let log = log_of(if is_watched { "watched" } else { "unwatched" });
        let quiet = ["--log", "warn,tonemill_telemetry=info"];
        let arguments = ["--admin", "127.0.0.1:0", "--otlp-endpoint", &collector.endpoint];
        let arguments = if is_watched { &[&quiet[..], &arguments].concat()[..] } else { &quiet };
        let worker = servers.worker(place, arguments, &log)?;
        let mut watching = None;
        if is_watched {
            let scraping = tokio::spawn(scrape(admin_port(&log).await?));
            watching = Some(Watching { collector, scraping });
        }
        Ok(Self { servers, worker, watching, jobs: 0 })
    }

    async fn batch(&mut self, clip: &Bytes, jobs: usize) -> Result<Batch, BenchError> {
        let mut messages = Vec::new();
        for _ in 0..jobs {
            messages.push(self.servers.upload(clip).await?);
        }
        let (before, started) = (self.worker.cpu_time(), Instant::now());
        self.servers.queue.enqueue(&messages).await?;
        let outputs = self.servers.ends(jobs).await?;
        let took = started.elapsed();
        let used = self.worker.cpu_time().saturating_sub(before);
        same_length(&outputs)?;
        self.jobs += jobs;
        self.servers.empty().await?;
        Ok(Batch {
            jobs_per_second: jobs as f64 / took.as_secs_f64(),
            cpu_ms: used.as_secs_f64() * 1e3 / jobs as f64,
            audio_blake3: outputs[0].audio_blake3.clone(),
        })
    }

    /// Ends the worker, and looks whether all that it was to tell has been told.
    async fn end(self) -> Result<(), BenchError> {
        let Some(Watching { collector, scraping }) = self.watching else { return Ok(()) };
        scraping.abort();
        if !scraping.await.is_err_and(|error| error.is_cancelled()) {
            return Err(BenchError::work("the metrics cannot be fetched".to_owned()));
        }
        all_arrived(self.worker, &collector, self.jobs * SPANS).await
    }
}

/// Ends the worker, and looks whether the collector has `due` spans then.
async fn all_arrived(worker: Process, collector: &Collector, due: usize) -> Result<(), BenchError> {
    let ended = tokio::task::spawn_blocking(move || worker.end()).await;
    ended.map_err(|error| BenchError::work(error.to_string()))??;
    let patience = Instant::now() + PATIENCE;
    while collector.count() < due && Instant::now() < patience {
        sleep(Duration::from_millis(100)).await;
    }
    match collector.count() {
        count if count == due => Ok(()),
        count => Err(BenchError::work(format!("{count} of {due} spans arrived"))),
    }
}

/// Where a worker's admin port is, by its log.
async fn admin_port(log: &Path) -> Result<SocketAddr, BenchError> {
    let patience = Instant::now() + PATIENCE;
    loop {
        let text = std::fs::read_to_string(log).map_err(file("read", log))?;
        if let Some(address) = tonemill_testbed::admin_port(&text) {
            return Ok(address);
        }
        if Instant::now() > patience {
            return Err(BenchError::work(format!("no admin port: {text}")));
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// Fetches metrics for as long as it is polled, or until there are none.
async fn scrape(address: SocketAddr) {
    let (client, url) = (reqwest::Client::new(), format!("http://{address}/metrics"));
    while let Ok(page) = client.get(&url).send().await {
        match page.text().await {
            Ok(page) if page.contains("tonemill_attempts_total") => sleep(SCRAPE).await,
            _ => return,
        }
    }
}
