//! A backup of the ledger: one file, the same whatever the database, so that what was in SQLite can
//! go on in PostgreSQL.
//!
//! | file | what |
//! |---|---|
//! | `tables` | what is in a backup: every table and column, but who leads |
//! | `sealed` | the file: compressed, and sealed by a hash: no bit of it changes unnoticed |
//! | `write` | from one snapshot of a ledger that goes on working |
//! | `restore` | into a ledger that is empty, in one transaction |
//!
//! Inside it is text, which `zcat` shows: a line with the [`Header`], and for each table a line
//! with its columns and one with each of its rows, in JSON. It goes row by row, in either
//! direction.
//!
//! What is in a restored ledger may be old: it is held back from its store until `recovery` has
//! brought the two in line.

mod restore;
mod sealed;
pub(crate) mod tables;
mod write;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader};

use serde::{Deserialize, Serialize};
use tonemill_job::objects::ObjectStore;

pub use self::restore::{Restored, Since};
use self::sealed::Reader;
use crate::bond::{BondError, check_mark};
use crate::error::LedgerError;

/// The version of the file's shape.
const FORMAT: u32 = 1;

/// What a backup says of itself, first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The version of the file's shape.
    #[serde(rename = "tonemill_ledger_backup")]
    pub format: u32,
    /// The version of the program that made it.
    pub program: String,
    /// The number of the last change of the tables.
    pub migration: i64,
    /// The database that it was made of.
    pub database: String,
    /// The mark of the ledger's store, if it has one.
    pub mark: Option<String>,
    /// When it was made: all that was written down before is in it. Milliseconds since 1970.
    pub made_ms: i64,
    /// How many rows of each table are in it.
    pub rows: BTreeMap<String, u64>,
}

impl Header {
    /// How many rows there are of a table.
    #[must_use]
    pub fn rows_of(&self, table: &str) -> u64 {
        self.rows.get(table).copied().unwrap_or_default()
    }
}

/// The part of a [`Header`] that stays in every version.
#[derive(Deserialize)]
struct Format {
    tonemill_ledger_backup: u32,
}

/// A backup that is whole: its seal fits.
#[derive(Debug)]
pub struct Backup {
    header: Header,
    lines: Reader<BufReader<File>>,
}

impl Backup {
    /// Reads the whole file, to see that its seal fits, and then its header. Blocks its thread.
    pub fn open(file: File) -> Result<Self, BackupError> {
        let mut lines = sealed::open(file)?;
        let line = lines.line()?.ok_or(BackupError::NotOne)?;
        let format: Format = serde_json::from_str(line).map_err(|_| BackupError::NotOne)?;
        if format.tonemill_ledger_backup != FORMAT {
            return Err(BackupError::Format(format.tonemill_ledger_backup));
        }
        let header = serde_json::from_str(line)
            .map_err(|error| BackupError::Damaged(format!("its header: {error}")))?;
        Ok(Self { header, lines })
    }

    /// What it says of itself.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Refuses a store that has the mark of another ledger, or of one that was restored since. What
    /// is restored all the same has to take it over.
    pub async fn check_store(&self, store: &dyn ObjectStore) -> Result<(), BondError> {
        check_mark(store, self.header.mark.as_deref()).await
    }
}

/// Why there is no backup, or nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The file, on its way out.
    #[error("the backup cannot be written")]
    Write(#[source] io::Error),
    /// The file, on its way in.
    #[error("the backup cannot be read")]
    Read(#[source] io::Error),
    /// The file is something else.
    #[error("this is no backup of a ledger")]
    NotOne,
    /// The file is not as it was written: its end is missing, or a bit of it has changed.
    #[error("the backup is damaged: its end is missing, or something in it has changed")]
    Broken,
    /// The seal fits, and what is inside makes no sense.
    #[error("the backup makes no sense: {0}")]
    Damaged(String),
    /// The file's shape is that of another version.
    #[error("the backup has format {0}, which this version does not know")]
    Format(u32),
    /// The ledger's tables are not those that this version knows.
    #[error("the ledger's tables are at change {theirs}, those of this version at {ours}")]
    Tables {
        /// Theirs.
        theirs: i64,
        /// Ours.
        ours: i64,
    },
    /// The backup's tables are not those that this version knows.
    #[error("the backup's tables are at change {theirs}, those of this version at {ours}")]
    OtherVersion {
        /// Theirs.
        theirs: i64,
        /// Ours.
        ours: i64,
        /// The version that made the backup.
        program: String,
    },
    /// The ledger that was to take a backup has something in it already.
    #[error("the ledger is not empty: there are {0} in it")]
    NotEmpty(&'static str),
}

/// `error` as that of a ledger that cannot do `operation`.
fn of_database(operation: &'static str) -> impl Fn(sqlx::Error) -> BackupError {
    move |error| crate::database::during(operation, error).into()
}
