//! An object in parts, two of which are on their way at once. Unless it is finished, it is aborted.
//! What is sent for it is of use to [parts](super::parts) that others send as well.

use aws_sdk_s3::Config;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::super::{MAX_PARTS, ObjectInfo, ObjectStore, Result, StoreError, StoreErrorKind};
use super::client::{Tries, time_limits};
use super::error::store_error;
use super::{S3Checksums, S3Deadlines, S3Store, checksum};
use crate::object_key::ObjectKey;

/// Parts on their way at once, for each object. With the first and the one that fills up, an upload
/// holds four parts in memory.
const MAX_IN_FLIGHT: usize = 2;

/// A part that the store has.
pub struct Part {
    pub number: u32,
    pub etag: Option<String>,
    pub bytes: u64,
    pub checksum: Option<u64>,
}

/// What the store knows of an object in parts. Unless it is finished, it is aborted.
pub struct Multipart {
    store: S3Store,
    key: ObjectKey,
    id: String,
    in_flight: JoinSet<Result<Part>>,
    done: Vec<Part>,
    /// The number of the part after those that were sent.
    next: u32,
    runtime: Handle,
    is_over: bool,
}

impl Multipart {
    pub async fn begin(store: &S3Store, key: &ObjectKey, content_type: &str) -> Result<Self> {
        Ok(Self {
            store: store.clone(),
            key: key.clone(),
            id: begin(store, key, content_type).await?,
            in_flight: JoinSet::new(),
            done: Vec::new(),
            next: 2,
            runtime: Handle::current(),
            is_over: false,
        })
    }

    pub async fn send_next(&mut self, bytes: Bytes) -> Result<()> {
        if self.next > MAX_PARTS {
            let why = format!("longer than {MAX_PARTS} parts");
            return Err(StoreError::new(StoreErrorKind::Invalid, "write", Some(&self.key), why));
        }
        while self.in_flight.len() >= MAX_IN_FLIGHT {
            self.wait_for_one().await?;
        }
        self.send(self.next, bytes);
        self.next += 1;
        Ok(())
    }

    fn send(&mut self, number: u32, bytes: Bytes) {
        let (store, key, id) = (self.store.clone(), self.key.clone(), self.id.clone());
        self.in_flight.spawn(async move { send_part(&store, &key, &id, number, bytes).await });
    }

    async fn wait_for_one(&mut self) -> Result<()> {
        let Some(ended) = self.in_flight.join_next().await else { return Ok(()) };
        let part = ended
            .map_err(|e| StoreError::new(StoreErrorKind::Unavailable, "write", Some(&self.key), e));
        self.done.push(part??);
        Ok(())
    }

    pub async fn finish(mut self, first: Bytes) -> Result<()> {
        self.send(1, first);
        while !self.in_flight.is_empty() {
            self.wait_for_one().await?;
        }
        self.done.sort_unstable_by_key(|part| part.number);
        let whole = Whole::of(&self.store, &self.key, &self.id, &self.done);
        let tries = Tries::default();
        let put_together = whole.put_together(tries.clone()).await;
        if let Err(error) = &put_together {
            if error.kind == StoreErrorKind::Exists && !tries.are_many() {
                return put_together;
            }
            debug!(key = %self.key, %error, "looking whether it was put together all the same");
        }
        self.is_over = put_together.is_ok();
        let is = match self.store.head(&self.key).await {
            Ok(is) => is,
            Err(error) => return put_together.and(Err(error)),
        };
        if whole.is_same(&is) {
            self.is_over = true;
            return Ok(());
        }
        put_together?;
        Err(whole.is_other(&is))
    }

    pub async fn abort(mut self) -> Result<()> {
        drain(&mut self.in_flight).await;
        self.store.abort(&self.key, &self.id).await?;
        self.is_over = true;
        Ok(())
    }
}

impl Drop for Multipart {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut in_flight = std::mem::take(&mut self.in_flight);
        let (store, key, id) = (self.store.clone(), self.key.clone(), self.id.clone());
        self.runtime.spawn(async move {
            drain(&mut in_flight).await;
            if let Err(error) = store.abort(&key, &id).await {
                warn!(%key, %error, "an unfinished object stays in the store");
            }
        });
    }
}

