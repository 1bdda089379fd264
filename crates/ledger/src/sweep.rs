//! Sweeping: what is too old, or nobody's, goes. One replica does it at a time.
//!
//! Jobs that are over go after the retention period: first they are deleted for their users, then
//! their objects, then their rows. Once an hour the store is looked through for objects that no job
//! and no upload names: outputs that lost a race, uploads whose API died before it could accept a
//! job. An object's age says little while it may still be written: some stores count from when it
//! was begun. So until then one goes only if nobody named it the time before either, and never if
//! somebody names it when it is about to go.
//!
//! Nothing goes from a store that is not the ledger's: each time it is looked at first.
//!
//! All of it can end between any two steps, and be done again. What one object refuses harms no
//! other.

mod books;

use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonemill_job::objects::{ListedObject, ObjectStore, StoreError, StoreErrorKind};
use tonemill_job::{JobId, ObjectKey, chain};

use crate::error::Trouble;
use crate::uploads::{Upload, UploadKind};
use crate::{BondError, Ledger};

/// How long things are kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Jobs that are over, their outputs, and what requests asked for them. Default: 7 days.
    pub jobs: Duration,
    /// Objects that nobody names: whoever writes one has this long to name it, and then until the
    /// store is looked through once more, or until it is as old as `unfinished`. Default: 1 hour.
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

/// The duty of one replica at a time.
const DUTY: &str = "sweeper";
/// How often is looked whether something is due.
const LOOK: Duration = Duration::from_secs(5);
/// Jobs that expire, or go, in one step.
const BATCH: i64 = 200;
/// Objects that are looked at in one step.
const PAGE: usize = 500;
/// Objects that go in one step: after that they may have been named.
const STEP: usize = 20;
/// Most nameless objects that are remembered; others have their time later.
const REMEMBERED: usize = 100_000;
/// Refusals in a row after which the store is left alone until the next time.
const REFUSALS: u32 = 5;

/// Sweeps until it is told to end, or until the store is another ledger's: then whoever serves this
/// one is to end as well.
pub async fn run(
    ledger: &Ledger,
    store: &dyn ObjectStore,
    retention: Retention,
    shutdown: &CancellationToken,
) {
    let mut sweeper = Sweeper::new(retention);
    let sweeps = async {
        loop {
            match ledger.while_leading(DUTY, sweeper.sweep(ledger, store)).await {
                Some(Err(error @ (BondError::Ledger(_) | BondError::Store(_)))) => {
                    tracing::warn!(error = chain(&error), "nothing can be swept");
                }
                Some(Err(error)) => {
                    tracing::error!(error = chain(&error), "nothing is swept");
                    return;
                }
                Some(Ok(_)) | None => {}
            }
            sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = sweeps => {}
    }
    ledger.stop_leading(DUTY).await;
}

/// Sweeps, now and then.
#[derive(Debug)]
pub struct Sweeper {
    retention: Retention,
    swept: Option<Instant>,
    /// Whether the store was looked through to its end then.
    is_looked_through: bool,
    /// What nobody named when the store was looked through last.
    nameless: HashSet<ObjectKey>,
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
        Self { retention, swept: None, is_looked_through: false, nameless: HashSet::new() }
    }

    /// Sweeps what is due, if the store is the ledger's.
    pub async fn sweep(
        &mut self,
        ledger: &Ledger,
        store: &dyn ObjectStore,
    ) -> Result<Swept, BondError> {
        ledger.bind(store).await?;
        let mut sweep = Sweep {
            ledger,
            store,
            retention: self.retention,
            swept: Swept::default(),
            refusals: 0,
            all_done: true,
        };
        let outcome = sweep.expire().await;
        sweep.end_step(outcome);
        let outcome = sweep.uploads().await;
        sweep.end_step(outcome);
        let outcome = sweep.purge().await;
        sweep.end_step(outcome);
        if self.swept.is_none_or(|at| at.elapsed() >= self.retention.sweep_every) {
            self.swept = Some(Instant::now());
            let before = std::mem::replace(&mut sweep.all_done, true);
            self.look_through(&mut sweep).await;
            self.is_looked_through = std::mem::replace(&mut sweep.all_done, before);
        }
        if sweep.all_done && self.is_looked_through {
            let now = ledger.now_ms() as f64 / 1000.0;
            metrics::gauge!("tonemill_sweep_last_success_timestamp_seconds").set(now);
        }
        if sweep.swept != Swept::default() {
            tracing::info!(swept = ?sweep.swept, "swept");
        }
        Ok(sweep.swept)
    }

    async fn look_through(&mut self, sweep: &mut Sweep<'_>) {
        let before = std::mem::take(&mut self.nameless);
        for prefix in [ObjectKey::UPLOADS, ObjectKey::OUTPUTS, ObjectKey::CARDS] {
            let outcome = sweep.orphans(prefix, &before, &mut self.nameless).await;
            sweep.end_step(outcome);
        }
        let outcome = sweep.unfinished().await;
        sweep.end_step(outcome);
    }
}

/// One time.
struct Sweep<'a> {
    ledger: &'a Ledger,
    store: &'a dyn ObjectStore,
    retention: Retention,
    swept: Swept,
    /// In a row, by the store.
    refusals: u32,
    /// Whether nothing that was due is left.
    all_done: bool,
}

