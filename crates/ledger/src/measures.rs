//! What the ledger tells of itself as metrics: what has ended, counted where it is written down,
//! and what there is, looked up now and then.

use sqlx::Row as _;
use sqlx::any::AnyRow;
use tonemill_job::Lane;
use tonemill_job::message::FailureKind;

use crate::Ledger;
use crate::dialect::marks;
use crate::error::Result;
use crate::job::{Job, unsigned};
use crate::state::JobState;

/// The end of a job, to be counted when it is written down.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    state: JobState,
    failure: Option<FailureKind>,
    lane: Lane,
    after_ms: i64,
}

impl Ended {
    /// The end of `job` at `now_ms`.
    pub(crate) fn of(
        job: &Job,
        state: JobState,
        failure: Option<FailureKind>,
        now_ms: i64,
    ) -> Self {
        Self { state, failure, lane: job.lane, after_ms: now_ms - job.created_ms }
    }

    pub(crate) fn count(self) {
        let lane = self.lane.name();
        let failure = self.failure.map_or("none", FailureKind::name);
        let labels = [("state", self.state.name()), ("failure", failure), ("lane", lane)];
        metrics::counter!("tonemill_jobs_ended_total", &labels).increment(1);
        metrics::histogram!("tonemill_job_duration_seconds", "lane" => lane)
            .record(seconds(self.after_ms));
    }
}

/// Seconds between two looks at clocks that may differ.
pub(crate) fn seconds(ms: i64) -> f64 {
    ms.max(0) as f64 / 1000.0
}

/// Since when a job has been free to be converted: it may have been tried or given up before.
pub(crate) const WAITS_SINCE_MS: &str =
    "CASE WHEN not_before_ms > created_ms THEN not_before_ms ELSE created_ms END";

/// Unfinished jobs of a lane, in one state.
struct Unfinished {
    state: String,
    lane: String,
    jobs: u64,
    /// Since when the first of them waits.
    since_ms: i64,
}

/// What there is.
struct Measures {
    unfinished: Vec<Unfinished>,
    /// By mail, and to webhooks.
    owed: [Owed; 2],
    /// Who have waiting jobs.
    users_waiting: u64,
    stored_bytes: u64,
}

impl Measures {
    fn jobs(&self, state: &str, lane: &str) -> Option<&Unfinished> {
        self.unfinished.iter().find(|row| row.state == state && row.lane == lane)
    }
}

/// Notifications of a channel that are owed.
#[derive(Clone, Copy)]
struct Owed {
    count: u64,
    /// Since when the first of them is.
    since_ms: Option<i64>,
}

impl Ledger {
    /// Looks up what there is. It costs little, however many jobs are over. What cannot be looked
    /// up is NaN: of several replicas that tell a number, the one without its ledger counts for
    /// nothing.
    pub async fn measure(&self) -> Result<()> {
        let measures = self.look_at_all().await;
        self.tell(measures.as_ref().ok());
        measures.map(drop)
    }

    async fn look_at_all(&self) -> Result<Measures> {
        let unfinished = self.unfinished().await?;
        let owed = self.owed_deliveries().await?;
        let (users_waiting, stored_bytes) = self.users_in_sum().await?;
        Ok(Measures { unfinished, owed, users_waiting, stored_bytes })
    }

