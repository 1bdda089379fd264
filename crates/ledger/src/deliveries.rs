//! Notifications that are owed, by mail and to webhooks, and what became of them.
//!
//! A delivery is written down in the transaction that changes what it reports (`owe`), so that
//! there is one for each change and each who is to be told, whatever dies. Somebody claims it for a
//! while, tries it, and says what came of it ([`claim`]); a claim that nobody ends runs out. All
//! deliveries of one change have the same event id, at every attempt: whoever is told twice can
//! tell.

pub mod claim;
mod owe;
mod samples;

use serde_json::Value;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use tonemill_job::JobId;
use uuid::Uuid;

use crate::Ledger;
use crate::error::Result;
use crate::job::{json, optional, parsed, strange, unsigned};
use crate::jobs::Owner;

pub use owe::News;
pub use samples::samples;

/// What can be told about a job.
pub const JOB_EVENTS: [&str; 3] = ["job.started", "job.finished", "job.failed"];
/// What a webhook is told that is being tried out.
pub const TEST_EVENT: &str = "webhook.test";
/// What administrators are told by mail: the system needs them.
pub const ALERT_EVENT: &str = "system.alert";

/// What a webhook or a mail tells of that nobody has chosen anything for: how jobs end.
#[must_use]
pub fn default_events() -> Vec<String> {
    JOB_EVENTS[1..].iter().map(ToString::to_string).collect()
}

/// The answer of what is given up because its webhook was disabled.
pub(crate) const DISABLED: &str = "the webhook is disabled";
/// The answer of what is given up because whoever was to be told wants no more of it, or is gone.
pub const NOBODY: &str = "nobody is to be told any more";

/// For how long a delivery can be owed at most: 30 days.
pub const MAX_OWED_MS: i64 = 30 * 86_400_000;

/// How far a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    /// It will be tried, again and again.
    Owed,
    /// Whoever was to be told took it.
    Delivered,
    /// It was refused for good, or for too long.
    Dead,
}

impl DeliveryState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Owed, Self::Delivered, Self::Dead];

    /// Its name in the ledger and for users.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Owed => "owed",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }

    /// The state of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// A notification that is owed, or was.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// Its name.
    pub id: Uuid,
    /// Who owns what it tells.
    pub user: Uuid,
    /// What it is about; `None` if that is no job.
    pub job: Option<JobId>,
    /// Where it goes; `None` by mail.
    pub webhook: Option<Uuid>,
    /// What it tells.
    pub event: String,
    /// The same for all who are told of one change.
    pub event_id: Uuid,
    /// How far it is.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u64,
    /// When it is tried next, if it is owed.
    pub next_ms: i64,
    /// What came of the last attempt.
    pub answer: Option<String>,
    /// Since when it is owed.
    pub created_ms: i64,
    /// When it was delivered or given up.
    pub ended_ms: Option<i64>,
}

/// One attempt at a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryAttempt {
    /// Its number, from 1.
    pub attempt: u64,
    /// When it began.
    pub started_ms: i64,
    /// When it was over; `None` if it is under way, or nobody lived to tell.
    pub ended_ms: Option<i64>,
    /// What came of it.
    pub answer: Option<String>,
}

/// Which deliveries are listed.
#[derive(Debug, Clone, Default)]
pub struct DeliveryFilter {
    /// About this job.
    pub job: Option<JobId>,
    /// To this webhook.
    pub webhook: Option<Uuid>,
    /// In this state.
    pub state: Option<DeliveryState>,
    /// Those that were owed before this one: where the page before ended.
    pub before: Option<Uuid>,
}

const COLUMNS: &str = "id, user_id, job_id, webhook_id, event, event_id, state, attempts, next_ms, \
    answer, created_ms, ended_ms";

