//! Objects in S3, or in what speaks like it.
//!
//! The SDK signs, waits and tries again, within the limits of [`S3Config`]; this module adds what
//! it leaves out: deadlines and resumption of [bodies that are read](range), [uploads](upload)
//! whose head comes last, and the meaning of [errors](error).
//!
//! What stores do differently: s3s-fs 0.14.1 as the tests see it, Garage 2.5.0 as its source says:
//!
//! | | s3s-fs | Garage |
//! |---|---|---|
//! | checksum of an object from a single PUT | CRC-64/NVME | CRC-64/NVME |
//! | checksum of an object in parts | none | CRC-64/NVME of the whole |
//! | checksum of a part | ignored; the signature covers it | verified |
//! | `If-None-Match: *` on writing | 412 | ignored |
//! | `If-Match` on reading | ignored | 412 |
//! | list of unfinished uploads | 501 | yes |
//! | an unfinished upload that is not there | 403 | 404 |
//! | a part that is not as it is said to be | ignored | 400 |
//!
//! To s3s-fs, a bit that was flipped in a body is an internal error, 500.

mod checksum;
mod client;
mod config;
mod error;
mod latency;
mod lifecycle;
mod multipart;
mod parts;
mod presign;
mod range;
mod upload;

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{ChecksumMode, MultipartUpload};
use bytes::Bytes;
use url::Url;

pub use self::config::{S3Checksums, S3Config, S3Credentials, S3Deadlines, S3Retries};
use self::error::{is_not_found, store_error};
pub use self::lifecycle::Lifecycle;
use self::upload::S3Upload;
use super::{
    ListedObject, ObjectInfo, ObjectStore, PartTag, PartsId, Result, StoreError, StoreErrorKind,
    Unfinished, Upload,
};
use crate::object_key::ObjectKey;

/// A bucket.
#[derive(Debug, Clone)]
pub struct S3Store {
    client: Client,
    config: Arc<S3Config>,
}

impl S3Store {
    /// A store with this configuration. Nothing is sent: [`ObjectStore::check`] says whether it
    /// works.
    pub async fn new(config: S3Config) -> Result<Self> {
        let denied = |e| StoreError::new(StoreErrorKind::Denied, "configure", None, e);
        if let Some(endpoint) = &config.endpoint {
            let is_url = Url::parse(endpoint)
                .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            if !is_url {
                return Err(denied(format!("{endpoint:?} is no http:// or https:// URL").into()));
            }
        }
        let client = client::client(&config).await.map_err(denied)?;
        Ok(Self { client, config: Arc::new(config) })
    }

    /// The condition that there is no object yet, for `If-None-Match`.
    fn any(&self) -> Option<String> {
        self.config.refuses_existing.then(|| "*".to_owned())
    }

    /// Frees what an unfinished upload has stored. That it is not there is no error.
    async fn abort(&self, key: &ObjectKey, upload_id: &str) -> Result<()> {
        let sent = self
            .client
            .abort_multipart_upload()
            .bucket(&self.config.bucket)
            .key(key.as_str())
            .upload_id(upload_id)
            .send()
            .await;
        let error = match sent {
            Err(error) if !is_not_found(&error) => store_error("give up", Some(key), error),
            _ => return Ok(()),
        };
        // Some refuse where there is no such upload, and tell that it has no parts, as is so.
        if error.kind == StoreErrorKind::Denied && self.has_no_parts(key, upload_id).await {
            return Ok(());
        }
        Err(error)
    }

    async fn has_no_parts(&self, key: &ObjectKey, upload_id: &str) -> bool {
        let listed = self
            .client
            .list_parts()
            .bucket(&self.config.bucket)
            .key(key.as_str())
            .upload_id(upload_id)
            .max_parts(1)
            .send()
            .await;
        listed.is_ok_and(|listed| listed.parts().is_empty())
    }
}

#[async_trait]
impl ObjectStore for S3Store {
    async fn create(
        &self,
        key: &ObjectKey,
        content_type: &str,
        head_bytes: usize,
    ) -> Result<Box<dyn Upload>> {
        Ok(Box::new(S3Upload::new(self.clone(), key, content_type, head_bytes)?))
    }

    async fn begin_parts(&self, key: &ObjectKey, content_type: &str) -> Result<PartsId> {
        parts::begin(self, key, content_type).await
    }

    async fn put_part(
        &self,
        key: &ObjectKey,
        id: &PartsId,
        number: u32,
        bytes: Bytes,
    ) -> Result<PartTag> {
        parts::put(self, key, id, number, bytes).await
    }

    async fn finish_parts(
        &self,
        key: &ObjectKey,
        id: &PartsId,
        parts: &[PartTag],
        total_bytes: u64,
    ) -> Result<()> {
        parts::finish(self, key, id, parts, total_bytes).await
    }

