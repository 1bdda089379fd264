//! Accepting a job: quota, turn, and the promise that it will be done, in one transaction.
//!
//! The fair queue: a job's turn is one after its user's last, but not before the turn that is being
//! served. The dispatcher takes jobs by their turns, so whoever submits ten thousand at once takes
//! part in ten thousand rounds, and everybody else's next job is in the next round.

use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use tonemill_job::{JobId, Lane};

use crate::Ledger;
use crate::database::Tx;
use crate::error::Result;
use crate::job::{Job, NewJob, signed, to_json};
use crate::quota::{OverQuota, Quotas, Usage};
use crate::state::JobState;

/// What makes a repeated request known as the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// The client's name for the request. At most [`MAX_IDEMPOTENCY_KEY_BYTES`].
    pub key: String,
    /// A hash of all that was asked for.
    pub request_hash: String,
}

/// Longest `Idempotency-Key`, in bytes.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 190;

/// What became of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Acceptance {
    /// It is written down and will be done.
    Accepted,
    /// The same key was used before; whether for the same request is for the caller to see.
    Known(KnownRequest),
    /// The user has too much already.
    OverQuota(OverQuota),
    /// There is no such user, or not any more.
    NoUser,
    /// The upload is not there any more: it became a job, or expired.
    NoUpload,
}

/// A request that was accepted under an idempotency key.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownRequest {
    /// Its job, which may have been deleted since.
    pub job: JobId,
    /// See [`Idempotency::request_hash`].
    pub request_hash: String,
}

impl Ledger {
    /// Accepts a job whose upload is in the store.
    pub async fn accept(
        &self,
        job: &NewJob,
        idempotency: Option<&Idempotency>,
    ) -> Result<Acceptance> {
        let accept = || self.try_accept(job, idempotency, true);
        let acceptance = self.db.run("accept a job", accept).await?;
        if acceptance == Acceptance::Accepted {
            self.wake_dispatcher();
        }
        Ok(acceptance)
    }

    /// Accepts a job that was accepted before, within the quotas of that time, whatever they are
    /// now.
    pub(crate) async fn accept_again(
        &self,
        job: &NewJob,
        idempotency: Option<&Idempotency>,
    ) -> Result<Acceptance> {
        self.db.run("accept a job", || self.try_accept(job, idempotency, false)).await
    }

    /// What the user's idempotency key stands for.
    pub async fn known_request(&self, user: uuid::Uuid, key: &str) -> Result<Option<KnownRequest>> {
        let look = || async move {
            let text = "SELECT request_hash, job_id FROM idempotency_keys \
                        WHERE user_id = ? AND idempotency_key = ?";
            let query = self.db.query(text).bind(user.to_string()).bind(key.to_owned());
            query.fetch_optional(&self.db.read).await?.as_ref().map(known).transpose()
        };
        self.db.run("look up a request", look).await
    }

    /// What a user has, against what it may have; `None` if there is no such user.
    pub async fn usage(&self, user: uuid::Uuid) -> Result<Option<(Usage, Quotas)>> {
        let look = || async move {
            let mut connection = self.db.read.acquire().await?;
            self.quotas_of(&mut connection, &user.to_string(), "").await
        };
        self.db.run("tell what a user has", look).await
    }

    /// How many waiting jobs come before a waiting one in its lane, counted up to `most`.
    pub async fn waiting_before(&self, job: &Job, most: u32) -> Result<u64> {
        let count = || async move {
            let text = "SELECT COUNT(*) FROM (SELECT id FROM jobs WHERE state = 'waiting' AND \
                        lane = ? AND (turn < ? OR (turn = ? AND id < ?)) LIMIT ?) AS earlier";
            let query = self.db.query(text).bind(job.lane.name()).bind(job.turn).bind(job.turn);
            let query = query.bind(job.id.to_string()).bind(i64::from(most));
            let count: i64 = query.fetch_one(&self.db.read).await?.try_get(0)?;
            Ok(u64::try_from(count).unwrap_or_default())
        };
        self.db.run("count waiting jobs", count).await
    }

