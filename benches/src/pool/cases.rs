//! The measurements, each giving a section of the report.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tonemill_job::message::Finished;
use tonemill_job::queue::{Hold, Settlement};
use tonemill_job::{JobId, JobMessage, ObjectKey};
use tonemill_testbed::redis::RedisServer;

use super::Options;
use super::place::{Place, PoolError, Servers, queue};
use super::process::{cpu_time, resident_bytes};
use crate::peers::statistics::Spread;

fn read(path: &Path) -> Result<Bytes, PoolError> {
    std::fs::read(path).map(Bytes::from).map_err(|error| PoolError::file("read", path, error))
}

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

fn same_length(outputs: &[Finished]) -> Result<f64, PoolError> {
    let first = outputs.first().map_or(0.0, |output| output.duration_seconds);
    let same = outputs.iter().all(|output| {
        (output.duration_seconds - first).abs() < 1e-9
            && output.audio_blake3 == outputs[0].audio_blake3
    });
    if same { Ok(first) } else { Err(PoolError::Work("outputs differ".to_owned())) }
}

/// Jobs a second, and where the CPU time goes.
pub(super) async fn clips(place: &Place, options: &Options) -> Result<String, PoolError> {
    let clip = read(&place.video("clip-1s.mp4", 1, &[])?)?;
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
        let log = place_log("clips");
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
        let before = pids.map(|pid| cpu_time(pid).unwrap_or_default());
        let started = Instant::now();
        servers.queue.enqueue(&messages).await?;
        let outputs = servers.ends(jobs).await?;
        let took = started.elapsed();
        let after = pids.map(|pid| cpu_time(pid).unwrap_or_default());
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
    Ok(text)
}

fn place_log(case: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("tonemill-pool-{case}-{}.log", std::process::id()))
}

/// A long video by a worker and by `tonemill convert`, in turns.
pub(super) async fn long(place: &Place, options: &Options) -> Result<String, PoolError> {
    let path = place.video("long-30min.mp4", 1800, &[])?;
    let video = read(&path)?;
    let servers = Servers::start().await?;
    let log = place_log("long");
    let _worker = servers.worker(place, &["--log", "warn"], &log)?;
    let warm = servers.upload(&read(&place.video("clip-1s.mp4", 1, &[])?)?).await?;
    servers.queue.enqueue(&[warm]).await?;
    servers.ends(1).await?;
    let mut text = format!(
        "## Long files\n\nThirty minutes ({} MiB, MP4 with its index at the end), in turns by a worker\n\
         (from queueing to the event) and by `tonemill convert` from and to the disk; equal audio.\n\n\
         | round | worker s | convert s | throughput of convert |\n|--:|--:|--:|--:|\n",
        video.len() >> 20
    );
    let mut shares = Vec::new();
    for round in 1..=options.rounds {
        // Who begins changes from round to round.
        let (worker, convert) = if round % 2 == 0 {
            let convert = by_convert(place, &path)?;
            (by_worker(&servers, &video).await?, convert)
        } else {
            (by_worker(&servers, &video).await?, by_convert(place, &path)?)
        };
        if worker.audio != convert.audio {
            return Err(PoolError::Work("worker and convert made different audio".to_owned()));
        }
        let share = convert.seconds / worker.seconds;
        shares.push(share);
        let (worker, convert) = (worker.seconds, convert.seconds);
        let _ = writeln!(text, "| {round} | {worker:.2} | {convert:.2} | {:.1} % |", share * 100.0);
    }
    if let Some(share) = Spread::of(shares) {
        let _ = writeln!(
            text,
            "\nMedian: **{:.1} %** ({:.1}–{:.1}).\n",
            share.median * 100.0,
            share.low * 100.0,
            share.high * 100.0
        );
    }
    Ok(text)
}

/// One conversion of the long video.
struct Conversion {
    seconds: f64,
    /// Hash of its audio.
    audio: String,
}

