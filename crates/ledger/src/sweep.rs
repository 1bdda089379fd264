//! Sweeping: what is too old, or nobody's, goes.
//!
//! Jobs that are over go after the retention period: first they are deleted for their users, then
//! their objects, then their rows. Once an hour the store is looked through for objects that no job
//! and no upload names: outputs that lost a race, uploads whose API died before it could accept a job.

use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sqlx::Row as _;
use tonemill_job::objects::{ListedObject, ObjectStore, StoreError, StoreErrorKind};
use tonemill_job::{JobId, ObjectKey, chain};

use crate::Ledger;
use crate::dialect::marks;
use crate::error::Result;
use crate::job::parsed;
use crate::jobs::Owner;
use crate::quota::DAY_MS;
use crate::uploads::Upload;

/// How long things are kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Jobs that are over, their outputs, and what requests asked for them. Default: 7 days.
    pub jobs: Duration,
    /// Objects that nobody names: whoever writes one has this long to name it. Default: 1 hour.
    pub nameless: Duration,
    /// Objects that were begun: nobody writes one for longer. Default: 24 hours.
    pub unfinished: Duration,
    /// How often the store is looked through. Default: 1 hour.
    pub sweep_every: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        let hour = Duration::from_hours(1);
        Self { jobs: 7 * 24 * hour, nameless: hour, unfinished: 24 * hour, sweep_every: hour }
    }
}

/// Jobs that expire, or go, in one step.
const BATCH: i64 = 200;
/// Objects that are looked at in one step.
const PAGE: usize = 500;

/// Sweeps, now and then.
#[derive(Debug)]
pub struct Sweeper {
    retention: Retention,
    swept: Option<Instant>,
}

/// What was swept away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Jobs that were too old.
    pub expired: usize,
    /// Uploads that were left.
    pub uploads: usize,
    /// Deleted jobs whose objects and rows went.
    pub purged: usize,
    /// Objects that nobody named.
    pub orphans: usize,
    /// Objects that were begun and left.
    pub unfinished: usize,
}

impl Sweeper {
    /// One that looks through the store at its first chance.
    #[must_use]
    pub fn new(retention: Retention) -> Self {
        Self { retention, swept: None }
    }

    /// Sweeps what is due.
    pub async fn sweep(&mut self, ledger: &Ledger, store: &dyn ObjectStore) -> Swept {
        let mut swept = Swept::default();
        let outcome = self.try_sweep(ledger, store, &mut swept).await;
        if swept != Swept::default() {
            tracing::info!(?swept, "swept");
        }
        if let Err(why) = outcome {
            tracing::warn!(error = why, "not everything can be swept");
        }
        swept
    }

    async fn try_sweep(
        &mut self,
        ledger: &Ledger,
        store: &dyn ObjectStore,
        swept: &mut Swept,
    ) -> Result<(), String> {
        let keep_ms = i64::try_from(self.retention.jobs.as_millis()).unwrap_or(i64::MAX);
        let before = ledger.now_ms().saturating_sub(keep_ms);
        swept.expired = ledger.expire(before).await.map_err(|error| chain(&error))?;
        swept.uploads = expire_uploads(ledger, store).await?;
        swept.purged = purge(ledger, store).await?;
        if self.swept.is_some_and(|at| at.elapsed() < self.retention.sweep_every) {
            return Ok(());
        }
        self.swept = Some(Instant::now());
        for prefix in [ObjectKey::UPLOADS, ObjectKey::OUTPUTS] {
            swept.orphans += self.sweep_orphans(ledger, store, prefix).await?;
        }
        swept.unfinished = self.sweep_unfinished(ledger, store).await?;
        Ok(())
    }

    async fn sweep_orphans(
        &self,
        ledger: &Ledger,
        store: &dyn ObjectStore,
        prefix: &str,
    ) -> Result<usize, String> {
        let before = ledger.time_before(self.retention.nameless);
        let mut count = 0;
        let mut after = None;
        loop {
            let page = store.list(prefix, after.as_ref(), PAGE).await;
            let page = page.map_err(|error| chain(&error))?;
            let Some(last) = page.last() else { return Ok(count) };
            after = Some(last.key.clone());
            let old: Vec<&ListedObject> =
                page.iter().filter(|object| object.modified < before).collect();
            let named = ledger.named_objects(&old).await.map_err(|error| chain(&error))?;
            for object in old.into_iter().filter(|object| !named.contains(&object.key)) {
                store.delete(&object.key).await.map_err(|error| chain(&error))?;
                count += 1;
            }
        }
    }

    async fn sweep_unfinished(
        &self,
        ledger: &Ledger,
        store: &dyn ObjectStore,
    ) -> Result<usize, String> {
        let unfinished = match store.unfinished().await {
            // It has to remove them itself.
            Err(error) if error.kind == StoreErrorKind::Unsupported => return Ok(0),
            outcome => outcome.map_err(|error| chain(&error))?,
        };
        let before = ledger.time_before(self.retention.unfinished);
        let mut count = 0;
        for upload in unfinished {
            if upload.started >= before {
                continue;
            }
            let named = ledger.is_awaited(&upload.key).await.map_err(|error| chain(&error))?;
            if !named {
                store.give_up(&upload).await.map_err(|error| chain(&error))?;
                count += 1;
            }
        }
        Ok(count)
    }
}

/// Removes what uploads have stored that nobody went on with, then the uploads.
async fn expire_uploads(ledger: &Ledger, store: &dyn ObjectStore) -> Result<usize, String> {
    let mut count = 0;
    loop {
        let expired = ledger.expired_uploads(BATCH).await.map_err(|error| chain(&error))?;
        if expired.is_empty() {
            return Ok(count);
        }
        for upload in expired {
            // First the row: from then on it becomes no job. What of its objects stays is swept.
            if ledger.drop_upload(&upload).await.map_err(|error| chain(&error))? {
                remove_upload(store, &upload).await.map_err(|error| chain(&error))?;
                count += 1;
            }
        }
    }
}

