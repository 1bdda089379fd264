//! A job, as the service tells it. What it leaves out, or says in words that are not ours, is no
//! reason to fail.

use jiff::Timestamp;
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use tonemill_job::JobId;
use uuid::Uuid;

use crate::client::api::{Api, Ask};
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::text::clock;
use crate::text::plain;

#[derive(Debug, Clone, Deserialize)]
pub struct Job {
    pub id: JobId,
    pub state: String,
    #[serde(default)]
    pub version: Option<u64>,
    #[serde(default)]
    pub label: String,
    #[serde(default)]
    pub file_name: String,
    #[serde(default)]
    pub input_bytes: u64,
    #[serde(default)]
    pub attempts: u32,
    #[serde(default)]
    pub created_at: Option<Timestamp>,
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    #[serde(default)]
    pub progress: Option<Progress>,
    #[serde(default)]
    pub output: Option<Output>,
    #[serde(default)]
    pub failure: Option<JobFailure>,
    #[serde(default)]
    pub webhook: Option<JobWebhook>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Progress {
    pub position: Option<u64>,
    pub encoded_seconds: Option<f64>,
    pub declared_seconds: Option<f64>,
    pub percent: Option<f64>,
    pub eta_seconds: Option<f64>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Output {
    pub file_name: String,
    pub bytes: u64,
    #[serde(default)]
    pub duration_seconds: f64,
    #[serde(default)]
    pub truncated: bool,
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// Who is told of a job.
#[derive(Debug, Clone, Deserialize)]
pub struct JobWebhook {
    pub id: Uuid,
    /// What its notifications are signed with, if that is told now.
    #[serde(default)]
    pub secret: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct JobFailure {
    pub kind: String,
    pub message: String,
    pub advice: String,
}

impl Job {
    pub fn is_over(&self) -> bool {
        matches!(self.state.as_str(), "finished" | "failed" | "cancelled")
    }

    pub fn is_finished(&self) -> bool {
        self.state == "finished"
    }

    /// What a job that is over, and not finished, comes to.
    pub fn failed(&self) -> Failure {
        let Some(failure) = self.failure.as_ref().filter(|_| self.state == "failed") else {
            let advice = format!("say `tonemill jobs retry {}` to try it again", self.id);
            return Failure::input(format!("the job is {}", plain(&self.state)), advice);
        };
        let outcome = match failure.kind.as_str() {
            "bad_input" | "limit_exceeded" => Outcome::BadInput,
            _ => Outcome::Fault,
        };
        Failure::new(outcome, plain(&failure.message), plain(&failure.advice))
    }

    /// How far it is, in a word.
    pub fn progress_shown(&self) -> String {
        let progress = self.progress.clone().unwrap_or_default();
        if let Some(output) = &self.output {
            let incomplete = if output.truncated { " INCOMPLETE" } else { "" };
            return format!("{}{incomplete}", clock(output.duration_seconds));
        }
        match (progress.percent, progress.encoded_seconds, progress.position) {
            _ if self.is_over() => String::new(),
            (Some(percent), _, _) => format!("{percent:.0}%"),
            (None, Some(seconds), _) => clock(seconds),
            (None, None, Some(before)) => format!("{before} before it"),
            (None, None, None) => String::new(),
        }
    }

    /// What it is called.
    pub fn name(&self) -> String {
        plain(&self.file_name)
    }
}

/// Where the service has a job.
pub fn path(id: JobId) -> String {
    format!("/v1/jobs/{id}")
}

impl Api {
    /// A job as it is now.
    pub async fn job(&self, id: JobId) -> Result<Job, Failure> {
        let value = self.job_value(id).await?;
        self.read_job(value, id)
    }

    /// The same, with all that the service says about it.
    pub async fn job_value(&self, id: JobId) -> Result<Value, Failure> {
        self.json(&Ask::get(path(id))).await
    }

    /// The same; `None` if there is no such job.
    pub async fn job_if_there(&self, id: JobId) -> Result<Option<Job>, Failure> {
        match self.send(&Ask::get(path(id))).await?.status() {
            StatusCode::NOT_FOUND => Ok(None),
            _ => self.job(id).await.map(Some),
        }
    }

    /// What the service says about a job, which must be the one that it was asked for.
    pub fn read_job(&self, value: Value, id: JobId) -> Result<Job, Failure> {
        let job: Job = serde_json::from_value(value)
            .map_err(|error| self.link.strange(&plain(&error.to_string())))?;
        if job.id == id { Ok(job) } else { Err(self.link.strange("it tells of another job")) }
    }
}
