//! Opening inputs. Demuxers seek, so what cannot seek (standard input, pipes) is first copied to an
//! unnamed temporary file.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tonemill_codec::{CancelToken, Limits};

/// An input that is open.
pub enum Input {
    File(File),
    Stream(Box<dyn Read + Send>),
}

/// Opens `path`, or standard input for "-". Reads nothing yet.
pub fn open(path: &Path) -> io::Result<Input> {
    if path.as_os_str() == "-" {
        return Ok(Input::Stream(Box::new(io::stdin())));
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(if metadata.is_file() { Input::File(file) } else { Input::Stream(Box::new(file)) })
}

impl Input {
    /// The input as something that seeks. Copying it may take `limits.input_bytes` and
    /// `limits.wall_clock`; it ends with [`ErrorKind::TimedOut`](io::ErrorKind::TimedOut), or with
    /// [`ErrorKind::Interrupted`](io::ErrorKind::Interrupted) when cancelled.
    pub fn seekable(self, limits: &Limits, cancel: &CancelToken) -> io::Result<File> {
        match self {
            Self::File(file) => Ok(file),
            Self::Stream(stream) => spool(stream, limits, cancel),
        }
    }
}

/// An unnamed file in the folder for such; the error names the folder.
pub fn temporary_file() -> io::Result<File> {
    tempfile::tempfile().map_err(|error| {
        let folder = std::env::temp_dir();
        let text = format!("no temporary file can be made in {} (TMPDIR)", folder.display());
        io::Error::new(error.kind(), text)
    })
}

/// Copies on a thread of its own: a read that waits for a writer cannot be called off.
fn spool(
    from: impl Read + Send + 'static,
    limits: &Limits,
    cancel: &CancelToken,
) -> io::Result<File> {
    const LOOK_EVERY: Duration = Duration::from_millis(50);
    let (started, wall_clock) = (Instant::now(), limits.wall_clock);
    // One byte more shows the limit to whoever checks the length.
    let mut from = from.take(limits.input_bytes.saturating_add(1));
    let mut file = temporary_file()?;
    let (done, copied) = mpsc::channel();
    thread::spawn(move || {
        let copy = || {
            io::copy(&mut from, &mut file)?;
            file.rewind()?;
            Ok(file)
        };
        // Nobody waits any more if it was cancelled.
        let _ = done.send(copy());
    });
    loop {
        match copied.recv_timeout(LOOK_EVERY) {
            Ok(outcome) => return outcome,
            Err(mpsc::RecvTimeoutError::Timeout) if started.elapsed() > wall_clock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(mpsc::RecvTimeoutError::Timeout) if !cancel.is_cancelled() => {}
            Err(_) => return Err(io::ErrorKind::Interrupted.into()),
        }
    }
}