impl Sweep<'_> {
    async fn expire(&mut self) -> Result<(), Trouble> {
        let before = self.ledger.now_ms().saturating_sub(ms(self.retention.jobs));
        self.swept.expired = self.ledger.expire(before).await?;
        Ok(())
    }

    /// Removes what uploads have stored that nobody went on with, and what came to the addresses of
    /// those that are jobs by now, unless it is what their jobs are to convert.
    async fn uploads(&mut self) -> Result<(), Trouble> {
        loop {
            let expired = self.ledger.expired_uploads(BATCH).await?;
            if expired.is_empty() {
                return Ok(());
            }
            for upload in expired {
                let is_input = upload.kind == UploadKind::Accepted
                    && self.ledger.is_input(upload.id, &upload.key).await?;
                // First the row: from then on it becomes no job. What of its objects stays is
                // nameless.
                if !self.ledger.drop_upload(&upload).await? {
                    continue;
                }
                self.swept.uploads += 1;
                if !is_input {
                    let removed = remove_upload(self.store, &upload).await;
                    self.is_done(removed)?;
                }
            }
        }
    }

    /// Removes what deleted jobs have stored, then the jobs of which nothing is left.
    async fn purge(&mut self) -> Result<(), Trouble> {
        let mut last = None;
        loop {
            let deleted = self.ledger.deleted_jobs(last).await?;
            let Some((job, _)) = deleted.last() else { return Ok(()) };
            last = Some(*job);
            let mut gone: Vec<JobId> = Vec::new();
            for (job, objects) in deleted {
                let mut is_gone = true;
                for key in objects {
                    let deleted = self.store.delete(&key).await;
                    is_gone &= self.is_done(deleted)?;
                }
                if is_gone {
                    gone.push(job);
                }
            }
            if !gone.is_empty() {
                self.ledger.forget(&gone).await?;
                self.swept.purged += gone.len();
            }
        }
    }

    /// Removes the objects that nobody names, now and `before`; remembers those that nobody names.
    async fn orphans(
        &mut self,
        prefix: &str,
        before: &HashSet<ObjectKey>,
        nameless: &mut HashSet<ObjectKey>,
    ) -> Result<(), Trouble> {
        let mut after = None;
        loop {
            let page = self.store.list(prefix, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.key.clone());
            let Retention { nameless: young, unfinished: written, .. } = self.retention;
            let mut due: Vec<&ObjectKey> = Vec::new();
            let old = page.iter().filter(|object| self.is_old(object.modified, young));
            let old: Vec<&ListedObject> = old.collect();
            let keys: Vec<&ObjectKey> = old.iter().map(|object| &object.key).collect();
            let named = self.ledger.named_objects(&keys).await?;
            for object in old.into_iter().filter(|object| !named.contains(&object.key)) {
                if before.contains(&object.key) || self.is_old(object.modified, written) {
                    due.push(&object.key);
                } else if nameless.len() < REMEMBERED {
                    nameless.insert(object.key.clone());
                }
            }
            for keys in due.chunks(STEP) {
                let named = self.ledger.named_objects(keys).await?;
                for key in keys.iter().filter(|key| !named.contains(*key)) {
                    let deleted = self.store.delete(key).await;
                    if self.is_done(deleted)? {
                        self.swept.orphans += 1;
                    } else {
                        nameless.insert((*key).clone());
                    }
                }
            }
        }
    }

    /// Gives up objects that were begun long ago and that no upload goes on into.
    async fn unfinished(&mut self) -> Result<(), Trouble> {
        let unfinished = match self.store.unfinished().await {
            // It has to remove them itself.
            Err(error) if error.kind == StoreErrorKind::Unsupported => return Ok(()),
            outcome => outcome?,
        };
        for upload in unfinished {
            if !self.is_old(upload.started, self.retention.unfinished)
                || self.ledger.is_awaited(&upload.key).await?
            {
                continue;
            }
            let given_up = self.store.give_up(&upload).await;
            if self.is_done(given_up)? {
                self.swept.unfinished += 1;
            }
        }
        Ok(())
    }

    /// What ends a step does not end the next.
    fn end_step(&mut self, outcome: Result<(), Trouble>) {
        self.refusals = 0;
        if let Err(trouble) = outcome {
            self.all_done = false;
            tracing::warn!(error = chain(&trouble), "not everything can be swept");
        }
    }

    /// Whether a time is longer ago than `limit`, by the clock of all replicas.
    fn is_old(&self, since: SystemTime, limit: Duration) -> bool {
        let since = since.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.ledger.now_ms().saturating_sub(ms(since)) > ms(limit)
    }

    /// Whether the store did it. One refusal stops nothing; several in a row are the store's.
    fn is_done(&mut self, outcome: Result<(), StoreError>) -> Result<bool, Trouble> {
        let Err(error) = outcome else {
            metrics::counter!("tonemill_swept_objects_total").increment(1);
            self.refusals = 0;
            return Ok(true);
        };
        self.refusals += 1;
        if self.refusals >= REFUSALS {
            return Err(error.into());
        }
        self.all_done = false;
        tracing::warn!(error = chain(&error), "something that nobody needs stays for now");
        Ok(false)
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
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
