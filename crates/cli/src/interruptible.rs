//! System calls that may wait for somebody else, such as the other end of a pipe, and can then not
//! be called off: they are left waiting on a thread of their own.

use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::exit::CancelToken;

/// Does `work`, for at most `limit`. Ends with
/// [`ErrorKind::Interrupted`](io::ErrorKind::Interrupted) when cancelled and with
/// [`ErrorKind::TimedOut`](io::ErrorKind::TimedOut) after the limit; `work` may then still go on
/// until the process ends.
pub fn interruptible<T: Send + 'static>(
    cancel: &CancelToken,
    limit: Duration,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    const LOOK_EVERY: Duration = Duration::from_millis(50);
    let started = Instant::now();
    let (done, outcome) = mpsc::channel();
    thread::Builder::new().spawn(move || {
        // Nobody waits any more if it was cancelled.
        let _ = done.send(work());
    })?;
    loop {
        match outcome.recv_timeout(LOOK_EVERY) {
            Ok(outcome) => return outcome,
            Err(mpsc::RecvTimeoutError::Timeout) if started.elapsed() > limit => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(mpsc::RecvTimeoutError::Timeout) if !cancel.is_cancelled() => {}
            Err(_) => return Err(io::ErrorKind::Interrupted.into()),
        }
    }
}
