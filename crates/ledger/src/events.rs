//! What an event of a worker changes: its job's state, attempts, quotas, notifications owed, and
//! what of the store nobody needs any more. An event that comes twice, late, or about a job that is
//! over changes nothing.

use std::collections::BTreeMap;

use sqlx::Row as _;
use tonemill_job::message::{Failure, FailureKind, Finished, History, Position, What};
use tonemill_job::{JobEvent, JobId, ObjectKey};
use tonemill_telemetry::trace;
use tracing::{Instrument as _, Span};

use crate::Ledger;
use crate::database::Tx;
use crate::deliveries::News;
use crate::error::Result;
use crate::job::{COLUMNS, Job, signed, to_json};
use crate::jobs::Owner;
use crate::measures::Ended;
use crate::state::{Change, JobState, Transition};

/// What a batch leads to besides the jobs' own rows.
#[derive(Default)]
struct Consequences {
    changed: Vec<JobId>,
    /// By user: unfinished jobs, stored bytes, converted milliseconds. In the order in which their
    /// rows are locked.
    charges: BTreeMap<String, (i64, i64, u64)>,
    /// Objects that nobody needs any more.
    unneeded: Vec<ObjectKey>,
    ended: Vec<Ended>,
}

impl Ledger {
    /// Writes events down; the objects that nobody needs any more.
    pub async fn record(&self, events: &[JobEvent]) -> Result<Vec<ObjectKey>> {
        let spans: Vec<Span> = events.iter().map(span_of).collect();
        let spans = &spans;
        let record = || async move {
            let mut tx = self.db.begin().await?;
            let mut consequences = Consequences::default();
            for (event, span) in events.iter().zip(spans) {
                let apply = self.apply(&mut tx, event, &mut consequences);
                apply.instrument(span.clone()).await?;
            }
            for (user, (unfinished, stored, audio_ms)) in &consequences.charges {
                self.charge(&mut tx, user, *unfinished, *stored).await?;
                if *audio_ms > 0 {
                    self.count_audio(&mut tx, user, *audio_ms).await?;
                }
            }
            tx.commit().await?;
            Ok(consequences)
        };
        let Consequences { changed, unneeded, ended, .. } =
            self.db.run("record events", record).await?;
        ended.into_iter().for_each(Ended::count);
        for job in changed {
            self.tell_changed(job);
        }
        self.wake_notifier();
        Ok(unneeded)
    }

    async fn apply(
        &self,
        tx: &mut Tx,
        event: &JobEvent,
        consequences: &mut Consequences,
    ) -> Result<(), sqlx::Error> {
        let lock = self.db.dialect.for_update();
        let columns = format!("{COLUMNS}, stored_bytes");
        let row = self.job_row(tx, Owner::Anyone, event.job, &columns, lock).await?;
        let job = row.as_ref().map(Job::from_row).transpose()?;
        let (Some(row), Some(job)) = (row, job.filter(|job| !job.state.is_ended())) else {
            return self.discard(tx, event, consequences).await;
        };
        let stored: i64 = row.try_get("stored_bytes")?;
        let outcome = match &event.what {
            What::Started => return self.started(tx, &job, event, consequences).await,
            // These leave the job unfinished, and what comes twice would meet its next attempt.
            What::Retrying { .. } | What::Cancelled if self.has_ended(tx, event).await? => {
                return Ok(());
            }
            What::Retrying { failure, not_before_ms } => {
                // Of a worker's clock only differences are believed.
                let delay = signed(not_before_ms.saturating_sub(event.at_ms));
                let not_before = self.db.now_ms().saturating_add(delay);
                let change = retrying(&job, event, failure, not_before)?;
                self.change(tx, &job, change, consequences).await?;
                "retrying"
            }
            What::Finished(finished) => {
                self.finished(tx, &job, stored, finished, event, consequences).await?;
                "finished"
            }
            What::Failed { failure } => {
                let change = Change::new(Transition::Fail).number("ended_ms", self.db.now_ms());
                let change = change.number("attempts", i64::from(attempts(&job, event)));
                let change = change.text("worker", clip(&event.worker));
                let change = change.text("failure", to_json(failure)?);
                let change = change.text("failure_kind", failure.kind.name().to_owned());
                self.change(tx, &job, change, consequences).await?;
                let kind = Some(failure.kind);
                let ended = Ended::of(&job, JobState::Failed, kind, self.db.now_ms());
                consequences.ended.push(ended);
                charge(consequences, &job, -1, 0, 0);
                self.owe(tx, &job, News::Failed(failure)).await?;
                "failed"
            }
            What::Cancelled => {
                // Its user has not cancelled it, or it would be over: a wish from before it was
                // replayed, which the queue has forgotten by now. Its attempt's number is taken,
                // also if the job waits still.
                let history = History { attempts: attempts(&job, event), ..job.history };
                let text = "UPDATE jobs SET attempts = ?, history = ? WHERE id = ?";
                let update = self.db.query(text).bind(i64::from(history.attempts));
                let update = update.bind(to_json(&history)?).bind(job.id.to_string());
                update.execute(&mut **tx).await?;
                self.change(tx, &job, Change::new(Transition::Requeue), consequences).await?;
                "cancelled"
            }
            What::Other => return Ok(()),
        };
        self.end_attempt(tx, event, outcome).await
    }