    async fn try_accept(
        &self,
        job: &NewJob,
        idempotency: Option<&Idempotency>,
        is_limited: bool,
    ) -> Result<Acceptance, sqlx::Error> {
        let user = job.user.to_string();
        let mut tx = self.db.begin().await?;
        // The lock on the user's row lets one acceptance for each user through at a time.
        let lock = self.db.dialect.for_update();
        let Some((usage, quotas)) = self.quotas_of(&mut tx, &user, lock).await? else {
            return Ok(Acceptance::NoUser);
        };
        if let Some(idempotency) = idempotency
            && let Some(known) = self.remember(&mut tx, &user, job.id, idempotency).await?
        {
            return Ok(Acceptance::Known(known));
        }
        // What was uploaded before counts already.
        let new_bytes = if job.is_upload { 0 } else { job.input_bytes };
        if is_limited && let Some(over) = quotas.exceeded_by(usage, new_bytes) {
            return Ok(Acceptance::OverQuota(over));
        }
        if job.is_upload && !self.hand_over(&mut tx, job.id).await? {
            return Ok(Acceptance::NoUpload);
        }
        let turn = self.next_turn(&mut tx, &user, job.lane).await?;
        self.insert(&mut tx, job, turn).await?;
        if let Some(webhook) = &job.webhook {
            self.insert_webhook(&mut tx, job.user, Some(job.id), webhook).await?;
        }
        self.charge(&mut tx, &user, 1, signed(new_bytes)).await?;
        tx.commit().await?;
        Ok(Acceptance::Accepted)
    }

    /// Writes the key down; what it stands for if it was there.
    async fn remember(
        &self,
        tx: &mut Tx,
        user: &str,
        job: JobId,
        idempotency: &Idempotency,
    ) -> Result<Option<KnownRequest>, sqlx::Error> {
        let text = "SELECT request_hash, job_id FROM idempotency_keys \
                    WHERE user_id = ? AND idempotency_key = ?";
        let query = self.db.query(text).bind(user.to_owned()).bind(idempotency.key.clone());
        if let Some(row) = query.fetch_optional(&mut **tx).await? {
            return known(&row).map(Some);
        }
        let text = "INSERT INTO idempotency_keys \
                    (user_id, idempotency_key, request_hash, job_id, created_ms) \
                    VALUES (?, ?, ?, ?, ?)";
        let query = self.db.query(text).bind(user.to_owned()).bind(idempotency.key.clone());
        let query = query.bind(idempotency.request_hash.clone()).bind(job.to_string());
        query.bind(self.db.now_ms()).execute(&mut **tx).await?;
        Ok(None)
    }

    /// The turn of the user's next job in a lane; it is taken.
    pub(crate) async fn next_turn(
        &self,
        tx: &mut Tx,
        user: &str,
        lane: Lane,
    ) -> Result<i64, sqlx::Error> {
        let serving = self.db.query("SELECT serving_turn FROM lanes WHERE lane = ?");
        let serving: i64 = serving.bind(lane.name()).fetch_one(&mut **tx).await?.try_get(0)?;
        let last = self.db.query("SELECT last_turn FROM turns WHERE user_id = ? AND lane = ?");
        let last = last.bind(user.to_owned()).bind(lane.name()).fetch_optional(&mut **tx).await?;
        let Some(last) = last else {
            let insert = "INSERT INTO turns (user_id, lane, last_turn) VALUES (?, ?, ?)";
            let insert = self.db.query(insert).bind(user.to_owned()).bind(lane.name());
            insert.bind(serving).execute(&mut **tx).await?;
            return Ok(serving);
        };
        let turn = serving.max(last.try_get::<i64, _>(0)? + 1);
        let update = "UPDATE turns SET last_turn = ? WHERE user_id = ? AND lane = ?";
        let update = self.db.query(update).bind(turn).bind(user.to_owned()).bind(lane.name());
        update.execute(&mut **tx).await?;
        Ok(turn)
    }

    async fn insert(&self, tx: &mut Tx, job: &NewJob, turn: i64) -> Result<(), sqlx::Error> {
        let text = "INSERT INTO jobs (id, user_id, state, version, lane, turn, not_before_ms, \
                    label, file_name, media, options, traceparent, input_key, input_bytes, \
                    input_blake3, history, attempts, created_ms, truncated, stored_bytes) \
                    VALUES (?, ?, ?, 1, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, '{}', 0, ?, 0, ?)";
        let insert = self.db.query(text);
        let insert = insert.bind(job.id.to_string()).bind(job.user.to_string());
        let insert = insert.bind(JobState::Waiting.name()).bind(job.lane.name()).bind(turn);
        let insert = insert.bind(job.label.clone()).bind(job.file_name.clone());
        let insert = insert.bind(job.media.clone()).bind(to_json(&job.options)?);
        let insert = insert.bind(job.traceparent.clone()).bind(job.input.to_string());
        let insert = insert.bind(signed(job.input_bytes)).bind(job.input_blake3.clone());
        let insert = insert.bind(self.db.now_ms()).bind(signed(job.input_bytes));
        insert.execute(&mut **tx).await.map(drop)
    }
}

fn known(row: &sqlx::any::AnyRow) -> Result<KnownRequest, sqlx::Error> {
    let job = crate::job::parsed(row, "job_id")?;
    Ok(KnownRequest { job, request_hash: row.try_get("request_hash")? })
}
