//! Why nothing could be measured.

use std::io;
use std::path::{Path, PathBuf};

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A file or a program.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A program failed.
    #[error("{0}")]
    Program(String),
    /// The machine cannot be read.
    #[error(transparent)]
    Machine(#[from] crate::peers::error::PeersError),
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
    /// The queue.
    #[error("queue: {0:?}")]
    Queue(#[from] tonemill_job::queue::QueueError),
    /// Work was not done, or not equal.
    #[error("not done: {0}")]
    Work(String),
}

impl ServiceError {
    pub(super) fn file(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File { action, path: path.to_owned(), source }
    }

    pub(super) fn work(why: impl Into<String>) -> Self {
        Self::Work(why.into())
    }
}

impl From<serde_json::Error> for ServiceError {
    fn from(error: serde_json::Error) -> Self {
        Self::Work(format!("no JSON: {error}"))
    }
}

impl From<tokio::task::JoinError> for ServiceError {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Work(format!("a client ended: {error}"))
    }
}
