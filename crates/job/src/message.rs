//! What is sent: a [`JobMessage`] to the workers, [`JobEvent`]s back.
//!
//! Both are JSON with a version, `v`. Unknown fields are ignored, so that old and new processes can
//! share a queue; a change that an old process must not misread gets another version.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::id::JobId;
use crate::object_key::ObjectKey;
pub use crate::options::{ChannelOption, DecoderOption, JobOptions};

/// The version of both messages.
pub const VERSION: u32 = 1;

/// One video to turn into an MP3.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobMessage {
    /// [`VERSION`].
    pub v: u32,
    /// Its name.
    pub job: JobId,
    /// How urgent it is.
    pub lane: Lane,
    /// The object to convert.
    pub input: ObjectKey,
    /// What to make of it.
    #[serde(default)]
    pub options: JobOptions,
    /// Who is told what becomes of it.
    #[serde(default)]
    pub reply: Reply,
    /// W3C trace context of whoever wanted it (<https://www.w3.org/TR/trace-context/>).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// When it was queued first, in milliseconds since 1970.
    pub queued_ms: u64,
    /// What happened to it before it was queued this time.
    #[serde(default)]
    pub history: History,
}

impl JobMessage {
    /// A new job that converts `input` with default options, in the normal lane.
    #[must_use]
    pub fn new(job: JobId, input: ObjectKey) -> Self {
        Self {
            v: VERSION,
            job,
            lane: Lane::default(),
            input,
            options: JobOptions::default(),
            reply: Reply::default(),
            traceparent: None,
            queued_ms: now_ms(),
            history: History::default(),
        }
    }
}

/// Milliseconds since 1970.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis().try_into().unwrap_or(u64::MAX)
}

/// A queue of its own for each urgency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// Somebody is waiting.
    High,
    /// The usual.
    #[default]
    Normal,
    /// Whenever there is time.
    Low,
}

impl Lane {
    /// All of them, the most urgent first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// Its name in keys, metrics and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

/// Where the events of a job go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    /// To the service.
    #[default]
    Service,
    /// To whoever reads the mailbox of this name, such as `tonemill submit`.
    Mailbox(uuid::Uuid),
}

/// What an earlier attempt leaves to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// Attempts so far.
    pub attempts: u32,
    /// Those of them before somebody had it replayed: they do not count against it any more.
    pub forgiven: u32,
    /// Those that failed for a passing reason.
    pub transient_failures: u32,
    /// Those that crashed or hung while they ran in a process of their own: each is the job's own
    /// doing.
    pub crashes_alone: u32,
    /// Whether an attempt crashed or hung, alone or not: the next runs in a process of its own.
    pub suspect: bool,
}

/// What became of a job, or of an attempt at it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobEvent {
    /// [`VERSION`].
    pub v: u32,
    /// The job.
    pub job: JobId,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The worker.
    pub worker: String,
    /// When, in milliseconds since 1970, by the worker's clock.
    pub at_ms: u64,
    /// W3C trace context of the attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened. `finished`, `failed` and `cancelled` are the end of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum What {
    /// A worker has begun.
    Started,
    /// The attempt failed; there will be another.
    Retrying {
        /// Why it failed.
        failure: Box<Failure>,
        /// When the next may begin, in milliseconds since 1970 by the worker's clock, as `at_ms`.
        not_before_ms: u64,
    },
    /// The output is in the store.
    Finished(Box<Finished>),
    /// There is no output and will be none.
    Failed {
        /// Why.
        failure: Box<Failure>,
    },
    /// Somebody did not want it any more.
    Cancelled,
    /// Something that a later version tells, and that is no end.
    #[serde(other)]
    Other,
}

