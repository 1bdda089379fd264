//! What an operator may want to know about the ledger itself.

use sqlx::Row as _;
use sqlx::any::AnyRow;

use crate::Ledger;
use crate::clock::own_ms;
use crate::dialect::Dialect;
use crate::error::Result;
use crate::migrations;

/// How the ledger is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// What it is in.
    pub server: Server,
    /// The number of the last change of its tables; 0 if there are none.
    pub migration: i64,
    /// The last one that this version knows.
    pub known_migration: i64,
    /// How many of those that this version knows are missing.
    pub missing_migrations: usize,
    /// The number of one that began and never ended: statements of it may have been done, and who
    /// makes the tables refuses them.
    pub broken_migration: Option<i64>,
    /// How far its clock is ahead of ours, in milliseconds.
    pub clock_ahead_ms: i64,
    /// Whether anybody can log in; `false` without the tables for it.
    pub has_users: bool,
}

/// A database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Such as `MariaDB`.
    pub name: &'static str,
    /// In its own words.
    pub version: String,
    /// The first version that has what the ledger needs, if this one is older.
    pub too_old_for: Option<&'static str>,
}

impl Ledger {
    /// Looks at the database, its tables and its clock.
    pub async fn condition(&self) -> Result<Condition> {
        self.db.set_clock().await?;
        let clock_ahead_ms = self.db.now_ms() - own_ms();
        let version = || async {
            let query = self.db.query(self.db.dialect.version());
            query.fetch_one(&self.db.read).await?.try_get(0)
        };
        let version: String = self.db.run("tell its version", version).await?;
        let applied = self.migrations().await?;
        let done = || applied.iter().filter(|(_, is_done)| *is_done).map(|(number, _)| *number);
        let missing_migrations =
            migrations::numbers().filter(|known| !done().any(|number| number == *known)).count();
        Ok(Condition {
            server: Server::of(self.db.dialect, version),
            migration: done().max().unwrap_or_default(),
            known_migration: migrations::numbers().max().unwrap_or_default(),
            missing_migrations,
            broken_migration: applied
                .iter()
                .find(|(_, is_done)| !is_done)
                .map(|(number, _)| *number),
            clock_ahead_ms,
            has_users: missing_migrations == 0 && self.has_users().await?,
        })
    }

    /// The numbers of the changes of its tables that were begun, and whether they ended.
    async fn migrations(&self) -> Result<Vec<(i64, bool)>> {
        let look = || async {
            let tables = self.db.query(self.db.dialect.migrated());
            if tables.fetch_one(&self.db.read).await?.try_get::<i64, _>(0)? == 0 {
                return Ok(Vec::new());
            }
            let query = "SELECT version, CASE WHEN success THEN 1 ELSE 0 END FROM _sqlx_migrations";
            let rows = self.db.query(query).fetch_all(&self.db.read).await?;
            let of = |row: &AnyRow| Ok((row.try_get(0)?, row.try_get::<i64, _>(1)? != 0));
            rows.iter().map(of).collect()
        };
        self.db.run("look up its migrations", look).await
    }
}

impl Server {
    /// Of what a database says of itself.
    fn of(dialect: Dialect, version: String) -> Self {
        // As docs/service.md says. SQLite is part of this program.
        let (name, needs) = match dialect {
            Dialect::Sqlite => ("SQLite", None),
            Dialect::MySql if version.contains("MariaDB") => ("MariaDB", Some("10.6")),
            Dialect::MySql => ("MySQL", Some("8.0")),
            Dialect::Postgres => ("PostgreSQL", Some("12.0")),
        };
        let too_old_for = needs.filter(|needs| major_and_minor(&version) < major_and_minor(needs));
        Self { name, version, too_old_for }
    }
}

/// The first two numbers of a version.
fn major_and_minor(version: &str) -> (u32, u32) {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    let mut next = || numbers.next().and_then(Result::ok).unwrap_or_default();
    (next(), next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_with_what_is_needed() {
        use Dialect::{MySql, Postgres, Sqlite};
        for (dialect, version, name, too_old_for) in [
            (Sqlite, "3.50.2", "SQLite", None),
            (MySql, "10.11.6-MariaDB-0+deb12u1", "MariaDB", None),
            (MySql, "10.6.0-MariaDB", "MariaDB", None),
            (MySql, "10.5.23-MariaDB-log", "MariaDB", Some("10.6")),
            (MySql, "11.4.2-MariaDB", "MariaDB", None),
            (MySql, "8.0.36-0ubuntu0.22.04.1", "MySQL", None),
            (MySql, "5.7.44-log", "MySQL", Some("8.0")),
            (Postgres, "12.0", "PostgreSQL", None),
            (Postgres, "15.14 (Debian 15.14-0+deb12u1)", "PostgreSQL", None),
            (Postgres, "17beta1", "PostgreSQL", None),
            (Postgres, "11.22", "PostgreSQL", Some("12.0")),
        ] {
            let due = Server { name, version: version.to_owned(), too_old_for };
            assert_eq!(Server::of(dialect, version.to_owned()), due);
        }
    }
}