    /// An event about a job that is over, or unknown. Of several outputs the first counts.
    async fn discard(
        &self,
        tx: &mut Tx,
        event: &JobEvent,
        consequences: &mut Consequences,
    ) -> Result<(), sqlx::Error> {
        let What::Finished(finished) = &event.what else { return Ok(()) };
        let text = "SELECT output_key FROM jobs WHERE id = ?";
        let row = self.db.query(text).bind(event.job.to_string()).fetch_optional(&mut **tx).await?;
        let counts: Option<String> = row.map(|row| row.try_get(0)).transpose()?.flatten();
        if counts.as_deref() != Some(finished.output.as_str()) {
            consequences.unneeded.push(finished.output.clone());
        }
        Ok(())
    }

    async fn started(
        &self,
        tx: &mut Tx,
        job: &Job,
        event: &JobEvent,
        consequences: &mut Consequences,
    ) -> Result<(), sqlx::Error> {
        let insert = "INTO attempts (job_id, attempt, worker, started_ms) VALUES (?, ?, ?, ?)";
        let insert = self.db.dialect.query_of(self.db.dialect.insert_ignore(insert));
        let insert = insert.bind(event.job.to_string()).bind(i64::from(event.attempt));
        let insert = insert.bind(clip(&event.worker)).bind(self.db.now_ms());
        let is_new = insert.execute(&mut **tx).await?.rows_affected() > 0;
        if !is_new || event.attempt < job.attempts {
            return Ok(());
        }
        let change = Change::new(Transition::Start).number("started_ms", self.db.now_ms());
        let change = change.number("attempts", i64::from(event.attempt));
        let change = change.text("worker", clip(&event.worker));
        self.change(tx, job, change, consequences).await?;
        self.owe(tx, job, News::Started).await
    }

    async fn finished(
        &self,
        tx: &mut Tx,
        job: &Job,
        stored: i64,
        finished: &Finished,
        event: &JobEvent,
        consequences: &mut Consequences,
    ) -> Result<(), sqlx::Error> {
        let duration_ms = (finished.duration_seconds * 1000.0).round().max(0.0) as u64;
        let change = Change::new(Transition::Finish)
            .number("ended_ms", self.db.now_ms())
            .number("attempts", i64::from(attempts(job, event)))
            .text("worker", clip(&event.worker))
            .text("output_key", finished.output.to_string())
            .number("output_bytes", signed(finished.bytes))
            .number("duration_ms", signed(duration_ms))
            .text("audio_blake3", finished.audio_blake3.clone())
            .number("truncated", i64::from(finished.truncated))
            .text("warnings", to_json(&finished.warnings)?)
            .text("report", to_json(&finished.report)?)
            .text("failure", None)
            // Nobody needs the upload any more.
            .text("input_key", None)
            .number("stored_bytes", signed(finished.bytes));
        self.change(tx, job, change, consequences).await?;
        let ended = Ended::of(job, JobState::Finished, None, self.db.now_ms());
        consequences.ended.push(ended);
        charge(consequences, job, -1, signed(finished.bytes) - stored, duration_ms);
        consequences.unneeded.extend(job.input.clone());
        self.owe(tx, job, News::Finished(finished)).await
    }

