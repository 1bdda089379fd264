//! Writing an object whose head comes last.
//!
//! The first part stays in memory, because the head is in it. If the object is no longer than that,
//! it is one PUT; else the other parts go out as they fill up, and the first goes
//! [last](Multipart). Every byte is covered by a signature and, unless switched off, by a checksum,
//! both of which the store verifies.

use async_trait::async_trait;
use aws_sdk_s3::primitives::ByteStream;
use bytes::{Bytes, BytesMut};
use tracing::debug;

use super::super::{
    ObjectStore, PART_BYTES, Result, StoreError, StoreErrorKind, Upload, broken, check_head,
};
use super::client::Tries;
use super::error::store_error;
use super::multipart::Multipart;
use super::{S3Store, checksum};
use crate::object_key::ObjectKey;

/// An object on its way in.
pub struct S3Upload {
    store: S3Store,
    key: ObjectKey,
    content_type: String,
    head_bytes: usize,
    /// Room for the head, then the first bytes that follow it.
    first: BytesMut,
    /// The part that fills up, from the second on.
    part: BytesMut,
    /// From when the second part is full.
    multipart: Option<Multipart>,
    /// Whether everything that was to be written is in here or on its way.
    is_whole: bool,
}

impl S3Upload {
    pub fn new(
        store: S3Store,
        key: &ObjectKey,
        content_type: &str,
        head_bytes: usize,
    ) -> Result<Self> {
        if head_bytes > PART_BYTES {
            let why = format!("a head of {head_bytes} bytes is longer than {PART_BYTES}");
            return Err(StoreError::new(StoreErrorKind::Invalid, "create", Some(key), why));
        }
        Ok(Self {
            store,
            key: key.clone(),
            content_type: content_type.to_owned(),
            head_bytes,
            first: BytesMut::zeroed(head_bytes),
            part: BytesMut::new(),
            multipart: None,
            is_whole: true,
        })
    }

    async fn send_part(&mut self) -> Result<()> {
        let bytes = std::mem::replace(&mut self.part, BytesMut::with_capacity(PART_BYTES));
        let multipart = match &mut self.multipart {
            Some(multipart) => multipart,
            none => {
                none.insert(Multipart::begin(&self.store, &self.key, &self.content_type).await?)
            }
        };
        multipart.send_next(bytes.freeze()).await
    }

    async fn put(&mut self, bytes: Bytes) -> Result<()> {
        let (length, checksum) =
            (bytes.len() as u64, checksum::of(self.store.config.checksums, &bytes));
        let tries = Tries::default();
        let sent = self
            .store
            .client
            .put_object()
            .bucket(&self.store.config.bucket)
            .key(self.key.as_str())
            .content_type(&self.content_type)
            .set_checksum_crc64_nvme(checksum.map(checksum::encoded))
            .set_if_none_match(self.store.any())
            .body(ByteStream::from(bytes))
            .customize()
            .interceptor(tries.clone())
            .send()
            .await;
        let Err(error) = sent else { return Ok(()) };
        let error = store_error("write", Some(&self.key), error);
        if error.kind == StoreErrorKind::Exists && tries.are_many() {
            debug!(key = %self.key, "looking whether an earlier try wrote it");
            if self
                .store
                .head(&self.key)
                .await
                .is_ok_and(|is| checksum::is_same(&is, length, checksum))
            {
                return Ok(());
            }
        }
        Err(error)
    }
}

#[async_trait]
impl Upload for S3Upload {
    async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        if !std::mem::replace(&mut self.is_whole, false) {
            return Err(broken(&self.key));
        }
        let room = PART_BYTES - self.first.len();
        let first = bytes.split_to(room.min(bytes.len()));
        if self.first.is_empty() {
            self.first = first.into(); // without a copy, if nobody else has it
        } else {
            self.first.extend_from_slice(&first);
        }
        while !bytes.is_empty() {
            if self.part.len() == PART_BYTES {
                self.send_part().await?;
            }
            let room = PART_BYTES - self.part.len();
            self.part.extend_from_slice(&bytes.split_to(room.min(bytes.len())));
        }
        self.is_whole = true;
        Ok(())
    }

    async fn finish(mut self: Box<Self>, head: Bytes) -> Result<()> {
        check_head(&self.key, &head, self.head_bytes)?;
        if !self.is_whole {
            return Err(broken(&self.key));
        }
        self.first[..self.head_bytes].copy_from_slice(&head);
        let first = std::mem::take(&mut self.first).freeze();
        if self.multipart.is_none() && self.part.is_empty() {
            return self.put(first).await;
        }
        if !self.part.is_empty() {
            self.send_part().await?;
        }
        let multipart = self.multipart.take().expect("begun with the second part");
        multipart.finish(first).await
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        match self.multipart.take() {
            Some(multipart) => multipart.abort().await,
            None => Ok(()),
        }
    }
}
