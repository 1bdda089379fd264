//! What it costs to be watched: clips of one second by a worker whose metrics are fetched and whose
//! traces are sent to a collector, and by one of which neither is.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::sleep;
use tonemill_testbed::collector::Collector;

use super::Options;
use super::servers::{Servers, log_of, same_length};
use crate::error::{BenchError, file};
use crate::place::Place;
use crate::process::{Process, cpu_time};
use crate::statistics::Spread;

/// How often metrics are fetched.
const SCRAPE: Duration = Duration::from_secs(5);
/// Spans of a job: attempt, fetch, decode, encode, store, settle.
const SPANS: usize = 6;
const PATIENCE: Duration = Duration::from_secs(30);

/// One run of a worker.
struct Run {
    jobs_per_second: f64,
    /// CPU time of the worker for a job.
    cpu_ms: f64,
    audio_blake3: String,
}

pub(super) async fn measure(place: &Place, options: &Options) -> Result<String, BenchError> {
    let clip = place.video_bytes(1)?;
    let jobs = options.clips;
    let mut text = format!(
        "## Telemetry\n\n{jobs} videos of one second ({} bytes), queued beforehand, by a worker that is\n\
         watched and by one that is not, in turn, each first in every other round. Watched: `--admin`,\n\
         metrics fetched every {} s, every job traced to a collector beside it ({SPANS} spans a job, of\n\
         which all arrived). Both logged warnings only. CPU is the kernel's count of the worker's time.\n\n\
         | round | jobs/s | watched | ratio | CPU ms a job | watched | ratio |\n\
         |--:|--:|--:|--:|--:|--:|--:|\n",
        clip.len(),
        SCRAPE.as_secs(),
    );
    let (mut rates, mut costs) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        let (plain, watched) = if round % 2 == 1 {
            let plain = run(place, &clip, jobs, false).await?;
            (plain, run(place, &clip, jobs, true).await?)
        } else {
            let watched = run(place, &clip, jobs, true).await?;
            (run(place, &clip, jobs, false).await?, watched)
        };
        if plain.audio_blake3 != watched.audio_blake3 {
            return Err(BenchError::work("outputs differ".to_owned()));
        }
        let rate = watched.jobs_per_second / plain.jobs_per_second;
        let cost = watched.cpu_ms / plain.cpu_ms;
        let _ = writeln!(
            text,
            "| {round} | {:.1} | {:.1} | {rate:.3} | {:.2} | {:.2} | {cost:.3} |",
            plain.jobs_per_second, watched.jobs_per_second, plain.cpu_ms, watched.cpu_ms,
        );
        rates.push(rate);
        costs.push(cost);
    }
    if let (Some(rate), Some(cost)) = (Spread::of(rates), Spread::of(costs)) {
        let _ = writeln!(
            text,
            "\nMedians: throughput watched **{:.3}** of that unwatched ({:.3}–{:.3}), CPU time **{:.3}** \
             ({:.3}–{:.3}).\n",
            rate.median, rate.low, rate.high, cost.median, cost.low, cost.high
        );
    }
    Ok(text)
}

async fn run(
    place: &Place,
    clip: &Bytes,
    jobs: usize,
    is_watched: bool,
) -> Result<Run, BenchError> {
    let (servers, collector) = (Servers::start().await?, Collector::start().await);
    let log = log_of("telemetry");
    let quiet = ["--log", "warn,tonemill_telemetry=info"];
    let arguments = ["--admin", "127.0.0.1:0", "--otlp-endpoint", &collector.endpoint];
    let arguments = if is_watched { &[&quiet[..], &arguments].concat()[..] } else { &quiet };
    let worker = servers.worker(place, arguments, &log)?;
    // One job, so that the worker and its connections are there.
    let first = servers.upload(clip).await?;
    servers.queue.enqueue(&[first]).await?;
    servers.ends(1).await?;
    let mut messages = Vec::new();
    for _ in 0..jobs {
        messages.push(servers.upload(clip).await?);
    }
    let port = if is_watched { Some(admin_port(&log)?) } else { None };
    let scraping = port.map(|port| tokio::spawn(scrape(port)));
    let (before, started) = (cpu_time(worker.pid()), Instant::now());
    servers.queue.enqueue(&messages).await?;
    let outputs = servers.ends(jobs).await?;
    let took = started.elapsed();
    let used = cpu_time(worker.pid()).saturating_sub(before);
    same_length(&outputs)?;
    if let Some(scraping) = scraping {
        scraping.abort();
        if !scraping.await.is_err_and(|error| error.is_cancelled()) {
            return Err(BenchError::work("the metrics cannot be fetched".to_owned()));
        }
        all_arrived(worker, &collector, (jobs + 1) * SPANS).await?;
    }
    Ok(Run {
        jobs_per_second: jobs as f64 / took.as_secs_f64(),
        cpu_ms: used.as_secs_f64() * 1e3 / jobs as f64,
        audio_blake3: outputs[0].audio_blake3.clone(),
    })
}

/// Ends the worker, and looks whether the collector has `due` spans then.
async fn all_arrived(worker: Process, collector: &Collector, due: usize) -> Result<(), BenchError> {
    let ended = tokio::task::spawn_blocking(move || worker.end()).await;
    ended.map_err(|error| BenchError::work(error.to_string()))??;
    let patience = Instant::now() + PATIENCE;
    while collector.count() < due && Instant::now() < patience {
        sleep(Duration::from_millis(10)).await;
    }
    match collector.count() {
        count if count == due => Ok(()),
        count => Err(BenchError::work(format!("{count} of {due} spans arrived"))),
    }
}

/// Where a worker's admin port is, by its log.
fn admin_port(log: &Path) -> Result<SocketAddr, BenchError> {
    let text = std::fs::read_to_string(log).map_err(file("read", log))?;
    tonemill_testbed::admin_port(&text)
        .ok_or_else(|| BenchError::work(format!("no admin port: {text}")))
}

/// Fetches metrics for as long as it is polled, or until there are none.
async fn scrape(address: SocketAddr) {
    let url = format!("http://{address}/metrics");
    while let Ok(page) = reqwest::get(&url).await {
        match page.text().await {
            Ok(page) if page.contains("tonemill_attempts_total") => sleep(SCRAPE).await,
            _ => return,
        }
    }
}
