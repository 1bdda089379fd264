//! Claiming what is owed, trying it, and saying what came of it.
//!
//! A claim is for [`CLAIM_MS`]: whoever has not said by then what came of the attempt is taken for
//! dead, and the delivery is claimed again. What is said too late changes nothing.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use serde_json::Value;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use tonemill_job::{JobId, chain, is_deceptive};
use uuid::Uuid;

use super::{ALERT_EVENT, DeliveryState};
use crate::Ledger;
use crate::database::{PATIENCE, Tx};
use crate::dialect::marks;
use crate::error::Result;
use crate::job::{json, optional, parsed, unsigned};

/// How long whoever claims a delivery has to say what came of it. Longer than an attempt takes.
pub const CLAIM_MS: i64 = 120_000;
/// Of these, how long claiming itself may take.
pub const CLAIMING: Duration = PATIENCE;
/// Deliveries that are looked at, for each that there is room for: others may be faster, or of
/// those there may be no room for more.
const LOOK_AHEAD: usize = 4;
/// Longest answer that is kept, in characters.
const MAX_ANSWER: usize = 200;

/// How many deliveries there is room for.
#[derive(Debug, Clone, Default)]
pub struct Room {
    /// In all.
    pub all: usize,
    /// Of these, by mail.
    pub mails: usize,
    /// Of these, to one user who is not in `mail_users`.
    pub mails_per_user: usize,
    /// Of these, to the users to whom mails are on their way already.
    pub mail_users: HashMap<Uuid, usize>,
    /// Of these, to one webhook that is not in `webhooks`.
    pub per_webhook: usize,
    /// Of these, to the webhooks that something is on its way to already.
    pub webhooks: HashMap<Uuid, usize>,
    /// Of these, of one user who is not in `users`: each job may have a webhook of its own.
    pub per_user: usize,
    /// Of these, of the users of whom something is on its way already.
    pub users: HashMap<Uuid, usize>,
}

impl Room {
    /// Takes a place for a delivery, if there is one.
    fn take(&mut self, due: &Due) -> bool {
        let of_user = self.users.entry(due.user).or_insert(self.per_user);
        let mut places = vec![&mut self.all, of_user];
        if let Some(webhook) = due.webhook {
            places.push(self.webhooks.entry(webhook).or_insert(self.per_webhook));
        } else {
            places.push(&mut self.mails);
            places.push(self.mail_users.entry(due.user).or_insert(self.mails_per_user));
        }
        let is_there = places.iter().all(|left| **left > 0);
        if is_there {
            for left in places {
                *left -= 1;
            }
        }
        is_there
    }
}

/// A delivery whose time has come.
struct Due {
    id: String,
    user: Uuid,
    /// `None` is by mail.
    webhook: Option<Uuid>,
}

/// A delivery that whoever has it is to try, once.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// Its name.
    pub id: Uuid,
    /// Names the claim.
    claim: Uuid,
    /// Whose it is.
    pub user: Uuid,
    /// What it is about; `None` if that is no job.
    pub job: Option<JobId>,
    /// What it tells.
    pub event: String,
    /// Names the change that it tells of: the same at every attempt, and for all who are told.
    pub event_id: Uuid,
    /// What to tell.
    pub payload: Value,
    /// W3C trace context of what it tells of.
    pub traceparent: Option<String>,
    /// The number of this attempt, from 1.
    pub attempt: u64,
    /// From when its age counts.
    pub since_ms: i64,
    /// Whom to tell; `None` if nobody is to be told any more.
    pub to: Option<Recipient>,
}

/// Whom to tell.
#[derive(Clone, PartialEq, Eq)]
pub enum Recipient {
    /// Somebody who gets a mail.
    Mail {
        /// What the user is called.
        name: String,
        /// Where it is written to.
        address: String,
    },
    /// A webhook.
    Webhook {
        /// Its name.
        id: Uuid,
        /// Where it is.
        url: String,
        /// What to sign with: the secret, and the one before for a while after a rotation.
        secrets: Vec<String>,
    },
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mail { name, address } => {
                f.debug_struct("Mail").field("name", name).field("address", address).finish()
            }
            Self::Webhook { id, url, secrets: _ } => {
                let mut debug = f.debug_struct("Webhook");
                debug.field("id", id).field("url", url).finish_non_exhaustive()
            }
        }
    }
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// It was taken.
    Delivered,
    /// It was not, and is to be tried again from then on, by the ledger's clock.
    Retry {
        /// In milliseconds since 1970.
        not_before_ms: i64,
    },
    /// It is given up.
    Dead,
    /// It is given up, and so is everything else that is owed to the webhook, which is disabled,
    /// unless it is elsewhere by now.
    Gone,
}

impl Ledger {
    /// Claims what is due, oldest first, as far as there is room.
    pub async fn claim_deliveries(&self, room: &Room) -> Result<Vec<Claimed>> {
        let claim = || self.try_claim(room.clone());
        self.db.run("claim deliveries", claim).await
    }

