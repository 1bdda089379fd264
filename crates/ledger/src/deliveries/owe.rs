//! Who is told of a change, and what.

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::Row as _;
use tonemill_job::message::{Failure, Finished};
use tonemill_job::{JobId, Lane};
use uuid::Uuid;

use super::{ALERT_EVENT, TEST_EVENT};
use crate::Ledger;
use crate::database::Tx;
use crate::error::Result;
use crate::job::Job;
use crate::webhooks::Webhook;

/// What happened to a job.
#[derive(Debug, Clone, Copy)]
pub enum News<'a> {
    /// Its first attempt, or its next, has begun.
    Started,
    /// There is an MP3.
    Finished(&'a Finished),
    /// There is none, and will be none.
    Failed(&'a Failure),
}

impl News<'_> {
    pub(super) fn event(&self) -> &'static str {
        match self {
            Self::Started => "job.started",
            Self::Finished(_) => "job.finished",
            Self::Failed(_) => "job.failed",
        }
    }

    /// What there is to say, in the words of the API.
    pub(super) fn data(&self, job: &Told<'_>) -> Value {
        let mut view = json!({
            "id": job.id,
            "label": job.label,
            "file_name": job.file_name,
            "lane": job.lane.name(),
            "created_at": time(job.created_ms),
        });
        match self {
            Self::Started => view["state"] = "running".into(),
            Self::Finished(finished) => {
                view["state"] = "finished".into();
                view["output"] = json!({
                    "bytes": finished.bytes,
                    "duration_seconds": finished.duration_seconds,
                    "truncated": finished.truncated,
                    "warnings": finished.warnings,
                });
            }
            Self::Failed(failure) => {
                view["state"] = "failed".into();
                view["failure"] = json!({
                    "kind": failure.kind,
                    "stage": failure.stage,
                    "message": failure.message,
                    "advice": failure.advice,
                });
            }
        }
        json!({ "job": view })
    }
}

/// What is told of a job whatever happened to it.
pub(super) struct Told<'a> {
    pub(super) id: JobId,
    pub(super) label: &'a str,
    pub(super) file_name: &'a str,
    pub(super) lane: Lane,
    pub(super) created_ms: i64,
}

impl<'a> From<&'a Job> for Told<'a> {
    fn from(job: &'a Job) -> Self {
        let Job { id, label, file_name, lane, created_ms, .. } = job;
        Self { id: *id, label, file_name, lane: *lane, created_ms: *created_ms }
    }
}

/// What whoever is told gets, as Standard Webhooks have it.
pub(super) fn payload(event: &str, now_ms: i64, data: &Value) -> Value {
    json!({ "type": event, "timestamp": time(now_ms), "data": data })
}

/// Something to tell, to some.
struct Owed {
    job: Option<String>,
    event: &'static str,
    data: Value,
    traceparent: Option<String>,
    to: Vec<To>,
}

/// Whom to tell.
struct To {
    user: String,
    /// `None` is by mail.
    webhook: Option<String>,
}

impl Ledger {
    /// Owes the news about a job to everyone who wants to be told.
    pub(crate) async fn owe(
        &self,
        tx: &mut Tx,
        job: &Job,
        news: News<'_>,
    ) -> Result<(), sqlx::Error> {
        let event = news.event();
        let user = job.user.to_string();
        // In one statement: each takes a round trip, and a batch has a hundred events.
        let text = "SELECT w.id AS webhook_id, w.events FROM webhooks w JOIN users u ON \
                    u.id = w.user_id WHERE w.user_id = ? AND u.disabled_ms IS NULL AND \
                    w.disabled_ms IS NULL AND (w.job_id IS NULL OR w.job_id = ?) \
                    UNION ALL SELECT NULL, COALESCE(mail_events, ?) FROM users WHERE id = ? AND \
                    email IS NOT NULL AND disabled_ms IS NULL";
        let query = self.db.query(text).bind(user.clone()).bind(job.id.to_string());
        let query = query.bind(self.mail_events.clone()).bind(user.clone());
        let mut to = Vec::new();
        for row in query.fetch_all(&mut **tx).await? {
            let events: String = row.try_get("events")?;
            if events.split(' ').any(|wanted| wanted == event) {
                to.push(To { user: user.clone(), webhook: row.try_get("webhook_id")? });
            }
        }
        let (traceparent, data) = (job.traceparent.clone(), news.data(&job.into()));
        let job = Some(job.id.to_string());
        self.write_down(tx, Owed { job, event, data, traceparent, to }).await?;
        Ok(())
    }

    /// Tells a webhook of its user's that it works; the delivery.
    pub async fn try_webhook_out(&self, user: Uuid, webhook: &Webhook) -> Result<Uuid> {
        let owe = || async move {
            let mut tx = self.db.begin().await?;
            let data = json!({ "webhook": { "id": webhook.id, "url": webhook.url } });
            let to = To { user: user.to_string(), webhook: Some(webhook.id.to_string()) };
            let to = vec![to];
            let owed = Owed { job: None, event: TEST_EVENT, data, traceparent: None, to };
            let ids = self.write_down(&mut tx, owed).await?;
            tx.commit().await?;
            ids.first().copied().ok_or(sqlx::Error::RowNotFound)
        };
        let id = self.db.run("try a webhook out", owe).await?;
        self.wake_notifier();
        Ok(id)
    }

    /// Owes every administrator who has an address a mail about what is wrong.
    pub(crate) async fn owe_alert(&self, tx: &mut Tx, data: Value) -> Result<(), sqlx::Error> {
        let text = "SELECT id FROM users WHERE role = 'admin' AND email IS NOT NULL AND \
                    disabled_ms IS NULL";
        let rows = self.db.query(text).fetch_all(&mut **tx).await?;
        let to = rows.iter().map(|row| Ok(To { user: row.try_get("id")?, webhook: None }));
        let to = to.collect::<Result<_, sqlx::Error>>()?;
        let owed = Owed { job: None, event: ALERT_EVENT, data, traceparent: None, to };
        self.write_down(tx, owed).await.map(drop)
    }

    async fn write_down(&self, tx: &mut Tx, owed: Owed) -> Result<Vec<Uuid>, sqlx::Error> {
        let Owed { job, event, data, traceparent, to } = owed;
        if to.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<Uuid> = to.iter().map(|_| Uuid::now_v7()).collect();
        let now = self.db.now_ms();
        let event_id = Uuid::now_v7().to_string();
        let payload = payload(event, now, &data).to_string();
        let rows = vec!["(?, ?, ?, ?, ?, ?, ?, ?, 'owed', 0, ?, ?)"; to.len()].join(", ");
        let text = format!(
            "INSERT INTO deliveries (id, user_id, job_id, webhook_id, event, event_id, payload, \
             traceparent, state, attempts, next_ms, created_ms) VALUES {rows}"
        );
        let mut insert = self.db.dialect.query_of(text);
        for (id, To { user, webhook }) in ids.iter().zip(to) {
            insert = insert.bind(id.to_string()).bind(user);
            insert = insert.bind(job.clone()).bind(webhook).bind(event).bind(event_id.clone());
            insert = insert.bind(payload.clone()).bind(traceparent.clone()).bind(now).bind(now);
        }
        insert.execute(&mut **tx).await?;
        Ok(ids)
    }
}

/// As RFC 3339 writes a time.
fn time(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or_default()
}
