//! Bytes of an upload on their way into the store: counted, hashed, looked at, and never on a disk of
//! ours.

use axum::body::Bytes;
use futures_util::{Stream, StreamExt as _};
use tonemill_job::objects::{ObjectStore, Upload};
use tonemill_job::{ObjectKey, chain};

use crate::media::{HEAD_BYTES, sniff};
use crate::problem::{Answer, Problem};

/// Bytes that are gathered before the store gets them.
const CHUNK_BYTES: usize = 256 << 10;

/// An upload that is in the store.
#[derive(Debug)]
pub struct TakenIn {
    /// Its length.
    pub bytes: u64,
    /// BLAKE3 of it, in hexadecimal.
    pub blake3: String,
    /// The container that it looks like.
    pub media: &'static str,
}

/// Puts a body into the store as `key`, if it is media and not longer than `most_bytes`.
pub async fn take_in<E>(
    store: &dyn ObjectStore,
    key: &ObjectKey,
    body: impl Stream<Item = Result<Bytes, E>>,
    most_bytes: u64,
    broken: impl Fn(&E) -> Problem,
) -> Answer<TakenIn> {
    let mut body = std::pin::pin!(body);
    let mut intake = Intake::new(store, key, most_bytes);
    while let Some(chunk) = body.next().await {
        let taken = match chunk {
            Ok(chunk) => intake.take(&chunk).await,
            Err(error) => Err(broken(&error)),
        };
        if let Err(problem) = taken {
            intake.abort().await;
            return Err(problem);
        }
    }
    intake.finish().await
}

struct Intake<'a> {
    store: &'a dyn ObjectStore,
    key: &'a ObjectKey,
    most_bytes: u64,
    bytes: u64,
    hash: blake3::Hasher,
    /// What the store has not got yet.
    gathered: Vec<u8>,
    /// Begun when the first bytes were seen to be media.
    upload: Option<Box<dyn Upload>>,
    media: Option<&'static str>,
}

impl<'a> Intake<'a> {
    fn new(store: &'a dyn ObjectStore, key: &'a ObjectKey, most_bytes: u64) -> Self {
        Self {
            store,
            key,
            most_bytes,
            bytes: 0,
            hash: blake3::Hasher::new(),
            gathered: Vec::new(),
            upload: None,
            media: None,
        }
    }

    async fn take(&mut self, chunk: &[u8]) -> Answer<()> {
        self.bytes += chunk.len() as u64;
        if self.bytes > self.most_bytes {
            return Err(too_large(self.most_bytes));
        }
        self.hash.update(chunk);
        self.gathered.extend_from_slice(chunk);
        if self.media.is_none() && self.gathered.len() >= HEAD_BYTES {
            self.look()?;
        }
        if self.gathered.len() >= CHUNK_BYTES {
            self.pass_on().await?;
        }
        Ok(())
    }

    fn look(&mut self) -> Answer<()> {
        let head = &self.gathered[..self.gathered.len().min(HEAD_BYTES)];
        self.media = Some(sniff(head).ok_or_else(|| not_media(self.bytes))?);
        Ok(())
    }

    async fn pass_on(&mut self) -> Answer<()> {
        let chunk = Bytes::from(std::mem::take(&mut self.gathered));
        let upload = match &mut self.upload {
            Some(upload) => upload,
            None => {
                let kind = "application/octet-stream";
                self.upload.insert(self.store.create(self.key, kind, 0).await?)
            }
        };
        Ok(upload.write(chunk).await?)
    }

    async fn finish(mut self) -> Answer<TakenIn> {
        let finished = async {
            if self.media.is_none() {
                self.look()?;
            }
            self.pass_on().await
        };
        if let Err(problem) = finished.await {
            self.abort().await;
            return Err(problem);
        }
        if let Some(upload) = self.upload.take() {
            upload.finish(Bytes::new()).await?;
        }
        metrics::counter!("tonemill_upload_bytes_total").increment(self.bytes);
        Ok(TakenIn {
            bytes: self.bytes,
            blake3: self.hash.finalize().to_hex().to_string(),
            media: self.media.unwrap_or("unknown"),
        })
    }

    async fn abort(&mut self) {
        if let Some(upload) = self.upload.take()
            && let Err(error) = upload.abort().await
        {
            // Swept later.
            tracing::debug!(error = chain(&error), "a broken upload stays for now");
        }
    }
}

/// Somebody sent something else, or nothing.
pub fn not_media(bytes: u64) -> Problem {
    if bytes == 0 {
        return Problem::bad_request("the upload is empty");
    }
    Problem::not_media("the upload is neither video nor audio of a kind that we can open")
}

/// Somebody sent too much.
pub fn too_large(most_bytes: u64) -> Problem {
    Problem::too_large(format!("an upload has at most {most_bytes} bytes here"))
}
