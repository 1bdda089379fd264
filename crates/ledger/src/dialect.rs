//! What the three databases say differently. Everything else is SQL that all of them take.
//!
//! Ids are text, times are milliseconds since 1970, structures are JSON in text: what sqlx's `Any`
//! driver knows on all three.

use std::fmt::Write as _;

use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, AssertSqlSafe, SqlSafeStr as _, SqlStr};

/// A kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    /// MySQL 8 or MariaDB 10.6, and later.
    MySql,
    Postgres,
}

impl Dialect {
    pub(crate) fn of(url: &str) -> Option<Self> {
        match url.split_once(':')?.0 {
            "sqlite" => Some(Self::Sqlite),
            "mysql" | "mariadb" => Some(Self::MySql),
            "postgres" | "postgresql" => Some(Self::Postgres),
            _ => None,
        }
    }

    /// A statement whose parameters are written `?`.
    pub(crate) fn query(self, text: &'static str) -> Query<'static, Any, AnyArguments> {
        sqlx::query(self.sql(text))
    }

    /// A statement that was put together from the texts of this crate alone.
    pub(crate) fn query_of(self, text: String) -> Query<'static, Any, AnyArguments> {
        let text = if self == Self::Postgres { numbered(&text) } else { text };
        sqlx::query(AssertSqlSafe(text))
    }

    pub(crate) fn sql(self, text: &'static str) -> SqlStr {
        if self == Self::Postgres {
            AssertSqlSafe(numbered(text)).into_sql_str()
        } else {
            text.into_sql_str()
        }
    }

    /// How a transaction that writes begins. SQLite takes its only lock at once: to take it at the
    /// first write fails when somebody wrote since the first read.
    pub(crate) fn begin(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            Self::MySql | Self::Postgres => "BEGIN",
        }
    }

    /// How a transaction begins that reads, and sees nothing of what others write from then on (in
    /// SQLite from its first look on); and what has to be said before it.
    pub(crate) fn snapshot(self) -> (Option<&'static str>, &'static str) {
        match self {
            Self::Sqlite => (None, "BEGIN"),
            Self::MySql => (
                // Else there would be no snapshot, and a warning at most.
                Some("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"),
                "START TRANSACTION WITH CONSISTENT SNAPSHOT",
            ),
            Self::Postgres => (None, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"),
        }
    }

    /// What makes a SELECT lock its rows.
    pub(crate) fn for_update(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::MySql | Self::Postgres => " FOR UPDATE",
        }
    }

    /// What makes a SELECT lock its rows and leave out those that others have locked.
    pub(crate) fn skip_locked(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::MySql | Self::Postgres => " FOR UPDATE SKIP LOCKED",
        }
    }

    /// `INSERT` that does nothing if its key is there already: what comes before and after.
    pub(crate) fn insert_ignore(self, rest: &str) -> String {
        match self {
            Self::MySql => format!("INSERT IGNORE {rest}"),
            Self::Sqlite | Self::Postgres => format!("INSERT {rest} ON CONFLICT DO NOTHING"),
        }
    }

    /// The database's clock, in milliseconds since 1970; `None` if it is ours.
    pub(crate) fn now_ms(self) -> Option<&'static str> {
        match self {
            Self::Sqlite => None,
            Self::MySql => Some("SELECT CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)"),
            Self::Postgres => {
                Some("SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)")
            }
        }
    }

    /// The type of a sum of numbers that [`sqlx::Any`] can read, to cast to.
    pub(crate) fn whole_number(self) -> &'static str {
        match self {
            Self::MySql => "SIGNED",
            Self::Sqlite | Self::Postgres => "BIGINT",
        }
    }

    /// What a connection is told first.
    pub(crate) fn greeting(self) -> &'static str {
        match self {
            // FULL: what was accepted survives a power cut.
            Self::Sqlite => {
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000; \
                 PRAGMA foreign_keys = ON; PRAGMA cache_size = -16000"
            }
            // Locks on gaps between rows, which others take by default, would make acceptances of
            // jobs deadlock.
            Self::MySql => {
                "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
                 SET SESSION innodb_lock_wait_timeout = 5"
            }
            Self::Postgres => "SET lock_timeout = 5000",
        }
    }

    /// What a connection is told first that is to change nothing.
    pub(crate) fn timid_greeting(self) -> &'static str {
        match self {
            Self::Sqlite => "PRAGMA busy_timeout = 5000; PRAGMA query_only = ON",
            Self::MySql => {
                "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
                 SET SESSION TRANSACTION READ ONLY"
            }
            Self::Postgres => "SET default_transaction_read_only = on",
        }
    }

    /// `url`, but that SQLite makes no file where there is none.
    pub(crate) fn existing(self, url: &str) -> String {
        match url.split_once('?') {
            Some((path, options)) if self == Self::Sqlite => {
                let options = options.split('&').filter(|option| *option != "mode=rwc");
                let options: Vec<&str> = options.collect();
                format!("{path}?{}", options.join("&")).trim_end_matches('?').to_owned()
            }
            _ => url.to_owned(),
        }
    }

    /// Asks for the version.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::Sqlite => "SELECT sqlite_version()",
            Self::MySql => "SELECT CAST(VERSION() AS CHAR)",
            Self::Postgres => "SELECT current_setting('server_version')",
        }
    }

    /// Asks how many tables there are of the name that sqlx keeps migrations under: none or one.
    pub(crate) fn migrated(self) -> &'static str {
        match self {
            Self::Sqlite => "SELECT COUNT(*) FROM sqlite_master WHERE name = '_sqlx_migrations'",
            Self::MySql => {
                "SELECT COUNT(*) FROM information_schema.tables \
                 WHERE table_schema = DATABASE() AND table_name = '_sqlx_migrations'"
            }
            Self::Postgres => {
                "SELECT COUNT(*) FROM pg_class WHERE oid = to_regclass('_sqlx_migrations')"
            }
        }
    }

    /// Fills in what migrations leave open: `{LONG_TEXT}`, up to megabytes, and `{TABLE}`, what
    /// follows a table's columns.
    pub(crate) fn migration(self, text: &str) -> String {
        let (long_text, table) = match self {
            // Compared byte by byte, as in the others: names differ by case.
            Self::MySql => {
                ("MEDIUMTEXT", "ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
            }
            Self::Sqlite | Self::Postgres => ("TEXT", ""),
        };
        text.replace("{LONG_TEXT}", long_text).replace("{TABLE}", table)
    }
}

