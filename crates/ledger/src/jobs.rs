//! Jobs as their users see them: one, many, and how they are ended or replayed.
//!
//! Whose job it is, is part of every statement: somebody else's does not exist.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};
use tonemill_job::JobId;
use tonemill_job::message::History;
use uuid::Uuid;

use crate::Ledger;
use crate::database::Tx;
use crate::dialect::marks;
use crate::error::Result;
use crate::job::{COLUMNS, Job, JobDetail, readable, to_json, unsigned};
use crate::measures::Ended;
use crate::quota::OverQuota;
use crate::state::{Change, JobState, Transition};

/// Whose jobs are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// This user's.
    User(Uuid),
    /// Everybody's: for operators.
    Anyone,
}

impl Owner {
    /// Whether what belongs to `user` is meant.
    pub(crate) fn owns(self, user: Uuid) -> bool {
        self == Self::Anyone || self == Self::User(user)
    }
}

/// An attempt at a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// Its number, from 1.
    pub attempt: u32,
    /// Who made it.
    pub worker: String,
    /// When it began, if its worker came to say so.
    pub started_ms: Option<i64>,
    /// When it ended.
    pub ended_ms: Option<i64>,
    /// How: `finished`, `failed`, `cancelled`, or `retrying` if another was to follow.
    pub outcome: Option<String>,
    /// Why it failed, in JSON.
    pub failure: Option<serde_json::Value>,
}

/// What came of a transition that somebody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransitionOutcome {
    /// It is so now.
    Done,
    /// The job's state does not allow it.
    NotNow(JobState),
    /// The upload is gone: there is nothing to replay.
    NoInput,
    /// The user has too much already to replay a job.
    OverQuota(OverQuota),
    /// There is no such job, or it is somebody else's.
    NoJob,
}

impl Ledger {
    /// One job.
    pub async fn job(&self, owner: Owner, job: JobId) -> Result<Option<Job>> {
        let look = || async move {
            let mut connection = self.db.read.acquire().await?;
            let row = self.job_row(&mut connection, owner, job, COLUMNS, "").await?;
            row.as_ref().map(Job::from_row).transpose()
        };
        self.db.run("look up a job", look).await
    }

    /// Several jobs of anybody, in any order, as far as they can be read.
    pub async fn jobs_by_id(&self, jobs: &[JobId]) -> Result<Vec<Job>> {
        let look = || async move {
            if jobs.is_empty() {
                return Ok(Vec::new());
            }
            let ids = marks(jobs.len());
            let text = format!("SELECT {COLUMNS} FROM jobs WHERE id IN ({ids})");
            let mut query = self.db.dialect.query_of(text);
            for job in jobs {
                query = query.bind(job.to_string());
            }
            Ok(readable(&query.fetch_all(&self.db.read).await?, Job::from_row))
        };
        self.db.run("look up jobs", look).await
    }

    /// The long texts of a job.
    pub async fn job_detail(&self, owner: Owner, job: JobId) -> Result<Option<JobDetail>> {
        let look = || async move {
            let mut connection = self.db.read.acquire().await?;
            let columns = "warnings, report, failure";
            let row = self.job_row(&mut connection, owner, job, columns, "").await?;
            row.as_ref().map(detail).transpose()
        };
        self.db.run("look up a job", look).await
    }

    /// The attempts at a job, in order.
    pub async fn attempts(&self, job: JobId) -> Result<Vec<Attempt>> {
        let look = || async move {
            let text = "SELECT attempt, worker, started_ms, ended_ms, outcome, failure \
                        FROM attempts WHERE job_id = ? ORDER BY attempt";
            let rows = self.db.query(text).bind(job.to_string()).fetch_all(&self.db.read).await?;
            rows.iter().map(attempt).collect()
        };
        self.db.run("look up attempts", look).await
    }

    /// How many jobs have been finished each second, of late; `None` if too few were.
    pub async fn pace_per_second(&self) -> Result<Option<f64>> {
        const LAST: usize = 20;
        let look = || async move {
            let text = "SELECT ended_ms FROM jobs WHERE state = 'finished' \
                        ORDER BY ended_ms DESC LIMIT ?";
            let query = self.db.query(text).bind(LAST as i64);
            let rows = query.fetch_all(&self.db.read).await?;
            let ended: Option<i64> = rows.last().map(|row| row.try_get(0)).transpose()?;
            let seconds = ended.map(|ended| (self.db.now_ms() - ended) as f64 / 1000.0);
            let enough = rows.len() >= LAST / 4;
            Ok(seconds.filter(|seconds| enough && *seconds > 0.0).map(|s| rows.len() as f64 / s))
        };
        self.db.run("tell the pace", look).await
    }

    /// Ends a job that is not over. Whoever works on it is told by the queue, not by the ledger.
    pub async fn cancel(&self, owner: Owner, job: JobId) -> Result<TransitionOutcome> {
        self.transition(owner, job, Transition::Cancel).await
    }

    /// Has a job that came to no good end tried again, behind the user's other jobs, if the user's
    /// quotas have room for it. Operators can do so in any case.
    pub async fn replay(&self, owner: Owner, job: JobId) -> Result<TransitionOutcome> {
        let outcome = self.transition(owner, job, Transition::Replay).await?;
        self.wake_dispatcher();
        Ok(outcome)
    }

