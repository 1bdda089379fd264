//! Mails as files, `.eml` as mail programs open them: for services without a mail server.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use lettre::Message;
use tempfile::NamedTempFile;
use uuid::Uuid;

use crate::{Answer, NotifierError, Verdict};

/// A folder of mails.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// The folder at `path`, made if it is not there.
    pub(super) fn new(path: PathBuf) -> Result<Self, NotifierError> {
        std::fs::create_dir_all(&path)
            .map_err(|source| NotifierError::File { path: path.display().to_string(), source })?;
        Ok(Self(path))
    }

    /// Puts a mail there, whole or not at all. Once more, it takes its own place.
    pub(super) async fn put(&self, id: Uuid, letter: &Message) -> Answer {
        let (folder, bytes) = (self.0.clone(), letter.formatted());
        let name = format!("{id}.eml");
        let written = tokio::task::spawn_blocking({
            let name = name.clone();
            move || write(&folder, &name, &bytes)
        });
        match written.await {
            Ok(Ok(())) => Answer::new(Verdict::Delivered, format!("written to {name}")),
            Ok(Err(error)) => Answer::failed(error.to_string()),
            Err(error) => Answer::failed(error.to_string()),
        }
    }
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(folder.join(name)).map(drop).map_err(|error| error.error)
}