impl Ledger {
    /// The newest `most` deliveries that the filter lets through, newest first.
    pub async fn list_deliveries(
        &self,
        owner: Owner,
        filter: &DeliveryFilter,
        most: u32,
    ) -> Result<Vec<Delivery>> {
        let user = if let Owner::User(user) = owner { Some(user) } else { None };
        let conditions = [
            ("user_id = ?", user.map(|id| id.to_string())),
            ("job_id = ?", filter.job.map(|id| id.to_string())),
            ("webhook_id = ?", filter.webhook.map(|id| id.to_string())),
            ("state = ?", filter.state.map(|state| state.name().to_owned())),
            // Ids sort by age.
            ("id < ?", filter.before.map(|id| id.to_string())),
        ];
        let mut wheres = vec!["1 = 1"];
        let mut texts = Vec::new();
        for (condition, value) in conditions {
            if let Some(value) = value {
                wheres.push(condition);
                texts.push(value);
            }
        }
        let wheres = wheres.join(" AND ");
        let (texts, wheres) = (&texts, &wheres);
        let list = || async move {
            let text =
                format!("SELECT {COLUMNS} FROM deliveries WHERE {wheres} ORDER BY id DESC LIMIT ?");
            let mut query = self.db.dialect.query_of(text);
            for text in texts {
                query = query.bind(text.clone());
            }
            let rows = query.bind(i64::from(most)).fetch_all(&self.db.read).await?;
            rows.iter().map(delivery).collect()
        };
        self.db.run("list deliveries", list).await
    }

    /// A delivery with what it tells and the attempts at it, oldest first.
    pub async fn delivery(
        &self,
        owner: Owner,
        id: Uuid,
    ) -> Result<Option<(Delivery, Value, Vec<DeliveryAttempt>)>> {
        let look = || async move {
            let text = format!("SELECT {COLUMNS}, payload FROM deliveries WHERE id = ?");
            let query = self.db.dialect.query_of(text).bind(id.to_string());
            let Some(row) = query.fetch_optional(&self.db.read).await? else { return Ok(None) };
            let (found, payload) = (delivery(&row)?, json(&row, "payload")?);
            if !owner.owns(found.user) {
                return Ok(None);
            }
            let text = "SELECT attempt, started_ms, ended_ms, answer FROM delivery_attempts \
                        WHERE delivery_id = ? ORDER BY attempt";
            let rows = self.db.query(text).bind(id.to_string()).fetch_all(&self.db.read).await?;
            let attempts = rows.iter().map(attempt).collect::<Result<_, _>>()?;
            Ok(Some((found, payload, attempts)))
        };
        self.db.run("look up a delivery", look).await
    }

    /// Owes a delivery that is over once more, with the event id that it had; false if there is
    /// none that is over.
    pub async fn replay_delivery(&self, owner: Owner, id: Uuid) -> Result<bool> {
        let user = if let Owner::User(user) = owner { Some(user.to_string()) } else { None };
        let replay = || {
            let now = self.db.now_ms();
            let whose = if user.is_some() { " AND user_id = ?" } else { "" };
            let text = format!(
                "UPDATE deliveries SET state = 'owed', next_ms = ?, replayed_ms = ?, \
                 ended_ms = NULL WHERE id = ? AND state <> 'owed'{whose}"
            );
            let query = self.db.dialect.query_of(text).bind(now).bind(now).bind(id.to_string());
            user.iter().fold(query, |query, user| query.bind(user.clone()))
        };
        let is_owed = self.db.write("replay a delivery", replay).await? == 1;
        if is_owed {
            self.wake_notifier();
        }
        Ok(is_owed)
    }
}

fn delivery(row: &AnyRow) -> Result<Delivery, sqlx::Error> {
    let state: String = row.try_get("state")?;
    Ok(Delivery {
        id: parsed(row, "id")?,
        user: parsed(row, "user_id")?,
        job: optional(row, "job_id")?,
        webhook: optional(row, "webhook_id")?,
        event: row.try_get("event")?,
        event_id: parsed(row, "event_id")?,
        state: DeliveryState::named(&state).ok_or_else(|| strange("delivery's state", &state))?,
        attempts: unsigned(row, "attempts")?,
        next_ms: row.try_get("next_ms")?,
        answer: row.try_get("answer")?,
        created_ms: row.try_get("created_ms")?,
        ended_ms: row.try_get("ended_ms")?,
    })
}

fn attempt(row: &AnyRow) -> Result<DeliveryAttempt, sqlx::Error> {
    Ok(DeliveryAttempt {
        attempt: unsigned(row, "attempt")?,
        started_ms: row.try_get("started_ms")?,
        ended_ms: row.try_get("ended_ms")?,
        answer: row.try_get("answer")?,
    })
}
