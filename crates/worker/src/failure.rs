//! Why an attempt failed, and what follows: the one place that decides between the end and another
//! attempt.

use std::error::Error;
use std::io;
use std::time::Duration;

use tonemill_codec::{CodecError, ErrorKind};
use tonemill_job::InvalidOption;
use tonemill_job::message::{Failure, FailureKind, History, Position};
use tonemill_job::objects::{StoreError, StoreErrorKind};

use crate::isolate::IsolateError;

/// Passing failures after which a job is given up.
pub(crate) const MAX_TRANSIENT_FAILURES: u32 = 5;
/// Crashes in a process of its own after which a job is put in quarantine.
pub(crate) const MAX_CRASHES_ALONE: u32 = 3;
/// Attempts after which a job is given up however they ended: it takes whole machines with it.
pub const MAX_ATTEMPTS: u32 = 24;
/// Causes of an error that are told.
const MAX_CHAIN: usize = 16;

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttemptError {
    #[error(transparent)]
    Options(#[from] InvalidOption),
    #[error("the upload cannot be looked up")]
    Head(#[source] StoreError),
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error(transparent)]
    Isolated(#[from] IsolateError),
    #[error("the upload changed on its way from the store")]
    Corrupt,
    #[error("the upload cannot be read again to verify it")]
    Verify(#[source] io::Error),
    #[error("nothing moved for {} s", .0.as_secs())]
    Hung(Duration),
    #[error("the attempt panicked")]
    Panicked,
    #[error("tried {0} times, and no worker lived to say why it failed")]
    TooManyAttempts(u32),
}

impl AttemptError {
    /// What follows from it.
    pub(crate) fn kind(&self) -> FailureKind {
        match self {
            Self::Options(_) => FailureKind::BadInput,
            Self::Head(error) => store_kind(error, false),
            Self::Codec(error) => match error.kind() {
                ErrorKind::BadInput => FailureKind::BadInput,
                ErrorKind::LimitExceeded => FailureKind::LimitExceeded,
                ErrorKind::Io => {
                    let is_output = matches!(error, CodecError::Sink(_));
                    store_error(error).map_or(FailureKind::Transient, |e| store_kind(e, is_output))
                }
                ErrorKind::Cancelled | ErrorKind::Bug => FailureKind::Bug,
            },
            Self::Isolated(error) => match (error.kind(), store_error(error)) {
                (Some(FailureKind::Transient), Some(found)) => {
                    store_kind(found, matches!(error, IsolateError::Sink(_)))
                }
                (kind, _) => kind.unwrap_or(FailureKind::Bug),
            },
            Self::Corrupt | Self::Verify(_) => FailureKind::Transient,
            Self::Hung(_) | Self::TooManyAttempts(_) => FailureKind::Crash,
            Self::Panicked => FailureKind::Bug,
        }
    }

    /// Where it happened.
    fn stage(&self) -> &'static str {
        match self {
            Self::Options(_) | Self::Isolated(IsolateError::Options(_)) => "options",
            Self::Head(_)
            | Self::Corrupt
            | Self::Verify(_)
            | Self::Codec(CodecError::Source(_))
            | Self::Isolated(IsolateError::Source(_)) => "fetch",
            Self::Codec(CodecError::Sink(_)) | Self::Isolated(IsolateError::Sink(_)) => "store",
            Self::Codec(CodecError::Bug { stage, .. }) => stage,
            Self::Codec(_) | Self::Isolated(_) | Self::Hung(_) => "convert",
            Self::Panicked | Self::TooManyAttempts(_) => "worker",
        }
    }

    fn advice(&self) -> String {
        match self {
            Self::Options(_) => "change the option".to_owned(),
            Self::Codec(error) => error.advice().to_owned(),
            Self::Isolated(IsolateError::Codec(error)) => error.advice.clone(),
            _ => match self.kind() {
                FailureKind::BadInput => "upload the file again".to_owned(),
                FailureKind::Crash => "this file crashes the decoder: report it".to_owned(),
                _ => "try again later".to_owned(),
            },
        }
    }

    /// All that helps to find out what happened.
    pub(crate) fn failure(&self, position: Position, probe: Option<serde_json::Value>) -> Failure {
        let mut chain = vec![self.to_string()];
        let mut cause = self.source();
        while let Some(error) = cause.filter(|_| chain.len() < MAX_CHAIN) {
            chain.push(error.to_string());
            cause = error.source();
        }
        Failure {
            kind: self.kind(),
            stage: self.stage().to_owned(),
            message: self.to_string(),
            advice: self.advice(),
            chain,
            probe,
            position,
        }
    }
}

/// The store's own error under another.
pub(crate) fn store_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a StoreError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source());
    }
    None
}

