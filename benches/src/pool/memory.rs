//! Memory of a worker: with long jobs, and after many short ones.

use std::fmt::Write as _;

use super::Options;
use super::servers::{Servers, log_of, same_length};
use crate::error::BenchError;
use crate::place::Place;

/// Memory of a worker with long jobs, and after many short ones.
pub(super) async fn measure(place: &Place, options: &Options) -> Result<String, BenchError> {
    let mut text = String::from("## Memory\n\n| worker | resident MiB |\n|---|--:|\n");
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    {
        let video = place.video_bytes(7200)?;
        let servers = Servers::start().await?;
        let worker = servers.worker(place, &["--log", "warn", "--jobs", "8"], &log_of("long"))?;
        let mut messages = Vec::new();
        for _ in 0..8 {
            messages.push(servers.upload(&video).await?);
        }
        servers.queue.enqueue(&messages).await?;
        let outputs = servers.ends(8).await?;
        same_length(&outputs)?;
        let (_, peak) = worker.resident_bytes();
        let size = video.len() >> 20;
        let _ = writeln!(
            text,
            "| 8 jobs at once, each two hours of video ({size} MiB): peak | {:.0} |",
            mib(peak)
        );
    }
    let clip = place.video_bytes(1)?;
    let servers = Servers::start().await?;
    let worker = servers.worker(place, &["--log", "warn"], &log_of("short"))?;
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
        let (now, peak) = worker.resident_bytes();
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
