//! Webhooks: addresses that are told what becomes of a user's jobs.

use sqlx::Row as _;
use sqlx::any::AnyRow;
use uuid::Uuid;

use crate::Ledger;
use crate::error::Result;
use crate::job::parsed;

/// What can be told.
pub const EVENTS: [&str; 3] = ["job.started", "job.finished", "job.failed"];
/// Most webhooks of a user.
pub const MAX_WEBHOOKS: i64 = 20;
/// Longest address, in bytes.
pub const MAX_URL_BYTES: usize = 2000;

/// A webhook, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its name.
    pub id: Uuid,
    /// Where it is.
    pub url: String,
    /// What it is told: some of [`EVENTS`].
    pub events: Vec<String>,
    /// When it was added.
    pub created_ms: i64,
    /// Since when it is told nothing.
    pub disabled_ms: Option<i64>,
}

impl Ledger {
    /// Adds a webhook; `None` if the user has as many as may be.
    pub async fn add_webhook(
        &self,
        user: Uuid,
        url: &str,
        secret: &str,
        events: &[String],
    ) -> Result<Option<Webhook>> {
        let id = Uuid::now_v7();
        let add = || async move {
            let mut tx = self.db.begin().await?;
            // Of several at once each counts the others.
            self.locked_user(&mut tx, user).await?;
            let count = self.db.query("SELECT COUNT(*) FROM webhooks WHERE user_id = ?");
            let count: i64 = count.bind(user.to_string()).fetch_one(&mut *tx).await?.try_get(0)?;
            if count >= MAX_WEBHOOKS {
                return Ok(false);
            }
            let text = "INSERT INTO webhooks (id, user_id, url, secret, events, created_ms) \
                        VALUES (?, ?, ?, ?, ?, ?)";
            let insert = self.db.query(text).bind(id.to_string()).bind(user.to_string());
            let insert = insert.bind(url.to_owned()).bind(secret.to_owned());
            let insert = insert.bind(events.join(" ")).bind(self.db.now_ms());
            insert.execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(true)
        };
        if !self.db.run("add a webhook", add).await? {
            return Ok(None);
        }
        Ok(self.webhooks(user).await?.into_iter().find(|webhook| webhook.id == id))
    }

    /// A user's webhooks, oldest first.
    pub async fn webhooks(&self, user: Uuid) -> Result<Vec<Webhook>> {
        let look = || async move {
            let text = "SELECT id, url, events, created_ms, disabled_ms FROM webhooks \
                        WHERE user_id = ? ORDER BY id";
            let query = self.db.query(text).bind(user.to_string());
            query.fetch_all(&self.db.read).await?.iter().map(webhook).collect()
        };
        self.db.run("list webhooks", look).await
    }

    /// Removes a user's webhook; false if there is none.
    pub async fn delete_webhook(&self, user: Uuid, webhook: Uuid) -> Result<bool> {
        let text = "DELETE FROM webhooks WHERE id = ? AND user_id = ?";
        let delete = || self.db.query(text).bind(webhook.to_string()).bind(user.to_string());
        Ok(self.db.write("delete a webhook", delete).await? == 1)
    }
}

fn webhook(row: &AnyRow) -> Result<Webhook, sqlx::Error> {
    let events: String = row.try_get("events")?;
    Ok(Webhook {
        id: parsed(row, "id")?,
        url: row.try_get("url")?,
        events: events.split(' ').map(str::to_owned).collect(),
        created_ms: row.try_get("created_ms")?,
        disabled_ms: row.try_get("disabled_ms")?,
    })
}