async fn by_worker(servers: &Servers, video: &Bytes) -> Result<Conversion, PoolError> {
    let message = servers.upload(video).await?;
    let started = Instant::now();
    servers.queue.enqueue(&[message]).await?;
    let outputs = servers.ends(1).await?;
    let seconds = started.elapsed().as_secs_f64();
    servers.empty().await?;
    Ok(Conversion { seconds, audio: outputs[0].audio_blake3.clone() })
}

fn by_convert(place: &Place, path: &Path) -> Result<Conversion, PoolError> {
    let output = std::env::temp_dir().join(format!("tonemill-pool-{}.mp3", std::process::id()));
    let mut command = place.program();
    command.arg("convert").arg(path).arg("-o").arg(&output).args(["--json", "--force"]);
    let started = Instant::now();
    let done = command.stderr(Stdio::null()).output();
    let seconds = started.elapsed().as_secs_f64();
    let _ = std::fs::remove_file(output);
    let done = done.map_err(|error| PoolError::file("run", path, error))?;
    let report: serde_json::Value =
        serde_json::from_slice(&done.stdout).map_err(|error| PoolError::Work(error.to_string()))?;
    let audio = report["output"]["audio_blake3"].as_str().unwrap_or_default().to_owned();
    Ok(Conversion { seconds, audio })
}

/// Queueing, receiving and settling while many wait.
pub(super) async fn waiting(options: &Options) -> Result<String, PoolError> {
    let redis = RedisServer::start();
    let queue = queue(&redis)?;
    let mut text = String::from(
        "## A full queue\n\nOne client, one call at a time; medians of 2,000 in µs. Memory is that of\n\
         Redis (`used_memory`) beyond the empty server's, by the number of jobs that wait.\n\n\
         | waiting | enqueue | receive | settle | Redis bytes a job |\n|--:|--:|--:|--:|--:|\n",
    );
    let empty = redis.used_memory();
    for waiting in [100, options.waiting] {
        let have = queue.depth().await?.lanes[1].waiting as usize;
        let mut missing = waiting.saturating_sub(have);
        while missing > 0 {
            let batch: Vec<JobMessage> = (0..missing.min(1000)).map(|_| message()).collect();
            queue.enqueue(&batch).await?;
            missing -= batch.len();
        }
        let memory = redis.used_memory().saturating_sub(empty) / waiting as u64;
        let mut times = [const { Vec::new() }; 3];
        for _ in 0..2000 {
            let job = [message()];
            let at = Instant::now();
            queue.enqueue(&job).await?;
            times[0].push(at.elapsed());
            let at = Instant::now();
            let delivery = queue.receive(Duration::ZERO).await?;
            times[1].push(at.elapsed());
            let delivery = delivery.ok_or_else(|| PoolError::Work("no job".to_owned()))?;
            let event = tonemill_job::JobEvent {
                v: 1,
                job: delivery.message.job,
                attempt: 1,
                worker: queue.worker().to_owned(),
                at_ms: 0,
                traceparent: None,
                what: tonemill_job::message::What::Cancelled,
            };
            let end = Settlement::End { event, reply: delivery.message.reply.clone() };
            let at = Instant::now();
            if queue.settle(&delivery.lease, &end).await? != Hold::Held {
                return Err(PoolError::Work("a lease was lost".to_owned()));
            }
            times[2].push(at.elapsed());
        }
        let medians = times.map(|times| {
            Spread::of(times.iter().map(Duration::as_secs_f64)).map_or(0.0, |s| s.median * 1e6)
        });
        let _ = writeln!(
            text,
            "| {waiting} | {:.0} | {:.0} | {:.0} | {memory} |",
            medians[0], medians[1], medians[2]
        );
    }
    text.push('\n');
    Ok(text)
}

fn message() -> JobMessage {
    let job = JobId::new();
    JobMessage::new(job, ObjectKey::upload(job))
}

