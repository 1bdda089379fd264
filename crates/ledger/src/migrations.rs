//! The tables, and how they came to be: each file is applied once, in order, and never changed.

use std::borrow::Cow;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{AnyConnection, AnyPool, AssertSqlSafe, Row as _, SqlSafeStr as _};

use crate::dialect::Dialect;

const ALL: [(i64, &str, &str); 4] = [
    (1, "first", include_str!("migrations/0001_first.sql")),
    (2, "store", include_str!("migrations/0002_store.sql")),
    (3, "notifications", include_str!("migrations/0003_notifications.sql")),
    (4, "restored", include_str!("migrations/0004_restored.sql")),
];

/// Their numbers.
pub(crate) fn numbers() -> impl Iterator<Item = i64> {
    ALL.iter().map(|(number, ..)| *number)
}

/// Applies what is missing. Replicas that start together wait for each other.
pub(crate) async fn run(dialect: Dialect, pool: &AnyPool) -> Result<(), MigrateError> {
    let migration = |(version, name, text): (i64, &'static str, &str)| {
        let text = AssertSqlSafe(dialect.migration(text)).into_sql_str();
        Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, text, false)
    };
    let mut migrator = Migrator::with_migrations(ALL.into_iter().map(migration).collect());
    // An older program beside a newer one, during a rolling update, finds what it needs.
    migrator.set_ignore_missing(true);
    match dialect {
        Dialect::Postgres => migrator.run(pool).await,
        // sqlx has no lock for it: whoever writes first keeps the others out, and all is one
        // change.
        Dialect::Sqlite => {
            let mut tx = pool.begin_with(dialect.begin()).await?;
            migrator.run(&mut *tx).await?;
            Ok(tx.commit().await?)
        }
        // sqlx asks for a lock in a way that MariaDB refuses, and does not look at the answer.
        Dialect::MySql => {
            let mut connection = pool.acquire().await?;
            lock(&mut connection).await?;
            migrator.set_locking(false).run(&mut *connection).await?;
            sqlx::query(UNLOCK).execute(&mut *connection).await?;
            Ok(())
        }
    }
}

/// A server's locks are for all of its databases; their names are short. A minute is longer than
/// all migrations take.
const LOCK: &str =
    "SELECT CAST(GET_LOCK(MD5(CONCAT('tonemill.migrations.', DATABASE())), 60) AS SIGNED)";
const UNLOCK: &str = "DO RELEASE_LOCK(MD5(CONCAT('tonemill.migrations.', DATABASE())))";

/// Keeps others out until the connection ends, if not before.
async fn lock(connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    let row = sqlx::query(LOCK).fetch_one(connection).await?;
    if row.try_get::<Option<i64>, _>(0)? == Some(1) {
        return Ok(());
    }
    let why = "another replica has been making the tables for a minute";
    Err(sqlx::Error::Protocol(why.to_owned()))
}
