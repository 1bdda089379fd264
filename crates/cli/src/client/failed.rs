//! Why a command of the client does not go on: what is wrong, and what to do, in one line.

use std::fmt;
use std::path::Path;

use tonemill_codec::ErrorKind;

use crate::exit::Outcome;
use crate::json::ErrorFacts;
use crate::text::shown;

/// Longest text of a service that is shown, in characters.
const MAX_SHOWN: usize = 500;

/// Why something was not done.
#[derive(Debug, Clone)]
pub struct Failed {
    pub outcome: Outcome,
    /// What is wrong.
    pub message: String,
    /// What to do; empty if the message says it.
    pub advice: String,
}

impl Failed {
    pub fn new(outcome: Outcome, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { outcome, message: message.into(), advice: advice.into() }
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

    /// For `--json`.
    pub fn facts(&self) -> ErrorFacts<'_> {
        let kind = match self.outcome {
            Outcome::Done | Outcome::Usage | Outcome::BadInput => ErrorKind::BadInput,
            Outcome::Fault => ErrorKind::Io,
            Outcome::Cancelled => ErrorKind::Cancelled,
        };
        ErrorFacts { kind, message: &self.message, advice: &self.advice }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.advice.is_empty() { Ok(()) } else { write!(f, ": {}", self.advice) }
    }
}

/// What a service says, as a line for a terminal.
pub fn plain(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", shown(Path::new(&text[..end]))),
        None => shown(Path::new(text)),
    }
}
