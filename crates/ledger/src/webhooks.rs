//! Webhooks: addresses that are told what becomes of a user's jobs.

use std::fmt;

use sqlx::Row as _;
use sqlx::any::AnyRow;
use tonemill_job::JobId;
use uuid::Uuid;

use crate::Ledger;
use crate::database::Tx;
use crate::deliveries::DISABLED;
use crate::error::Result;
use crate::job::{optional, parsed};
use crate::sets::Sets;

/// Most webhooks of a user.
pub const MAX_WEBHOOKS: i64 = 20;
/// Longest address, in bytes.
pub const MAX_URL_BYTES: usize = 2000;

/// For this long after a rotation notifications are signed with the secret before as well.
pub const ROTATION_MS: i64 = 86_400_000;

/// A webhook, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its name.
    pub id: Uuid,
    /// Where it is.
    pub url: String,
    /// What it is told: some of [`JOB_EVENTS`](crate::deliveries::JOB_EVENTS).
    pub events: Vec<String>,
    /// The job that it is told of; `None`: all of its user's.
    pub job: Option<JobId>,
    /// When it was added.
    pub created_ms: i64,
    /// Since when it is told nothing.
    pub disabled_ms: Option<i64>,
    /// Why.
    pub disabled_why: Option<String>,
}

/// A webhook to be.
#[derive(Clone)]
pub struct NewWebhook {
    /// Its name.
    pub id: Uuid,
    /// At most [`MAX_URL_BYTES`].
    pub url: String,
    /// What notifications are signed with, as Standard Webhooks write it.
    pub secret: String,
    /// What it is told.
    pub events: Vec<String>,
}

impl fmt::Debug for NewWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, url, events, secret: _ } = self;
        let mut debug = f.debug_struct("NewWebhook");
        debug.field("id", id).field("url", url).field("events", events).finish_non_exhaustive()
    }
}

/// What of a webhook changes; `None` stays.
#[derive(Clone, Default)]
pub struct WebhookChange {
    /// Where it is.
    pub url: Option<String>,
    /// What it is told.
    pub events: Option<Vec<String>>,
    /// Whether it is told nothing.
    pub disabled: Option<bool>,
    /// A new secret. The one before signs as well for [`ROTATION_MS`].
    pub secret: Option<String>,
}

impl fmt::Debug for WebhookChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, events, disabled, secret } = self;
        f.debug_struct("WebhookChange")
            .field("url", url)
            .field("events", events)
            .field("disabled", disabled)
            .field("has_new_secret", &secret.is_some())
            .finish()
    }
}

const COLUMNS: &str = "id, url, events, job_id, created_ms, disabled_ms, disabled_why";

impl Ledger {
    /// Adds a webhook for all jobs of a user; `None` if the user has as many as may be.
    pub async fn add_webhook(&self, user: Uuid, new: &NewWebhook) -> Result<Option<Webhook>> {
        let add = || async move {
            let mut tx = self.db.begin().await?;
            // Of several at once each counts the others.
            self.locked_user(&mut tx, user).await?;
            let text = "SELECT COUNT(*) FROM webhooks WHERE user_id = ? AND job_id IS NULL";
            let count = self.db.query(text).bind(user.to_string());
            let count: i64 = count.fetch_one(&mut *tx).await?.try_get(0)?;
            if count >= MAX_WEBHOOKS {
                return Ok(false);
            }
            self.insert_webhook(&mut tx, user, None, new).await?;
            tx.commit().await?;
            Ok(true)
        };
        if !self.db.run("add a webhook", add).await? {
            return Ok(None);
        }
        self.webhook(user, new.id).await
    }

    pub(crate) async fn insert_webhook(
        &self,
        tx: &mut Tx,
        user: Uuid,
        job: Option<JobId>,
        new: &NewWebhook,
    ) -> Result<(), sqlx::Error> {
        let text = "INSERT INTO webhooks (id, user_id, job_id, url, secret, events, created_ms) \
                    VALUES (?, ?, ?, ?, ?, ?, ?)";
        let insert = self.db.query(text).bind(new.id.to_string()).bind(user.to_string());
        let insert = insert.bind(job.map(|job| job.to_string())).bind(new.url.clone());
        let insert = insert.bind(new.secret.clone()).bind(new.events.join(" "));
        insert.bind(self.db.now_ms()).execute(&mut **tx).await.map(drop)
    }

