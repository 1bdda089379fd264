//! Where a file is that no reader knows, and where it becomes an object.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::{FolderStore, object_length, tree};
use crate::object_key::ObjectKey;

/// The way of a file from an unfinished object to a finished one.
pub struct Place {
    /// The file's name among the unfinished ones of its key.
    pub name: String,
    path: PathBuf,
    /// The folder of all unfinished objects.
    root: PathBuf,
    /// What it is called as an object.
    target: PathBuf,
    /// The folder of all objects.
    objects: PathBuf,
}

impl Place {
    /// One that nobody has.
    pub fn new(store: &FolderStore, key: &ObjectKey) -> Self {
        let name = Uuid::new_v4().simple().to_string();
        let path = store.unfinished.join(key.as_str()).join(&name);
        Self::at(store, key, name, path)
    }

    /// That of the unfinished file `name`, which may come from anywhere; `None` if no file is
    /// called like this.
    pub fn of(store: &FolderStore, key: &ObjectKey, name: &str) -> Option<Self> {
        let path = ObjectKey::try_from(format!("{key}/{name}")).ok()?;
        let path = store.unfinished.join(path.as_str());
        Some(Self::at(store, key, name.to_owned(), path))
    }

    fn at(store: &FolderStore, key: &ObjectKey, name: String, path: PathBuf) -> Self {
        Self {
            name,
            path,
            root: store.unfinished.clone(),
            target: store.path(key),
            objects: store.objects.clone(),
        }
    }

    /// Makes the file.
    pub fn make(&self) -> io::Result<File> {
        let folder = self.path.parent().expect("it is in a folder");
        tree::make_in(folder, || File::create_new(&self.path))
    }

    /// Opens the file, to write to it.
    pub fn open(&self) -> io::Result<File> {
        File::options().write(true).open(&self.path)
    }

    /// Whether the file is still there under its unfinished name.
    pub fn is_there(&self) -> bool {
        self.path.exists()
    }

    /// The length of the object, if there is one.
    pub fn object(&self) -> io::Result<Option<u64>> {
        match fs::metadata(&self.target).and_then(|metadata| object_length(&metadata)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes `file`, which is the one here, through to the disk, and gives it its name as an
    /// object, which never replaces another. It keeps this one.
    pub fn publish(&self, file: &File) -> io::Result<()> {
        file.sync_all()?;
        tree::make_in(self.folder(), || match fs::hard_link(&self.path, &self.target) {
            // Somebody gave the file up: this is not about the folder.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.is_there() => {
                Err(io::Error::other("it was given up"))
            }
            linked => linked,
        })?;
        self.sync_names()
    }

    /// Writes the object's name through: it is on the disk when its folder is, and that when its
    /// own is.
    pub fn sync_names(&self) -> io::Result<()> {
        let store = self.objects.parent().expect("it is in the store's folder");
        for folder in self.folder().ancestors().take_while(|folder| folder.starts_with(store)) {
            match File::open(folder) {
                Ok(folder) => folder.sync_all()?,
                // Deleted already, with the object.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// That of the object.
    fn folder(&self) -> &Path {
        self.target.parent().expect("it is in a folder")
    }

    /// Removes the file's unfinished name. That it is not there is no error.
    pub fn remove(&self) -> io::Result<()> {
        tree::remove(&self.root, &self.path)
    }
}
