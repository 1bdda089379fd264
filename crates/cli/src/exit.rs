//! Exit codes, decided once, and what signals do.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::ErrorKind;

/// How a command ended, mildest first: of several files the worst counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Everything was done.
    Done,
    /// The command has to be changed (exit code 2).
    Usage,
    /// Some input was bad (exit code 1).
    BadInput,
    /// Our fault or the machine's (exit code 3).
    Fault,
    /// A signal ended it (exit code 130, as shells have it for SIGINT).
    Cancelled,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Done => 0,
            Outcome::BadInput => 1,
            Outcome::Usage => 2,
            Outcome::Fault => 3,
            Outcome::Cancelled => 130,
        })
    }
}

impl From<ErrorKind> for Outcome {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::BadInput | ErrorKind::LimitExceeded => Self::BadInput,
            ErrorKind::Cancelled => Self::Cancelled,
            ErrorKind::Io | ErrorKind::Bug => Self::Fault,
        }
    }
}

/// Tells a command to end. Clones share one flag, which the codec polls where there is one.
#[derive(Debug, Clone, Default)]
pub struct CancelToken {
    /// Whether it is to end.
    pub flag: Arc<AtomicBool>,
}

impl CancelToken {
    /// Nobody has said anything yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the command to end.
    pub fn cancel(&self) {
        self.flag.store(true, Ordering::Relaxed);
    }

    /// Whether somebody has.
    pub fn is_cancelled(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }
}

/// The first SIGINT, SIGTERM or SIGHUP cancels in order; the second ends the process at once.
/// Neither leaves a partial output behind.
pub fn on_signals(cancel: &CancelToken) {
    let cancel = cancel.clone();
    let asked = AtomicBool::new(false);
    let installed = ctrlc::set_handler(move || {
        if asked.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        cancel.cancel();
    });
    // Without a handler signals end the process at once, which is fine.
    drop(installed);
}
