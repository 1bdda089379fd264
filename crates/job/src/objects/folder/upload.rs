//! Writing a file that becomes visible when it is whole.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::super::{Result, Upload, broken, check_head};
use super::blocking;
use super::place::Place;
use crate::object_key::ObjectKey;

/// An object on its way in.
pub struct FolderUpload {
    key: ObjectKey,
    file: Arc<UnfinishedFile>,
    head_bytes: usize,
    /// Where to write next.
    end: u64,
    /// Whether everything that was to be written is written.
    is_whole: bool,
}

impl FolderUpload {
    pub fn begin(place: Place, key: ObjectKey, head_bytes: usize) -> io::Result<Self> {
        let file = Arc::new(UnfinishedFile { file: place.make()?, place });
        Ok(Self { key, file, head_bytes, end: head_bytes as u64, is_whole: true })
    }
}

#[async_trait]
impl Upload for FolderUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        if !std::mem::replace(&mut self.is_whole, false) {
            return Err(broken(&self.key));
        }
        let (file, start, length) = (self.file.clone(), self.end, bytes.len() as u64);
        blocking("write", Some(&self.key), move || file.file.write_all_at(&bytes, start)).await?;
        self.end += length;
        self.is_whole = true;
        Ok(())
    }

    async fn finish(self: Box<Self>, head: Bytes) -> Result<()> {
        check_head(&self.key, &head, self.head_bytes)?;
        if !self.is_whole {
            return Err(broken(&self.key));
        }
        let file = self.file;
        blocking("finish", Some(&self.key), move || {
            file.file.write_all_at(&head, 0)?;
            file.place.publish(&file.file)
        })
        .await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        let file = self.file;
        blocking("give up", Some(&self.key), move || file.place.remove()).await
    }
}

/// A file under a name that no reader knows. The last who lets go of it removes that name.
struct UnfinishedFile {
    file: File,
    place: Place,
}

impl Drop for UnfinishedFile {
    fn drop(&mut self) {
        // Whatever goes wrong, the file stays among the unfinished ones.
        let _ = self.place.remove();
    }
}
