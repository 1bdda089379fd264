//! Why a command, or one file or job of it, does not go on: whose turn it is, what is wrong, and
//! what to do. One kind for the whole program: the exit code, the line on standard error and the
//! error in `--json` all come from it.

use std::fmt;

use serde::Serialize;
use tonemill_job::objects::StoreError;
use tonemill_job::queue::QueueError;
use tonemill_job::{ObjectKey, chain};
use tonemill_ledger::{BondError, LedgerError};
use tonemill_notifier::NotifierError;

use crate::exit::Outcome;

/// Whose turn it is. (The codec's has the same names; not every build has a codec.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The user's: what was named is not good.
    BadInput,
    /// The user's: it is more than is allowed.
    LimitExceeded,
    /// The machine's, the network's, the service's; trying again may help.
    Io,
    /// Nobody's: it was interrupted.
    Cancelled,
    /// Ours: a defect.
    Bug,
}

/// Why something was not done; serialized, the error of `--json`.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    #[serde(skip)]
    pub outcome: Outcome,
    pub kind: ErrorKind,
    /// What is wrong.
    pub message: String,
    /// What to do; empty if the message says it.
    pub advice: String,
}

impl Failure {
    pub fn new(outcome: Outcome, message: impl Into<String>, advice: impl Into<String>) -> Self {
        let kind = match outcome {
            Outcome::Done | Outcome::Usage | Outcome::BadInput => ErrorKind::BadInput,
            Outcome::Fault => ErrorKind::Io,
            Outcome::Cancelled => ErrorKind::Cancelled,
        };
        Self { outcome, kind, message: message.into(), advice: advice.into() }
    }

    /// Of which the kind is known, which decides the outcome.
    pub fn of_kind(kind: ErrorKind, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { kind, ..Self::new(kind.into(), message, advice) }
    }

    /// The command has to be changed.
    pub fn usage(message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(Outcome::Usage, message, advice)
    }

    /// What was named is not good.
    pub fn input(message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(Outcome::BadInput, message, advice)
    }

    /// The service, the network or this machine.
    pub fn fault(message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(Outcome::Fault, message, advice)
    }

    /// This machine does not let us do `what`.
    pub fn cannot(what: impl fmt::Display, error: impl fmt::Display) -> Self {
        Self::fault(format!("cannot {what}: {error}"), "")
    }

    /// Says it on standard error; how to end.
    pub fn tell(&self) -> Outcome {
        eprintln!("tonemill: {self}");
        self.outcome
    }

    /// Says it of a file or a job.
    pub fn tell_of(&self, what: impl fmt::Display) -> Outcome {
        eprintln!("tonemill: {what}: {self}");
        self.outcome
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.advice.is_empty() { Ok(()) } else { write!(f, ": {}", self.advice) }
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        Self::fault(chain(&error), "")
    }
}

impl From<BondError> for Failure {
    fn from(error: BondError) -> Self {
        let message = error.to_string();
        match error {
            BondError::Restored => {
                Self::fault(message, "bring it in line with `tonemill admin recover`")
            }
            BondError::OtherLedger => Self::fault(
                format!("{message}: with this one, all that is in it would be removed"),
                format!(
                    "name its ledger, or another store; if its ledger was lost, restore a backup \
                     with `tonemill admin restore`; if nothing in the store is needed any more, \
                     remove the object {} from it",
                    ObjectKey::mark()
                ),
            ),
            BondError::OtherStore { mark } => Self::fault(
                message,
                format!(
                    "name that store; if this one is to take its place, put an object {} into it \
                     that says {mark}",
                    ObjectKey::mark()
                ),
            ),
            BondError::Ledger(error) => error.into(),
            BondError::Store(error) => error.into(),
        }
    }
}

impl From<NotifierError> for Failure {
    fn from(error: NotifierError) -> Self {
        match error {
            NotifierError::Ledger(error) => error.into(),
            NotifierError::Client(_) | NotifierError::Thread(_) | NotifierError::Tls(_) => {
                Self::fault(chain(&error), "")
            }
            NotifierError::Template { .. } => Self::usage("--mail-templates", chain(&error)),
            NotifierError::File { .. } => Self::usage(chain(&error), ""),
        }
    }
}

impl From<QueueError> for Failure {
    fn from(error: QueueError) -> Self {
        Self::fault(chain(&error), "")
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::fault(chain(&error), "")
    }
}
