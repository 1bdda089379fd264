//! Transfers that are not done: a small file for each, locked while somebody is at it.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::marker::PhantomData;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::config_dir::{ConfigDir, open_private, try_flock};

/// Longer than services keep uploads, and jobs by default.
const OLD: Duration = Duration::from_hours(10 * 24);
/// A record is small.
const MAX_BYTES: u64 = 64 << 10;

/// What is remembered of one transfer. Without a place for it, nothing is.
pub struct Record<T> {
    file: Option<(File, PathBuf)>,
    content: PhantomData<T>,
}

/// How a transfer can be remembered.
pub enum Opened<T> {
    /// Nobody else is at it; with what was remembered.
    Ours(Record<T>, Option<T>),
    /// Another process does the same.
    Busy,
}

impl<T: Serialize + DeserializeOwned> Record<T> {
    /// The record of the transfer that `facts` tell from all others.
    pub fn open(dir: Option<&ConfigDir>, kind: &str, facts: &[&str]) -> Opened<T> {
        let nowhere = || Opened::Ours(Self::nowhere(), None);
        // What cannot be remembered can still be done.
        let folder = dir.and_then(|dir| dir.folder(kind).ok());
        let Some(folder) = folder else { return nowhere() };
        // Lengths keep ["ab", "c"] apart from ["a", "bc"].
        let facts: Vec<String> = facts.iter().map(|f| format!("{}:{f}", f.len())).collect();
        let name = blake3::hash(facts.concat().as_bytes()).to_hex();
        let path = folder.join(format!("{}.json", &name[..32]));
        sweep(&folder);
        match lock(&path) {
            Ok(Some(mut file)) => {
                let content = read(&mut file).and_then(|bytes| serde_json::from_slice(&bytes).ok());
                Opened::Ours(Self { file: Some((file, path)), content: PhantomData }, content)
            }
            Ok(None) => Opened::Busy,
            Err(_) => nowhere(),
        }
    }

    /// A record that remembers nothing.
    pub fn nowhere() -> Self {
        Self { file: None, content: PhantomData }
    }

    /// Remembers. What cannot be remembered is done again after an interruption.
    pub fn save(&mut self, content: &T) {
        let Some((file, _)) = &mut self.file else { return };
        let Ok(bytes) = serde_json::to_vec(content) else { return };
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(&bytes)
        };
        // Half a record is none: it is no JSON.
        let _: io::Result<()> = write(file);
    }

    /// Forgets, as it is done.
    pub fn forget(self) {
        if let Some((_file, path)) = self.file {
            let _ = fs::remove_file(path);
        }
    }

    /// Lets others at it, for whom it is remembered until it is forgotten.
    pub fn leave(self) -> Left {
        Left(self.file.map(|(_, path)| path))
    }
}

/// A record that nobody is at.
#[derive(Debug)]
pub struct Left(Option<PathBuf>);

impl Left {
    /// Forgets, unless somebody is at it again.
    pub fn forget(&self) {
        if let Some(path) = &self.0
            && let Ok(Some(_locked)) = lock(path)
        {
            let _ = fs::remove_file(path);
        }
    }
}

/// Opens and locks; `None` if another process has it. A file that was removed meanwhile is no
/// longer the one that others would lock.
fn lock(path: &Path) -> io::Result<Option<File>> {
    loop {
        let file = open_private(path)?;
        if !try_flock(&file)? {
            return Ok(None);
        }
        let ours = file.metadata()?.ino();
        if path.metadata().is_ok_and(|there| there.ino() == ours) {
            return Ok(Some(file));
        }
    }
}

fn read(file: &mut File) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Removes what nobody will go on with.
fn sweep(folder: &Path) {
    let is_old = |entry: &fs::DirEntry| {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        modified.is_ok_and(|modified| {
            SystemTime::now().duration_since(modified).is_ok_and(|age| age > OLD)
        })
    };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten().filter(is_old) {
        if let Ok(Some(_locked)) = lock(&entry.path()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_is_remembered_once_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let open = || {
            let file = lock(&folder.path().join("x")).unwrap()?;
            let path = folder.path().join("x");
            Some(Record::<u32> { file: Some((file, path)), content: PhantomData })
        };
        let mut record = open().unwrap();
        record.save(&7);
        assert!(open().is_none(), "another is at it");
        record.save(&1234);
        drop(record);
        let mut record = open().unwrap();
        let (file, _) = record.file.as_mut().unwrap();
        assert_eq!(read(file).unwrap(), b"1234");
        record.forget();
        let mut record = open().unwrap();
        assert_eq!(read(&mut record.file.as_mut().unwrap().0).unwrap(), b"");
    }
}
