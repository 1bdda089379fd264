//! The service's book, opened behind its back: for what only time would change, and for what nobody
//! may see.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Connection as _, Row as _};

use crate::service::Service;

pub struct Ledger(AnyConnection);

impl Ledger {
    /// That of an embedded service, which may run.
    pub async fn of(service: &Service) -> Self {
        Self::open(&format!("sqlite://{}", service.data().join("ledger.db").display())).await
    }

    /// One in any database.
    pub async fn open(url: &str) -> Self {
        sqlx::any::install_default_drivers();
        let mut connection = AnyConnection::connect(url).await.expect("a ledger");
        if url.starts_with("sqlite:") {
            // The service writes as well.
            let wait = sqlx::query("PRAGMA busy_timeout = 20000");
            wait.execute(&mut connection).await.expect("SQLite knows it");
        }
        Self(connection)
    }

    /// Changes something; in how many rows.
    pub async fn change(&mut self, statement: &'static str, values: &[&str]) -> u64 {
        let mut query = sqlx::query(statement);
        for value in values {
            query = query.bind((*value).to_owned());
        }
        query.execute(&mut self.0).await.expect("a statement").rows_affected()
    }

    /// The first column of the rows, as text.
    pub async fn texts(&mut self, statement: &'static str) -> Vec<String> {
        self.rows(statement).await.iter().map(|row| row.get(0)).collect()
    }

    /// Rows of columns.
    pub async fn rows(&mut self, statement: &'static str) -> Vec<AnyRow> {
        sqlx::query(statement).fetch_all(&mut self.0).await.expect("a statement")
    }

    /// The only number.
    pub async fn number(&mut self, statement: &'static str) -> i64 {
        sqlx::query(statement).fetch_one(&mut self.0).await.expect("a statement").get(0)
    }
}