/// `?, ?` as `$1, $2`. None of our statements has a question mark in a text.
fn numbered(text: &str) -> String {
    let mut pieces = text.split('?');
    let mut numbered = pieces.next().unwrap_or_default().to_owned();
    for (number, piece) in (1..).zip(pieces) {
        // Writing to a string cannot fail.
        let _ = write!(numbered, "${number}{piece}");
    }
    numbered
}

/// `?, ?, …` for `count` parameters.
pub(crate) fn marks(count: usize) -> String {
    vec!["?"; count].join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_for_postgres_alone() {
        assert_eq!(Dialect::Postgres.sql("a = ? AND b = ?").as_str(), "a = $1 AND b = $2");
        assert_eq!(Dialect::MySql.sql("a = ?").as_str(), "a = ?");
        assert_eq!(marks(3), "?, ?, ?");
    }

    #[test]
    fn who_only_looks_makes_no_file() {
        for (url, expected) in [
            ("sqlite:///x/ledger.db", "sqlite:///x/ledger.db"),
            ("sqlite:///x/ledger.db?mode=rwc", "sqlite:///x/ledger.db"),
            ("sqlite:x?cache=private&mode=rwc", "sqlite:x?cache=private"),
            ("sqlite:x?mode=ro", "sqlite:x?mode=ro"),
        ] {
            assert_eq!(Dialect::Sqlite.existing(url), expected);
        }
        let url = "postgres://h/d?options=mode=rwc";
        assert_eq!(Dialect::Postgres.existing(url), url);
    }

    #[test]
    fn urls_say_which_database_it_is() {
        assert_eq!(Dialect::of("sqlite:///x"), Some(Dialect::Sqlite));
        assert_eq!(Dialect::of("mariadb://u@h/d"), Some(Dialect::MySql));
        assert_eq!(Dialect::of("postgresql://h/d"), Some(Dialect::Postgres));
        assert_eq!(Dialect::of("mongodb://h"), None);
        assert_eq!(Dialect::of("nothing"), None);
    }
}
