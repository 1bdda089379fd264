//! A job as its user lives it: submit a video, be told of its end.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Response, StatusCode};
use serde_json::Value;
use tokio::time::timeout;

use super::http::{Connection, expect, text, whole};
use crate::error::BenchError;

/// How long a job may take.
const PATIENCE: Duration = Duration::from_mins(10);

/// A finished job, and when its user knew what.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) id: String,
    /// When the first byte of the request was sent.
    pub(super) sent: SystemTime,
    /// From then to the answer that it is accepted.
    pub(super) accepted: Duration,
    /// From the first byte to the event that it is finished.
    pub(super) whole: Duration,
    /// The hash of what came out.
    pub(super) audio_blake3: String,
}

/// Submits a video, without waiting for its end; the job.
pub(super) async fn submit(
    connection: &mut Connection,
    video: &Bytes,
) -> Result<Value, BenchError> {
    let headers = [(CONTENT_TYPE.as_str(), "video/mp4".to_owned())];
    let answer = connection.send(Method::POST, "/v1/jobs", &headers, whole(video.clone())).await?;
    Ok(serde_json::from_slice(&expect(answer, StatusCode::CREATED, "POST /v1/jobs").await?)?)
}

/// Submits a video and waits for the event of its end.
pub(super) async fn follow(
    connection: &mut Connection,
    video: &Bytes,
) -> Result<Followed, BenchError> {
    let (sent, start) = (SystemTime::now(), Instant::now());
    let id = text(&submit(connection, video).await?, "id");
    let accepted = start.elapsed();
    let path = format!("/v1/jobs/{id}/events");
    let events = connection.send(Method::GET, &path, &[], whole(Bytes::new())).await?;
    if events.status() != StatusCode::OK {
        expect(events, StatusCode::OK, &path).await?;
        return Err(BenchError::work("no events"));
    }
    let job = timeout(PATIENCE, end_of(events)).await;
    let job = job.map_err(|_| BenchError::work(format!("{id} does not end")))??;
    let whole = start.elapsed();
    if job["state"] != "finished" {
        return Err(BenchError::work(job.to_string()));
    }
    let audio_blake3 = text(&job["output"], "audio_blake3");
    Ok(Followed { id, sent, accepted, whole, audio_blake3 })
}

/// The job as the event of its end carries it.
async fn end_of(events: Response<Incoming>) -> Result<Value, BenchError> {
    let mut events = events.into_body();
    let mut lines = Vec::new();
    while let Some(frame) = events.frame().await {
        lines.extend_from_slice(frame?.data_ref().map_or(&[][..], |data| data));
        while let Some(end) = lines.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = lines.drain(..=end).collect();
            let Some(data) = line.strip_prefix(b"data:") else { continue };
            let job: Value = serde_json::from_slice(data)?;
            if matches!(job["state"].as_str(), Some("finished" | "failed" | "cancelled")) {
                return Ok(job);
            }
        }
    }
    Err(BenchError::work("the events ended before the job"))
}
