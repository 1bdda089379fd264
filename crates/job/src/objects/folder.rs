//! Objects in a folder, for a single machine.
//!
//! An object is the file `objects/{key}`. Until it is finished it is `unfinished/{key}/{random}`;
//! then it is written through to the disk and linked to its name, which never replaces a file, so
//! that it is there as a whole or not at all, also after a crash. The filesystem must know hard
//! links. What a key names is a file or a folder: no key may be the beginning of another up to a
//! `/`.
//!
//! The content type of an object is not kept.

mod parts;
mod place;
mod tree;
mod upload;

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::spawn_blocking;

use self::place::Place;
use self::upload::FolderUpload;
use super::resumable::{check_part, in_order};
use super::{
    ListedObject, ObjectInfo, ObjectStore, PartTag, PartsId, Result, StoreError, StoreErrorKind,
    Unfinished, Upload, checked_range,
};
use crate::object_key::ObjectKey;

/// A folder.
#[derive(Debug, Clone)]
pub struct FolderStore {
    objects: PathBuf,
    unfinished: PathBuf,
}

impl FolderStore {
    /// A store in `root`, which the first object makes.
    #[must_use]
    pub fn new(root: impl AsRef<Path>) -> Self {
        let root = root.as_ref();
        Self { objects: root.join("objects"), unfinished: root.join("unfinished") }
    }

    fn path(&self, key: &ObjectKey) -> PathBuf {
        self.objects.join(key.as_str())
    }
}

#[async_trait]
impl ObjectStore for FolderStore {
    async fn create(
        &self,
        key: &ObjectKey,
        _content_type: &str,
        head_bytes: usize,
    ) -> Result<Box<dyn Upload>> {
        let (place, key_of_upload) = (Place::new(self, key), key.clone());
        let upload = blocking("create", Some(key), move || {
            FolderUpload::begin(place, key_of_upload, head_bytes)
        });
        Ok(Box::new(upload.await?))
    }

    async fn begin_parts(&self, key: &ObjectKey, _content_type: &str) -> Result<PartsId> {
        let place = Place::new(self, key);
        blocking("begin", Some(key), move || parts::begin(&place)).await
    }

    async fn put_part(
        &self,
        key: &ObjectKey,
        id: &PartsId,
        number: u32,
        bytes: Bytes,
    ) -> Result<PartTag> {
        check_part(key, number, bytes.len())?;
        let (place, length) = (Place::of(self, key, id.as_str()), bytes.len());
        blocking("write", Some(key), move || parts::put(place, number, &bytes)).await?;
        Ok(PartTag::new(number, length, None, String::new()))
    }

    async fn finish_parts(
        &self,
        key: &ObjectKey,
        id: &PartsId,
        parts: &[PartTag],
        total_bytes: u64,
    ) -> Result<()> {
        in_order(key, parts, total_bytes)?;
        let place = Place::of(self, key, id.as_str());
        blocking("finish", Some(key), move || parts::finish(place, total_bytes)).await
    }

    async fn abort_parts(&self, key: &ObjectKey, id: &PartsId) -> Result<()> {
        let Some(place) = Place::of(self, key, id.as_str()) else { return Ok(()) };
        blocking("give up", Some(key), move || place.remove()).await
    }

    async fn get(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        let bytes = checked_range(key, &range)?;
        let path = self.path(key);
        blocking("read", Some(key), move || {
            let file = File::open(path)?;
            let total = object_length(&file.metadata()?)?;
            if range.end > total {
                let why = format!("byte {} of {total}", range.end - 1);
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
            let mut buffer = vec![0; bytes];
            file.read_exact_at(&mut buffer, range.start)?;
            Ok(buffer.into())
        })
        .await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo> {
        let path = self.path(key);
        blocking("look at", Some(key), move || {
            let metadata = fs::metadata(path)?;
            let bytes = object_length(&metadata)?;
            Ok(ObjectInfo { bytes, modified: metadata.modified()?, checksum: None })
        })
        .await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        let (objects, path) = (self.objects.clone(), self.path(key));
        blocking("delete", Some(key), move || tree::remove(&objects, &path)).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        max: usize,
    ) -> Result<Vec<ListedObject>> {
        let (objects, prefix, after) = (self.objects.clone(), prefix.to_owned(), after.cloned());
        blocking("list", None, move || {
            let after = after.as_ref().map_or("", |key| key.as_str());
            let mut found = Vec::new();
            tree::walk(&objects, &prefix, after, &mut |key, metadata| {
                if found.len() < max
                    && let Ok(key) = ObjectKey::try_from(key)
                {
                    let modified = metadata.modified()?;
                    found.push(ListedObject { key, bytes: metadata.len(), modified });
                }
                Ok(found.len() < max)
            })?;
            Ok(found)
        })
        .await
    }

    async fn presign_get(&self, _: &ObjectKey, _: &str, _: Duration) -> Result<Option<String>> {
        Ok(None)
    }

    async fn presign_put(&self, _: &ObjectKey, _: u64, _: Duration) -> Result<Option<String>> {
        Ok(None)
    }

    async fn unfinished(&self) -> Result<Vec<Unfinished>> {
        let unfinished = self.unfinished.clone();
        blocking("list unfinished objects in", None, move || {
            let mut found = Vec::new();
            tree::walk(&unfinished, "", "", &mut |path, metadata| {
                if let Some((key, upload)) = path.rsplit_once('/')
                    && let Ok(key) = ObjectKey::try_from(key.to_owned())
                {
                    let started = metadata.modified()?;
                    found.push(Unfinished { key, started, upload: upload.to_owned() });
                }
                Ok(true)
            })?;
            Ok(found)
        })
        .await
    }

    async fn give_up(&self, unfinished: &Unfinished) -> Result<()> {
        let key = &unfinished.key;
        let Some(place) = Place::of(self, key, &unfinished.upload) else { return Ok(()) };
        blocking("give up", Some(key), move || place.remove()).await
    }

    async fn check(&self) -> Result<()> {
        let objects = self.objects.clone();
        // It is not made here: where it is missing, something else may be what is missing.
        let looked = blocking("reach", None, move || fs::read_dir(objects).map(drop)).await;
        looked.map_err(|mut error| {
            if error.kind == StoreErrorKind::NotFound {
                error.kind = StoreErrorKind::Denied;
                let folder = self.objects.display();
                error.source = format!(
                    "there is no folder {folder}: the first upload makes it; if there was one, is \
                     its disk mounted?"
                )
                .into();
            }
            error
        })
    }
}

/// Only files are objects.
fn object_length(metadata: &fs::Metadata) -> io::Result<u64> {
    if metadata.is_file() { Ok(metadata.len()) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// Runs `work` where it may wait for the disk.
async fn blocking<T: Send + 'static>(
    operation: &'static str,
    key: Option<&ObjectKey>,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T> {
    let done = spawn_blocking(work).await.unwrap_or_else(|panic| Err(io::Error::other(panic)));
    done.map_err(|error| {
        let kind = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => StoreErrorKind::NotFound,
            io::ErrorKind::AlreadyExists => StoreErrorKind::Exists,
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename => StoreErrorKind::Invalid,
            io::ErrorKind::InvalidData => StoreErrorKind::Corrupt,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                StoreErrorKind::Denied
            }
            // A full disk is one of them.
            _ => StoreErrorKind::Unavailable,
        };
        StoreError::new(kind, operation, key, error)
    })
}
