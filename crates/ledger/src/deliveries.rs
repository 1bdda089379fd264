//! Notifications that are owed: written in the transaction that changes the state they report, so
//! that there is one for each change, whatever dies.

use sqlx::Row as _;
use sqlx::any::AnyRow;
use tonemill_job::JobId;
use tonemill_job::message::Failure;
use uuid::Uuid;

use crate::Ledger;
use crate::database::Tx;
use crate::error::Result;
use crate::job::{Job, parsed, unsigned};

/// A notification that is owed, or was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its name.
    pub id: Uuid,
    /// Where it goes; `None` by mail.
    pub webhook: Option<Uuid>,
    /// What it tells.
    pub event: String,
    /// The same for all who are told of one change.
    pub event_id: Uuid,
    /// How far it is: `owed`.
    pub state: String,
    /// How often it was tried.
    pub attempts: u64,
}

impl Ledger {
    /// What is owed, or was, about a job.
    pub async fn deliveries(&self, job: JobId) -> Result<Vec<Delivery>> {
        let look = || async move {
            let text = "SELECT id, webhook_id, event, event_id, state, attempts FROM deliveries \
                        WHERE job_id = ? ORDER BY id";
            let query = self.db.query(text).bind(job.to_string());
            query.fetch_all(&self.db.read).await?.iter().map(delivery).collect()
        };
        self.db.run("list deliveries", look).await
    }

    /// Owes `event` about a job to everyone who asked to be told.
    pub(crate) async fn owe(
        &self,
        tx: &mut Tx,
        job: &Job,
        event: &'static str,
        failure: Option<&Failure>,
    ) -> Result<(), sqlx::Error> {
        let text = "SELECT id, events FROM webhooks WHERE user_id = ? AND disabled_ms IS NULL";
        let hooks = self.db.query(text).bind(job.user.to_string()).fetch_all(&mut **tx).await?;
        if hooks.is_empty() {
            return Ok(());
        }
        let now = self.db.now_ms();
        let event_id = Uuid::now_v7().to_string();
        let payload = serde_json::json!({
            "type": event,
            "event_id": event_id,
            "timestamp_ms": now,
            "data": {
                "job": job.id,
                "label": job.label,
                "file_name": job.file_name,
                "failure": failure.map(|failure| {
                    serde_json::json!({ "kind": failure.kind, "message": failure.message })
                }),
            },
        })
        .to_string();
        let mut wanted = Vec::new();
        for hook in hooks {
            let events: String = hook.try_get("events")?;
            if events.split(' ').any(|wanted| wanted == event) {
                wanted.push(hook.try_get::<String, _>("id")?);
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        // All in one statement: each takes a round trip, and a batch has a hundred events.
        let rows = vec!["(?, ?, ?, ?, ?, ?, ?, 'owed', 0, ?, ?)"; wanted.len()].join(", ");
        let text = format!(
            "INSERT INTO deliveries (id, user_id, job_id, webhook_id, event, event_id, payload, \
             state, attempts, next_ms, created_ms) VALUES {rows}"
        );
        let mut insert = self.db.dialect.query_of(text);
        for webhook in wanted {
            insert = insert.bind(Uuid::now_v7().to_string()).bind(job.user.to_string());
            insert = insert.bind(job.id.to_string()).bind(webhook).bind(event);
            insert = insert.bind(event_id.clone()).bind(payload.clone()).bind(now).bind(now);
        }
        insert.execute(&mut **tx).await.map(drop)
    }
}

fn delivery(row: &AnyRow) -> Result<Delivery, sqlx::Error> {
    let webhook: Option<String> = row.try_get("webhook_id")?;
    Ok(Delivery {
        id: parsed(row, "id")?,
        webhook: webhook.and_then(|id| id.parse().ok()),
        event: row.try_get("event")?,
        event_id: parsed(row, "event_id")?,
        state: row.try_get("state")?,
        attempts: unsigned(row, "attempts")?,
    })
}
