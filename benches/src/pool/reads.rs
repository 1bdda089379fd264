//! Bytes and requests of one job, by container.

use std::fmt::Write as _;

use super::servers::{Servers, log_of};
use crate::error::BenchError;
use crate::place::{Place, read};

/// What one job reads of its object.
pub(super) async fn measure(place: &Place) -> Result<String, BenchError> {
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
        let video = read(&place.video_with(name, 600, ffmpeg)?)?;
        let servers = Servers::start().await?;
        let log = log_of("reads");
        let _worker = servers.worker(place, &["--log", "warn,tonemill_worker=debug"], &log)?;
        let message = servers.upload(&video).await?;
        servers.queue.enqueue(&[message]).await?;
        servers.ends(1).await?;
        let lines = read(&log)?;
        let lines = String::from_utf8_lossy(&lines);
        let line = lines.lines().find(|line| line.contains("input read"));
        let line = line.ok_or_else(|| BenchError::work("the worker did not say".to_owned()))?;
        let fields: serde_json::Value =
            serde_json::from_str(line).map_err(|error| BenchError::work(error.to_string()))?;
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
