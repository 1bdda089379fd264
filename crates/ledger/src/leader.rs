//! One of several replicas leads, for as long as it says so often enough.

use std::time::Duration;

use tokio::time::sleep;
use tonemill_job::chain;

use crate::Ledger;
use crate::error::Result;

/// How long a replica leads after its last sign of life.
const LEASE_MS: i64 = 30_000;
/// How often one that works shows one.
const RENEW: Duration = Duration::from_secs(10);

impl Ledger {
    /// Does `work` if this replica can lead in a duty, and for as long as it does: however long the
    /// work is, no other does it at the same time. `None` if it could not, or not to the end; what
    /// is dropped half-way must do no harm.
    pub(crate) async fn while_leading<T>(
        &self,
        duty: &'static str,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        if !self.leads(duty).await {
            return None;
        }
        let lost = async {
            loop {
                sleep(RENEW).await;
                if !self.leads(duty).await {
                    return;
                }
            }
        };
        tokio::select! {
            done = work => Some(done),
            () = lost => None,
        }
    }

    async fn leads(&self, duty: &'static str) -> bool {
        self.lead(duty, LEASE_MS).await.unwrap_or_else(|error| {
            tracing::warn!(error = chain(&error), duty, "no leader can be chosen");
            false
        })
    }

    /// Lets another lead, if it can be said.
    pub(crate) async fn stop_leading(&self, duty: &'static str) {
        if let Err(error) = self.step_down(duty).await {
            tracing::debug!(error = chain(&error), duty, "led until its lease ran out");
        }
    }

    /// Leads `name` for the next `lease_ms`, unless another does.
    pub async fn lead(&self, name: &'static str, lease_ms: i64) -> Result<bool> {
        let lead = || async move {
            let now = self.db.now_ms();
            let mut tx = self.db.begin().await?;
            let insert = "INTO leaders (name, holder, until_ms) VALUES (?, '', 0)";
            let insert = self.db.dialect.query_of(self.db.dialect.insert_ignore(insert));
            insert.bind(name).execute(&mut *tx).await?;
            let text = "UPDATE leaders SET holder = ?, until_ms = ? WHERE name = ? AND \
                        (holder = ? OR until_ms < ?)";
            let update = self.db.query(text).bind(self.replica.clone()).bind(now + lease_ms);
            let update = update.bind(name).bind(self.replica.clone()).bind(now);
            let leads = update.execute(&mut *tx).await?.rows_affected() == 1;
            tx.commit().await?;
            Ok(leads)
        };
        self.db.run("choose a leader", lead).await
    }

    /// Lets another lead.
    pub async fn step_down(&self, name: &'static str) -> Result<()> {
        let text = "UPDATE leaders SET until_ms = 0 WHERE name = ? AND holder = ?";
        let step_down = || self.db.query(text).bind(name).bind(self.replica.clone());
        self.db.write("step down", step_down).await.map(drop)
    }
}