/// Memory of a worker with long jobs, and after many short ones.
pub(super) async fn memory(place: &Place, options: &Options) -> Result<String, PoolError> {
    let mut text = String::from("## Memory\n\n| worker | resident MiB |\n|---|--:|\n");
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    {
        let video = read(&place.video("video-2h.mp4", 7200, &[])?)?;
        let servers = Servers::start().await?;
        let worker =
            servers.worker(place, &["--log", "warn", "--jobs", "8"], &place_log("long"))?;
        let mut messages = Vec::new();
        for _ in 0..8 {
            messages.push(servers.upload(&video).await?);
        }
        servers.queue.enqueue(&messages).await?;
        let outputs = servers.ends(8).await?;
        same_length(&outputs)?;
        let (_, peak) = resident_bytes(worker.pid()).unwrap_or_default();
        let size = video.len() >> 20;
        let _ = writeln!(
            text,
            "| 8 jobs at once, each two hours of video ({size} MiB): peak | {:.0} |",
            mib(peak)
        );
    }
    let clip = read(&place.video("clip-1s.mp4", 1, &[])?)?;
    let servers = Servers::start().await?;
    let worker = servers.worker(place, &["--log", "warn"], &place_log("short"))?;
    let mut done = 0;
    for until in [options.clips, options.clips * 5, options.clips * 10] {
        while done < until {
            let mut messages = Vec::new();
            for _ in 0..100.min(until - done) {
                messages.push(servers.upload(&clip).await?);
            }
            done += messages.len();
            servers.queue.enqueue(&messages).await?;
            servers.ends(messages.len()).await?;
        }
        servers.empty().await?;
        let (now, peak) = resident_bytes(worker.pid()).unwrap_or_default();
        let _ = writeln!(
            text,
            "| after {done} clips: now / peak | {:.0} / {:.0} |",
            mib(now),
            mib(peak)
        );
    }
    text.push('\n');
    Ok(text)
}

/// What one job reads of its object.
pub(super) async fn reads(place: &Place) -> Result<String, PoolError> {
    let mut text = String::from(
        "## Reads\n\nOne job each, ten minutes of video. Requests are ranged GETs; a HEAD comes before,\n\
         and the output takes one PUT, or as many parts as it has 8 MiB, and two calls around them.\n\n\
         | input | object bytes | read | times the object | GETs |\n|---|--:|--:|--:|--:|\n",
    );
    let files = [
        ("MP4, index at the end", "reads-end.mp4", &[][..]),
        ("MP4, index at the start", "reads-start.mp4", &["-movflags", "+faststart"]),
        ("MP4, fragmented", "reads-frag.mp4", &["-movflags", "+frag_keyframe+empty_moov"]),
        ("Matroska", "reads.mkv", &[]),
        ("MPEG-TS", "reads.ts", &[]),
        ("AVI", "reads.avi", &[]),
    ];
    for (what, name, ffmpeg) in files {
        let video = read(&place.video(name, 600, ffmpeg)?)?;
        let servers = Servers::start().await?;
        let log = place_log("reads");
        let _worker = servers.worker(place, &["--log", "warn,tonemill_worker=debug"], &log)?;
        let message = servers.upload(&video).await?;
        servers.queue.enqueue(&[message]).await?;
        servers.ends(1).await?;
        let lines = read(&log)?;
        let lines = String::from_utf8_lossy(&lines);
        let line = lines.lines().find(|line| line.contains("input read"));
        let line = line.ok_or_else(|| PoolError::Work("the worker did not say".to_owned()))?;
        let fields: serde_json::Value =
            serde_json::from_str(line).map_err(|error| PoolError::Work(error.to_string()))?;
        let number = |name: &str| fields[name].as_u64().unwrap_or(0);
        let (bytes, requests) = (number("bytes"), number("requests"));
        let _ = writeln!(
            text,
            "| {what} | {} | {bytes} | {:.3} | {requests} |",
            video.len(),
            bytes as f64 / video.len() as f64
        );
    }
    text.push('\n');
    Ok(text)
}
