//! A long video by a worker, against `tonemill convert`.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use bytes::Bytes;

use super::Options;
use super::servers::{Servers, log_of};
use crate::error::BenchError;
use crate::place::Place;
use crate::statistics::Spread;

/// A long video by a worker and by `tonemill convert`, in turns.
pub(super) async fn measure(place: &Place, options: &Options) -> Result<String, BenchError> {
    let path = place.video(1800)?;
    let video = place.video_bytes(1800)?;
    let servers = Servers::start().await?;
    let log = log_of("long");
    let _worker = servers.worker(place, &["--log", "warn"], &log)?;
    let warm = servers.upload(&place.video_bytes(1)?).await?;
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
            return Err(BenchError::work("worker and convert made different audio".to_owned()));
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

async fn by_worker(servers: &Servers, video: &Bytes) -> Result<Conversion, BenchError> {
    let message = servers.upload(video).await?;
    let started = Instant::now();
    servers.queue.enqueue(&[message]).await?;
    let outputs = servers.ends(1).await?;
    let seconds = started.elapsed().as_secs_f64();
    servers.empty().await?;
    Ok(Conversion { seconds, audio: outputs[0].audio_blake3.clone() })
}

fn by_convert(place: &Place, path: &Path) -> Result<Conversion, BenchError> {
    let started = Instant::now();
    let report = place.convert(path)?;
    let seconds = started.elapsed().as_secs_f64();
    let audio = report["output"]["audio_blake3"].as_str().unwrap_or_default().to_owned();
    Ok(Conversion { seconds, audio })
}
