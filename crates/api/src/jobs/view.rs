//! A job as its user sees it.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tonemill_job::JobId;
use tonemill_job::message::Failure;
use tonemill_ledger::job::MAX_FILE_NAME_BYTES;
use tonemill_ledger::webhooks::{NewWebhook, Webhook};
use tonemill_ledger::{Attempt, Job, JobDetail, JobState, NewJob};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::Api;
use crate::auth::Caller;
use crate::names::{EventName, FailureName, LaneName, StateName};
use crate::problem::{Answer, Problem};
use crate::watch::{Outlook, Snapshot};

/// A job.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct JobView {
    /// Its name.
    #[schema(value_type = String, format = Uuid)]
    pub id: JobId,
    /// `waiting` for its turn, `queued` for a worker, `running`, `finished`, `failed` or
    /// `cancelled`.
    #[schema(value_type = StateName)]
    pub state: &'static str,
    /// Counts the changes of its state.
    pub version: u64,
    /// `high`, `normal` or `low`.
    #[schema(value_type = LaneName)]
    pub lane: &'static str,
    /// What you call it.
    pub label: String,
    /// What the upload was called.
    pub file_name: String,
    /// What the upload looked like.
    pub media: String,
    /// What is made of it.
    #[schema(value_type = Object)]
    pub options: Value,
    /// How long the upload is.
    pub input_bytes: u64,
    /// BLAKE3 of the upload, if it came through the API.
    pub input_blake3: Option<String>,
    /// Attempts that have begun.
    pub attempts: u32,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When its last attempt began.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When it was over.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// How far it is, while it is not over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressView>,
    /// What came out, when it is finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputView>,
    /// Why it failed, or why its last attempt did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureView>,
    /// Who is told of it alone; not in lists and events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<JobWebhookView>,
}

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ProgressView {
    /// Jobs before it, while it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// Seconds of audio that are done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoded_seconds: Option<f64>,
    /// Seconds of audio that the upload says it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub declared_seconds: Option<f64>,
    /// Of 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// Seconds until it is done, if all goes on as it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<f64>,
}

/// What came out.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct OutputView {
    /// Where it can be downloaded.
    pub url: String,
    /// What a download is saved as.
    pub file_name: String,
    /// How long it is.
    pub bytes: u64,
    /// How long it plays.
    pub duration_seconds: f64,
    /// BLAKE3 of its audio frames: equal for equal audio and options.
    pub audio_blake3: String,
    /// Whether audio is missing because the upload ended early or was damaged.
    pub truncated: bool,
    /// Everything worth knowing that is no error.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Why it did not work.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct FailureView {
    /// `bad_input`, `limit_exceeded`, `transient`, `crash` or `bug`.
    #[schema(value_type = FailureName)]
    pub kind: Value,
    /// Where: `fetch`, `decode`, `encode`, `store`, …
    pub stage: String,
    /// In one sentence.
    pub message: String,
    /// What you can do.
    pub advice: String,
}

/// The webhook of a job alone.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct JobWebhookView {
    id: Uuid,
    url: String,
    #[schema(value_type = Vec<EventName>)]
    events: Vec<String>,
    /// What its notifications are signed with, told this once, with the 201.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// A job with all that is known about it.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobDetailView {
    #[serde(flatten)]
    job: JobView,
    /// The attempts at it.
    attempt_log: Vec<AttemptView>,
    /// The codec's whole account of a finished job.
    #[schema(value_type = Option<Object>)]
    report: Option<Value>,
    /// The errors behind the failure, and what the upload says about itself.
    #[schema(value_type = Option<Object>)]
    diagnosis: Option<Value>,
}

/// An attempt.
#[derive(Debug, Serialize, ToSchema)]
struct AttemptView {
    /// From 1.
    attempt: u32,
    /// When it began.
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// `finished`, `failed`, `cancelled`, or `retrying` if another was to follow.
    outcome: Option<String>,
    /// Why it failed, in one sentence.
    message: Option<String>,
}

impl JobView {
    /// The view of a job, with what is known of its outlook.
    #[must_use]
    pub fn new(job: &Job, detail: Option<&JobDetail>, outlook: Option<&Outlook>) -> Self {
        let warnings = detail.map(|detail| detail.warnings.clone()).unwrap_or_default();
        Self {
            id: job.id,
            state: job.state.name(),
            version: job.version,
            lane: job.lane.name(),
            label: job.label.clone(),
            file_name: job.file_name.clone(),
            media: job.media.clone(),
            options: job.options.clone(),
            input_bytes: job.input_bytes,
            input_blake3: job.input_blake3.clone(),
            attempts: job.attempts,
            created_at: time(job.created_ms),
            started_at: job.started_ms.map(time),
            ended_at: job.ended_ms.map(time),
            progress: outlook.and_then(Outlook::view),
            output: job.output.as_ref().map(|output| OutputView {
                url: format!("/v1/jobs/{}/output", job.id),
                file_name: output_file_name(job),
                bytes: output.bytes,
                duration_seconds: output.duration_ms as f64 / 1000.0,
                audio_blake3: output.audio_blake3.clone(),
                truncated: output.truncated,
                warnings,
            }),
            failure: detail.and_then(|detail| detail.failure.as_ref()).map(FailureView::new),
            webhook: None,
        }
    }
}

