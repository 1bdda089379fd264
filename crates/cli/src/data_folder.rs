//! The folder of everything that has no other place, for one process at a time.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use rustix::fs::{FlockOperation, flock};

use crate::failure::Failure;
use crate::output::folder_of;
use crate::text::shown;

/// What means nothing but itself in the path of an address, besides letters and digits.
const NAME: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A data folder, locked for this process.
pub struct DataFolder<'a> {
    path: &'a Path,
    _lock: File,
}

impl<'a> DataFolder<'a> {
    pub fn lock(path: &'a Path) -> Result<Self, Failure> {
        let failed = |error| Failure::cannot(format!("use the folder {}", shown(path)), error);
        // Keys, hashes of passwords and videos: nobody else's business.
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        close_to_others(path).map_err(failed)?;
        let lock = File::create(path.join("lock")).map_err(failed)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let message = format!("another process uses the folder {}", shown(path));
                Err(Failure::fault(message, "--data names one"))
            }
            Err(error) => Err(failed(error.into())),
        }
    }

    /// Where it is.
    #[cfg(feature = "codec")]
    pub fn path(&self) -> &Path {
        self.path
    }

    /// The ledger's address: it is made if there is none.
    pub fn ledger(&self) -> Result<String, Failure> {
        Ok(format!("{}?mode=rwc", sqlite_url(&self.path.join("ledger.db"))?))
    }
}

/// The address of a ledger in a file whose folder is there.
pub fn sqlite_url(file: &Path) -> Result<String, Failure> {
    // An address would take the first part of a relative path for a host, and `..` for the folder
    // that a link is in.
    let folder = folder_of(file).canonicalize();
    let folder = folder.map_err(|error| Failure::cannot(format!("find {}", shown(file)), error))?;
    let path = folder.join(file.file_name().unwrap_or_default());
    Ok(format!("sqlite://{}", percent_encode(path.as_os_str().as_encoded_bytes(), NAME)))
}

/// Shuts out others from a folder that was there before. One whose group was let in to read, say to
/// back it up, stays as it is.
fn close_to_others(path: &Path) -> io::Result<()> {
    let mode = fs::metadata(path)?.permissions().mode() & 0o7777;
    if mode & 0o027 == 0 {
        return Ok(());
    }
    match fs::set_permissions(path, Permissions::from_mode(mode & !0o077)) {
        Ok(()) => {
            tracing::warn!(folder = %path.display(), "the folder was open to others: no more");
        }
        // It is another's, as mounted folders are: whoever mounts it decides.
        Err(error) => {
            tracing::warn!(folder = %path.display(), %error, "others may look into the folder");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tonemill_ledger::{Ledger, LedgerConfig};

    use super::*;

    #[tokio::test]
    async fn a_folder_may_be_called_anything() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["my data", "50%25", "why?", "#1", "a:b@c", "[x]|^\\", "Größe"] {
            let path = folder.path().join(name);
            let data = DataFolder::lock(&path).unwrap_or_else(|_| panic!("{name} is locked"));
            let url = data.ledger().unwrap_or_else(|_| panic!("{name} has a ledger"));
            Ledger::open(LedgerConfig::new(url)).await.expect(name).close().await;
            let bytes = fs::metadata(path.join("ledger.db")).unwrap().len();
            assert!(bytes > 0, "{name}: the ledger is elsewhere");
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 7);
    }
}
