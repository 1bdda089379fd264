//! What tests do with jobs: submit, wait for the end, fetch; and what `tonemill convert` makes of
//! the same file.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::client::{Client, Reply};
use crate::support::fixtures;
use crate::support::process::converted;

impl Client {
    /// Logs in.
    pub async fn log_in(&self, name: &str, password: &str) -> Self {
        let body = json!({"name": name, "password": password});
        let reply = self.post("/v1/login").json(&body).send().await.expect(200);
        self.with(reply.json()["access_token"].as_str().expect("a token"))
    }

    /// The same user with an API key, which no time ends.
    pub async fn with_a_key(&self) -> Self {
        let key = json!({"label": "uploader", "scopes": ["read", "write"]});
        let key = self.post("/v1/keys").json(&key).send().await.expect(201).json();
        self.with(key["key"].as_str().expect("a key"))
    }

    /// Submits a video as the body, with options in the query; the job.
    pub async fn submit(&self, video: &[u8], query: &str) -> String {
        let request = self.post(format!("/v1/jobs?{query}")).body(video.to_vec());
        id_of(&request.send().await.expect(201))
    }

    pub async fn job(&self, job: &str) -> Value {
        self.get(format!("/v1/jobs/{job}")).send().await.expect(200).json()
    }

    /// The job when it is in this state.
    pub async fn in_state(&self, job: &str, state: &str) -> Value {
        let what = format!("{job} is {state}");
        crate::until(&what, async || Some(self.job(job).await).filter(|job| job["state"] == state))
            .await
    }

    /// The job when it is over.
    pub async fn ended(&self, job: &str) -> Value {
        let what = format!("the end of {job}");
        crate::until(&what, async || {
            let job = self.job(job).await;
            let is_over = ["finished", "failed", "cancelled"].iter().any(|s| job["state"] == *s);
            is_over.then_some(job)
        })
        .await
    }

    /// The job when it is finished, and nothing else.
    pub async fn finished(&self, job: &str) -> Value {
        let job = self.ended(job).await;
        assert_eq!(job["state"], "finished", "{job:#}");
        job
    }

    /// The MP3 when it is finished.
    pub async fn mp3(&self, job: &str) -> Bytes {
        self.finished(job).await;
        self.output(job).await.body
    }

    pub async fn output(&self, job: &str) -> Reply {
        self.get(format!("/v1/jobs/{job}/output")).send().await.expect(200)
    }
}

/// The job that an answer is about.
#[track_caller]
pub fn id_of(reply: &Reply) -> String {
    let job = reply.json();
    let id = job["id"].as_str().unwrap_or_else(|| panic!("no job: {job:#}")).to_owned();
    assert_eq!(reply.header("location"), Some(format!("/v1/jobs/{id}").as_str()));
    id
}

/// A short video.
pub fn clip() -> Vec<u8> {
    std::fs::read(fixtures::path("aac.mp4")).expect("a fixture")
}

/// A video of exactly this length: [`clip`] and a box that everybody skips, of noise.
pub fn padded(bytes: usize) -> Vec<u8> {
    let mut video = clip();
    let padding = bytes - video.len();
    video.extend_from_slice(&u32::try_from(padding).expect("a short box").to_be_bytes());
    video.extend_from_slice(b"free");
    let mut chance = fastrand::Rng::with_seed(padding as u64);
    video.extend(std::iter::repeat_with(|| chance.u8(..)).take(padding - 8));
    video
}

/// A video that takes long to convert.
pub fn long() -> Vec<u8> {
    std::fs::read(fixtures::an_hour()).expect("a fixture")
}

/// What `tonemill convert` makes of a video.
pub fn convert(video: &[u8], arguments: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let [input, output] = ["input", "output.mp3"].map(|name| folder.path().join(name));
    std::fs::write(&input, video).expect("a file");
    converted(&input, &output, arguments);
    std::fs::read(output).expect("an output")
}

/// Compares outputs without printing them.
#[track_caller]
pub fn assert_same(got: &[u8], due: &[u8]) {
    assert!(got == due, "{} bytes, not the {} that are due", got.len(), due.len());
}

/// Puts an output where other programs can look at it.
pub fn saved(mp3: &[u8], path: &Path) {
    std::fs::write(path, mp3).expect("a file");
}

/// Makes a file look two days old.
pub fn age(file: &Path) {
    let file = File::open(file).expect("a file");
    let then = SystemTime::now() - Duration::from_hours(48);
    file.set_modified(then).expect("our file");
}