impl JobView {
    /// The view of a job that has just been accepted.
    pub(crate) fn accepted(new: &NewJob, created_ms: i64) -> Self {
        Self {
            id: new.id,
            state: JobState::Waiting.name(),
            version: 1,
            lane: new.lane.name(),
            label: new.label.clone(),
            file_name: new.file_name.clone(),
            media: new.media.clone(),
            options: serde_json::to_value(&new.options).unwrap_or_default(),
            input_bytes: new.input_bytes,
            input_blake3: new.input_blake3.clone(),
            attempts: 0,
            created_at: time(created_ms),
            started_at: None,
            ended_at: None,
            progress: None,
            output: None,
            failure: None,
            webhook: None,
        }
    }
}

impl From<Webhook> for JobWebhookView {
    fn from(Webhook { id, url, events, .. }: Webhook) -> Self {
        Self { id, url, events, secret: None }
    }
}

impl From<NewWebhook> for JobWebhookView {
    fn from(NewWebhook { id, url, events, secret }: NewWebhook) -> Self {
        Self { id, url, events, secret: Some(secret) }
    }
}

impl FailureView {
    fn new(failure: &Failure) -> Self {
        Self {
            kind: serde_json::to_value(failure.kind).unwrap_or_default(),
            stage: failure.stage.clone(),
            message: failure.message.clone(),
            advice: failure.advice.clone(),
        }
    }
}

impl AttemptView {
    fn new(attempt: Attempt) -> Self {
        let message = attempt.failure.as_ref().and_then(|failure| failure["message"].as_str());
        Self {
            attempt: attempt.attempt,
            started_at: attempt.started_ms.map(time),
            ended_at: attempt.ended_ms.map(time),
            message: message.map(str::to_owned),
            outcome: attempt.outcome,
        }
    }
}

impl Api {
    /// One job of the caller's, without the long texts.
    pub(crate) async fn own_job(&self, caller: &Caller, job: JobId) -> Answer<Job> {
        self.ledger.job(caller.own(), job).await?.ok_or_else(no_job)
    }

    /// A job of the caller's as it is now.
    pub(crate) async fn view_of(&self, caller: &Caller, job: JobId) -> Answer<JobView> {
        let Snapshot { job, outlook } = self.snapshot(self.own_job(caller, job).await?).await;
        let detail = self.detail_of(caller, &job).await?;
        Ok(JobView::new(&job, detail.as_ref(), Some(&outlook)))
    }

    /// All that is known about a job of the caller's.
    pub(crate) async fn detailed_view_of(
        &self,
        caller: &Caller,
        job: JobId,
    ) -> Answer<JobDetailView> {
        let Snapshot { job, outlook } = self.snapshot(self.own_job(caller, job).await?).await;
        let detail = self.ledger.job_detail(caller.own(), job.id).await?;
        let mut view = JobView::new(&job, detail.as_ref(), Some(&outlook));
        view.webhook = self.job_webhook(caller, job.id).await?;
        let attempts = self.ledger.attempts(job.id).await?;
        let JobDetail { report, failure, .. } = detail.unwrap_or_default();
        let diagnosis = failure.map(|failure| {
            serde_json::json!({
                "chain": failure.chain,
                "probe": failure.probe,
                "position": failure.position,
            })
        });
        let attempt_log = attempts.into_iter().map(AttemptView::new).collect();
        Ok(JobDetailView { job: view, attempt_log, report, diagnosis })
    }

    /// Who is told of a job of the caller's alone.
    pub(crate) async fn job_webhook(
        &self,
        caller: &Caller,
        job: JobId,
    ) -> Answer<Option<JobWebhookView>> {
        let webhook = self.ledger.job_webhook(caller.user.id, job).await?;
        Ok(webhook.map(JobWebhookView::from))
    }

    /// The long texts, where they say something.
    pub(crate) async fn detail_of(&self, caller: &Caller, job: &Job) -> Answer<Option<JobDetail>> {
        if job.state == JobState::Waiting && job.attempts == 0 {
            return Ok(None);
        }
        Ok(self.ledger.job_detail(caller.own(), job.id).await?)
    }
}

pub(crate) fn no_job() -> Problem {
    Problem::not_found("there is no such job")
}

/// What a download is saved as: the upload's name with another ending, which may be as long as the
/// upload's, for no filesystem takes a longer one.
#[must_use]
pub fn output_file_name(job: &Job) -> String {
    const ENDING: &str = ".mp3";
    let stem = match job.file_name.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => &job.file_name,
    };
    let end = stem.floor_char_boundary(MAX_FILE_NAME_BYTES - ENDING.len());
    format!("{}{ENDING}", &stem[..end])
}

/// A time of the ledger.
pub(crate) fn time(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
}
