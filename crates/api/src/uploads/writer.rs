//! Bytes of one request on their way into an upload.
//!
//! Whole parts go into the store and are written down as they fill, so that a request that breaks
//! off has not come in vain; what is left of a part that is not full goes into an object of its
//! own, the tail, with which the next request begins. With a checksum nothing is written down
//! before it is seen to be right.

use std::time::Duration;

use axum::body::Body;
use futures_util::StreamExt as _;
use tokio::time::{Instant, sleep};
use tonemill_job::ObjectKey;
use tonemill_job::objects::{PART_BYTES, PartTag, PartsId, StoreError, put_small};
use tonemill_ledger::uploads::{Growth, StoredPart, Upload};
use uuid::Uuid;

use crate::Api;
use crate::body::broken;
use crate::jobs::intake::not_media;
use crate::media::HEAD_BYTES;
use crate::part::Part;
use crate::problem::{Answer, Problem};
use crate::uploads::checksum::Checksum;
use crate::uploads::no_upload;
use crate::uploads::tree_hash::{subtree_hash, whole_hash};

/// How long a request that shows no sign of life keeps others out. Shorter than clients' patience:
/// when this process dies, they come back within seconds and give up after a few tries
/// (tus-js-client: 9 s).
const LOCK: Duration = Duration::from_secs(6);
/// How often a request shows that it lives.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);

/// One request's writing to one upload.
pub(super) struct Writer<'a> {
    api: &'a Api,
    upload: Upload,
    parts_id: PartsId,
    id: Uuid,
    checksum: Option<Checksum>,
    /// The part that is not full.
    part: Part,
    /// What is to be written down.
    growth: Growth,
    locked: Instant,
}

/// Takes a request's body into an upload that is `offset` bytes long; how long it is then.
pub(super) async fn write(
    api: &Api,
    upload: Upload,
    body: Body,
    checksum: Option<Checksum>,
) -> Answer<u64> {
    let id = Uuid::new_v4();
    let lock_ms = i64::try_from(LOCK.as_millis()).unwrap_or(i64::MAX);
    if !api.ledger.lock_upload(upload.id, id, lock_ms).await? {
        return Err(Problem::locked("another request writes to this upload"));
    }
    let job = upload.id;
    let outcome = Writer::open(api, upload, id, checksum).await;
    let outcome = match outcome {
        Ok(mut writer) => writer.run(body).await,
        Err(problem) => Err(problem),
    };
    // Else it unlocks itself, later.
    let _ = api.ledger.unlock_upload(job, id).await;
    outcome
}

impl<'a> Writer<'a> {
    async fn open(
        api: &'a Api,
        upload: Upload,
        id: Uuid,
        checksum: Option<Checksum>,
    ) -> Answer<Self> {
        let locked = Instant::now();
        let parts_id = upload.parts.clone().ok_or_else(no_upload)?;
        // Since it was looked up, another request may have come to its end.
        let current = api.ledger.upload(upload.user, upload.id).await?.ok_or_else(no_upload)?;
        if current.received_bytes != upload.received_bytes || current.finished {
            return Err(wrong_offset(current.received_bytes));
        }
        let growth = Growth {
            from_bytes: upload.received_bytes,
            to_bytes: upload.received_bytes,
            ..Growth::default()
        };
        Ok(Self { api, upload, parts_id, id, checksum, part: Part::default(), growth, locked })
    }

    /// Goes on with the part that the request before left incomplete.
    async fn take_up_tail(&mut self) -> Answer<()> {
        let Some(tail) = self.upload.tail.clone() else { return Ok(()) };
        let api = self.api;
        self.find_slot().await?;
        let length = self.upload.received_bytes % PART_BYTES as u64;
        let tail = self.alive(api.store.get(&tail, 0..length)).await??;
        self.part.fill(&tail).map(drop)
    }