    async fn try_claim(&self, mut room: Room) -> Result<Vec<Claimed>, sqlx::Error> {
        let now = self.db.now_ms();
        // Without a lock first: most looks find nothing, and none should wait for a writer.
        let mut due = self.due(&room, now).await?;
        due.retain(|due| room.take(due));
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<String> = due.into_iter().map(|due| due.id).collect();
        let mut tx = self.db.begin().await?;
        let text = format!(
            "SELECT id, user_id, job_id, webhook_id, event, event_id, payload, traceparent, attempts, \
             created_ms, replayed_ms FROM deliveries WHERE id IN ({}) AND state = 'owed' AND \
             next_ms <= ? ORDER BY next_ms, id{}",
            marks(ids.len()),
            self.db.dialect.skip_locked()
        );
        let mut query = self.db.dialect.query_of(text);
        for id in ids {
            query = query.bind(id);
        }
        let rows = query.bind(now).fetch_all(&mut *tx).await?;
        let claim = Uuid::now_v7();
        let mut taken = Vec::with_capacity(rows.len());
        for row in &rows {
            match claimed(row, claim) {
                Ok((mut one, webhook)) => {
                    self.begin_attempt(&mut tx, &one, now).await?;
                    one.to = self.recipient(&mut tx, &one, webhook, now).await?;
                    taken.push(one);
                }
                Err(error) => self.bury(&mut tx, row, &error, now).await?,
            }
        }
        tx.commit().await?;
        Ok(taken)
    }

    /// Gives up a delivery that makes no sense: it would come first again and again.
    async fn bury(
        &self,
        tx: &mut Tx,
        row: &AnyRow,
        error: &sqlx::Error,
        now: i64,
    ) -> Result<(), sqlx::Error> {
        let id: String = row.try_get("id")?;
        tracing::error!(id, error = chain(error), "a delivery cannot be read");
        let text = "UPDATE deliveries SET state = 'dead', answer = 'it cannot be read', \
                    next_ms = ?, ended_ms = ? WHERE id = ?";
        let update = self.db.query(text).bind(now).bind(now).bind(id);
        update.execute(&mut **tx).await.map(drop)
    }

    /// What is due, oldest first; without what there is no room for.
    async fn due(&self, room: &Room, now: i64) -> Result<Vec<Due>, sqlx::Error> {
        let full = |places: &HashMap<Uuid, usize>| -> Vec<String> {
            let full = places.iter().filter(|(_, left)| **left == 0);
            full.map(|(id, _)| id.to_string()).collect()
        };
        let [webhooks, users, readers] = [&room.webhooks, &room.users, &room.mail_users].map(full);
        let mut wheres = vec!["state = 'owed' AND next_ms <= ?".to_owned()];
        if !webhooks.is_empty() {
            let marks = marks(webhooks.len());
            wheres.push(format!("(webhook_id IS NULL OR webhook_id NOT IN ({marks}))"));
        }
        if !users.is_empty() {
            wheres.push(format!("user_id NOT IN ({})", marks(users.len())));
        }
        if room.mails == 0 {
            wheres.push("webhook_id IS NOT NULL".to_owned());
        } else if !readers.is_empty() {
            let marks = marks(readers.len());
            wheres.push(format!("(webhook_id IS NOT NULL OR user_id NOT IN ({marks}))"));
        }
        let text = format!(
            "SELECT id, user_id, webhook_id FROM deliveries WHERE {} ORDER BY next_ms, id LIMIT ?",
            wheres.join(" AND ")
        );
        let mut query = self.db.dialect.query_of(text).bind(now);
        let readers = readers.into_iter().filter(|_| room.mails > 0);
        for id in webhooks.into_iter().chain(users).chain(readers) {
            query = query.bind(id);
        }
        let most = i64::try_from(room.all.saturating_mul(LOOK_AHEAD)).unwrap_or(i64::MAX);
        let rows = query.bind(most).fetch_all(&self.db.read).await?;
        let due = rows.iter().map(|row| {
            let webhook = optional(row, "webhook_id")?;
            Ok(Due { id: row.try_get("id")?, user: parsed(row, "user_id")?, webhook })
        });
        due.collect()
    }

    async fn begin_attempt(&self, tx: &mut Tx, one: &Claimed, now: i64) -> Result<(), sqlx::Error> {
        let number = i64::try_from(one.attempt).unwrap_or(i64::MAX);
        let text = "UPDATE deliveries SET attempts = ?, next_ms = ?, claim = ? WHERE id = ?";
        let update = self.db.query(text).bind(number).bind(now + CLAIM_MS);
        let update = update.bind(one.claim.to_string()).bind(one.id.to_string());
        update.execute(&mut **tx).await?;
        let text = "INTO delivery_attempts (delivery_id, attempt, started_ms) VALUES (?, ?, ?)";
        let insert = self.db.dialect.query_of(self.db.dialect.insert_ignore(text));
        let insert = insert.bind(one.id.to_string()).bind(number).bind(now);
        insert.execute(&mut **tx).await.map(drop)
    }