    /// A user's webhooks for all jobs, oldest first.
    pub async fn webhooks(&self, user: Uuid) -> Result<Vec<Webhook>> {
        let look = || async move {
            let text = format!(
                "SELECT {COLUMNS} FROM webhooks WHERE user_id = ? AND job_id IS NULL ORDER BY id"
            );
            let query = self.db.dialect.query_of(text).bind(user.to_string());
            query.fetch_all(&self.db.read).await?.iter().map(webhook).collect()
        };
        self.db.run("list webhooks", look).await
    }

    /// The webhook of a job alone, if it has one.
    pub async fn job_webhook(&self, user: Uuid, job: JobId) -> Result<Option<Webhook>> {
        self.one_webhook(user, "job_id = ?", job.to_string()).await
    }

    /// A user's webhook.
    pub async fn webhook(&self, user: Uuid, webhook: Uuid) -> Result<Option<Webhook>> {
        self.one_webhook(user, "id = ?", webhook.to_string()).await
    }

    async fn one_webhook(&self, user: Uuid, which: &str, value: String) -> Result<Option<Webhook>> {
        let value = &value;
        let look = || async move {
            let text = format!("SELECT {COLUMNS} FROM webhooks WHERE {which} AND user_id = ?");
            let query = self.db.dialect.query_of(text).bind(value.clone()).bind(user.to_string());
            query.fetch_optional(&self.db.read).await?.as_ref().map(webhook).transpose()
        };
        self.db.run("look up a webhook", look).await
    }

    /// Changes a user's webhook; false if there is none.
    pub async fn change_webhook(
        &self,
        user: Uuid,
        webhook: Uuid,
        change: &WebhookChange,
    ) -> Result<bool> {
        let now = self.db.now_ms();
        let mut sets = Sets::default();
        if let Some(secret) = &change.secret {
            // In one clause: MySQL sets from left to right, the others all at once.
            sets.text("old_secret = secret, secret = ?", secret.clone());
            sets.number("old_secret_until_ms = ?", now + ROTATION_MS);
        }
        if let Some(url) = &change.url {
            sets.text("url = ?", url.clone());
        }
        if let Some(events) = &change.events {
            sets.text("events = ?", events.join(" "));
        }
        match change.disabled {
            // One that is disabled already stays so, for the same reason.
            Some(true) => {
                sets.text(
                    "disabled_why = COALESCE(disabled_why, ?)",
                    "its user disabled it".to_owned(),
                );
                sets.number("disabled_ms = COALESCE(disabled_ms, ?)", now);
            }
            Some(false) => {
                sets.text("disabled_why = ?", None);
                sets.number("disabled_ms = ?", None);
            }
            None => {}
        }
        let text =
            format!("UPDATE webhooks SET {} WHERE id = ? AND user_id = ?", sets.after("id = id"));
        let update = || {
            let update = sets.bind(self.db.dialect.query_of(text.clone()));
            update.bind(webhook.to_string()).bind(user.to_string())
        };
        Ok(self.db.write("change a webhook", update).await? == 1)
    }

    /// Has a webhook of anybody's told again, for operators; false if there is none.
    pub async fn enable_webhook(&self, webhook: Uuid) -> Result<bool> {
        let text = "UPDATE webhooks SET disabled_ms = NULL, disabled_why = NULL WHERE id = ?";
        let update = || self.db.query(text).bind(webhook.to_string());
        Ok(self.db.write("enable a webhook", update).await? == 1)
    }

    /// A webhook is told nothing any more, and what is owed to it is given up, if it is at `url`
    /// still: its user may have changed that meanwhile.
    pub(crate) async fn disable(
        &self,
        tx: &mut Tx,
        webhook: Uuid,
        url: &str,
        why: &str,
        now: i64,
    ) -> Result<(), sqlx::Error> {
        let text = "UPDATE webhooks SET disabled_ms = ?, disabled_why = ? WHERE id = ? AND \
                    url = ? AND disabled_ms IS NULL";
        let update = self.db.query(text).bind(now).bind(why.to_owned()).bind(webhook.to_string());
        if update.bind(url.to_owned()).execute(&mut **tx).await?.rows_affected() == 0 {
            return Ok(());
        }
        let text = "UPDATE deliveries SET state = 'dead', claim = NULL, next_ms = ?, \
                    ended_ms = ?, answer = ? WHERE webhook_id = ? AND state = 'owed'";
        let update =
            self.db.query(text).bind(now).bind(now).bind(DISABLED).bind(webhook.to_string());
        update.execute(&mut **tx).await.map(drop)
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
        job: optional(row, "job_id")?,
        created_ms: row.try_get("created_ms")?,
        disabled_ms: row.try_get("disabled_ms")?,
        disabled_why: row.try_get("disabled_why")?,
    })
}
