//! What can become of an attempt in a process of its own, short of a report.
//!
//! The child's words are not trusted: they are text of bounded length without control characters,
//! and no more. Errors of the parent's own source and sink come back as they were.

use std::error::Error;
use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tonemill_codec::{CodecError, ErrorKind};
use tonemill_job::InvalidOption;
use tonemill_job::message::FailureKind;

/// The longest sentence that is taken from a child, in characters.
const MAX_SENTENCE: usize = 2_000;
/// Causes of an error that are kept.
const MAX_CAUSES: usize = 16;

/// Why an isolated attempt gave no output.
#[derive(Debug, thiserror::Error)]
pub enum IsolateError {
    /// The job asks for what no conversion can have; no child was started.
    #[error(transparent)]
    Options(#[from] InvalidOption),
    /// The codec refused or failed, in the child.
    #[error(transparent)]
    Codec(RemoteError),
    /// Reading the source failed, in this process.
    #[error("the input cannot be read")]
    Source(#[source] io::Error),
    /// Writing the sink failed, in this process.
    #[error("the output cannot be written")]
    Sink(#[source] io::Error),
    /// The child died.
    #[error("the converting process died: {0}")]
    Crashed(Box<Death>),
    /// The child had to be killed.
    #[error("the converting process was killed: {why}; {death}")]
    Killed {
        /// What it did.
        why: Misconduct,
        /// How it ended.
        death: Box<Death>,
    },
    /// No child can be started or watched.
    #[error("no process can be started")]
    Spawn(#[source] io::Error),
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl IsolateError {
    /// What follows for the job; `None` for a cancelled one.
    #[must_use]
    pub fn kind(&self) -> Option<FailureKind> {
        Some(match self {
            Self::Options(_) => FailureKind::BadInput,
            Self::Codec(error) => match error.kind {
                ErrorKind::BadInput => FailureKind::BadInput,
                ErrorKind::LimitExceeded => FailureKind::LimitExceeded,
                ErrorKind::Io => FailureKind::Transient,
                // Nobody can cancel inside the child: it made that up.
                ErrorKind::Cancelled | ErrorKind::Bug => FailureKind::Bug,
            },
            Self::Source(_) | Self::Sink(_) | Self::Spawn(_) => FailureKind::Transient,
            // A sound child keeps the time limit by itself: one that is over it hangs.
            Self::Crashed(_) | Self::Killed { .. } => FailureKind::Crash,
            Self::Cancelled => return None,
        })
    }

    /// How the child ended, where that is the failure.
    #[must_use]
    pub fn death(&self) -> Option<&Death> {
        match self {
            Self::Crashed(death) | Self::Killed { death, .. } => Some(death),
            _ => None,
        }
    }
}

/// Why a child was killed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misconduct {
    /// It used up the wall-clock limit and did not end by itself.
    #[error("it went on past the time limit")]
    OverTime,
    /// It asked for nothing and gave nothing for as long as is allowed.
    #[error("it stalled")]
    Stalled,
    /// It said what no sound child says.
    #[error("it broke the protocol ({0})")]
    Protocol(&'static str),
}

/// How a child ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Death {
    /// Its signal or exit code; `None` if the system did not say.
    pub status: Option<ExitStatus>,
    /// The end of what it wrote to standard error.
    pub stderr: String,
    /// How long it lived.
    pub wall: Duration,
    /// CPU time of all its threads, where the system says.
    pub cpu: Option<Duration>,
}

impl Death {
    pub(super) fn is_success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => write!(f, "{status}")?,
            None => f.write_str("end unknown")?,
        }
        write!(f, " after {:.1} s", self.wall.as_secs_f64())?;
        if let Some(cpu) = self.cpu {
            write!(f, " ({:.1} s of CPU)", cpu.as_secs_f64())?;
        }
        match self.stderr.trim() {
            "" => Ok(()),
            text => write!(f, ": {text}"),
        }
    }
}

/// A [`CodecError`] that happened in the child, as it says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RemoteError {
    /// What the caller should do.
    pub kind: ErrorKind,
    /// The fact.
    pub message: String,
    /// What the owner of the file can do, as the second half of a sentence.
    pub advice: String,
    /// What lies under it.
    pub cause: Option<Box<RemoteCause>>,
    /// What the input says about itself, as far as it could be read.
    #[serde(skip)]
    pub probe: Option<serde_json::Value>,
}

impl RemoteError {
    /// With everything that the child said cut and cleaned.
    pub(super) fn sanitized(mut self) -> Self {
        self.message = sentence(&self.message);
        self.advice = sentence(&self.advice);
        let mut cause = &mut self.cause;
        for _ in 0..MAX_CAUSES {
            let Some(known) = cause else { break };
            known.message = sentence(&known.message);
            cause = &mut known.cause;
        }
        *cause = None;
        self
    }
}

impl From<&CodecError> for RemoteError {
    fn from(error: &CodecError) -> Self {
        Self {
            kind: error.kind(),
            message: error.to_string(),
            advice: error.advice().to_owned(),
            cause: error.source().map(|cause| Box::new(RemoteCause::of(cause))),
            probe: None,
        }
    }
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for RemoteError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_ref().map(|cause| &**cause as _)
    }
}

