//! What the ledger says of what is to go, and what it forgets.

use std::collections::HashSet;

use sqlx::Row as _;
use tonemill_job::{JobId, ObjectKey, chain};

use super::BATCH;
use crate::Ledger;
use crate::deliveries::MAX_OWED_MS;
use crate::dialect::marks;
use crate::error::{LedgerErrorKind, Result};
use crate::job::parsed;
use crate::jobs::Owner;
use crate::quota::DAY_MS;
use crate::state::JobState;

impl Ledger {
    /// Deletes jobs that were over before a time, and forgets what else is as old.
    pub(super) async fn expire(&self, before_ms: i64) -> Result<usize> {
        let mut count = 0;
        loop {
            let expired = || async move {
                let text = "SELECT id FROM jobs WHERE state IN ('finished', 'failed', \
                            'cancelled') AND ended_ms < ? LIMIT ?";
                let rows = self.db.query(text).bind(before_ms).bind(BATCH);
                let rows = rows.fetch_all(&self.db.read).await?;
                rows.iter().map(|row| parsed::<JobId>(row, "id")).collect::<Result<Vec<_>, _>>()
            };
            let mut gone = 0;
            for job in self.db.run("look up old jobs", expired).await? {
                match self.delete_job(Owner::Anyone, job).await {
                    // Of one whose row makes no sense: the others go all the same.
                    Err(error) if error.kind == LedgerErrorKind::Invalid => {
                        tracing::error!(%job, error = chain(&error), "an old job stays");
                    }
                    outcome => {
                        outcome?;
                        gone += 1;
                    }
                }
            }
            count += gone;
            if gone == 0 {
                break;
            }
        }
        let forget = || async move {
            let now_ms = self.db.now_ms();
            let mut tx = self.db.begin().await?;
            for (text, before) in [
                ("DELETE FROM idempotency_keys WHERE created_ms < ?", before_ms),
                ("DELETE FROM credentials WHERE expires_ms < ?", before_ms),
                ("DELETE FROM deliveries WHERE state <> 'owed' AND created_ms < ?", before_ms),
                // That nobody has taken for so long nobody will.
                ("DELETE FROM deliveries WHERE created_ms < ?", now_ms - MAX_OWED_MS),
                (
                    "DELETE FROM delivery_attempts WHERE started_ms < ? AND delivery_id NOT IN \
                     (SELECT id FROM deliveries)",
                    before_ms,
                ),
                ("DELETE FROM daily_audio WHERE day < ?", before_ms / DAY_MS),
            ] {
                self.db.query(text).bind(before).execute(&mut *tx).await?;
            }
            tx.commit().await
        };
        self.db.run("forget what is old", forget).await?;
        Ok(count)
    }

    /// A page of the deleted jobs, by id, and the objects that are theirs.
    pub(super) async fn deleted_jobs(
        &self,
        after: Option<JobId>,
    ) -> Result<Vec<(JobId, Vec<ObjectKey>)>> {
        let look = || async move {
            let text = "SELECT id, input_key, output_key FROM jobs WHERE state = 'deleted' AND \
                        id > ? ORDER BY id LIMIT ?";
            let after = after.map(|job| job.to_string()).unwrap_or_default();
            let rows = self.db.query(text).bind(after).bind(BATCH).fetch_all(&self.db.read).await?;
            let job = |row| {
                let keys: [Option<String>; 2] =
                    [sqlx::Row::try_get(row, "input_key")?, sqlx::Row::try_get(row, "output_key")?];
                let keys = keys.into_iter().flatten().filter_map(|key| key.try_into().ok());
                let job = parsed(row, "id")?;
                Ok((job, keys.chain([ObjectKey::card(job)]).collect()))
            };
            rows.iter().map(job).collect()
        };
        self.db.run("look up deleted jobs", look).await
    }