fn store_kind(error: &StoreError, is_output: bool) -> FailureKind {
    match error.kind {
        StoreErrorKind::Invalid => FailureKind::Bug,
        // The upload is gone, and no attempt brings it back. An output has a new key each time.
        StoreErrorKind::NotFound if !is_output => FailureKind::BadInput,
        _ => FailureKind::Transient,
    }
}

/// What is to be done with a job after a failure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next {
    /// It is over.
    GiveUp,
    /// It is queued again.
    TryAgain {
        /// What is known of it then.
        history: History,
        /// How long it waits.
        delay: Duration,
    },
}

/// Decides. `history` is what it was before this attempt, which was the `attempt`th, in a process
/// of its own if `alone`; the first retry waits `first_delay`, give or take half of it.
#[must_use]
pub fn next(
    kind: FailureKind,
    history: History,
    attempt: u32,
    alone: bool,
    first_delay: Duration,
) -> Next {
    let mut history = History { attempts: attempt, ..history };
    let (count, most) = match kind {
        FailureKind::BadInput | FailureKind::LimitExceeded | FailureKind::Bug => {
            return Next::GiveUp;
        }
        FailureKind::Transient => {
            history.transient_failures += 1;
            (history.transient_failures, MAX_TRANSIENT_FAILURES + 1)
        }
        FailureKind::Crash => {
            history.suspect = true;
            history.crashes_alone += u32::from(alone);
            (history.crashes_alone, MAX_CRASHES_ALONE)
        }
    };
    if count >= most || attempt.saturating_sub(history.forgiven) >= MAX_ATTEMPTS {
        return Next::GiveUp;
    }
    let delay = first_delay.saturating_mul(4_u32.saturating_pow(count.saturating_sub(1)));
    Next::TryAgain { history, delay: delay.mul_f64(0.5 + fastrand::f64()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn again(kind: FailureKind, history: History, alone: bool) -> Option<(History, Duration)> {
        match next(kind, history, history.attempts + 1, alone, SECOND) {
            Next::GiveUp => None,
            Next::TryAgain { history, delay } => Some((history, delay)),
        }
    }

    #[test]
    fn what_will_not_pass_is_final_at_once() {
        for kind in [FailureKind::BadInput, FailureKind::LimitExceeded, FailureKind::Bug] {
            assert_eq!(again(kind, History::default(), false), None);
        }
    }

    #[test]
    fn what_may_pass_is_tried_five_more_times_ever_later() {
        let mut history = History::default();
        for retry in 0..MAX_TRANSIENT_FAILURES {
            let (after, delay) = again(FailureKind::Transient, history, false).unwrap();
            let expected = SECOND * 4_u32.pow(retry);
            assert!(delay >= expected / 2 && delay <= expected * 3 / 2, "{delay:?}");
            assert_eq!(after.attempts, retry + 1);
            history = after;
        }
        assert_eq!(again(FailureKind::Transient, history, false), None);
    }

    #[test]
    fn only_crashes_alone_lead_to_quarantine() {
        let mut history = History::default();
        for _ in 0..10 {
            history = again(FailureKind::Crash, history, false).unwrap().0;
        }
        assert!(history.suspect && history.crashes_alone == 0);
        history = again(FailureKind::Crash, history, true).unwrap().0;
        history = again(FailureKind::Crash, history, true).unwrap().0;
        assert_eq!(again(FailureKind::Crash, history, true), None);
    }

    #[test]
    fn nothing_is_tried_for_ever() {
        let history = History { attempts: MAX_ATTEMPTS - 1, ..History::default() };
        assert_eq!(again(FailureKind::Crash, history, false), None);
        let replayed = |attempts| History { attempts, forgiven: 100, ..History::default() };
        assert!(again(FailureKind::Crash, replayed(100), false).is_some());
        assert!(again(FailureKind::Crash, replayed(100 + MAX_ATTEMPTS - 2), false).is_some());
        assert_eq!(again(FailureKind::Crash, replayed(100 + MAX_ATTEMPTS - 1), false), None);
    }

    #[test]
    fn the_stores_word_is_found_under_the_codecs() {
        let gone = StoreError {
            kind: StoreErrorKind::NotFound,
            operation: "read",
            key: None,
            source: "gone".into(),
        };
        let error = AttemptError::Codec(CodecError::Source(io::Error::other(gone)));
        assert_eq!(error.kind(), FailureKind::BadInput);
        let failure = error.failure(Position::default(), None);
        assert_eq!(failure.stage, "fetch");
        assert_eq!(failure.chain.len(), 3, "{:?}", failure.chain);

        let gone = StoreError {
            kind: StoreErrorKind::NotFound,
            operation: "write",
            key: None,
            source: "no such upload".into(),
        };
        let error = AttemptError::Codec(CodecError::Sink(io::Error::other(gone)));
        assert_eq!(error.kind(), FailureKind::Transient, "nobody's input is to blame");
    }
}
