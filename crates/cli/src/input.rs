//! Opening inputs. Demuxers seek, so what cannot seek (standard input, pipes) is first copied to an
//! unnamed temporary file.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tonemill_codec::CancelToken;

/// Opens `path`, or standard input for "-". What is copied may have `max_bytes`; waiting for it ends
/// with [`ErrorKind::Interrupted`](io::ErrorKind::Interrupted) when cancelled.
pub fn open(path: &Path, max_bytes: u64, cancel: &CancelToken) -> io::Result<File> {
    if path.as_os_str() == "-" {
        return spool(io::stdin(), max_bytes, cancel);
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if metadata.is_file() { Ok(file) } else { spool(file, max_bytes, cancel) }
}

/// Copies on a thread of its own: a read that waits for a writer cannot be called off.
fn spool(
    from: impl Read + Send + 'static,
    max_bytes: u64,
    cancel: &CancelToken,
) -> io::Result<File> {
    const LOOK_EVERY: Duration = Duration::from_millis(50);
    let (done, copied) = mpsc::channel();
    thread::spawn(move || {
        let copy = || {
            let mut file = tempfile::tempfile()?;
            // One byte more shows the limit to whoever checks the length.
            io::copy(&mut from.take(max_bytes.saturating_add(1)), &mut file)?;
            file.rewind()?;
            Ok(file)
        };
        // Nobody waits any more if it was cancelled.
        let _ = done.send(copy());
    });
    loop {
        match copied.recv_timeout(LOOK_EVERY) {
            Ok(outcome) => return outcome,
            Err(mpsc::RecvTimeoutError::Timeout) if !cancel.is_cancelled() => {}
            Err(_) => return Err(io::ErrorKind::Interrupted.into()),
        }
    }
}