impl What {
    /// Its name, as in messages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Retrying { .. } => "retrying",
            Self::Finished(_) => "finished",
            Self::Failed { .. } => "failed",
            Self::Cancelled => "cancelled",
            Self::Other => "other",
        }
    }

    /// Whether the job is over.
    #[must_use]
    pub fn is_end(&self) -> bool {
        !matches!(self, Self::Started | Self::Retrying { .. } | Self::Other)
    }
}

/// An output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// Where it is.
    pub output: ObjectKey,
    /// Its length in bytes.
    pub bytes: u64,
    /// How long it plays.
    pub duration_seconds: f64,
    /// BLAKE3 of its audio frames, in hexadecimal: equal for equal audio and settings.
    pub audio_blake3: String,
    /// Whether the input ended early or was damaged inside, so that audio is missing.
    pub truncated: bool,
    /// Everything worth knowing that is not an error.
    pub warnings: Vec<String>,
    /// The codec's whole account.
    pub report: serde_json::Value,
}

/// Why an attempt or a job failed, with all that helps to find out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// What follows from it.
    pub kind: FailureKind,
    /// Where it happened: `fetch`, `decode`, `encode`, `store`, `options`, …
    pub stage: String,
    /// In one sentence, for whoever uploaded the file.
    pub message: String,
    /// What they can do.
    pub advice: String,
    /// The error and its causes, the outermost first.
    pub chain: Vec<String>,
    /// What the input says about itself, as far as it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<serde_json::Value>,
    /// How far the conversion was.
    pub position: Position,
}

/// What follows from a [`Failure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The input cannot be converted: final.
    BadInput,
    /// The input is more than is allowed: final.
    LimitExceeded,
    /// A passing fault of the store or the machine: tried again, at most a few times.
    Transient,
    /// The process that decoded it died or hung: tried again alone, at most three times.
    Crash,
    /// A defect of Tonemill: final.
    Bug,
}

impl FailureKind {
    /// Its name, as in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BadInput => "bad_input",
            Self::LimitExceeded => "limit_exceeded",
            Self::Transient => "transient",
            Self::Crash => "crash",
            Self::Bug => "bug",
        }
    }
}

/// How far a conversion was.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Position {
    /// Seconds of audio that were encoded.
    pub encoded_seconds: f64,
    /// Where in the input was read last, in bytes.
    pub input_offset: u64,
}

/// How far a running conversion is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Seconds of audio that are encoded.
    pub encoded_seconds: f64,
    /// Seconds that the input declares to have. Not to be believed.
    pub declared_seconds: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_are_ignored_and_missing_ones_have_defaults() {
        let text = r#"{"v":1,"job":"01890a5d-ac96-774b-bcce-b302099a8057","lane":"low",
            "input":"uploads/a/b","queued_ms":5,"future":{"x":1},
            "options":{"bitrate_kbps":128,"another":true}}"#;
        let message: JobMessage = serde_json::from_str(text).unwrap();
        assert_eq!(message.options.bitrate_kbps, Some(128));
        assert_eq!((message.lane, message.history), (Lane::Low, History::default()));
        let again: JobMessage =
            serde_json::from_str(&serde_json::to_string(&message).unwrap()).unwrap();
        assert_eq!(again, message);
    }

    #[test]
    fn events_say_what_they_are_in_one_word() {
        let event = JobEvent {
            v: VERSION,
            job: JobId::new(),
            attempt: 1,
            worker: "w".to_owned(),
            at_ms: 1,
            traceparent: None,
            what: What::Started,
        };
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(json["event"], "started");
        assert_eq!(serde_json::from_value::<JobEvent>(json).unwrap(), event);
        assert!(!What::Started.is_end() && What::Cancelled.is_end());

        let later = serde_json::to_string(&event).unwrap();
        let later = later.replace("\"started\"", "\"paused\",\"why\":{\"deep\":[1]}");
        let later: JobEvent = serde_json::from_str(&later).unwrap();
        assert_eq!(later.what, What::Other);
        assert!(!later.what.is_end(), "what nobody knows ends no job");
    }
}
