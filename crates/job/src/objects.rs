//! Objects: uploads and outputs, in S3 or in a folder.
//!
//! An object is written once, from its second byte on: its head comes last, because the tag frame
//! at the start of an MP3 holds numbers that are known at its end. Or it comes in parts over days,
//! and any process that knows of it can store the next. It is visible when it is finished and not
//! before. Reading is by ranges that fit into memory, so that each can be tried again as a whole.

mod folder;
mod resumable;
mod s3;

use std::fmt;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;

pub use self::folder::FolderStore;
pub use self::resumable::{InvalidName, MAX_PARTS, PART_BYTES, PartTag, PartsId};
pub use self::s3::{
    Lifecycle, S3Checksums, S3Config, S3Credentials, S3Deadlines, S3Retries, S3Store,
};
use crate::id::JobId;
use crate::object_key::ObjectKey;

/// Longest range that [`ObjectStore::get`] takes, in bytes.
pub const MAX_RANGE_BYTES: u64 = 16 << 20;

/// No object is longer. Some stores misread numbers beyond it.
const MAX_OBJECT_BYTES: u64 = i64::MAX as u64;

/// What a store is tried out with.
const TRIAL_BYTES: usize = 64 << 10;

/// A place for objects. Every call ends within the deadlines of its implementation, after trying
/// again what may pass.
#[async_trait]
pub trait ObjectStore: fmt::Debug + Send + Sync {
    /// Begins the object `key`, whose first `head_bytes` come last.
    async fn create(
        &self,
        key: &ObjectKey,
        content_type: &str,
        head_bytes: usize,
    ) -> Result<Box<dyn Upload>>;

    /// Begins the object `key` in parts. Whoever knows what this returns can go on with it, in any
    /// process; nobody frees what it has stored but [`ObjectStore::abort_parts`] and
    /// [`ObjectStore::give_up`].
    async fn begin_parts(&self, key: &ObjectKey, content_type: &str) -> Result<PartsId>;

    /// Stores a part, from the first, 1, to [`MAX_PARTS`], in any order. It has [`PART_BYTES`], or,
    /// if it is the last, fewer, but at least one. When this returns, the part outlives a loss of
    /// power, as far as anything does in this store.
    ///
    /// A part can be stored again, if the answer was lost or its writer died: then the last counts,
    /// and the tags that it had before are void. [`StoreErrorKind::NotFound`] if the object is
    /// finished or given up; not every S3 store tells this from [`StoreErrorKind::Denied`].
    async fn put_part(
        &self,
        key: &ObjectKey,
        id: &PartsId,
        number: u32,
        bytes: Bytes,
    ) -> Result<PartTag>;

    /// Makes the object visible: `parts`, whatever their order here, and no others. They are all
    /// from the first to the last, and have `total_bytes` together, else it is
    /// [`StoreErrorKind::Invalid`] and nothing has changed. No parts are an empty object; its content
    /// type is not kept.
    ///
    /// Can be called again, if the answer was lost or the caller died: that the object is there,
    /// with this length, is no error. If it has another length, that is [`StoreErrorKind::Exists`];
    /// if a part is not as its tag says, [`StoreErrorKind::Corrupt`]; if there is neither the
    /// object nor what it was to be made of, it is as in [`ObjectStore::put_part`].
    async fn finish_parts(
        &self,
        key: &ObjectKey,
        id: &PartsId,
        parts: &[PartTag],
        total_bytes: u64,
    ) -> Result<()>;

    /// Frees what was stored of an object that is not finished. That it is not there is no error.
    async fn abort_parts(&self, key: &ObjectKey, id: &PartsId) -> Result<()>;

    /// The bytes in `range`, all of them: a range beyond the object's end is
    /// [`StoreErrorKind::Invalid`], and so is one that is empty or longer than [`MAX_RANGE_BYTES`].
    async fn get(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes>;

    /// What is known about an object without reading it.
    async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo>;

    /// Removes an object. That it is not there is no error.
    async fn delete(&self, key: &ObjectKey) -> Result<()>;

    /// The first `max` objects whose keys start with `prefix` and come after `after`, in the order
    /// of their keys. `max` is at most 1,000.
    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        max: usize,
    ) -> Result<Vec<ListedObject>>;

    /// An address from which anyone can download the object for as long as `valid`; browsers save
    /// it as `file_name`. `None` where the store has no address.
    async fn presign_get(
        &self,
        key: &ObjectKey,
        file_name: &str,
        valid: Duration,
    ) -> Result<Option<String>>;

    /// An address to which anyone can upload an object of exactly `bytes` for as long as `valid`,
    /// by PUT. `None` where the store has no address.
    async fn presign_put(
        &self,
        key: &ObjectKey,
        bytes: u64,
        valid: Duration,
    ) -> Result<Option<String>>;

    /// Objects that were begun and neither finished nor given up: their writers are at work or
    /// dead. A store that keeps them to itself says [`StoreErrorKind::Unsupported`]; then it has to
    /// remove them itself.
    async fn unfinished(&self) -> Result<Vec<Unfinished>>;

    /// Gives up an object for its writer. That it is not there is no error.
    async fn give_up(&self, unfinished: &Unfinished) -> Result<()>;

    /// Whether the store answers and lets us in.
    async fn check(&self) -> Result<()>;
}