    fn tell(&self, measures: Option<&Measures>) {
        let told = |number: &dyn Fn(&Measures) -> f64| measures.map_or(f64::NAN, number);
        let age = |since_ms: Option<i64>| since_ms.map_or(0.0, |ms| seconds(self.db.now_ms() - ms));
        for state in JobState::UNFINISHED {
            for lane in Lane::ALL {
                let (state, lane) = (state.name(), lane.name());
                let jobs = told(&|all| all.jobs(state, lane).map_or(0, |row| row.jobs) as f64);
                metrics::gauge!("tonemill_jobs", "state" => state, "lane" => lane).set(jobs);
            }
        }
        for lane in Lane::ALL.map(Lane::name) {
            let waiting = JobState::Waiting.name();
            let oldest = told(&|all| age(all.jobs(waiting, lane).map(|row| row.since_ms)));
            metrics::gauge!("tonemill_jobs_oldest_waiting_seconds", "lane" => lane).set(oldest);
        }
        for (index, channel) in ["mail", "webhook"].into_iter().enumerate() {
            metrics::gauge!("tonemill_deliveries_owed", "channel" => channel)
                .set(told(&|all| all.owed[index].count as f64));
            metrics::gauge!("tonemill_deliveries_oldest_owed_seconds", "channel" => channel)
                .set(told(&|all| age(all.owed[index].since_ms)));
        }
        metrics::gauge!("tonemill_users_waiting").set(told(&|all| all.users_waiting as f64));
        metrics::gauge!("tonemill_stored_bytes").set(told(&|all| all.stored_bytes as f64));
    }

    /// Reads what is unfinished alone.
    async fn unfinished(&self) -> Result<Vec<Unfinished>> {
        let look = || async move {
            let text = format!(
                "SELECT state, lane, COUNT(*) AS jobs, MIN({WAITS_SINCE_MS}) AS since_ms \
                 FROM jobs WHERE state IN ({}) GROUP BY state, lane",
                marks(JobState::UNFINISHED.len())
            );
            let mut query = self.db.dialect.query_of(text);
            for state in JobState::UNFINISHED {
                query = query.bind(state.name());
            }
            let rows = query.fetch_all(&self.db.read).await?;
            let read = |row: &AnyRow| {
                Ok(Unfinished {
                    state: row.try_get("state")?,
                    lane: row.try_get("lane")?,
                    jobs: unsigned(row, "jobs")?,
                    since_ms: row.try_get("since_ms")?,
                })
            };
            rows.iter().map(read).collect()
        };
        self.db.run("count unfinished jobs", look).await
    }

    /// Reads the index by state and time, and of that only what is owed.
    async fn owed_deliveries(&self) -> Result<[Owed; 2]> {
        let look = || async move {
            let text = "SELECT COUNT(webhook_id) AS webhooks, COUNT(*) AS all_channels, \
                        MIN(CASE WHEN webhook_id IS NULL THEN COALESCE(replayed_ms, created_ms) \
                        END) AS mail_since_ms, MIN(CASE WHEN webhook_id IS NOT NULL THEN \
                        COALESCE(replayed_ms, created_ms) END) AS webhook_since_ms \
                        FROM deliveries WHERE state = 'owed'";
            let row = self.db.query(text).fetch_one(&self.db.read).await?;
            let (webhooks, all) = (unsigned(&row, "webhooks")?, unsigned(&row, "all_channels")?);
            let mails = all.saturating_sub(webhooks);
            Ok([
                Owed { count: mails, since_ms: row.try_get("mail_since_ms")? },
                Owed { count: webhooks, since_ms: row.try_get("webhook_since_ms")? },
            ])
        };
        self.db.run("count deliveries", look).await
    }

    /// Users with waiting jobs, and what all of them have stored. Of jobs it reads those of users
    /// alone who have unfinished ones.
    async fn users_in_sum(&self) -> Result<(u64, u64)> {
        let look = || async move {
            let waiting = "SELECT COUNT(*) AS users FROM users WHERE unfinished_jobs > 0 AND EXISTS \
                           (SELECT 1 FROM jobs WHERE jobs.user_id = users.id AND state = 'waiting')";
            let waiting = self.db.query(waiting).fetch_one(&self.db.read).await?;
            let stored = format!(
                "SELECT CAST(COALESCE(SUM(stored_bytes), 0) AS {}) AS stored FROM users",
                self.db.dialect.whole_number()
            );
            let stored = self.db.dialect.query_of(stored).fetch_one(&self.db.read).await?;
            Ok((unsigned(&waiting, "users")?, unsigned(&stored, "stored")?))
        };
        self.db.run("sum users up", look).await
    }
}