    /// Makes a job that is over disappear; what it has stored follows.
    pub async fn delete_job(&self, owner: Owner, job: JobId) -> Result<TransitionOutcome> {
        self.transition(owner, job, Transition::Delete).await
    }

    async fn transition(
        &self,
        owner: Owner,
        job: JobId,
        transition: Transition,
    ) -> Result<TransitionOutcome> {
        let operation = match transition {
            Transition::Cancel => "cancel a job",
            Transition::Replay => "replay a job",
            _ => "delete a job",
        };
        let attempt = || self.try_transition(owner, job, transition);
        let outcome = self.db.run(operation, attempt).await?;
        if outcome == TransitionOutcome::Done {
            self.tell_changed(job);
        }
        Ok(outcome)
    }

    async fn try_transition(
        &self,
        owner: Owner,
        id: JobId,
        transition: Transition,
    ) -> Result<TransitionOutcome, sqlx::Error> {
        let mut tx = self.db.begin().await?;
        let columns = format!("{COLUMNS}, stored_bytes");
        let lock = self.db.dialect.for_update();
        let Some(row) = self.job_row(&mut tx, owner, id, &columns, lock).await? else {
            return Ok(TransitionOutcome::NoJob);
        };
        let job = Job::from_row(&row)?;
        if !transition.from().contains(&job.state) {
            return Ok(TransitionOutcome::NotNow(job.state));
        }
        let now = self.db.now_ms();
        let change = Change::new(transition);
        let (change, unfinished, stored) = match transition {
            Transition::Cancel => (change.number("ended_ms", now), -1, 0),
            Transition::Replay if job.input.is_none() => return Ok(TransitionOutcome::NoInput),
            Transition::Replay => {
                let user = job.user.to_string();
                let found = self.quotas_of(&mut tx, &user, lock).await?;
                let over = found.and_then(|(usage, quotas)| quotas.exceeded_by(usage, 0));
                if let (Owner::User(_), Some(over)) = (owner, over) {
                    return Ok(TransitionOutcome::OverQuota(over));
                }
                (self.replayed(&mut tx, &job, change).await?, 1, 0)
            }
            _ => {
                let stored: i64 = row.try_get("stored_bytes")?;
                (change.number("ended_ms", now).number("stored_bytes", 0), 0, -stored)
            }
        };
        if !change.apply(&self.db, &mut tx, &id.to_string()).await? {
            return Ok(TransitionOutcome::NotNow(job.state));
        }
        self.charge(&mut tx, &job.user.to_string(), unfinished, stored).await?;
        tx.commit().await?;
        if transition == Transition::Cancel {
            Ended::of(&job, JobState::Cancelled, None, now).count();
        }
        Ok(TransitionOutcome::Done)
    }

    async fn replayed(
        &self,
        tx: &mut Tx,
        job: &Job,
        change: Change,
    ) -> Result<Change, sqlx::Error> {
        let turn = self.next_turn(tx, &job.user.to_string(), job.lane).await?;
        // Attempts go on counting, so that no event of an old one is taken for a new one's.
        let attempts = job.attempts;
        let history = History { attempts, forgiven: attempts, ..History::default() };
        // From now it waits again.
        let change = change.number("turn", turn).number("not_before_ms", self.db.now_ms());
        let change = change.text("history", to_json(&history)?);
        Ok(change.number("ended_ms", None).text("failure", None))
    }

    pub(crate) async fn job_row(
        &self,
        connection: &mut AnyConnection,
        owner: Owner,
        job: JobId,
        columns: &str,
        lock: &str,
    ) -> Result<Option<AnyRow>, sqlx::Error> {
        let whose = if owner == Owner::Anyone { "" } else { " AND user_id = ?" };
        let text =
            format!("SELECT {columns} FROM jobs WHERE id = ? AND state <> 'deleted'{whose}{lock}");
        let mut query = self.db.dialect.query_of(text).bind(job.to_string());
        if let Owner::User(user) = owner {
            query = query.bind(user.to_string());
        }
        query.fetch_optional(connection).await
    }
}

fn detail(row: &AnyRow) -> Result<JobDetail, sqlx::Error> {
    Ok(JobDetail {
        warnings: optional_json(row, "warnings")?.unwrap_or_default(),
        report: optional_json(row, "report")?,
        failure: optional_json(row, "failure")?,
    })
}

fn attempt(row: &AnyRow) -> Result<Attempt, sqlx::Error> {
    Ok(Attempt {
        attempt: u32::try_from(unsigned(row, "attempt")?).unwrap_or(u32::MAX),
        worker: row.try_get("worker")?,
        started_ms: row.try_get("started_ms")?,
        ended_ms: row.try_get("ended_ms")?,
        outcome: row.try_get("outcome")?,
        failure: optional_json(row, "failure")?,
    })
}

fn optional_json<T: serde::de::DeserializeOwned>(
    row: &AnyRow,
    column: &'static str,
) -> Result<Option<T>, sqlx::Error> {
    let text: Option<String> = row.try_get(column)?;
    let parse = |text: String| serde_json::from_str(&text);
    text.map(parse).transpose().map_err(|error| sqlx::Error::Decode(Box::new(error)))
}