    async fn abort_parts(&self, key: &ObjectKey, id: &PartsId) -> Result<()> {
        self.abort(key, id.as_str()).await
    }

    async fn get(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        range::get(self, key, range).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo> {
        let head = self
            .client
            .head_object()
            .bucket(&self.config.bucket)
            .key(key.as_str())
            .checksum_mode(ChecksumMode::Enabled)
            .send()
            .await
            .map_err(|error| store_error("look at", Some(key), error))?;
        Ok(ObjectInfo {
            bytes: length(head.content_length()),
            modified: time(head.last_modified()),
            checksum: checksum::stored(&head),
        })
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        let sent =
            self.client.delete_object().bucket(&self.config.bucket).key(key.as_str()).send().await;
        match sent {
            Err(error) if !is_not_found(&error) => Err(store_error("delete", Some(key), error)),
            _ => Ok(()),
        }
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        max: usize,
    ) -> Result<Vec<ListedObject>> {
        let mut objects = Vec::new();
        let mut next = None;
        while objects.len() < max {
            let page = self
                .client
                .list_objects_v2()
                .bucket(&self.config.bucket)
                .prefix(prefix)
                .set_start_after(after.map(ToString::to_string))
                .set_continuation_token(next)
                .max_keys((max - objects.len()).try_into().unwrap_or(i32::MAX))
                .send()
                .await
                .map_err(|error| store_error("list", None, error))?;
            // Whatever else is in the bucket is not ours.
            objects.extend(page.contents().iter().filter_map(|object| {
                Some(ListedObject {
                    key: ObjectKey::try_from(object.key()?.to_owned()).ok()?,
                    bytes: length(object.size()),
                    modified: time(object.last_modified()),
                })
            }));
            next = page.next_continuation_token().map(str::to_owned);
            if next.is_none() {
                break;
            }
        }
        Ok(objects)
    }

    async fn presign_get(
        &self,
        key: &ObjectKey,
        file_name: &str,
        valid: Duration,
    ) -> Result<Option<String>> {
        presign::get(self, key, file_name, valid).await.map(Some)
    }

    async fn presign_put(
        &self,
        key: &ObjectKey,
        bytes: u64,
        valid: Duration,
    ) -> Result<Option<String>> {
        presign::put(self, key, bytes, valid).await.map(Some)
    }

    async fn unfinished(&self) -> Result<Vec<Unfinished>> {
        let mut uploads = Vec::new();
        let (mut key_marker, mut id_marker) = (None, None);
        loop {
            let page = self
                .client
                .list_multipart_uploads()
                .bucket(&self.config.bucket)
                .set_key_marker(key_marker)
                .set_upload_id_marker(id_marker)
                .send()
                .await
                .map_err(|error| store_error("list unfinished objects in", None, error))?;
            uploads.extend(page.uploads().iter().filter_map(unfinished));
            if page.is_truncated() != Some(true) || page.next_key_marker().is_none() {
                return Ok(uploads);
            }
            key_marker = page.next_key_marker().map(str::to_owned);
            id_marker = page.next_upload_id_marker().map(str::to_owned);
        }
    }

    async fn give_up(&self, unfinished: &Unfinished) -> Result<()> {
        self.abort(&unfinished.key, &unfinished.upload).await
    }

    async fn check(&self) -> Result<()> {
        let sent = self.client.head_bucket().bucket(&self.config.bucket).send().await;
        sent.map(drop).map_err(|error| {
            let mut error = store_error("reach", None, error);
            if error.kind == StoreErrorKind::NotFound {
                error.kind = StoreErrorKind::Denied;
            }
            error
        })
    }
}

/// An unfinished upload of ours.
fn unfinished(upload: &MultipartUpload) -> Option<Unfinished> {
    Some(Unfinished {
        key: ObjectKey::try_from(upload.key()?.to_owned()).ok()?,
        started: time(upload.initiated()),
        upload: upload.upload_id()?.to_owned(),
    })
}

fn length(stated: Option<i64>) -> u64 {
    stated.and_then(|bytes| bytes.try_into().ok()).unwrap_or_default()
}

fn time(stated: Option<&DateTime>) -> SystemTime {
    stated.and_then(|time| SystemTime::try_from(*time).ok()).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn endpoints_are_urls() {
        let credentials = S3Credentials::Static {
            access_key_id: String::new(),
            secret_access_key: String::new(),
            session_token: None,
        };
        for endpoint in ["localhost:9000", "ftp://localhost", "http://", ""] {
            let config = S3Config::new(Some(endpoint.to_owned()), "b", credentials.clone());
            let error = S3Store::new(config).await.expect_err(endpoint);
            assert_eq!(error.kind, StoreErrorKind::Denied);
        }
    }
}
