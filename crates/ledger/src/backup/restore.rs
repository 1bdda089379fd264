//! A backup goes into an empty ledger, all of it in one transaction or nothing.

use std::fs::File;
use std::io::BufReader;

use serde::Deserialize;
use serde_json::Value;
use sqlx::Row as _;
use uuid::Uuid;

use super::sealed::Reader;
use super::tables::{Kind, TABLES, Table};
use super::{Backup, BackupError, Header, of_database};
use crate::database::Tx;
use crate::dialect::marks;
use crate::{Condition, Ledger};

const OPERATION: &str = "be restored";
/// Rows that are written at a time. SQLite takes 32,766 values in a statement.
const ROWS: usize = 100;
/// Their text, in bytes, from which on fewer are: servers take only so much at once.
const BYTES: usize = 1 << 20;

/// The line before a table's rows.
#[derive(Deserialize)]
struct Head {
    table: String,
    columns: Vec<String>,
}

/// What has been done since a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// The service went on, and nobody knows any more what it did: log-ins end, because who holds
    /// one cannot be told from who stole an old one, and the ledger is held back from its store
    /// until it is [brought in line](Ledger::recover).
    Something,
    /// Nothing: the service was stopped before, and goes on where the backup goes.
    Nothing,
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What the backup says of itself.
    pub header: Header,
    /// Log-ins that were ended.
    pub log_ins_ended: u64,
}

impl Ledger {
    /// Puts a backup into this ledger, which must be empty; of anything but tables, that is.
    /// Nothing else may use it meanwhile.
    pub async fn restore(&self, backup: Backup, since: Since) -> Result<Restored, BackupError> {
        let Backup { header, mut lines } = backup;
        self.check_tables(&header).await?;
        let failed = of_database(OPERATION);
        let mut tx = self.db.begin().await.map_err(&failed)?;
        // First: it locks those rows, and another who restores finds a ledger that is not empty.
        let lanes = self.db.query("DELETE FROM lanes").execute(&mut *tx).await;
        lanes.map_err(&failed)?;
        self.check_empty(&mut tx).await?;
        for table in &TABLES {
            let rows = header.rows_of(table.name);
            self.restore_table(&mut tx, table, rows, &mut lines).await?;
        }
        if lines.line()?.is_some() {
            return Err(BackupError::Damaged("there is more in it than it says".to_owned()));
        }
        let log_ins_ended = match since {
            Since::Nothing => 0,
            Since::Something => self.hold_back(&mut tx).await.map_err(&failed)?,
        };
        tx.commit().await.map_err(&failed)?;
        Ok(Restored { header, log_ins_ended })
    }

    async fn check_tables(&self, header: &Header) -> Result<(), BackupError> {
        let Condition { migration, known_migration: ours, .. } = self.condition().await?;
        if migration != ours {
            return Err(BackupError::Tables { theirs: migration, ours });
        }
        if header.migration != ours {
            let (theirs, program) = (header.migration, header.program.clone());
            return Err(BackupError::OtherVersion { theirs, ours, program });
        }
        match header.rows.keys().find(|name| TABLES.iter().all(|table| table.name != *name)) {
            Some(name) => Err(BackupError::Damaged(format!("a table {name:?}"))),
            None => Ok(()),
        }
    }

    async fn check_empty(&self, tx: &mut Tx) -> Result<(), BackupError> {
        for Table { name, .. } in TABLES {
            let query = self.db.dialect.query_of(format!("SELECT 1 FROM {name} LIMIT 1"));
            let found = query.fetch_optional(&mut **tx).await.map_err(of_database(OPERATION))?;
            if found.is_some() {
                return Err(BackupError::NotEmpty(name));
            }
        }
        Ok(())
    }

    async fn restore_table(
        &self,
        tx: &mut Tx,
        table: &Table,
        rows: u64,
        lines: &mut Reader<BufReader<File>>,
    ) -> Result<(), BackupError> {
        let damaged = |what: &str| BackupError::Damaged(format!("{what} of {}", table.name));
        let line = lines.line()?.ok_or_else(|| damaged("the end instead"))?;
        let head: Head = serde_json::from_str(line).map_err(|_| damaged("something instead"))?;
        if head.table != table.name || head.columns != table.names() {
            return Err(damaged("other columns than those"));
        }
        let (mut batch, mut bytes): (Vec<Vec<Value>>, _) = (Vec::new(), 0);
        for _ in 0..rows {
            let line = lines.line()?.ok_or_else(|| damaged("too few rows"))?;
            bytes += line.len();
            let row: Vec<Value> = serde_json::from_str(line).map_err(|_| damaged("no row"))?;
            if row.len() != head.columns.len() {
                return Err(damaged("a row that is too long or too short"));
            }
            batch.push(row);
            if batch.len() == ROWS || bytes > BYTES {
                self.insert_rows(tx, table, std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
        }
        if batch.is_empty() { Ok(()) } else { self.insert_rows(tx, table, batch).await }
    }

    async fn insert_rows(
        &self,
        tx: &mut Tx,
        table: &Table,
        rows: Vec<Vec<Value>>,
    ) -> Result<(), BackupError> {
        let (names, columns): (Vec<_>, Vec<_>) = table.columns().unzip();
        let row = format!("({})", marks(columns.len()));
        let values = vec![row; rows.len()].join(", ");
        let text = format!("INSERT INTO {} ({}) VALUES {values}", table.name, names.join(", "));
        let mut insert = self.db.dialect.query_of(text);
        for (value, kind) in rows.into_iter().flat_map(|row| row.into_iter().zip(&columns)) {
            insert = match (kind, value) {
                (Kind::Text, Value::Null) => insert.bind(None::<String>),
                (Kind::Text, Value::String(text)) => insert.bind(text),
                (Kind::Number, Value::Null) => insert.bind(None::<i64>),
                (Kind::Number, Value::Number(number)) if number.is_i64() => {
                    insert.bind(number.as_i64())
                }
                (_, value) => {
                    let why = format!("{value} in a row of {}", table.name);
                    return Err(BackupError::Damaged(why));
                }
            };
        }
        insert.execute(&mut **tx).await.map_err(of_database(OPERATION))?;
        Ok(())
    }

    /// Ends log-ins, and holds the ledger back from its store; how many log-ins.
    async fn hold_back(&self, tx: &mut Tx) -> Result<u64, sqlx::Error> {
        // One that never had a store has no mark.
        let mark = self.db.dialect.insert_ignore("INTO stores (one, mark) VALUES (1, ?)");
        let mark = self.db.dialect.query_of(mark).bind(Uuid::new_v4().to_string());
        mark.execute(&mut **tx).await?;
        let hold = self.db.query("UPDATE stores SET restored_ms = ?").bind(self.now_ms());
        hold.execute(&mut **tx).await?;
        let count = "SELECT COUNT(DISTINCT family) FROM credentials WHERE kind = 'refresh' AND \
                     revoked_ms IS NULL";
        let count: i64 = self.db.query(count).fetch_one(&mut **tx).await?.try_get(0)?;
        let end = "DELETE FROM credentials WHERE kind = 'refresh'";
        self.db.query(end).execute(&mut **tx).await?;
        Ok(count.unsigned_abs())
    }
}
