//! The tables, and how they came to be: each file is applied once, in order, and never changed.

use std::borrow::Cow;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{AnyPool, AssertSqlSafe, SqlSafeStr as _};

use crate::dialect::Dialect;

const ALL: [(i64, &str, &str); 1] = [(1, "first", include_str!("migrations/0001_first.sql"))];

/// Applies what is missing. Replicas that start together wait for each other.
pub(crate) async fn run(dialect: Dialect, pool: &AnyPool) -> Result<(), MigrateError> {
    let migration = |(version, name, text): (i64, &'static str, &str)| {
        let text = AssertSqlSafe(dialect.migration(text)).into_sql_str();
        Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, text, false)
    };
    let mut migrator = Migrator::with_migrations(ALL.into_iter().map(migration).collect());
    // An older program beside a newer one, during a rolling update, finds what it needs.
    migrator.set_ignore_missing(true);
    migrator.run(pool).await
}
