//! Every table of the ledger, with its columns, as they are in a backup. A test holds it against
//! the tables that the migrations make.

/// A table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// Its columns of text, separated by spaces, the key first.
    texts: &'static str,
    /// Those of numbers.
    numbers: &'static str,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
}

impl Table {
    const fn new(name: &'static str, texts: &'static str, numbers: &'static str) -> Self {
        Self { name, texts, numbers }
    }

    /// Its columns, in the order that they have in a backup.
    pub(super) fn columns(&self) -> impl Iterator<Item = (&'static str, Kind)> {
        let texts = self.texts.split_whitespace().map(|name| (name, Kind::Text));
        texts.chain(self.numbers.split_whitespace().map(|name| (name, Kind::Number)))
    }

    /// Their names.
    pub(super) fn names(&self) -> Vec<&'static str> {
        self.columns().map(|(name, _)| name).collect()
    }
}

/// All of them but `leaders`: nobody leads in a backup.
pub(crate) const TABLES: [Table; 17] = [
    Table::new(
        "users",
        "id name role password_hash email mail_events",
        "created_ms disabled_ms max_unfinished_jobs max_stored_bytes max_daily_audio_ms \
         unfinished_jobs stored_bytes",
    ),
    Table::new("daily_audio", "user_id", "day audio_ms"),
    Table::new(
        "credentials",
        "id user_id kind family secret_hash label scopes",
        "created_ms expires_ms used_ms revoked_ms",
    ),
    Table::new("signing_keys", "id pkcs8_hex", "created_ms signs_from_ms"),
    Table::new("secrets", "name secret_hex", ""),
    Table::new("lanes", "lane", "serving_turn"),
    Table::new("turns", "user_id lane", "last_turn"),
    Table::new(
        "jobs",
        "id user_id state lane label file_name media options traceparent input_key input_blake3 \
         history worker output_key audio_blake3 warnings report failure failure_kind",
        "version turn not_before_ms input_bytes attempts created_ms dispatched_ms started_ms \
         ended_ms output_bytes duration_ms truncated stored_bytes",
    ),
    Table::new("attempts", "job_id worker outcome failure", "attempt started_ms ended_ms"),
    Table::new("idempotency_keys", "user_id idempotency_key request_hash job_id", "created_ms"),
    Table::new(
        "uploads",
        "id user_id kind object_key file_name metadata media store_upload tail_key blake3 writer",
        "total_bytes received_bytes writer_until_ms finished_ms created_ms expires_ms",
    ),
    Table::new("upload_parts", "upload_id tag subtree_hash", "number"),
    Table::new(
        "webhooks",
        "id user_id url secret old_secret events job_id disabled_why",
        "old_secret_until_ms created_ms disabled_ms",
    ),
    Table::new(
        "deliveries",
        "id user_id job_id webhook_id event event_id payload traceparent state claim answer",
        "attempts next_ms created_ms replayed_ms ended_ms",
    ),
    Table::new("delivery_attempts", "delivery_id answer", "attempt started_ms ended_ms"),
    Table::new("alerts", "kind", "since_ms"),
    Table::new("stores", "mark", "one restored_ms"),
];

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use sqlx::Row as _;

    use super::*;
    use crate::database::Database;

    /// Whoever adds a table or a column in a migration adds it here as well.
    #[tokio::test]
    async fn a_backup_has_every_column() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}?mode=rwc", folder.path().join("ledger.db").display());
        let database = Database::open(&url, 1).await.unwrap();
        let columns = "SELECT t.name, c.name, c.type FROM sqlite_master AS t \
                       JOIN pragma_table_info(t.name) AS c WHERE t.type = 'table' AND \
                       t.name NOT IN ('leaders', '_sqlx_migrations')";
        let mut made: BTreeMap<String, BTreeSet<(String, bool)>> = BTreeMap::new();
        for row in database.query(columns).fetch_all(&database.read).await.unwrap() {
            let (table, column, kind): (String, String, String) =
                (row.get(0), row.get(1), row.get(2));
            made.entry(table).or_default().insert((column, kind.ends_with("INT")));
        }
        let ours = TABLES.iter().map(|table| {
            let column = |(name, kind): (&str, Kind)| (name.to_owned(), kind == Kind::Number);
            (table.name.to_owned(), table.columns().map(column).collect())
        });
        assert_eq!(made, ours.collect());
        database.close().await;
    }
}
