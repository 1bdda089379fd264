//! Mails as files, `.eml` as mail programs open them: for services without a mail server. Nobody
//! may ever look, so what is old goes.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lettre::Message;
use tempfile::Builder;
use uuid::Uuid;

use crate::{Answer, NotifierError, Verdict};

/// How long mails stay.
const KEPT: Duration = Duration::from_hours(7 * 24);
/// How often is looked for those that are older.
const LOOK: Duration = Duration::from_hours(1);
/// How the names of mails end, and those of mails that are being written.
const MAIL: &str = ".eml";
const PART: &str = ".eml.part";

/// A folder of mails.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    looked: Mutex<Option<Instant>>,
}

impl Folder {
    /// The folder at `path`, made if it is not there.
    pub(super) fn new(path: PathBuf) -> Result<Self, NotifierError> {
        fs::create_dir_all(&path)
            .map_err(|source| NotifierError::File { path: path.display().to_string(), source })?;
        Ok(Self { path, looked: Mutex::default() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts a mail there, whole or not at all. Once more, it takes its own place.
    pub(super) async fn put(&self, id: Uuid, letter: &Message) -> Answer {
        let (folder, bytes) = (self.path.clone(), letter.formatted());
        let name = format!("{id}{MAIL}");
        let is_time = self.is_time_to_look();
        let written = tokio::task::spawn_blocking({
            let name = name.clone();
            move || {
                if is_time && let Err(error) = remove_old(&folder) {
                    tracing::warn!(%error, "old mails cannot be removed");
                }
                write(&folder, &name, &bytes)
            }
        });
        match written.await {
            Ok(Ok(())) => Answer::new(Verdict::Delivered, format!("written to {name}")),
            Ok(Err(error)) => Answer::failed(error.to_string()),
            Err(error) => Answer::failed(error.to_string()),
        }
    }

    fn is_time_to_look(&self) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = looked.is_none_or(|looked| looked.elapsed() >= LOOK);
        if is_time {
            *looked = Some(Instant::now());
        }
        is_time
    }
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let part = Uuid::now_v7().to_string();
    let mut file = Builder::new().prefix(&part).rand_bytes(0).suffix(PART).tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(folder.join(name)).map(drop).map_err(|error| error.error)
}

/// Removes mails that are old, and what notifiers that died had not written to its end. Others'
/// files stay, whatever they are.
fn remove_old(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let is_old = |age: Duration| age > KEPT;
        let age = entry.metadata()?.modified()?.elapsed();
        if is_ours(&entry.file_name().to_string_lossy()) && age.is_ok_and(is_old) {
            match fs::remove_file(entry.path()) {
                // Another notifier was first.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                outcome => outcome?,
            }
        }
    }
    Ok(())
}

fn is_ours(name: &str) -> bool {
    let id = name.strip_suffix(PART).or_else(|| name.strip_suffix(MAIL));
    id.is_some_and(|id| Uuid::try_parse(id).is_ok_and(|uuid| uuid.to_string() == id))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn only_our_own_old_mails_go() {
        let folder = tempfile::tempdir().unwrap();
        let id = Uuid::now_v7();
        let put = |name: &str, age: Duration| {
            let file = File::create(folder.path().join(name)).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
        };
        let old = KEPT + Duration::from_mins(1);
        let young = KEPT.saturating_sub(Duration::from_mins(1));
        let (young_one, theirs) = (format!("{}.eml", Uuid::nil()), format!("{id}.txt"));
        put(&young_one, young);
        put(&format!("{id}.eml"), old);
        put(&format!("{id}.eml.part"), old);
        put("kept.eml", old);
        put(&theirs, old);
        remove_old(folder.path()).unwrap();
        let left = fs::read_dir(folder.path()).unwrap();
        let mut left: Vec<_> =
            left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        let mut due = vec![young_one, theirs, "kept.eml".to_owned()];
        due.sort();
        assert_eq!(left, due);
    }
}
