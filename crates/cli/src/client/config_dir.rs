//! The folder of what the client remembers: `$XDG_CONFIG_HOME/tonemill` or `~/.config/tonemill`,
//! for its user alone.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::failure::Failure;
use crate::text::shown;

/// Most that is read of a file, in bytes.
const MAX_BYTES: u64 = 1 << 20;
/// Nobody else reads or writes it.
const PRIVATE: u32 = 0o600;

/// The folder, which need not be there yet.
#[derive(Debug, Clone)]
pub struct ConfigDir(PathBuf);

impl ConfigDir {
    /// Where it is.
    pub fn find() -> Result<Self, Failure> {
        let variable = |name| std::env::var_os(name).map(PathBuf::from);
        // As the XDG base directory specification has it: a path that is not absolute counts not.
        let config = variable("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
        let home = || variable("HOME").filter(|path| path.is_absolute());
        let config = config.or_else(|| home().map(|home| home.join(".config")));
        let config = config.ok_or_else(|| {
            Failure::usage(
                "there is no place for log-ins: neither HOME nor XDG_CONFIG_HOME is set",
                "set one, or use TONEMILL_URL and TONEMILL_TOKEN",
            )
        })?;
        Ok(Self(config.join("tonemill")))
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// What a file says; `None` if it is not there.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Failure> {
        let path = self.file(name);
        match read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unusable(&path, &error)),
        }
    }

    /// Replaces a file at once, so that nobody reads half of it.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let path = self.file(name);
        let write = || {
            make(&self.0)?;
            let mut file = tempfile::Builder::new()
                .prefix(".new-")
                .permissions(Permissions::from_mode(PRIVATE))
                .tempfile_in(&self.0)?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            Ok(())
        };
        write().map_err(|error| unusable(&path, &error))
    }

    /// A file that is locked while it is open, if nobody else has it locked.
    pub fn try_lock(&self, name: &str) -> Result<Option<File>, Failure> {
        let path = self.file(name);
        let lock = || {
            make(&self.0)?;
            let file = open_private(&path)?;
            Ok(try_flock(&file)?.then_some(file))
        };
        lock().map_err(|error| unusable(&path, &error))
    }

    /// A folder in it, made if it is not there.
    pub fn folder(&self, name: &str) -> io::Result<PathBuf> {
        let folder = self.file(name);
        make(&folder)?;
        Ok(folder)
    }
}

/// Opens a file of ours, or makes it.
pub fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(PRIVATE).open(path)
}

/// Locks a file until it is closed; false if somebody else has it locked.
pub fn try_flock(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unusable(path: &Path, error: &io::Error) -> Failure {
    let message = format!("{} cannot be used: {error}", shown(path));
    Failure::fault(message, "check its permissions and the free space")
}
