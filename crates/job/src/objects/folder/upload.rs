//! Writing a file that becomes visible when it is whole.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;

use super::super::{Result, Upload, broken, check_head};
use super::{blocking, tree};
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
    pub fn begin(
        unfinished: &Path,
        objects: &Path,
        key: &ObjectKey,
        head_bytes: usize,
    ) -> io::Result<Self> {
        let folder = unfinished.join(key.as_str());
        let path = folder.join(Uuid::new_v4().simple().to_string());
        let file = tree::make_in(&folder, || File::create_new(&path))?;
        Ok(Self {
            key: key.clone(),
            file: Arc::new(UnfinishedFile {
                file,
                path,
                root: unfinished.to_owned(),
                target: objects.join(key.as_str()),
                objects: objects.to_owned(),
            }),
            head_bytes,
            end: head_bytes as u64,
            is_whole: true,
        })
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
            file.publish()
        })
        .await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        let file = self.file;
        blocking("give up", Some(&self.key), move || tree::remove(&file.root, &file.path)).await
    }
}

/// A file under a name that no reader knows. The last who lets go of it removes that name.
struct UnfinishedFile {
    file: File,
    path: PathBuf,
    root: PathBuf,
    target: PathBuf,
    objects: PathBuf,
}

impl UnfinishedFile {
    fn publish(&self) -> io::Result<()> {
        self.file.sync_all()?;
        let folder = self.target.parent().expect("it is in a folder");
        tree::make_in(folder, || match fs::hard_link(&self.path, &self.target) {
            // Somebody gave the file up: this is not about the folder.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.path.exists() => {
                Err(io::Error::other("it was given up"))
            }
            linked => linked,
        })?;
        // The name is on the disk when its folder is, and that when its own is.
        let store = self.objects.parent().expect("it is in the store's folder");
        for folder in folder.ancestors().take_while(|folder| folder.starts_with(store)) {
            match File::open(folder) {
                Ok(folder) => folder.sync_all()?,
                // Deleted already, with the object.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Drop for UnfinishedFile {
    fn drop(&mut self) {
        // Whatever goes wrong, the file stays among the unfinished ones.
        let _ = tree::remove(&self.root, &self.path);
    }
}
