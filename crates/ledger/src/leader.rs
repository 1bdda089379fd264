//! One of several replicas leads, for as long as it says so often enough.

use crate::Ledger;
use crate::error::Result;

impl Ledger {
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
        let step_down = || async move {
            let text = "UPDATE leaders SET until_ms = 0 WHERE name = ? AND holder = ?";
            let mut tx = self.db.begin().await?;
            let update = self.db.query(text).bind(name).bind(self.replica.clone());
            update.execute(&mut *tx).await?;
            tx.commit().await
        };
        self.db.run("step down", step_down).await
    }
}
