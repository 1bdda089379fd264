//! Whether it all fits together: the ledger's rows with each other, and its jobs with what is in
//! the store. It changes nothing.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use sqlx::Row as _;
use tonemill_job::objects::{ObjectStore, StoreError, size_of};
use tonemill_job::{JobId, ObjectKey};

use crate::Ledger;
use crate::error::{LedgerError, Result};
use crate::job::Job;
use crate::jobs::Owner;
use crate::state::JobState;

/// Questions to the store on their way at a time.
const AT_ONCE: usize = 16;
/// Most of what is wrong that is told.
const TOLD: usize = 100;

/// Tables, the columns that name rows of another, and that other.
const REFERENCES: [(&str, &str, &str); 12] = [
    ("daily_audio", "user_id", "users"),
    ("credentials", "user_id", "users"),
    ("turns", "user_id", "users"),
    ("jobs", "user_id", "users"),
    ("attempts", "job_id", "jobs"),
    ("idempotency_keys", "user_id", "users"),
    ("uploads", "user_id", "users"),
    ("upload_parts", "upload_id", "uploads"),
    ("webhooks", "user_id", "users"),
    ("webhooks", "job_id", "jobs"),
    ("deliveries", "user_id", "users"),
    ("turns", "lane", "lanes"),
];

/// What the store was found to have of the ledger's jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Objects {
    /// Jobs that were looked at.
    pub jobs: u64,
    /// Objects that are there as the ledger has them.
    pub whole: u64,
    /// Jobs whose object is not, and how: the first of them.
    pub wrong: Vec<(JobId, String)>,
    /// How many more there are.
    pub more: u64,
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Ledger {
    /// What is wrong with the rows: those that name others that are not there, and users who are
    /// charged for other jobs than they have. Takes its time.
    pub async fn audit_rows(&self) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        for (table, column, other) in REFERENCES {
            let key = if other == "lanes" { "lane" } else { "id" };
            let text = format!(
                "SELECT COUNT(*) FROM {table} WHERE {column} IS NOT NULL AND NOT EXISTS \
                 (SELECT 1 FROM {other} WHERE {other}.{key} = {table}.{column})"
            );
            let count = self.number_of(text).await?;
            if count > 0 {
                wrong.push(format!("{count} {table} name {other} that are not there ({column})"));
            }
        }
        let text = format!(
            "SELECT COUNT(*) FROM users WHERE unfinished_jobs <> (SELECT COUNT(*) FROM jobs WHERE \
             user_id = users.id AND state IN ('waiting', 'queued', 'running')) OR stored_bytes <> \
             (SELECT CAST(COALESCE(SUM(stored_bytes), 0) AS {number}) FROM jobs WHERE \
             user_id = users.id) + (SELECT CAST(COALESCE(SUM(total_bytes), 0) AS {number}) FROM \
             uploads WHERE user_id = users.id)",
            number = self.db.dialect.whole_number()
        );
        let count = self.number_of(text).await?;
        if count > 0 {
            wrong.push(format!("{count} users are charged for more or less than they have"));
        }
        let known = JobState::ALL.map(|state| format!("'{}'", state.name())).join(", ");
        let text = format!("SELECT COUNT(*) FROM jobs WHERE state NOT IN ({known})");
        let count = self.number_of(text).await?;
        if count > 0 {
            wrong.push(format!("{count} jobs are in a state that there is not"));
        }
        Ok(wrong)
    }

    async fn number_of(&self, text: String) -> Result<i64> {
        let row = self.db.dialect.query_of(text).fetch_one(&self.db.read).await;
        let count = row.and_then(|row| row.try_get(0));
        count.map_err(|error| crate::database::during("be looked through", error))
    }

    /// Looks in the store for what the jobs have there: each finished one its output, the others
    /// their uploads. A service may be at work: what changed meanwhile is not wrong.
    pub async fn audit_objects(&self, store: &dyn ObjectStore) -> Result<Objects, AuditError> {
        let (mut found, mut last) = (Objects::default(), None);
        loop {
            let page = self.page_of_jobs(last).await?;
            let Some(job) = page.last() else { return Ok(found) };
            last = Some(job.id);
            found.jobs += page.len() as u64;
            let looks = page.into_iter().map(|job| self.audit_job(store, job));
            let looks: Vec<_> = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
            for (job, wrong) in looks.into_iter().flatten() {
                match wrong {
                    None => found.whole += 1,
                    Some(wrong) if found.wrong.len() < TOLD => found.wrong.push((job, wrong)),
                    Some(_) => found.more += 1,
                }
            }
        }
    }

    /// What is wrong with a job's object; `None` if it has, and needs, none.
    async fn audit_job(
        &self,
        store: &dyn ObjectStore,
        job: Job,
    ) -> Result<Option<(JobId, Option<String>)>, AuditError> {
        let Some((key, due)) = object_of(&job) else { return Ok(None) };
        let wrong = match size_of(store, &key).await? {
            Some(bytes) if bytes == due => return Ok(Some((job.id, None))),
            Some(bytes) => format!("{key} has {bytes} bytes, not {due}"),
            None => format!("{key} is not there"),
        };
        let now = self.job(Owner::Anyone, job.id).await?;
        let is_same = now.is_some_and(|now| now.version == job.version);
        Ok(is_same.then_some((job.id, Some(wrong))))
    }
}

fn object_of(job: &Job) -> Option<(ObjectKey, u64)> {
    match (&job.output, job.state) {
        (Some(output), JobState::Finished) => Some((output.key.clone(), output.bytes)),
        _ => job.input.clone().map(|input| (input, job.input_bytes)),
    }
}