/// What lay under an error in the child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteCause {
    /// The fact.
    pub message: String,
    /// What lies under it.
    pub cause: Option<Box<RemoteCause>>,
}

impl RemoteCause {
    fn of(error: &(dyn Error + 'static)) -> Self {
        let cause = error.source().map(|cause| Box::new(Self::of(cause)));
        Self { message: error.to_string(), cause }
    }
}

impl fmt::Display for RemoteCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for RemoteCause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_ref().map(|cause| &**cause as _)
    }
}

/// Text from a child, fit for a log and a database.
fn sentence(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(MAX_SENTENCE).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn remote(kind: ErrorKind) -> IsolateError {
        let (message, advice) = ("m".to_owned(), "a".to_owned());
        IsolateError::Codec(RemoteError { kind, message, advice, cause: None, probe: None })
    }

    fn death() -> Death {
        Death {
            status: Some(ExitStatus::from_raw(11)),
            stderr: "text\n".to_owned(),
            wall: Duration::from_millis(1500),
            cpu: Some(Duration::from_secs(1)),
        }
    }

    #[test]
    fn every_variant_has_its_kind() {
        use FailureKind as K;
        use IsolateError as E;
        let io = || io::Error::other("x");
        let invalid = InvalidOption { field: "f", reason: "r".to_owned() };
        let table = [
            (E::Options(invalid), Some(K::BadInput)),
            (remote(ErrorKind::BadInput), Some(K::BadInput)),
            (remote(ErrorKind::LimitExceeded), Some(K::LimitExceeded)),
            (remote(ErrorKind::Io), Some(K::Transient)),
            (remote(ErrorKind::Bug), Some(K::Bug)),
            (remote(ErrorKind::Cancelled), Some(K::Bug)),
            (E::Source(io()), Some(K::Transient)),
            (E::Sink(io()), Some(K::Transient)),
            (E::Spawn(io()), Some(K::Transient)),
            (E::Crashed(death().into()), Some(K::Crash)),
            (E::Killed { why: Misconduct::Stalled, death: death().into() }, Some(K::Crash)),
            (E::Killed { why: Misconduct::Protocol("x"), death: death().into() }, Some(K::Crash)),
            (E::Killed { why: Misconduct::OverTime, death: death().into() }, Some(K::Crash)),
            (E::Cancelled, None),
        ];
        for (error, kind) in table {
            assert_eq!(error.kind(), kind, "{error}");
        }
    }

    #[test]
    fn a_death_is_told_in_one_line() {
        let told = death().to_string();
        assert!(told.contains("SIGSEGV") && told.ends_with("1.5 s (1.0 s of CPU): text"), "{told}");
    }

    #[test]
    fn a_codec_error_keeps_what_it_says() {
        let error = CodecError::Source(io::Error::other(CodecError::EmptyInput));
        let remote = RemoteError::from(&error);
        let json = serde_json::to_string(&remote).unwrap();
        let remote: RemoteError = serde_json::from_str(&json).unwrap();
        let remote = remote.sanitized();
        assert_eq!((remote.kind, remote.to_string()), (error.kind(), error.to_string()));
        assert_eq!(remote.advice, error.advice());
        assert_eq!(remote.source().unwrap().to_string(), "the file is empty");
    }

    #[test]
    fn a_childs_words_are_cut_and_cleaned() {
        let mut cause = None;
        for _ in 0..100 {
            cause = Some(Box::new(RemoteCause { message: "\u{1b}[2J".to_owned(), cause }));
        }
        let (message, advice) = ("x\n".repeat(9_999), String::new());
        let error = RemoteError { kind: ErrorKind::Bug, message, advice, cause, probe: None };
        let error = error.sanitized();
        assert_eq!(error.message.chars().count(), MAX_SENTENCE);
        assert!(!error.message.contains('\n'));
        let mut causes = 0;
        let mut next = error.source();
        while let Some(known) = next {
            assert_eq!(known.to_string(), " [2J");
            (next, causes) = (known.source(), causes + 1);
        }
        assert_eq!(causes, MAX_CAUSES);
    }
}
