//! Objects in parts that others go on with: what they leave behind is in the names that they get.

use bytes::Bytes;
use tracing::debug;

use super::super::resumable::{check_part, in_order};
use super::super::{ObjectStore, PartTag, PartsId, Result, StoreError, StoreErrorKind, Upload};
use super::S3Store;
use super::client::Tries;
use super::multipart::{self, Part, Whole};
use super::upload::S3Upload;
use crate::object_key::ObjectKey;

pub async fn begin(store: &S3Store, key: &ObjectKey, content_type: &str) -> Result<PartsId> {
    let id = multipart::begin(store, key, content_type).await?;
    match PartsId::try_from(id.clone()) {
        Ok(id) => Ok(id),
        Err(error) => {
            store.abort(key, &id).await?;
            Err(StoreError::new(StoreErrorKind::Unsupported, "begin", Some(key), error))
        }
    }
}

pub async fn put(
    store: &S3Store,
    key: &ObjectKey,
    id: &PartsId,
    number: u32,
    bytes: Bytes,
) -> Result<PartTag> {
    let length = bytes.len();
    check_part(key, number, length)?;
    let part = multipart::send_part(store, key, id.as_str(), number, bytes).await?;
    let tag = PartTag::new(number, length, part.checksum, part.etag.unwrap_or_default());
    if tag.to_string().len() > PartTag::MAX_BYTES {
        let why = format!("the part's ETag is too long: {tag}");
        return Err(StoreError::new(StoreErrorKind::Unsupported, "write", Some(key), why));
    }
    Ok(tag)
}

pub async fn finish(
    store: &S3Store,
    key: &ObjectKey,
    id: &PartsId,
    parts: &[PartTag],
    total_bytes: u64,
) -> Result<()> {
    let parts = in_order(key, parts, total_bytes)?;
    if parts.is_empty() {
        return finish_empty(store, key, id).await;
    }
    let part = |tag: &PartTag| Part {
        number: tag.number(),
        etag: tag.etag().map(str::to_owned),
        bytes: tag.bytes(),
        checksum: tag.checksum(),
    };
    let parts: Vec<_> = parts.into_iter().map(part).collect();
    let whole = Whole::of(store, key, id.as_str(), &parts);
    let put_together = whole.put_together(Tries::default()).await;
    if let Err(error) = &put_together {
        debug!(%key, %error, "looking whether it was put together before, or all the same");
    }
    match (put_together, store.head(key).await) {
        (_, Ok(is)) if whole.is_same(&is) => Ok(()),
        (Ok(()), Ok(is)) => Err(whole.is_other(&is)),
        (Err(_), Ok(is)) => Err(StoreError { kind: StoreErrorKind::Exists, ..whole.is_other(&is) }),
        (Ok(()), Err(error)) | (Err(error), Err(_)) => Err(error),
    }
}

/// Nothing can be put together from no parts.
async fn finish_empty(store: &S3Store, key: &ObjectKey, id: &PartsId) -> Result<()> {
    let empty = Box::new(S3Upload::new(store.clone(), key, "application/octet-stream", 0)?);
    if let Err(error) = empty.finish(Bytes::new()).await {
        let is_there = error.kind == StoreErrorKind::Exists
            && store.head(key).await.is_ok_and(|is| is.bytes == 0);
        if !is_there {
            return Err(error);
        }
    }
    store.abort(key, id.as_str()).await
}