    async fn run(&mut self, body: Body) -> Answer<u64> {
        self.take_up_tail().await?;
        let mut body = body.into_data_stream();
        let mut outcome = Ok(());
        while let Some(chunk) = body.next().await {
            outcome = match chunk {
                Ok(chunk) => self.take(&chunk).await,
                Err(error) => Err(broken(&error)),
            };
            if outcome.is_err() {
                break;
            }
        }
        // `None` without a checksum: half of what one is about cannot be verified.
        let is_right = self.checksum.take().map(Checksum::verify);
        match (&outcome, is_right) {
            (Ok(()), Some(false)) => {
                return Err(Problem::checksum_mismatch("the bytes are not those of the checksum"));
            }
            (Ok(()), _) => self.keep_tail().await?,
            // What came before a connection broke is good.
            (Err(problem), None) if problem.status == 400 || problem.status == 408 => {
                self.keep_tail().await?;
            }
            (Err(_), _) => {}
        }
        outcome?;
        if self.growth.to_bytes == self.upload.total_bytes {
            self.finish().await?;
        }
        Ok(self.growth.to_bytes)
    }

    async fn take(&mut self, mut chunk: &[u8]) -> Answer<()> {
        // Before anything is stored: whoever was silent may have been succeeded.
        if self.locked.elapsed() > SIGN_OF_LIFE {
            self.lock().await?;
        }
        if let Some(checksum) = &mut self.checksum {
            checksum.update(chunk);
        }
        let left = self.upload.total_bytes - self.growth.to_bytes;
        if chunk.len() as u64 > left {
            return Err(Problem::too_large("more bytes than Upload-Length"));
        }
        while !chunk.is_empty() {
            if self.part.needs_slot(chunk) {
                self.find_slot().await?;
            }
            let rest = self.part.fill(chunk)?;
            // Of what is refused nothing is there.
            self.growth.to_bytes += (chunk.len() - rest.len()) as u64;
            chunk = rest;
            self.look()?;
            let is_last = self.growth.to_bytes == self.upload.total_bytes;
            if self.part.is_full() && !is_last {
                self.store_part().await?;
                if self.checksum.is_none() {
                    self.write_down(self.growth.to_bytes, None).await?;
                }
            }
        }
        Ok(())
    }

    /// A slot for the part. A request that has brought nothing yet can be refused, and come again.
    async fn find_slot(&mut self) -> Answer<()> {
        let (api, user) = (self.api, self.upload.user);
        let is_under_way =
            self.growth.from_bytes > self.upload.received_bytes || !self.growth.parts.is_empty();
        let slot = self.alive(api.upload_memory.slot(user, is_under_way)).await??;
        self.part.set_slot(slot);
        Ok(())
    }

    /// Looks at the first bytes of the upload when they are there.
    fn look(&mut self) -> Answer<()> {
        let is_first = self.growth.from_bytes < PART_BYTES as u64 && self.growth.parts.is_empty();
        let is_known = self.upload.media.is_some() || self.growth.media.is_some();
        let enough = (HEAD_BYTES as u64).min(self.upload.total_bytes) as usize;
        if is_known || !is_first || self.part.len() < enough {
            return Ok(());
        }
        let media = self.part.media();
        self.growth.media = Some(media.ok_or_else(|| not_media(self.part.len() as u64))?);
        Ok(())
    }

    async fn store_part(&mut self) -> Answer<()> {
        let (part, _slot) = self.part.take();
        let number = self.next_number();
        let subtree_hash = subtree_hash(number, &part);
        let (api, key, parts_id) = (self.api, self.upload.key.clone(), self.parts_id.clone());
        let tag = match self.alive(api.store.put_part(&key, &parts_id, number, part)).await? {
            Ok(tag) => tag,
            Err(error) => return Err(self.gone(error).await),
        };
        self.growth.parts.push(StoredPart { tag, subtree_hash });
        Ok(())
    }

    /// Why a part is not taken. Perhaps the object was made of its parts before, by a process that
    /// died before it could say so: then nothing is missing, though its hash is not known.
    async fn gone(&self, error: StoreError) -> Problem {
        let Upload { id, key, total_bytes, media, .. } = &self.upload;
        let is = self.api.store.head(key).await;
        if !is.is_ok_and(|is| is.bytes == *total_bytes) {
            return error.into();
        }
        let media = media.as_deref().or(self.growth.media).unwrap_or_default();
        match self.api.ledger.finish_upload(*id, None, media).await {
            Ok(()) => wrong_offset(*total_bytes),
            Err(error) => error.into(),
        }
    }