/// Removes all that an upload has stored.
pub async fn remove_upload(store: &dyn ObjectStore, upload: &Upload) -> Result<(), StoreError> {
    if let Some(parts) = &upload.parts {
        store.abort_parts(&upload.key, parts).await?;
    }
    if let Some(tail) = &upload.tail {
        store.delete(tail).await?;
    }
    store.delete(&upload.key).await
}

/// Removes what deleted jobs have stored, then the jobs.
async fn purge(ledger: &Ledger, store: &dyn ObjectStore) -> Result<usize, String> {
    let mut count = 0;
    loop {
        let deleted = ledger.deleted_jobs().await.map_err(|error| chain(&error))?;
        if deleted.is_empty() {
            return Ok(count);
        }
        for (_, objects) in &deleted {
            for key in objects {
                store.delete(key).await.map_err(|error| chain(&error))?;
            }
        }
        let jobs: Vec<JobId> = deleted.into_iter().map(|(job, _)| job).collect();
        ledger.forget(&jobs).await.map_err(|error| chain(&error))?;
        count += jobs.len();
    }
}

impl Ledger {
    /// When it was so long ago, by the clock that all replicas share: a replica whose own is ahead would
    /// take for old what is being stored.
    fn time_before(&self, age: Duration) -> SystemTime {
        let now = Duration::from_millis(self.now_ms().try_into().unwrap_or(0));
        UNIX_EPOCH + now.saturating_sub(age)
    }

    /// Deletes jobs that were over before a time, and forgets what else is as old.
    pub(crate) async fn expire(&self, before_ms: i64) -> Result<usize> {
        let mut count = 0;
        loop {
            let expired = || async move {
                let text = "SELECT id FROM jobs WHERE state IN ('finished', 'failed', \
                            'cancelled') AND ended_ms < ? LIMIT ?";
                let rows = self.db.query(text).bind(before_ms).bind(BATCH);
                let rows = rows.fetch_all(&self.db.read).await?;
                rows.iter().map(|row| parsed::<JobId>(row, "id")).collect::<Result<Vec<_>, _>>()
            };
            let jobs = self.db.run("look up old jobs", expired).await?;
            if jobs.is_empty() {
                break;
            }
            for job in &jobs {
                self.delete_job(Owner::Anyone, *job).await?;
            }
            count += jobs.len();
        }
        let forget = || async move {
            let mut tx = self.db.begin().await?;
            for (text, before) in [
                ("DELETE FROM idempotency_keys WHERE created_ms < ?", before_ms),
                ("DELETE FROM credentials WHERE expires_ms < ?", before_ms),
                ("DELETE FROM deliveries WHERE created_ms < ?", before_ms),
                ("DELETE FROM daily_audio WHERE day < ?", before_ms / DAY_MS),
            ] {
                self.db.query(text).bind(before).execute(&mut *tx).await?;
            }
            tx.commit().await
        };
        self.db.run("forget what is old", forget).await?;
        Ok(count)
    }

    /// Some deleted jobs, and the objects that are theirs.
    async fn deleted_jobs(&self) -> Result<Vec<(JobId, Vec<ObjectKey>)>> {
        let look = || async move {
            let text = "SELECT id, input_key, output_key FROM jobs WHERE state = 'deleted' LIMIT ?";
            let rows = self.db.query(text).bind(BATCH).fetch_all(&self.db.read).await?;
            let job = |row| {
                let keys: [Option<String>; 2] =
                    [sqlx::Row::try_get(row, "input_key")?, sqlx::Row::try_get(row, "output_key")?];
                let keys = keys.into_iter().flatten().filter_map(|key| key.try_into().ok());
                Ok((parsed(row, "id")?, keys.collect()))
            };
            rows.iter().map(job).collect()
        };
        self.db.run("look up deleted jobs", look).await
    }

    /// Removes the rows of deleted jobs.
    async fn forget(&self, jobs: &[JobId]) -> Result<()> {
        let forget = || async move {
            let mut tx = self.db.begin().await?;
            for (table, column) in [("attempts", "job_id"), ("jobs", "id")] {
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

    /// Those of the objects that a job or an upload names.
    async fn named_objects<'a>(
        &self,
        objects: &[&'a ListedObject],
    ) -> Result<HashSet<&'a ObjectKey>> {
        let look = || async move {
            let mut ids: Vec<&str> = objects.iter().filter_map(|o| job_in(&o.key)).collect();
            ids.dedup();
            let mut named = HashSet::new();
            if !ids.is_empty() {
                let marks = marks(ids.len());
                for text in [
                    format!("SELECT input_key, output_key FROM jobs WHERE id IN ({marks})"),
                    format!("SELECT object_key, tail_key FROM uploads WHERE id IN ({marks})"),
                ] {
                    let mut query = self.db.dialect.query_of(text);
                    for id in &ids {
                        query = query.bind((*id).to_owned());
                    }
                    for row in query.fetch_all(&self.db.read).await? {
                        let keys: [Option<String>; 2] = [row.try_get(0)?, row.try_get(1)?];
                        named.extend(keys.into_iter().flatten());
                    }
                }
            }
            Ok(objects
                .iter()
                .filter(|object| named.contains(object.key.as_str()))
                .map(|object| &object.key)
                .collect())
        };
        self.db.run("look up objects", look).await
    }

    /// Whether an upload goes on into this object.
    async fn is_awaited(&self, key: &ObjectKey) -> Result<bool> {
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
