//! What administrators are told about the system itself: jobs that wait too long, files that crash
//! the decoder, notifications that nobody takes.
//!
//! Each kind is told once, by the replica that leads, and again only after it was all right
//! meanwhile.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::Row as _;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonemill_job::chain;

use crate::Ledger;
use crate::deliveries::{DISABLED, NOBODY, TEST_EVENT};
use crate::error::Result;
use crate::measures::WAITS_SINCE_MS;

/// How often is looked.
const LOOK: Duration = Duration::from_secs(30);
/// How far back what is counted counts.
const RECENT_MS: i64 = 3_600_000;
const DUTY: &str = "alerts";

/// What is too much.
#[derive(Debug, Clone, Copy)]
pub struct Thresholds {
    /// For how long a job may wait for a worker. Default: an hour.
    pub waiting: Duration,
    /// How many jobs may crash the decoder, or meet a defect, in an hour. Default: none.
    pub quarantined: i64,
    /// How many deliveries may be given up in an hour that somebody still wanted. Default: 10.
    pub dead_deliveries: i64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { waiting: Duration::from_hours(1), quarantined: 0, dead_deliveries: 10 }
    }
}

/// Looks until it is told to end.
pub async fn run(ledger: &Ledger, thresholds: Thresholds, shutdown: &CancellationToken) {
    while !shutdown.is_cancelled() {
        // Where there is no reconciler, nobody else does.
        if let Err(error) = ledger.db.set_clock().await {
            tracing::warn!(error = chain(&error), "the database does not tell the time");
        }
        let look = ledger.while_leading(DUTY, ledger.look_for_trouble(thresholds));
        if let Some(Err(error)) = look.await {
            tracing::warn!(error = chain(&error), "the system cannot be looked after");
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = sleep(LOOK) => {}
        }
    }
    ledger.stop_leading(DUTY).await;
}

impl Ledger {
    /// Tells of what is wrong and was not before.
    pub async fn look_for_trouble(&self, thresholds: Thresholds) -> Result<()> {
        let (now, recent) = (self.db.now_ms(), self.db.now_ms() - RECENT_MS);
        let waiting = format!(
            "SELECT MIN({WAITS_SINCE_MS}) FROM jobs WHERE state IN ('waiting', 'queued') AND \
             not_before_ms <= ?"
        );
        let waiting = self.number(&waiting, now).await?.map_or(0, |since| now - since);
        let most = i64::try_from(thresholds.waiting.as_millis()).unwrap_or(i64::MAX);
        self.alert("waiting", waiting > most, json!({ "seconds": waiting / 1000 })).await?;

        let quarantined = "SELECT COUNT(*) FROM jobs WHERE state = 'failed' AND ended_ms >= ? AND \
                           failure_kind IN ('crash', 'bug')";
        let quarantined = self.number(quarantined, recent).await?.unwrap_or_default();
        let is_wrong = quarantined > thresholds.quarantined;
        self.alert("quarantine", is_wrong, json!({ "count": quarantined })).await?;

        // Of a delivery that is over `next_ms` is when it ended, and in the index.
        let dead = format!(
            "SELECT COUNT(*) FROM deliveries WHERE state = 'dead' AND next_ms >= ? AND \
             event <> '{TEST_EVENT}' AND COALESCE(answer, '') NOT IN ('{DISABLED}', '{NOBODY}')"
        );
        let dead = self.number(&dead, recent).await?.unwrap_or_default();
        self.alert("deliveries", dead > thresholds.dead_deliveries, json!({ "count": dead })).await
    }

    async fn number(&self, text: &str, value: i64) -> Result<Option<i64>> {
        let look = || async move {
            let query = self.db.dialect.query_of(text.to_owned()).bind(value);
            query.fetch_one(&self.db.read).await?.try_get(0)
        };
        self.db.run("look for trouble", look).await
    }

    /// Writes down that something is wrong, and tells, if it was all right before; or that it is
    /// all right again.
    async fn alert(&self, kind: &'static str, is_wrong: bool, mut data: Value) -> Result<()> {
        data["kind"] = kind.into();
        let data = &json!({ "alert": data });
        if !is_wrong {
            let delete = || self.db.query("DELETE FROM alerts WHERE kind = ?").bind(kind);
            return self.db.write("end an alert", delete).await.map(drop);
        }
        let raise = || async move {
            let mut tx = self.db.begin().await?;
            let text = "INTO alerts (kind, since_ms) VALUES (?, ?)";
            let insert = self.db.dialect.query_of(self.db.dialect.insert_ignore(text));
            let insert = insert.bind(kind).bind(self.db.now_ms());
            if insert.execute(&mut *tx).await?.rows_affected() == 1 {
                self.owe_alert(&mut tx, data.clone()).await?;
            }
            tx.commit().await
        };
        self.db.run("raise an alert", raise).await?;
        self.wake_notifier();
        Ok(())
    }
}
