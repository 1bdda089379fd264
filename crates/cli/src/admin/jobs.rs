//! Jobs of all users, for operators.

use tonemill_job::message::FailureKind;
use tonemill_job::{JobId, chain};
use tonemill_ledger::{Job, JobFilter, JobState, Ledger, Owner, TransitionOutcome};

use crate::args::admin::{JobsCommand, QuarantineCommand, WhereArgs};
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::json::{print_json, print_line};

/// Jobs that are replayed at a time.
const ALL: u32 = 1000;

pub(super) async fn run(command: &JobsCommand) -> Result<Outcome, Failure> {
    match command {
        JobsCommand::List { state, user, limit, at } => {
            let ledger = at.ledger().await?;
            let owner = match user {
                Some(name) => Owner::User(super::users::find(&ledger, name).await?.id),
                None => Owner::Anyone,
            };
            let filter = JobFilter { states: state.clone(), ..JobFilter::default() };
            list(at, &ledger, owner, &filter, *limit).await
        }
        JobsCommand::Show { job, at } => show(at, *job).await,
        JobsCommand::Retry { jobs, at } => replay(at, &*at.ledger().await?, jobs).await,
        JobsCommand::Cancel { jobs, at } => cancel(at, jobs).await,
    }
}

pub(super) async fn run_quarantine(command: &QuarantineCommand) -> Result<Outcome, Failure> {
    match command {
        QuarantineCommand::List { limit, at } => {
            let ledger = at.ledger().await?;
            list(at, &ledger, Owner::Anyone, &quarantined(), *limit).await
        }
        QuarantineCommand::Replay { jobs, all, at } => {
            let ledger = at.ledger().await?;
            let mut jobs = jobs.clone();
            if *all {
                let found = ledger.list_jobs(Owner::Anyone, &quarantined(), ALL).await;
                jobs.extend(found?.into_iter().map(|job| job.id));
            }
            replay(at, &ledger, &jobs).await
        }
    }
}

/// What crashed the decoder, even alone, or met a defect.
fn quarantined() -> JobFilter {
    JobFilter { failures: vec![FailureKind::Crash, FailureKind::Bug], ..JobFilter::default() }
}

async fn list(
    at: &WhereArgs,
    ledger: &Ledger,
    owner: Owner,
    filter: &JobFilter,
    limit: u32,
) -> Result<Outcome, Failure> {
    let jobs = ledger.list_jobs(owner, filter, limit).await?;
    for job in jobs {
        let detail = if job.state == JobState::Failed {
            ledger.job_detail(Owner::Anyone, job.id).await?
        } else {
            None
        };
        let failure = detail.and_then(|detail| detail.failure).map(|failure| failure.message);
        let told = if at.json {
            let mut json = as_json(&job);
            json["failure"] = failure.into();
            print_json(&json)
        } else {
            let Job { id, state, file_name, .. } = &job;
            let failure = failure.map(|why| format!("  {why}")).unwrap_or_default();
            print_line(&format!("{id}  {:9}  {file_name}{failure}", state.name()))
        };
        if told != Outcome::Done {
            return Ok(told);
        }
    }
    Ok(Outcome::Done)
}

fn as_json(job: &Job) -> serde_json::Value {
    serde_json::json!({
        "id": job.id,
        "user": job.user,
        "state": job.state.name(),
        "lane": job.lane.name(),
        "label": job.label,
        "file_name": job.file_name,
        "attempts": job.attempts,
        "worker": job.worker,
        "created_ms": job.created_ms,
        "started_ms": job.started_ms,
        "ended_ms": job.ended_ms,
        "input": job.input,
        "output": job.output.as_ref().map(|output| &output.key),
    })
}

/// Everything, as JSON: whoever asks looks for something.
async fn show(at: &WhereArgs, id: JobId) -> Result<Outcome, Failure> {
    let ledger = at.ledger().await?;
    let job = ledger.job(Owner::Anyone, id).await?;
    let job = job.ok_or_else(|| Failure::usage(format!("there is no job {id}"), ""))?;
    let detail = ledger.job_detail(Owner::Anyone, id).await?.unwrap_or_default();
    let attempts = ledger.attempts(id).await?;
    let webhook = ledger.job_webhook(job.user, id).await?;
    let mut json = as_json(&job);
    json["webhook"] = webhook.as_ref().map(super::webhooks::as_json).into();
    json["options"] = serde_json::to_value(&job.options).unwrap_or_default();
    json["failure"] = serde_json::to_value(&detail.failure).unwrap_or_default();
    json["report"] = detail.report.unwrap_or_default();
    json["attempt_log"] = attempts
        .into_iter()
        .map(|attempt| {
            serde_json::json!({
                "attempt": attempt.attempt,
                "worker": attempt.worker,
                "started_ms": attempt.started_ms,
                "ended_ms": attempt.ended_ms,
                "outcome": attempt.outcome,
                "failure": attempt.failure,
            })
        })
        .collect();
    Ok(if at.json { print_json(&json) } else { print_line(&format!("{json:#}")) })
}

async fn replay(at: &WhereArgs, ledger: &Ledger, jobs: &[JobId]) -> Result<Outcome, Failure> {
    let mut worst = Outcome::Done;
    for job in jobs {
        let result = ledger.replay(Owner::Anyone, *job).await?;
        worst = worst.max(tell(at, *job, result, "waits for its turn"));
    }
    Ok(worst)
}

async fn cancel(at: &WhereArgs, jobs: &[JobId]) -> Result<Outcome, Failure> {
    let ledger = at.ledger().await?;
    let queue = at.queue()?;
    let mut worst = Outcome::Done;
    for job in jobs {
        let result = ledger.cancel(Owner::Anyone, *job).await?;
        // Without a queue at hand, the service's reconciler tells the worker.
        if let (TransitionOutcome::Done, Some(queue)) = (result, &queue)
            && let Err(error) = queue.cancel(*job).await
        {
            eprintln!("tonemill: the worker of {job} is not told yet: {}", chain(&error));
        }
        worst = worst.max(tell(at, *job, result, "is cancelled"));
    }
    Ok(worst)
}

fn tell(at: &WhereArgs, job: JobId, result: TransitionOutcome, done: &str) -> Outcome {
    let (what, outcome) = match result {
        TransitionOutcome::Done => (done.to_owned(), Outcome::Done),
        TransitionOutcome::NotNow(state) => (format!("is {}", state.name()), Outcome::BadInput),
        TransitionOutcome::OverQuota(_) => {
            ("would be over its user's quota".to_owned(), Outcome::BadInput)
        }
        TransitionOutcome::NoInput => ("has no upload any more".to_owned(), Outcome::BadInput),
        TransitionOutcome::NoJob => ("is not there".to_owned(), Outcome::BadInput),
    };
    let told = if at.json {
        let done = result == TransitionOutcome::Done;
        print_json(&serde_json::json!({ "job": job, "done": done, "told": what }))
    } else {
        print_line(&format!("{job} {what}"))
    };
    outcome.max(told)
}