    /// Whom to tell now: addresses and secrets may have changed since it is owed.
    async fn recipient(
        &self,
        tx: &mut Tx,
        one: &Claimed,
        webhook: Option<Uuid>,
        now: i64,
    ) -> Result<Option<Recipient>, sqlx::Error> {
        let Some(id) = webhook else {
            let text = "SELECT name, email, COALESCE(mail_events, ?) AS events FROM users \
                        WHERE id = ? AND email IS NOT NULL AND disabled_ms IS NULL";
            let query = self.db.query(text).bind(self.mail_events.clone());
            let row = query.bind(one.user.to_string()).fetch_optional(&mut **tx).await?;
            let Some(row) = row else { return Ok(None) };
            let events: String = row.try_get("events")?;
            if one.event != ALERT_EVENT && !events.split(' ').any(|event| event == one.event) {
                return Ok(None);
            }
            let (name, address) = (row.try_get("name")?, row.try_get("email")?);
            return Ok(Some(Recipient::Mail { name, address }));
        };
        let text = "SELECT w.url, w.secret, w.old_secret, w.old_secret_until_ms FROM webhooks w \
                    JOIN users u ON u.id = w.user_id WHERE w.id = ? AND w.disabled_ms IS NULL AND \
                    u.disabled_ms IS NULL";
        let row = self.db.query(text).bind(id.to_string()).fetch_optional(&mut **tx).await?;
        let Some(row) = row else { return Ok(None) };
        let until: Option<i64> = row.try_get("old_secret_until_ms")?;
        let old: Option<String> = row.try_get("old_secret")?;
        let old = old.filter(|_| until.is_some_and(|until| now < until));
        let secrets = [Some(row.try_get("secret")?), old].into_iter().flatten().collect();
        Ok(Some(Recipient::Webhook { id, url: row.try_get("url")?, secrets }))
    }

    /// Writes down what came of an attempt, and in a word why; false if it is too late for that.
    pub async fn settle_delivery(
        &self,
        one: &Claimed,
        outcome: &AttemptOutcome,
        answer: &str,
    ) -> Result<bool> {
        // It may be a stranger's: no database takes every character, and none should deceive a
        // reader.
        let answer = answer.chars().take(MAX_ANSWER);
        let answer: String =
            answer.map(|c| if is_deceptive(c) { char::REPLACEMENT_CHARACTER } else { c }).collect();
        let answer = &answer;
        let settle = || async move {
            let now = self.db.now_ms();
            let mut tx = self.db.begin().await?;
            let text = "UPDATE delivery_attempts SET ended_ms = ?, answer = ? \
                        WHERE delivery_id = ? AND attempt = ? AND ended_ms IS NULL";
            let update = self.db.query(text).bind(now).bind(answer.clone());
            let update = update.bind(one.id.to_string());
            let update = update.bind(i64::try_from(one.attempt).unwrap_or(i64::MAX));
            update.execute(&mut *tx).await?;
            let (state, next, ended) = match outcome {
                AttemptOutcome::Delivered => (DeliveryState::Delivered, now, Some(now)),
                AttemptOutcome::Retry { not_before_ms } => {
                    (DeliveryState::Owed, *not_before_ms, None)
                }
                AttemptOutcome::Dead | AttemptOutcome::Gone => {
                    (DeliveryState::Dead, now, Some(now))
                }
            };
            let text = "UPDATE deliveries SET state = ?, next_ms = ?, claim = NULL, answer = ?, \
                        ended_ms = ? WHERE id = ? AND claim = ?";
            let update = self.db.query(text).bind(state.name()).bind(next).bind(answer.clone());
            let update = update.bind(ended).bind(one.id.to_string()).bind(one.claim.to_string());
            let is_in_time = update.execute(&mut *tx).await?.rows_affected() == 1;
            if let (true, AttemptOutcome::Gone, Some(Recipient::Webhook { id, url, .. })) =
                (is_in_time, outcome, &one.to)
            {
                self.disable(&mut tx, *id, url, answer, now).await?;
            }
            tx.commit().await?;
            Ok(is_in_time)
        };
        self.db.run("settle a delivery", settle).await
    }
}

/// A delivery whose recipient is not looked up yet, and its webhook.
fn claimed(row: &AnyRow, claim: Uuid) -> Result<(Claimed, Option<Uuid>), sqlx::Error> {
    let replayed: Option<i64> = row.try_get("replayed_ms")?;
    let claimed = Claimed {
        id: parsed(row, "id")?,
        claim,
        user: parsed(row, "user_id")?,
        job: optional(row, "job_id")?,
        event: row.try_get("event")?,
        event_id: parsed(row, "event_id")?,
        payload: json(row, "payload")?,
        traceparent: row.try_get("traceparent")?,
        attempt: unsigned(row, "attempts")? + 1,
        since_ms: replayed.unwrap_or(row.try_get("created_ms")?),
        to: None,
    };
    Ok((claimed, optional(row, "webhook_id")?))
}
