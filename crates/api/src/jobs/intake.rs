//! Bytes of an upload on their way into the store: counted, hashed, looked at, and never on a disk
//! of ours.
//!
//! What fits into a part is stored at once. What is longer goes in parts, one of which is on its
//! way while the next fills up.

use axum::body::Bytes;
use futures_util::{Stream, StreamExt as _};
use tokio::task::JoinHandle;
use tonemill_job::objects::{MAX_PARTS, PART_BYTES, PartTag, PartsId, StoreError};
use tonemill_job::{ObjectKey, chain};
use uuid::Uuid;

use crate::Api;
use crate::media::HEAD_BYTES;
use crate::part::Part;
use crate::problem::{Answer, Problem};

const CONTENT_TYPE: &str = "application/octet-stream";

/// An upload that is in the store.
#[derive(Debug)]
pub(crate) struct TakenIn {
    /// Its length.
    pub bytes: u64,
    /// BLAKE3 of it, in hexadecimal.
    pub blake3: String,
    /// The container that it looks like.
    pub media: &'static str,
}

/// Puts a body of `user` into the store as `key`, if it is media and not too long. Not to be
/// dropped before it is done: it would leave what it has stored to a sweep.
pub(crate) async fn take_in<E>(
    api: &Api,
    user: Uuid,
    key: &ObjectKey,
    body: impl Stream<Item = Result<Bytes, E>>,
    broken: impl Fn(&E) -> Problem,
) -> Answer<TakenIn> {
    let mut body = std::pin::pin!(body);
    let mut intake = Intake::new(api, user, key);
    let outcome = async {
        while let Some(chunk) = body.next().await {
            intake.take(&chunk.map_err(|error| broken(&error))?).await?;
        }
        intake.finish().await
    };
    let outcome = outcome.await;
    if outcome.is_err() {
        intake.give_up().await;
    }
    outcome
}

struct Intake<'a> {
    api: &'a Api,
    user: Uuid,
    key: &'a ObjectKey,
    bytes: u64,
    hash: blake3::Hasher,
    media: Option<&'static str>,
    /// What the store has not got yet.
    part: Part,
    /// Begun when the first part was full.
    parts: Option<Parts>,
}

/// An object in parts.
struct Parts {
    id: PartsId,
    stored: Vec<PartTag>,
    on_its_way: Option<JoinHandle<Result<PartTag, StoreError>>>,
}

impl<'a> Intake<'a> {
    fn new(api: &'a Api, user: Uuid, key: &'a ObjectKey) -> Self {
        Self {
            api,
            user,
            key,
            bytes: 0,
            hash: blake3::Hasher::new(),
            media: None,
            part: Part::default(),
            parts: None,
        }
    }

    async fn take(&mut self, mut chunk: &[u8]) -> Answer<()> {
        self.bytes += chunk.len() as u64;
        let most = most_bytes(self.api);
        if self.bytes > most {
            return Err(too_large(most));
        }
        self.hash.update(chunk);
        while !chunk.is_empty() {
            if self.part.is_full() {
                self.send_part().await?;
            }
            if self.part.needs_slot(chunk) {
                let is_under_way = self.parts.is_some();
                self.part.set_slot(self.api.upload_memory.slot(self.user, is_under_way).await?);
            }
            chunk = self.part.fill(chunk)?;
            if self.media.is_none() && self.part.len() >= HEAD_BYTES {
                self.look()?;
            }
        }
        Ok(())
    }

    /// Looks at the first bytes.
    fn look(&mut self) -> Answer<()> {
        self.media = Some(self.part.media().ok_or_else(|| not_media(self.bytes))?);
        Ok(())
    }

    /// Sends a part on its way when the one before has arrived.
    async fn send_part(&mut self) -> Answer<()> {
        let parts = match &mut self.parts {
            Some(parts) => parts,
            None => {
                let id = self.api.store.begin_parts(self.key, CONTENT_TYPE).await?;
                self.parts.insert(Parts { id, stored: Vec::new(), on_its_way: None })
            }
        };
        parts.arrived().await?;
        let (bytes, slot) = self.part.take();
        let number = parts.stored.len() as u32 + 1;
        let (api, key, id) = (self.api.clone(), self.key.clone(), parts.id.clone());
        parts.on_its_way = Some(tokio::spawn(async move {
            let _slot = slot;
            api.store.put_part(&key, &id, number, bytes).await
        }));
        Ok(())
    }

    async fn finish(&mut self) -> Answer<TakenIn> {
        let media = match self.media {
            Some(media) => media,
            None => {
                self.look()?;
                self.media.unwrap_or_default()
            }
        };
        if self.parts.is_none() {
            let mut upload = self.api.store.create(self.key, CONTENT_TYPE, 0).await?;
            let (bytes, _slot) = self.part.take();
            upload.write(bytes).await?;
            upload.finish(Bytes::new()).await?;
        } else {
            self.send_part().await?;
        }
        if let Some(parts) = &mut self.parts {
            parts.arrived().await?;
            let store = &self.api.store;
            store.finish_parts(self.key, &parts.id, &parts.stored, self.bytes).await?;
        }
        metrics::counter!("tonemill_upload_bytes_total").increment(self.bytes);
        let blake3 = self.hash.finalize().to_hex().to_string();
        Ok(TakenIn { bytes: self.bytes, blake3, media })
    }

    async fn give_up(&mut self) {
        let Some(mut parts) = self.parts.take() else { return };
        // A part that arrives after its object was given up would stay.
        let _ = parts.arrived().await;
        if let Err(error) = self.api.store.abort_parts(self.key, &parts.id).await {
            // Swept later.
            tracing::debug!(error = chain(&error), "a broken upload stays for now");
        }
    }
}

impl Parts {
    /// Waits for the part that is on its way.
    async fn arrived(&mut self) -> Answer<()> {
        if let Some(part) = self.on_its_way.take() {
            self.stored.push(part.await.map_err(|error| Problem::defect(&error))??);
        }
        Ok(())
    }
}

/// The longest upload that there can be here.
pub(crate) fn most_bytes(api: &Api) -> u64 {
    api.config.max_upload_bytes.min(PART_BYTES as u64 * u64::from(MAX_PARTS))
}

/// Somebody sent something else, or nothing.
pub(crate) fn not_media(bytes: u64) -> Problem {
    if bytes == 0 {
        return Problem::bad_request("the upload is empty");
    }
    Problem::not_media("the upload is neither video nor audio of a kind that we can open")
}

/// Somebody sent too much.
pub(crate) fn too_large(most_bytes: u64) -> Problem {
    Problem::too_large(format!("an upload has at most {most_bytes} bytes here"))
}