/// Whether the store answers, and takes an object and gives it up: a full disk or a key that may
/// not write looks well to who only asks.
pub async fn try_out(store: &dyn ObjectStore) -> Result<()> {
    store.check().await?;
    let key = ObjectKey::output(JobId::new(), 0);
    put_small(store, &key, "application/octet-stream", vec![0; TRIAL_BYTES].into()).await?;
    store.delete(&key).await
}

/// Makes the object `key` of what is in memory.
pub async fn put_small(
    store: &dyn ObjectStore,
    key: &ObjectKey,
    content_type: &str,
    bytes: Bytes,
) -> Result<()> {
    let mut upload = store.create(key, content_type, 0).await?;
    upload.write(bytes).await?;
    upload.finish(Bytes::new()).await
}

/// How long an object is, if it is there. Only that it is not there counts as such.
pub async fn size_of(store: &dyn ObjectStore, key: &ObjectKey) -> Result<Option<u64>> {
    match store.head(key).await {
        Ok(info) => Ok(Some(info.bytes)),
        Err(error) if error.kind == StoreErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// An object on its way in. One that is dropped stays invisible; what it has stored is freed soon
/// after, or, if the process dies, by whoever gives up what [`ObjectStore::unfinished`] lists.
#[async_trait]
pub trait Upload: Send {
    /// Appends to what follows the head. Waits when the store is slower than the caller; memory is
    /// bounded by a few parts. After an error, or after the future was dropped, the upload is not
    /// whole: it can be aborted, and nothing else.
    async fn write(&mut self, bytes: Bytes) -> Result<()>;

    /// Puts `head` in front, exactly as long as was said, and makes the object visible. An error
    /// does not always mean that it is not: the store's answer can be lost on the way.
    async fn finish(self: Box<Self>, head: Bytes) -> Result<()>;

    /// Frees what was stored.
    async fn abort(self: Box<Self>) -> Result<()>;
}

/// An object, from outside.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectInfo {
    /// Its length.
    pub bytes: u64,
    /// When it was finished.
    pub modified: SystemTime,
    /// A checksum of all its bytes, where the store keeps one.
    pub checksum: Option<Checksum>,
}

/// One of a list of objects.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedObject {
    /// Its key.
    pub key: ObjectKey,
    /// Its length.
    pub bytes: u64,
    /// When it was finished.
    pub modified: SystemTime,
}

/// An object that was begun.
#[derive(Debug, Clone, PartialEq)]
pub struct Unfinished {
    /// Its key.
    pub key: ObjectKey,
    /// When it was begun or, where the store can tell, written to last.
    pub started: SystemTime,
    /// The store's name for this upload; if it comes in [parts](ObjectStore::begin_parts), its
    /// [`PartsId`].
    pub upload: String,
}

/// A checksum of a whole object, of a kind that can be put together from those of its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checksum {
    /// How it is computed.
    pub algorithm: ChecksumAlgorithm,
    /// Its value, in the low bits.
    pub value: u64,
}

/// How a [`Checksum`] is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChecksumAlgorithm {
    /// CRC-32/ISO-HDLC, as in gzip.
    Crc32,
    /// CRC-32/ISCSI (Castagnoli).
    Crc32c,
    /// CRC-64/NVME.
    Crc64Nvme,
}

/// What went wrong, and what the caller can do.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}", key.as_ref().map_or("the store", |key| key.as_str()))]
pub struct StoreError {
    /// What the caller can do.
    pub kind: StoreErrorKind,
    /// What was tried, as a verb.
    pub operation: &'static str,
    /// On what.
    pub key: Option<ObjectKey>,
    /// Why.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl StoreError {
    fn new(
        kind: StoreErrorKind,
        operation: &'static str,
        key: Option<&ObjectKey>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, operation, key: key.cloned(), source: source.into() }
    }
}

/// Refuses what [`ObjectStore::get`] must refuse, whatever the object; the length of `range`.
fn checked_range(key: &ObjectKey, range: &Range<u64>) -> Result<usize> {
    match range.end.checked_sub(range.start) {
        Some(bytes @ 1..=MAX_RANGE_BYTES) if range.end <= MAX_OBJECT_BYTES => Ok(bytes as usize),
        _ => Err(StoreError::new(
            StoreErrorKind::Invalid,
            "read",
            Some(key),
            format!("{range:?} is no range of 1 to {MAX_RANGE_BYTES} bytes"),
        )),
    }
}

/// Refuses a head that is not as long as was said.
fn check_head(key: &ObjectKey, head: &Bytes, head_bytes: usize) -> Result<()> {
    if head.len() == head_bytes {
        return Ok(());
    }
    let source = format!("the head has {} bytes instead of {head_bytes}", head.len());
    Err(StoreError::new(StoreErrorKind::Invalid, "finish", Some(key), source))
}

/// The error of an [`Upload`] that is not whole.
fn broken(key: &ObjectKey) -> StoreError {
    let why = "an earlier write failed or was cancelled";
    StoreError::new(StoreErrorKind::Invalid, "write", Some(key), why)
}

/// What the caller of a store can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// There is no such object: nothing will change that.
    NotFound,
    /// There is one already, and objects are written once.
    Exists,
    /// The request makes no sense: a defect of the caller.
    Invalid,
    /// The store cannot do this, whatever the arguments.
    Unsupported,
    /// We are not let in, or the bucket does not exist: an operator has to act.
    Denied,
    /// What was sent is not what arrived: try again.
    Corrupt,
    /// The store is away, slow or overloaded, after several tries: try again later.
    Unavailable,
}

/// Shorthand of this module.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;
