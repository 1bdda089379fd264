//! What these tests do with a service that runs.

use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;

use crate::PATIENCE;
pub use crate::support::served::{PASSWORD, Service};

impl Service {
    /// Changes its ledger behind its back: for what only time would change.
    pub fn change(&self, statement: &'static str) {
        let ledger = self.data().join("ledger.db");
        let change = async {
            // The service writes as well.
            let options = SqliteConnectOptions::new().filename(ledger);
            let mut ledger = options.busy_timeout(PATIENCE).connect().await?;
            sqlx::query(statement).execute(&mut ledger).await
        };
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        let changed = runtime.block_on(change).expect("a statement");
        assert!(changed.rows_affected() > 0, "nothing was changed");
    }
}
