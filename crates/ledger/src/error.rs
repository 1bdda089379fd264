//! Why the ledger did not do what was asked, and what the caller can do.

use tonemill_job::objects::StoreError;
use tonemill_job::queue::QueueError;

/// Shorthand of this crate.
pub type Result<T, E = LedgerError> = std::result::Result<T, E>;

/// The database failed. Facts of the domain (no such job, over a quota, …) are values, not errors.
#[derive(Debug, thiserror::Error)]
#[error("the ledger cannot {operation}")]
pub struct LedgerError {
    /// What the caller can do.
    pub kind: LedgerErrorKind,
    /// What was tried, as a verb.
    pub operation: &'static str,
    /// Why.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// What the caller can do about a [`LedgerError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedgerErrorKind {
    /// The database is away, slow or busy: try again later. What was asked may have been done.
    Unavailable,
    /// The database does not let us in, or is not ours: an operator has to act.
    Refused,
    /// What was sent or stored makes no sense: a defect.
    Invalid,
}

/// What went wrong where more than the ledger is needed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a database error means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Two transactions were in each other's way: nothing was done, try again at once.
    Contention,
    /// A unique key was there already.
    Exists,
    Other(LedgerErrorKind),
}

pub(crate) fn cause(error: &sqlx::Error) -> Cause {
    use LedgerErrorKind::{Invalid, Refused, Unavailable};
    let sqlx::Error::Database(database) = error else {
        return Cause::Other(match error {
            sqlx::Error::Configuration(_) | sqlx::Error::Migrate(_) => Refused,
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Protocol(_) => Unavailable,
            _ => Invalid,
        });
    };
    if database.is_unique_violation() {
        return Cause::Exists;
    }
    let code = database.code().unwrap_or_default();
    // Codes of SQLite are its own numbers, the low byte the primary one
    // (<https://sqlite.org/rescode.html>); the others' are SQLSTATEs.
    if code.len() != 5 {
        return match code.parse::<u32>().unwrap_or(0) & 0xff {
            5 | 6 => Cause::Contention,                   // BUSY, LOCKED
            7 | 9 | 10 | 13 => Cause::Other(Unavailable), // NOMEM, INTERRUPT, IOERR, FULL
            // ERROR (tables that are not ours), PERM, READONLY, CORRUPT, CANTOPEN, …
            1 | 3 | 8 | 11 | 14 | 23 | 26 => Cause::Other(Refused),
            _ => Cause::Other(Invalid),
        };
    }
    of_sqlstate(&code)
}

fn of_sqlstate(code: &str) -> Cause {
    use LedgerErrorKind::{Invalid, Refused, Unavailable};
    match code {
        // Serialization failure, deadlock.
        "40001" | "40P01" => Cause::Contention,
        code => Cause::Other(match code.get(..2).unwrap_or_default() {
            // Connection, a server that only reads (fail-over), resources, PostgreSQL's lock
            // time-out, operator intervention, system error; MariaDB's lock time-out, full disk and
            // shutdown are all "general errors".
            "08" | "25" | "53" | "55" | "57" | "58" | "HY" | "70" => Unavailable,
            // Authorization, unknown database, no access to a table, or tables that are not as our
            // statements have them: another version's.
            "28" | "3D" | "42" => Refused,
            _ => Invalid,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_say_what_the_caller_can_do() {
        use LedgerErrorKind::{Invalid, Refused, Unavailable};
        for code in ["40001", "40P01"] {
            assert_eq!(of_sqlstate(code), Cause::Contention, "{code}");
        }
        for (kind, codes) in [
            // 55P03 is PostgreSQL's lock time-out, HY000 MariaDB's.
            (Unavailable, ["55P03", "HY000", "08006", "25006", "53300", "57P01"]),
            (Refused, ["28P01", "28000", "3D000", "42000", "42501", "42S22"]),
            (Invalid, ["22001", "22021", "22003", "23502", "99999", "é"]),
        ] {
            for code in codes {
                assert_eq!(of_sqlstate(code), Cause::Other(kind), "{code}");
            }
        }
    }
}
