//! A backup is made of one snapshot: as if nobody else did anything while it is, though everybody
//! does.

use std::collections::BTreeMap;
use std::io::Write;

use futures_util::TryStreamExt as _;
use serde::Serialize;
use serde_json::Value;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Connection as _, Executor as _, Row as _};

use super::sealed::Writer;
use super::tables::{Kind, TABLES, Table};
use super::{BackupError, FORMAT, Header, of_database};
use crate::Ledger;

const OPERATION: &str = "be backed up";

impl Ledger {
    /// Writes a backup; what it says of itself. The ledger can be one that is opened to be
    /// [looked at](Ledger::open_to_look). An error leaves a file that is no backup.
    ///
    /// `out` blocks the thread of whoever calls.
    pub async fn back_up(&self, out: impl Write + Send) -> Result<Header, BackupError> {
        let condition = self.condition().await?;
        if condition.migration != condition.known_migration || condition.missing_migrations > 0 {
            let (theirs, ours) = (condition.migration, condition.known_migration);
            return Err(BackupError::Tables { theirs, ours });
        }
        // Before the snapshot: all that is older is in it.
        let made_ms = self.now_ms();
        let failed = of_database(OPERATION);
        let mut connection = self.db.read.acquire().await.map_err(&failed)?;
        let (first, begin) = self.db.dialect.snapshot();
        if let Some(first) = first {
            connection.execute(first).await.map_err(&failed)?;
        }
        let mut snapshot = connection.begin_with(begin).await.map_err(&failed)?;
        let header = Header {
            format: FORMAT,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            migration: condition.migration,
            database: format!("{} {}", condition.server.name, condition.server.version),
            mark: self.marked(&mut snapshot).await.map_err(&failed)?,
            made_ms,
            rows: self.count(&mut snapshot).await.map_err(&failed)?,
        };
        let mut out = Lines { out: Writer::new(out), line: Vec::new() };
        out.write(&header)?;
        for table in &TABLES {
            self.write_table(&mut snapshot, table, &header, &mut out).await?;
        }
        out.out.finish().map_err(BackupError::Write)?;
        snapshot.rollback().await.map_err(&failed)?;
        Ok(header)
    }

    async fn marked(&self, connection: &mut AnyConnection) -> Result<Option<String>, sqlx::Error> {
        let row = self.db.query("SELECT mark FROM stores").fetch_optional(connection).await?;
        row.map(|row| row.try_get(0)).transpose()
    }

    async fn count(
        &self,
        connection: &mut AnyConnection,
    ) -> Result<BTreeMap<String, u64>, sqlx::Error> {
        let mut rows = BTreeMap::new();
        for Table { name, .. } in TABLES {
            let count = self.db.dialect.query_of(format!("SELECT COUNT(*) FROM {name}"));
            let count: i64 = count.fetch_one(&mut *connection).await?.try_get(0)?;
            rows.insert(name.to_owned(), count.unsigned_abs());
        }
        Ok(rows)
    }

    async fn write_table(
        &self,
        connection: &mut AnyConnection,
        table: &Table,
        header: &Header,
        out: &mut Lines<impl Write>,
    ) -> Result<(), BackupError> {
        let (columns, failed) = (table.names(), of_database(OPERATION));
        out.write(&serde_json::json!({ "table": table.name, "columns": columns }))?;
        let query = format!("SELECT {} FROM {}", columns.join(", "), table.name);
        let mut rows = self.db.dialect.query_of(query).fetch(connection);
        let mut written = 0;
        while let Some(row) = rows.try_next().await.map_err(&failed)? {
            out.write(&values(table, &row).map_err(&failed)?)?;
            written += 1;
        }
        if written != header.rows_of(table.name) {
            let why = format!(
                "{written} rows of {}, not the {} that were counted",
                table.name,
                header.rows_of(table.name)
            );
            return Err(BackupError::Damaged(why));
        }
        Ok(())
    }
}

fn values(table: &Table, row: &AnyRow) -> Result<Vec<Value>, sqlx::Error> {
    let value = |(at, (_, kind))| {
        Ok(match kind {
            Kind::Text => row.try_get::<Option<String>, _>(at)?.into(),
            Kind::Number => row.try_get::<Option<i64>, _>(at)?.into(),
        })
    };
    table.columns().enumerate().map(value).collect()
}

/// The backup, a line at a time: the compressor has a price for each piece that it is given.
struct Lines<W: Write> {
    out: Writer<W>,
    line: Vec<u8>,
}

impl<W: Write> Lines<W> {
    fn write(&mut self, value: &impl Serialize) -> Result<(), BackupError> {
        self.line.clear();
        let written = serde_json::to_writer(&mut self.line, value);
        written.map_err(|error| BackupError::Write(error.into()))?;
        self.line.push(b'\n');
        self.out.write_all(&self.line).map_err(BackupError::Write)
    }
}