    /// Removes the rows of deleted jobs.
    pub(super) async fn forget(&self, jobs: &[JobId]) -> Result<()> {
        let forget = || async move {
            let mut tx = self.db.begin().await?;
            for (table, column) in [("attempts", "job_id"), ("webhooks", "job_id"), ("jobs", "id")]
            {
                let ids = marks(jobs.len());
                let text = format!("DELETE FROM {table} WHERE {column} IN ({ids})");
                let mut delete = self.db.dialect.query_of(text);
                for job in jobs {
                    delete = delete.bind(job.to_string());
                }
                delete.execute(&mut *tx).await?;
            }
            tx.commit().await
        };
        self.db.run("forget deleted jobs", forget).await
    }

    /// Those of the objects that a job or an upload names. An output counts as named as long as its
    /// job is not over: that it is the one may be told by an event that waits to be recorded. A card
    /// counts as long as its job is there.
    pub(crate) async fn named_objects<'a>(
        &self,
        objects: &[&'a ObjectKey],
    ) -> Result<HashSet<&'a ObjectKey>> {
        let look = || async move {
            let mut ids: Vec<&str> = objects.iter().copied().filter_map(job_in).collect();
            ids.dedup();
            if ids.is_empty() {
                return Ok(HashSet::new());
            }
            let (mut named, mut unfinished) = (HashSet::new(), HashSet::new());
            let marks = marks(ids.len());
            for text in [
                format!("SELECT input_key, output_key, id, state FROM jobs WHERE id IN ({marks})"),
                format!("SELECT object_key, tail_key, id, '' FROM uploads WHERE id IN ({marks})"),
            ] {
                let mut query = self.db.dialect.query_of(text);
                for id in &ids {
                    query = query.bind((*id).to_owned());
                }
                for row in query.fetch_all(&self.db.read).await? {
                    let keys: [Option<String>; 2] = [row.try_get(0)?, row.try_get(1)?];
                    named.extend(keys.into_iter().flatten());
                    let state: String = row.try_get(3)?;
                    if !state.is_empty() {
                        let card = row.try_get::<String, _>(2)?.parse().map(ObjectKey::card);
                        named.extend(card.map(String::from));
                    }
                    if JobState::named(&state).is_some_and(|state| !state.is_ended()) {
                        unfinished.insert(row.try_get::<String, _>(2)?);
                    }
                }
            }
            let may_count = |key: &ObjectKey| {
                let is_output = key.as_str().starts_with(ObjectKey::OUTPUTS);
                is_output && job_in(key).is_some_and(|job| unfinished.contains(job))
            };
            let counts = |key: &&ObjectKey| named.contains(key.as_str()) || may_count(key);
            Ok(objects.iter().copied().filter(counts).collect())
        };
        self.db.run("look up objects", look).await
    }

    /// Whether a job, whatever became of it, has this input.
    pub(super) async fn is_input(&self, job: JobId, key: &ObjectKey) -> Result<bool> {
        let look = || async move {
            let text = "SELECT id FROM jobs WHERE id = ? AND input_key = ?";
            let query = self.db.query(text).bind(job.to_string()).bind(key.to_string());
            Ok(query.fetch_optional(&self.db.read).await?.is_some())
        };
        self.db.run("look up an input", look).await
    }

    /// Whether an upload goes on into this object.
    pub(super) async fn is_awaited(&self, key: &ObjectKey) -> Result<bool> {
        let look = || async move {
            let Some(id) = job_in(key) else { return Ok(false) };
            let text = "SELECT id FROM uploads WHERE id = ? AND object_key = ?";
            let query = self.db.query(text).bind(id.to_owned()).bind(key.to_string());
            Ok(query.fetch_optional(&self.db.read).await?.is_some())
        };
        self.db.run("look up an upload", look).await
    }
}

/// The job, or upload, in an object's key.
fn job_in(key: &ObjectKey) -> Option<&str> {
    key.as_str().split('/').nth(1)
}
