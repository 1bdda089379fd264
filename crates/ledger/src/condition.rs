//! What an operator may want to know about the ledger itself.

use sqlx::Row as _;

use crate::Ledger;
use crate::clock::own_ms;
use crate::error::Result;
use crate::migrations;

/// How the ledger is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// The number of the last change of its tables.
    pub migration: i64,
    /// The last one that this version knows.
    pub known_migration: i64,
    /// How far its clock is ahead of ours, in milliseconds.
    pub clock_ahead_ms: i64,
}

impl Ledger {
    /// Looks at its tables and its clock.
    pub async fn condition(&self) -> Result<Condition> {
        self.db.set_clock().await?;
        let look = || async move {
            let query = self.db.query("SELECT MAX(version) FROM _sqlx_migrations");
            query.fetch_one(&self.db.read).await?.try_get(0)
        };
        Ok(Condition {
            migration: self.db.run("look up its migrations", look).await?,
            known_migration: migrations::last(),
            clock_ahead_ms: self.db.now_ms() - own_ms(),
        })
    }
}