    /// Makes a change of a job whose row is locked and whose state was looked at.
    async fn change(
        &self,
        tx: &mut Tx,
        job: &Job,
        change: Change,
        consequences: &mut Consequences,
    ) -> Result<(), sqlx::Error> {
        if change.apply(&self.db, tx, &job.id.to_string()).await? {
            consequences.changed.push(job.id);
        }
        Ok(())
    }

    /// Whether this attempt's end is written down.
    async fn has_ended(&self, tx: &mut Tx, event: &JobEvent) -> Result<bool, sqlx::Error> {
        let text = "SELECT ended_ms FROM attempts WHERE job_id = ? AND attempt = ?";
        let query = self.db.query(text).bind(event.job.to_string()).bind(i64::from(event.attempt));
        let row = query.fetch_optional(&mut **tx).await?;
        let ended: Option<i64> = row.map(|row| row.try_get(0)).transpose()?.flatten();
        Ok(ended.is_some())
    }

    async fn end_attempt(
        &self,
        tx: &mut Tx,
        event: &JobEvent,
        outcome: &'static str,
    ) -> Result<(), sqlx::Error> {
        // Its start may have been lost.
        let insert = "INTO attempts (job_id, attempt, worker) VALUES (?, ?, ?)";
        let insert = self.db.dialect.query_of(self.db.dialect.insert_ignore(insert));
        let insert = insert.bind(event.job.to_string()).bind(i64::from(event.attempt));
        insert.bind(clip(&event.worker)).execute(&mut **tx).await?;
        let failure = match &event.what {
            What::Retrying { failure, .. } | What::Failed { failure } => Some(to_json(failure)?),
            _ => None,
        };
        let text = "UPDATE attempts SET ended_ms = ?, outcome = ?, worker = ?, failure = ? \
                    WHERE job_id = ? AND attempt = ? AND ended_ms IS NULL";
        let update = self.db.query(text).bind(self.db.now_ms()).bind(outcome);
        let update = update.bind(clip(&event.worker)).bind(failure);
        let update = update.bind(event.job.to_string()).bind(i64::from(event.attempt));
        update.execute(&mut **tx).await.map(drop)
    }
}

/// The part of a job's trace in which an event about it is written down.
pub(crate) fn span_of(event: &JobEvent) -> Span {
    let span = tracing::info_span!(
        "record",
        job = %event.job,
        event = event.what.name(),
        trace_id = tracing::field::Empty,
    );
    trace::continued(span, event.traceparent.as_deref())
}

fn charge(consequences: &mut Consequences, job: &Job, unfinished: i64, stored: i64, audio: u64) {
    let charges = consequences.charges.entry(job.user.to_string()).or_default();
    charges.0 += unfinished;
    charges.1 += stored;
    charges.2 += audio;
}

/// Attempts that have begun, after an event. Their numbers are not used again: what is told of a
/// new attempt would be taken for news of an old one.
fn attempts(job: &Job, event: &JobEvent) -> u32 {
    job.attempts.max(event.attempt)
}

/// The queue keeps the job for its next attempt. Its history is kept here as well, for the day the
/// queue forgets.
fn retrying(
    job: &Job,
    event: &JobEvent,
    failure: &Failure,
    not_before_ms: i64,
) -> Result<Change, sqlx::Error> {
    let before = job.history;
    let crashed = failure.kind == FailureKind::Crash;
    let history = History {
        attempts: attempts(job, event),
        forgiven: before.forgiven,
        transient_failures: before.transient_failures
            + u32::from(failure.kind == FailureKind::Transient),
        crashes_alone: before.crashes_alone + u32::from(crashed && before.suspect),
        suspect: before.suspect || crashed,
    };
    Ok(Change::new(Transition::Retry)
        .text("history", to_json(&history)?)
        .number("attempts", i64::from(history.attempts))
        .number("not_before_ms", not_before_ms)
        .text("worker", None)
        .text("failure", to_json(failure)?))
}

/// The failure of a job that is nobody's fault but ours.
pub(crate) fn defect(stage: &str, message: &str, why: String) -> Failure {
    Failure {
        kind: FailureKind::Bug,
        stage: stage.to_owned(),
        message: message.to_owned(),
        advice: "this is a defect of the service: try again later".to_owned(),
        chain: vec![why],
        probe: None,
        position: Position::default(),
    }
}

/// A worker's name, as far as there is room for it.
fn clip(name: &str) -> String {
    name.chars().take(100).collect()
}
