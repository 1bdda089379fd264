//! Why nothing could be measured; every variant says what to do or what to look at.

use std::io;
use std::path::{Path, PathBuf};

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A file or folder could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried: "read", "create".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A program that is needed is not there.
    #[error("cannot start `{program}` ({source}); {remedy}")]
    Missing {
        /// The program, as it was called.
        program: String,
        /// How to get it.
        remedy: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A program ended with an error.
    #[error("`{command}` failed ({status}): {stderr}")]
    Failed {
        /// The command line.
        command: String,
        /// Exit code or signal.
        status: String,
        /// The end of what it wrote to its standard error.
        stderr: String,
    },
    /// A program or a system file said something that could not be understood.
    #[error("cannot make sense of {what}: {detail}")]
    Unreadable {
        /// Where it came from.
        what: String,
        /// What was found or missed.
        detail: String,
    },
    /// The music that the media are made of is not installed.
    #[error(
        "no Ogg Vorbis music in {folder}; install it (Debian: apt-get install wesnoth-1.16-music) \
         or give a folder that holds the media with --media"
    )]
    NoMusic {
        /// Where it was looked for.
        folder: String,
    },
    /// The connection to the service.
    #[error("HTTP: {0:?}")]
    Http(#[from] hyper::Error),
    /// The service did not say what it should.
    #[error("{asked}: {status}: {text}")]
    Answer {
        /// The request.
        asked: String,
        /// The status of the answer.
        status: u16,
        /// The answer.
        text: String,
    },
    /// The ledger.
    #[error("ledger: {0:?}")]
    Ledger(#[from] tonemill_ledger::LedgerError),
    /// A backup.
    #[error("backup: {0:?}")]
    Backup(#[from] tonemill_ledger::backup::BackupError),
    /// The queue.
    #[error("queue: {0:?}")]
    Queue(#[from] tonemill_job::queue::QueueError),
    /// The store.
    #[error("store: {0:?}")]
    Store(#[from] tonemill_job::objects::StoreError),
    /// Work was not done, or not equal.
    #[error("not done: {0}")]
    Work(String),
}

impl BenchError {
    pub(crate) fn work(why: impl Into<String>) -> Self {
        Self::Work(why.into())
    }
}

impl From<serde_json::Error> for BenchError {
    fn from(error: serde_json::Error) -> Self {
        Self::Work(format!("no JSON: {error}"))
    }
}

impl From<tokio::task::JoinError> for BenchError {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Work(format!("a client ended: {error}"))
    }
}

/// For `map_err`: what was tried on which file.
pub fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BenchError {
    let path = path.to_path_buf();
    move |source| BenchError::File { action, path, source }
}
