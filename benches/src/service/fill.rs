//! A ledger with a past: jobs of one user that are finished, each with the report of a real
//! conversion.

use serde_json::Value;
use tonemill_job::message::{Finished, VERSION, What, now_ms};
use tonemill_job::{JobEvent, JobId, JobOptions, Lane, ObjectKey};
use tonemill_ledger::users::{NewUser, Role};
use tonemill_ledger::{Acceptance, Ledger, NewJob};
use uuid::Uuid;

use crate::error::BenchError;

/// Events in one transaction, as the recorder has.
const BATCH: usize = 100;

/// A user, whose password nobody knows.
pub(super) async fn user(ledger: &Ledger, name: &str) -> Result<Uuid, BenchError> {
    let (name, password_hash) = (name.to_owned(), "none".to_owned());
    let new = NewUser { name, role: Role::User, password_hash, email: None };
    let user = ledger.add_user(&new).await?;
    user.map(|user| user.id).ok_or_else(|| BenchError::work("the user is there already"))
}

/// Accepts and finishes `jobs` jobs of a user. `report` is what a conversion said of itself.
pub(super) async fn fill(
    ledger: &Ledger,
    user: Uuid,
    jobs: usize,
    report: &Value,
) -> Result<(), BenchError> {
    let mut missing = jobs;
    while missing > 0 {
        let mut ends = Vec::new();
        for _ in 0..missing.min(BATCH) {
            let job = accept(ledger, user).await?;
            ends.push(event(job, finished(job, report)));
        }
        missing -= ends.len();
        ledger.record(&ends).await?;
    }
    Ok(())
}

/// Accepts a job.
pub(super) async fn accept(ledger: &Ledger, user: Uuid) -> Result<JobId, BenchError> {
    let new = new_job(user);
    match ledger.accept(&new, None).await? {
        Acceptance::Accepted => Ok(new.id),
        other => Err(BenchError::work(format!("{other:?}"))),
    }
}

fn new_job(user: Uuid) -> NewJob {
    let id = JobId::new();
    NewJob {
        id,
        user,
        lane: Lane::Normal,
        label: "holidays".to_owned(),
        file_name: "VID_20261121_154502.mp4".to_owned(),
        media: "mp4".to_owned(),
        options: JobOptions::default(),
        traceparent: None,
        input: ObjectKey::upload(id),
        input_bytes: 39_183,
        input_blake3: Some(blake3::hash(id.to_string().as_bytes()).to_hex().to_string()),
        is_upload: false,
        webhook: None,
    }
}

/// What a worker tells of a job.
pub(super) fn event(job: JobId, what: What) -> JobEvent {
    let worker = "host-1-0123456789abcdef".to_owned();
    JobEvent { v: VERSION, job, attempt: 1, worker, at_ms: now_ms(), traceparent: None, what }
}

/// That it is finished.
pub(super) fn finished(job: JobId, report: &Value) -> What {
    What::Finished(Box::new(Finished {
        output: ObjectKey::output(job, 1),
        bytes: 25_344,
        duration_seconds: 1.0,
        audio_blake3: blake3::hash(b"audio").to_hex().to_string(),
        truncated: false,
        warnings: Vec::new(),
        report: report.clone(),
    }))
}
