//! The connections: pools, transactions, deadlines, and what is tried again.
//!
//! Every call of the ledger is one transaction or one read, and runs through [`Database::run`],
//! which ends it in time and tries it again when it got into another's way.

use std::fmt;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use sqlx::any::{AnyArguments, AnyPoolOptions};
use sqlx::query::Query;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Any, AnyConnection, AnyPool, Connection as _, Executor as _, Row as _};
use tokio::time::{sleep, timeout};

use crate::clock::{Clock, own_ms};
use crate::dialect::Dialect;
use crate::error::{Cause, LedgerError, LedgerErrorKind, Result, cause};
use crate::migrations;

/// What fails where there are no connections yet.
const OPENED: &str = "be opened";
/// Longest time that a call may take, tries included.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How long a call waits for a connection.
const ACQUIRE: Duration = Duration::from_secs(5);
/// How often a transaction is tried that others get in the way of.
const TRIES: u32 = 10;
/// Connections that only read, where one may write at a time.
const SQLITE_READERS: u32 = 4;

/// A transaction. Dropped without [`sqlx::Transaction::commit`] it has not been.
pub(crate) type Tx = sqlx::Transaction<'static, Any>;

/// A connected database with our tables.
pub(crate) struct Database {
    pub(crate) dialect: Dialect,
    pub(crate) clock: Clock,
    /// For statements outside transactions.
    pub(crate) read: AnyPool,
    /// SQLite lets one write at a time: a pool of one makes writers queue, in order.
    write: AnyPool,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("dialect", &self.dialect).finish_non_exhaustive()
    }
}

impl Database {
    /// Connects and brings the tables up to date.
    pub(crate) async fn open(url: &str, connections: u32) -> Result<Self> {
        let dialect = dialect_of(url)?;
        let database = Self::connect(url, connections, dialect, dialect.greeting()).await?;
        let migrated = migrations::run(dialect, &database.write).await;
        migrated.map_err(|error| refused(Box::new(error)))?;
        database.set_clock().await?;
        Ok(database)
    }

    /// Connects, and lets nobody change anything: neither we nor the database make what is missing.
    pub(crate) async fn open_to_look(url: &str, connections: u32) -> Result<Self> {
        let dialect = dialect_of(url)?;
        let url = dialect.existing(url);
        let database = Self::connect(&url, connections, dialect, dialect.timid_greeting()).await?;
        database.set_clock().await?;
        Ok(database)
    }

    /// Connects; what a connection is told first is `greeting`.
    async fn connect(
        url: &str,
        connections: u32,
        dialect: Dialect,
        greeting: &'static str,
    ) -> Result<Self> {
        let pool = |most: u32| {
            let options = AnyPoolOptions::new().max_connections(most).acquire_timeout(ACQUIRE);
            let options = options.after_connect(move |connection, _| {
                Box::pin(async move { connection.execute(greeting).await.map(drop) })
            });
            options.after_release(|connection, _| Box::pin(is_usable(connection)))
        };
        if dialect == Dialect::Sqlite {
            make_for_us_alone(url);
        }
        let failed = |error| during(OPENED, error);
        // A pool would try for a while and then say that it had no time.
        timeout(ACQUIRE, first_greeting(url, dialect, greeting))
            .await
            .map_err(|_| {
                let source = "the server does not answer".into();
                LedgerError { kind: LedgerErrorKind::Unavailable, operation: OPENED, source }
            })?
            .map_err(failed)?;
        let (read, write) = if dialect == Dialect::Sqlite {
            let write = pool(1).connect(url).await.map_err(failed)?;
            (pool(SQLITE_READERS).connect(url).await.map_err(failed)?, write)
        } else {
            let both = pool(connections).connect(url).await.map_err(failed)?;
            (both.clone(), both)
        };
        Ok(Self { dialect, clock: Clock::default(), read, write })
    }

    /// See [`Dialect::query`].
    pub(crate) fn query(&self, text: &'static str) -> Query<'static, Any, AnyArguments> {
        self.dialect.query(text)
    }

    /// The time of all replicas, in milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Looks at the database's clock.
    pub(crate) async fn set_clock(&self) -> Result<()> {
        let Some(text) = self.dialect.now_ms() else { return Ok(()) };
        let look = || async move {
            let before = own_ms();
            let now = self.query(text).fetch_one(&self.read).await?.try_get(0)?;
            self.clock.set(before, now, own_ms());
            Ok(())
        };
        self.run("tell the time", look).await
    }

    /// Begins a transaction that writes.
    pub(crate) async fn begin(&self) -> Result<Tx, sqlx::Error> {
        self.write.begin_with(self.dialect.begin()).await
    }

    /// Runs one statement that writes; how many rows it found to change.
    pub(crate) async fn write(
        &self,
        operation: &'static str,
        statement: impl Fn() -> Query<'static, Any, AnyArguments> + Send + Sync,
    ) -> Result<u64> {
        let write = || async { Ok(statement().execute(&self.write).await?.rows_affected()) };
        self.run(operation, write).await
    }

    /// Runs `call` in time. One that others got in the way of is called again.
    pub(crate) async fn run<T, F>(
        &self,
        operation: &'static str,
        call: impl Fn() -> F + Send + Sync,
    ) -> Result<T>
    where
        F: Future<Output = Result<T, sqlx::Error>> + Send,
    {
        let tries = async {
            for number in 1.. {
                match call().await {
                    Err(error) if cause(&error) == Cause::Contention && number < TRIES => {
                        sleep(Duration::from_millis(fastrand::u64(0..10 << number.min(5)))).await;
                    }
                    outcome => return outcome.map_err(|error| during(operation, error)),
                }
            }
            unreachable!("the last try returns");
        };
        timeout(PATIENCE, tries).await.unwrap_or_else(|_| {
            let source = format!("no answer within {} s", PATIENCE.as_secs()).into();
            Err(LedgerError { kind: LedgerErrorKind::Unavailable, operation, source })
        })
    }

    pub(crate) async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }
}

