//! Opening inputs. Demuxers seek, so what cannot seek (standard input, pipes) is first copied to an
//! unnamed temporary file.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use tonemill_codec::Limits;

use crate::exit::CancelToken;
use crate::failure::{ErrorKind, Failure};
use crate::interruptible::interruptible;
use crate::output::temporary_file;

/// An input that is there.
pub enum Input {
    File(File),
    Stdin,
    /// A pipe or a device, not yet open: that may wait for a writer.
    Stream(PathBuf),
}

/// Looks for `path`, or takes standard input for "-". Reads nothing yet.
pub fn open(path: &Path) -> io::Result<Input> {
    if path.as_os_str() == "-" {
        return Ok(Input::Stdin);
    }
    let metadata = path.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(if metadata.is_file() {
        Input::File(File::open(path)?)
    } else {
        Input::Stream(path.to_owned())
    })
}

impl Input {
    /// The input as something that seeks. Copying it may take `limits.input_bytes` and
    /// `limits.wall_clock`; it ends with [`ErrorKind::TimedOut`](io::ErrorKind::TimedOut), or with
    /// [`ErrorKind::Interrupted`](io::ErrorKind::Interrupted) when cancelled.
    pub fn seekable(self, limits: &Limits, cancel: &CancelToken) -> io::Result<File> {
        if let Self::File(file) = self {
            return Ok(file);
        }
        let mut copy = temporary_file()?;
        // One byte more shows the limit to whoever checks the length.
        let max_bytes = limits.input_bytes.saturating_add(1);
        interruptible(cancel, limits.wall_clock, move || {
            let from: Box<dyn Read> = match self {
                Self::File(file) => Box::new(file),
                Self::Stdin => Box::new(io::stdin()),
                Self::Stream(path) => Box::new(File::open(path)?),
            };
            io::copy(&mut from.take(max_bytes), &mut copy)?;
            copy.rewind()?;
            Ok(copy)
        })
    }
}

/// Why the input `path` cannot be opened, in words.
pub fn unopened(path: &Path, error: &io::Error) -> Failure {
    use io::ErrorKind as K;
    let what = format!("the input cannot be opened: {error}");
    let (kind, message, advice) = match error.kind() {
        K::Interrupted => (ErrorKind::Cancelled, "cancelled".to_owned(), "start again when ready"),
        K::TimedOut => {
            let message = "the input did not end within the time limit".to_owned();
            (ErrorKind::LimitExceeded, message, "raise --timeout")
        }
        K::IsADirectory => {
            (ErrorKind::BadInput, "it is a folder".to_owned(), "name the files in it")
        }
        K::NotFound if path.to_string_lossy().contains("://") => {
            let advice = "download it first, as with `curl -L URL | tonemill convert - -o OUT.mp3`";
            (ErrorKind::BadInput, what, advice)
        }
        K::NotFound | K::PermissionDenied => {
            (ErrorKind::BadInput, what, "check its name and permissions")
        }
        K::NotADirectory | K::InvalidFilename => {
            (ErrorKind::BadInput, what, "check the input and the free space, and try again")
        }
        _ => (ErrorKind::Io, what, "check the input and the free space, and try again"),
    };
    Failure::of_kind(kind, message, advice)
}
