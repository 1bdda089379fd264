//! A job's card: an object beside its upload that says what the ledger knew of the job when it was
//! accepted. A ledger that comes from a backup finds jobs by their cards that it never heard of
//! (see `recovery`).
//!
//! It is written when the job is accepted and before that is answered, however often, and goes with
//! the job.
//! Nothing in it lets anybody do anything: no secret of a webhook, no password. Workers need
//! neither read nor write it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tonemill_job::objects::{ObjectStore, StoreError, StoreErrorKind, put_small, size_of};
use tonemill_job::{JobId, JobOptions, Lane, ObjectKey};
use uuid::Uuid;

use crate::accept::Idempotency;
use crate::job::{Job, NewJob};

/// The version of cards.
const VERSION: u32 = 1;
/// No card is longer, in bytes: tags, file name and label are bounded where they come in.
const MAX_BYTES: u64 = 1 << 20;

/// What is known of a job when it is accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Card {
    v: u32,
    pub(crate) job: JobId,
    pub(crate) user: Uuid,
    /// The user's, by which an operator knows it.
    pub(crate) user_name: String,
    lane: Lane,
    label: String,
    file_name: String,
    media: String,
    options: JobOptions,
    pub(crate) input: ObjectKey,
    pub(crate) input_bytes: u64,
    input_blake3: Option<String>,
    /// What its request is known by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) request: Option<Idempotency>,
}

impl Card {
    /// The card of a job of the user who is called `user_name`.
    #[must_use]
    pub fn of(job: &NewJob, user_name: &str, request: Option<Idempotency>) -> Self {
        Self {
            v: VERSION,
            job: job.id,
            user: job.user,
            user_name: user_name.to_owned(),
            lane: job.lane,
            label: job.label.clone(),
            file_name: job.file_name.clone(),
            media: job.media.clone(),
            options: job.options.clone(),
            input: job.input.clone(),
            input_bytes: job.input_bytes,
            input_blake3: job.input_blake3.clone(),
            request,
        }
    }

    /// The card of a job that is there: whoever accepted it may have died before its card was put.
    /// `None` if what is asked for can be read by another version alone.
    #[must_use]
    pub fn of_known(job: &Job, user_name: &str, request: Option<Idempotency>) -> Option<Self> {
        let known = NewJob {
            id: job.id,
            user: job.user,
            lane: job.lane,
            label: job.label.clone(),
            file_name: job.file_name.clone(),
            media: job.media.clone(),
            options: JobOptions::deserialize(&job.options).ok()?,
            traceparent: None,
            // Where that of a finished job was is not known any more; it is not there either.
            input: job.input.clone().unwrap_or_else(|| ObjectKey::upload(job.id)),
            input_bytes: job.input_bytes,
            input_blake3: job.input_blake3.clone(),
            is_upload: false,
            webhook: None,
        };
        Some(Self::of(&known, user_name, request))
    }

    /// Puts it into the store.
    pub async fn put(&self, store: &dyn ObjectStore) -> Result<(), StoreError> {
        // Its parts are texts and numbers: nothing in it fails.
        let text = serde_json::to_vec(self).unwrap_or_default();
        let key = ObjectKey::card(self.job);
        match put_small(store, &key, "application/json", Bytes::from(text)).await {
            Err(error) if error.kind == StoreErrorKind::Exists => Ok(()),
            outcome => outcome,
        }
    }

    /// Puts it into the store if the job has none there.
    pub async fn put_missing(&self, store: &dyn ObjectStore) -> Result<(), StoreError> {
        // Not every store refuses what would replace it.
        match size_of(store, &ObjectKey::card(self.job)).await? {
            Some(_) => Ok(()),
            None => self.put(store).await,
        }
    }

    /// The card of a job, if it is there and can be read.
    pub(crate) async fn read(
        store: &dyn ObjectStore,
        job: JobId,
    ) -> Result<Option<Self>, StoreError> {
        let key = ObjectKey::card(job);
        let bytes = size_of(store, &key).await?.unwrap_or_default();
        if !(1..=MAX_BYTES).contains(&bytes) {
            return Ok(None);
        }
        let card: Option<Self> = serde_json::from_slice(&store.get(&key, 0..bytes).await?).ok();
        let uploads = ObjectKey::uploads_of(job);
        let is_sound = |card: &Self| {
            card.v == VERSION && card.job == job && card.input.as_str().starts_with(&uploads)
        };
        Ok(card.filter(is_sound))
    }

    /// The job as it was accepted, as one of `user`.
    pub(crate) fn job_of(&self, user: Uuid) -> NewJob {
        NewJob {
            id: self.job,
            user,
            lane: self.lane,
            label: self.label.clone(),
            file_name: self.file_name.clone(),
            media: self.media.clone(),
            options: self.options.clone(),
            traceparent: None,
            input: self.input.clone(),
            input_bytes: self.input_bytes,
            input_blake3: self.input_blake3.clone(),
            is_upload: false,
            webhook: None,
        }
    }
}
