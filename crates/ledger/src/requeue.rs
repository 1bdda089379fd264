//! Taking jobs back that were queued and are in no queue: for whoever found out (see `reconciler`).
//!
//! They are dispatched again when their turn comes, which is at once.

use tonemill_job::JobId;
use tonemill_job::message::History;

use crate::Ledger;
use crate::database::Tx;
use crate::dialect::marks;
use crate::error::Result;
use crate::job::{history, parsed, to_json, unsigned};
use crate::jobs::Owner;
use crate::state::{Change, JobState, Transition};

impl Ledger {
    /// Takes jobs back that are in no queue; how many of them were not over.
    pub async fn requeue(&self, jobs: &[JobId]) -> Result<usize> {
        self.take_back(jobs, false).await
    }

    async fn take_back(&self, jobs: &[JobId], died_with_workers: bool) -> Result<usize> {
        let take_back = || async move {
            let mut tx = self.db.begin().await?;
            let mut count = 0;
            for job in jobs {
                let Some(history) = self.history(&mut tx, *job).await? else { continue };
                let suspect = history.suspect || died_with_workers;
                let history = History { suspect, ..history };
                let change = Change::new(Transition::Requeue).text("history", to_json(&history)?);
                count += usize::from(change.apply(&self.db, &mut tx, &job.to_string()).await?);
            }
            tx.commit().await?;
            Ok(count)
        };
        let count = self.db.run("take jobs back", take_back).await?;
        metrics::counter!("tonemill_requeued_jobs_total").increment(count as u64);
        for job in jobs {
            self.tell_changed(*job);
        }
        self.wake_dispatcher();
        Ok(count)
    }

    /// What a job's next attempt is told. What the queue knew of attempts is lost; the ledger knows
    /// those that began.
    async fn history(&self, tx: &mut Tx, job: JobId) -> Result<Option<History>, sqlx::Error> {
        let lock = self.db.dialect.for_update();
        let row = self.job_row(tx, Owner::Anyone, job, "attempts, history", lock).await?;
        let Some(row) = row else { return Ok(None) };
        let history = history(&row)?;
        let began = u32::try_from(unsigned(&row, "attempts")?).unwrap_or(u32::MAX);
        Ok(Some(History { attempts: began.max(history.attempts), ..history }))
    }

    /// Takes all jobs back: for a queue that died with its process, which was the workers' as well.
    /// It may have been a job's doing, also of one whose start was not written down any more, and a
    /// file that crashes who decodes it must not do so again and again.
    pub async fn requeue_all(&self) -> Result<usize> {
        let mut count = 0;
        loop {
            let jobs = self.dispatched(i64::MAX, None).await?;
            let ids: Vec<JobId> = jobs.iter().map(|(job, _)| *job).collect();
            if ids.is_empty() {
                return Ok(count);
            }
            count += self.take_back(&ids, true).await?;
        }
    }

    /// A page of the jobs that were dispatched before a time and are not over, by id, with the
    /// versions that they have.
    pub(crate) async fn dispatched(
        &self,
        before_ms: i64,
        after: Option<JobId>,
    ) -> Result<Vec<(JobId, i64)>> {
        let look = || async move {
            let states = [JobState::Queued, JobState::Running];
            let text = format!(
                "SELECT id, version FROM jobs WHERE state IN ({}) AND dispatched_ms < ? AND \
                 id > ? ORDER BY id LIMIT 500",
                marks(states.len())
            );
            let mut query = self.db.dialect.query_of(text);
            for state in states {
                query = query.bind(state.name());
            }
            let after = after.map(|job| job.to_string()).unwrap_or_default();
            let rows = query.bind(before_ms).bind(after).fetch_all(&self.db.read).await?;
            let job = |row| {
                let version: i64 = sqlx::Row::try_get(row, "version")?;
                Ok((parsed(row, "id")?, version))
            };
            rows.iter().map(job).collect()
        };
        self.db.run("look up dispatched jobs", look).await
    }
}
