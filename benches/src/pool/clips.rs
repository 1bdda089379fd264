//! Short clips: jobs a second, the price of each, and how long one takes.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tonemill_job::message::Finished;

use super::Options;
use super::servers::{Servers, log_of, same_length};
use crate::error::BenchError;
use crate::place::Place;
use crate::process::cpu_time;
use crate::statistics::Spread;

fn ms(duration: Duration, jobs: usize) -> f64 {
    duration.as_secs_f64() * 1000.0 / jobs as f64
}

/// Seconds of CPU that the codec counted for these outputs.
fn codec_cpu(outputs: &[Finished]) -> Duration {
    let stages = ["decode", "convert", "encode", "write"];
    let seconds = outputs.iter().flat_map(|output| {
        stages.map(|stage| {
            output.report["timing"][format!("{stage}_cpu_seconds")].as_f64().unwrap_or(0.0)
        })
    });
    Duration::from_secs_f64(seconds.sum())
}

/// Jobs a second, and where the CPU time goes.
pub(super) async fn measure(place: &Place, options: &Options) -> Result<String, BenchError> {
    let clip = place.video_bytes(1)?;
    let jobs = options.clips;
    let mut text = format!(
        "## Clips\n\n{jobs} videos of one second ({} bytes), queued beforehand; one worker with its\n\
         defaults. CPU in ms a job: the codec's is its own count, the others' the kernel's.\n\n\
         | round | jobs/s | codec | rest of the worker | Redis | S3 server |\n|--:|--:|--:|--:|--:|--:|\n",
        clip.len()
    );
    let mut rates = Vec::new();
    for round in 1..=options.rounds {
        let servers = Servers::start().await?;
        let log = log_of("clips");
        let worker = servers.worker(place, &["--log", "warn"], &log)?;
        // One job, so that the worker and its connections are there.
        let first = servers.upload(&clip).await?;
        servers.queue.enqueue(&[first]).await?;
        servers.ends(1).await?;
        let mut messages = Vec::new();
        for _ in 0..jobs {
            messages.push(servers.upload(&clip).await?);
        }
        let pids = [worker.pid(), servers.redis.pid(), servers.s3.pid()];
        let before = pids.map(cpu_time);
        let started = Instant::now();
        servers.queue.enqueue(&messages).await?;
        let outputs = servers.ends(jobs).await?;
        let took = started.elapsed();
        let after = pids.map(cpu_time);
        let used: Vec<Duration> =
            after.iter().zip(before).map(|(a, b)| a.saturating_sub(b)).collect();
        same_length(&outputs)?;
        let codec = codec_cpu(&outputs);
        let rate = jobs as f64 / took.as_secs_f64();
        rates.push(rate);
        let _ = writeln!(
            text,
            "| {round} | {rate:.1} | {:.1} | {:.1} | {:.1} | {:.1} |",
            ms(codec, jobs),
            ms(used[0].saturating_sub(codec), jobs),
            ms(used[1], jobs),
            ms(used[2], jobs),
        );
    }
    if let Some(rate) = Spread::of(rates) {
        let _ = writeln!(
            text,
            "\nMedian: **{:.1} jobs/s** ({:.1}–{:.1}).\n",
            rate.median, rate.low, rate.high
        );
    }
    text.push_str(&alone_and_beside(place, &clip).await?);
    Ok(text)
}

/// What clips take that come one at a time.
async fn alone_and_beside(place: &Place, clip: &Bytes) -> Result<String, BenchError> {
    let mut text = String::from(
        "One clip at a time, from queueing to the event; medians of 100 in ms.\n\n\
         | beside | whole | of which the conversion, with its reads and writes |\n|---|--:|--:|\n",
    );
    let film = place.video_bytes(7200)?;
    for (name, other) in [("nothing", None), ("a film of two hours", Some(&film))] {
        let [whole, converting] = one_at_a_time(place, clip, other).await?;
        let _ = writeln!(text, "| {name} | {whole:.1} | {converting:.1} |");
    }
    text.push('\n');
    Ok(text)
}

/// What one clip takes when nothing else is to be done, or one `other` job: medians in ms.
async fn one_at_a_time(
    place: &Place,
    clip: &Bytes,
    other: Option<&Bytes>,
) -> Result<[f64; 2], BenchError> {
    let servers = Servers::start().await?;
    let _worker = servers.worker(place, &["--log", "warn"], &log_of("lone"))?;
    let (mut whole, mut converting) = (Vec::new(), Vec::new());
    // The first waits for the worker to start.
    for number in 0..=100 {
        if let (1, Some(other)) = (number, other) {
            let message = servers.upload(other).await?;
            servers.queue.enqueue(&[message]).await?;
        }
        let message = servers.upload(clip).await?;
        let started = Instant::now();
        servers.queue.enqueue(&[message]).await?;
        let outputs = servers.ends(1).await?;
        if outputs[0].duration_seconds > 60.0 {
            return Err(BenchError::work("the other job ended too early".to_owned()));
        }
        whole.push(started.elapsed().as_secs_f64() * 1e3);
        converting.push(outputs[0].report["timing"]["wall_seconds"].as_f64().unwrap_or(0.0) * 1e3);
    }
    Ok([whole, converting]
        .map(|times| Spread::of(times[1..].iter().copied()).map_or(0.0, |spread| spread.median)))
}