/// Makes the file of a ledger that is to be made: keys and hashes of passwords will be in it, and
/// SQLite makes it, and others beside it, as readable as all that its process makes.
fn make_for_us_alone(url: &str) {
    let is_made = url.split_once('?').is_some_and(|(_, options)| options.contains("mode=rwc"));
    if is_made && let Ok(options) = url.parse::<SqliteConnectOptions>() {
        let mut open = OpenOptions::new();
        // If it cannot be made, SQLite says why.
        let _ = open.append(true).create(true).mode(0o600).open(options.get_filename());
    }
}

/// Connects once. Of several that start together on a new file of SQLite, one changes its journal,
/// for which the others have to wait themselves.
async fn first_greeting(
    url: &str,
    dialect: Dialect,
    greeting: &'static str,
) -> Result<(), sqlx::Error> {
    loop {
        let greeted = async {
            let mut first = AnyConnection::connect(url).await?;
            first.execute(greeting).await?;
            first.close().await
        };
        match greeted.await {
            Err(error) if dialect == Dialect::Sqlite && cause(&error) == Cause::Contention => {
                sleep(Duration::from_millis(10)).await;
            }
            outcome => return outcome,
        }
    }
}

/// Whether a connection that was in use can be used again.
///
/// It must still answer, in time. The pool asks as well, but without an end: a connection to a
/// machine that is gone would be in use until TCP gives it up, for a quarter of an hour.
///
/// And its transaction must be over. SQLite ends one by itself when the disk is full (its
/// documentation of `ROLLBACK`, "Response To Errors Within A Transaction"); the rollback that
/// follows then fails, and the driver believes in the transaction for good and begins no other.
async fn is_usable(connection: &mut AnyConnection) -> Result<bool, sqlx::Error> {
    let answer = timeout(ACQUIRE, connection.ping()).await;
    answer.map_err(|_| sqlx::Error::PoolTimedOut)??;
    Ok(!connection.is_in_transaction())
}

/// The kind of database at `url`, whose drivers are there from now on.
fn dialect_of(url: &str) -> Result<Dialect> {
    sqlx::any::install_default_drivers();
    Dialect::of(url).ok_or_else(|| {
        refused("its URL starts with none of sqlite:, mysql:, mariadb:, postgres:".into())
    })
}

fn refused(source: Box<dyn std::error::Error + Send + Sync>) -> LedgerError {
    LedgerError { kind: LedgerErrorKind::Refused, operation: OPENED, source }
}

pub(crate) fn during(operation: &'static str, error: sqlx::Error) -> LedgerError {
    let kind = match cause(&error) {
        Cause::Contention => LedgerErrorKind::Unavailable,
        // Whoever writes a key that others may have written says `is_taken`.
        Cause::Exists => LedgerErrorKind::Invalid,
        Cause::Other(kind) => kind,
    };
    LedgerError { kind, operation, source: Box::new(error) }
}

/// Whether a statement failed because its key was there already.
pub(crate) fn is_taken(error: &sqlx::Error) -> bool {
    cause(error) == Cause::Exists
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn nobody_else_reads_a_ledger_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}?mode=rwc", folder.path().join("ledger.db").display());
        let database = Database::open(&url, 1).await.unwrap();
        let files: Vec<_> = folder.path().read_dir().unwrap().flatten().collect();
        assert!(files.len() > 1, "SQLite has others beside it");
        for file in files {
            let mode = file.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{file:?}");
        }
        database.close().await;
    }

    #[tokio::test]
    async fn a_transaction_that_sqlite_has_ended_ends_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}?mode=rwc", folder.path().join("ledger.db").display());
        let database = Database::open(&url, 1).await.unwrap();
        let mut tx = database.begin().await.unwrap();
        // As it does by itself where the disk is full.
        sqlx::query("ROLLBACK").execute(&mut *tx).await.unwrap();
        drop(tx);
        let tx = database.begin().await.expect("on another connection");
        tx.commit().await.unwrap();
        database.close().await;
    }
}