/// Waits until no part is on its way: one that the store finishes after the abort would stay, even
/// if we had stopped sending it.
async fn drain(in_flight: &mut JoinSet<Result<Part>>) {
    while in_flight.join_next().await.is_some() {}
}

/// The name of a new object in parts.
pub async fn begin(store: &S3Store, key: &ObjectKey, content_type: &str) -> Result<String> {
    let algorithm = match store.config.checksums {
        S3Checksums::Always => Some(ChecksumAlgorithm::Crc64Nvme),
        S3Checksums::WhenRequired => None,
    };
    let begun = store
        .client
        .create_multipart_upload()
        .bucket(&store.config.bucket)
        .key(key.as_str())
        .content_type(content_type)
        .set_checksum_algorithm(algorithm)
        .send()
        .await
        .map_err(|error| store_error("begin", Some(key), error))?;
    let unnamed = || {
        let why = "the store gave the upload no name";
        StoreError::new(StoreErrorKind::Unavailable, "begin", Some(key), why)
    };
    Ok(begun.upload_id().ok_or_else(unnamed)?.to_owned())
}

pub async fn send_part(
    store: &S3Store,
    key: &ObjectKey,
    id: &str,
    number: u32,
    bytes: Bytes,
) -> Result<Part> {
    let (length, checksum) = (bytes.len() as u64, checksum::of(store.config.checksums, &bytes));
    let sent = store
        .client
        .upload_part()
        .bucket(&store.config.bucket)
        .key(key.as_str())
        .upload_id(id)
        .part_number(number as i32)
        .set_checksum_crc64_nvme(checksum.map(checksum::encoded))
        .body(ByteStream::from(bytes))
        .send()
        .await
        .map_err(|error| store_error("write", Some(key), error))?;
    Ok(Part { number, etag: sent.e_tag().map(str::to_owned), bytes: length, checksum })
}

/// All parts of an object, in their order, and what they are together.
pub struct Whole<'a> {
    store: &'a S3Store,
    key: &'a ObjectKey,
    id: &'a str,
    parts: &'a [Part],
    bytes: u64,
    checksum: Option<u64>,
}

impl<'a> Whole<'a> {
    pub fn of(store: &'a S3Store, key: &'a ObjectKey, id: &'a str, parts: &'a [Part]) -> Self {
        let bytes = parts.iter().map(|part| part.bytes).sum();
        let checksum = checksum::combined(parts.iter().map(|part| (part.checksum, part.bytes)));
        Self { store, key, id, parts, bytes, checksum }
    }

    pub async fn put_together(&self, tries: Tries) -> Result<()> {
        let parts = self.parts.iter().map(|part| {
            CompletedPart::builder()
                .part_number(part.number as i32)
                .set_e_tag(part.etag.clone())
                .set_checksum_crc64_nvme(part.checksum.map(checksum::encoded))
                .build()
        });
        let deadlines = &self.store.config.deadlines;
        let patient = time_limits(&S3Deadlines { attempt: deadlines.call, ..*deadlines });
        self.store
            .client
            .complete_multipart_upload()
            .bucket(&self.store.config.bucket)
            .key(self.key.as_str())
            .upload_id(self.id)
            .multipart_upload(
                CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build(),
            )
            .mpu_object_size(self.bytes as i64)
            .set_checksum_crc64_nvme(self.checksum.map(checksum::encoded))
            .set_if_none_match(self.store.any())
            .customize()
            .config_override(Config::builder().timeout_config(patient))
            .interceptor(tries)
            .send()
            .await
            .map_err(|error| store_error("finish", Some(self.key), error))?;
        Ok(())
    }

    /// Whether this is what is there, as far as the store can tell.
    pub fn is_same(&self, is: &ObjectInfo) -> bool {
        checksum::is_same(is, self.bytes, self.checksum)
    }

    /// The error of a store that put something else together.
    pub fn is_other(&self, is: &ObjectInfo) -> StoreError {
        let why = format!("there are {} bytes instead of {}, or other ones", is.bytes, self.bytes);
        StoreError::new(StoreErrorKind::Corrupt, "finish", Some(self.key), why)
    }
}