    /// Writes down what is in the store, up to `to_bytes`: whole parts, and a tail.
    async fn write_down(&mut self, to_bytes: u64, tail: Option<ObjectKey>) -> Answer<()> {
        let growth = Growth {
            from_bytes: self.growth.from_bytes,
            to_bytes,
            parts: std::mem::take(&mut self.growth.parts),
            tail,
            media: self.growth.media,
        };
        if !self.api.ledger.extend_upload(self.upload.id, self.id, &growth).await? {
            return Err(Problem::locked("another request writes to this upload"));
        }
        self.growth.from_bytes = to_bytes;
        if let Some(old) = std::mem::replace(&mut self.upload.tail, growth.tail) {
            self.api.forget_object(&old).await;
        }
        self.lock().await
    }

    async fn lock(&mut self) -> Answer<()> {
        let lock_ms = i64::try_from(LOCK.as_millis()).unwrap_or(i64::MAX);
        if !self.api.ledger.lock_upload(self.upload.id, self.id, lock_ms).await? {
            return Err(Problem::locked("another request writes to this upload"));
        }
        if self.locked.elapsed() > LOCK {
            // Another may have come and gone. What it stored must not be overwritten.
            let Upload { user, id, .. } = self.upload;
            let current = self.api.ledger.upload(user, id).await?.ok_or_else(no_upload)?;
            if current.received_bytes != self.growth.from_bytes || current.finished {
                return Err(wrong_offset(current.received_bytes));
            }
        }
        self.locked = Instant::now();
        Ok(())
    }

    /// Waits for `work` with signs of life.
    async fn alive<T>(&mut self, work: impl Future<Output = T>) -> Answer<T> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                () = sleep(SIGN_OF_LIFE) => self.lock().await?,
            }
        }
    }

    /// Stores what is left: as the last part, or as the tail.
    async fn keep_tail(&mut self) -> Answer<()> {
        let to_bytes = self.growth.to_bytes;
        if to_bytes == self.growth.from_bytes && self.growth.parts.is_empty() {
            return Ok(());
        }
        if to_bytes == self.upload.total_bytes {
            // Written down when the object is whole, by `finish`.
            return Ok(());
        }
        let (bytes, _slot) = self.part.take();
        if bytes.is_empty() {
            return self.write_down(to_bytes, None).await;
        }
        let key = ObjectKey::upload(self.upload.id);
        put_small(&*self.api.store, &key, "application/octet-stream", bytes).await?;
        self.write_down(to_bytes, Some(key)).await
    }

    /// Stores the last part, and makes the object of all of them.
    async fn finish(&mut self) -> Answer<()> {
        let total_bytes = self.upload.total_bytes;
        let mut parts = self.api.ledger.upload_parts(self.upload.id).await?;
        let (last, _slot) = self.part.take();
        let number = self.next_number();
        parts.append(&mut self.growth.parts);
        let mut subtrees: Vec<String> =
            parts.iter().map(|part| part.subtree_hash.clone()).collect();
        subtrees.push(subtree_hash(number, &last));
        let blake3 = whole_hash(&subtrees, total_bytes, &last);
        let (key, parts_id) = (self.upload.key.clone(), self.parts_id.clone());
        let store = &self.api.store;
        let finished = async {
            let tag = store.put_part(&key, &parts_id, number, last.clone()).await?;
            let tags: Vec<PartTag> =
                parts.iter().map(|part| part.tag.clone()).chain([tag]).collect();
            store.finish_parts(&key, &parts_id, &tags, total_bytes).await
        };
        if let Err(error) = self.alive(finished).await? {
            // Perhaps it was finished before, by a process that died before it could say so.
            let info = store.head(&key).await;
            if !info.is_ok_and(|info| info.bytes == total_bytes) {
                return Err(error.into());
            }
        }
        let media = self.upload.media.clone();
        let media = media.or(self.growth.media.map(str::to_owned)).unwrap_or_default();
        self.api.ledger.finish_upload(self.upload.id, blake3.as_deref(), &media).await?;
        metrics::counter!("tonemill_upload_bytes_total").increment(total_bytes);
        if let Some(tail) = self.upload.tail.take() {
            self.api.forget_object(&tail).await;
        }
        Ok(())
    }

    fn next_number(&self) -> u32 {
        let written_down = self.growth.from_bytes / PART_BYTES as u64;
        written_down as u32 + self.growth.parts.len() as u32 + 1
    }
}

/// The client is somewhere else in the upload than we are.
pub(super) fn wrong_offset(received_bytes: u64) -> Problem {
    let why = format!("the upload goes on at {received_bytes}: ask with HEAD");
    Problem::conflict(why).field("Upload-Offset")
}

#[cfg(test)]
mod tests;
