//! A job as the ledger knows it.

use serde::Deserialize as _;
use sqlx::any::AnyRow;
use sqlx::{Error, Row as _};
use tonemill_job::message::{Failure, History, now_ms};
use tonemill_job::{JobId, JobMessage, JobOptions, Lane, ObjectKey, chain};
use uuid::Uuid;

use crate::state::JobState;
use crate::webhooks::NewWebhook;

/// What is asked of the service: a stored upload and what to make of it.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Its name.
    pub id: JobId,
    /// Whose it is.
    pub user: Uuid,
    /// How urgent it is.
    pub lane: Lane,
    /// What the user calls it, to find it again. At most [`MAX_LABEL_BYTES`].
    pub label: String,
    /// What the upload was called. At most [`MAX_FILE_NAME_BYTES`]; never part of a key or a path.
    pub file_name: String,
    /// What its first bytes look like.
    pub media: String,
    /// What to make of it.
    pub options: JobOptions,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
    /// Where the upload is.
    pub input: ObjectKey,
    /// How long it is.
    pub input_bytes: u64,
    /// BLAKE3 of it, in hexadecimal, if it came past us.
    pub input_blake3: Option<String>,
    /// Whether it is an upload of this name that is written down: the job takes its place.
    pub is_upload: bool,
    /// Who is told of this job alone.
    pub webhook: Option<NewWebhook>,
}

/// Longest label, in bytes.
pub const MAX_LABEL_BYTES: usize = 190;
/// Longest file name, in bytes.
pub const MAX_FILE_NAME_BYTES: usize = 255;

/// A job, without the long texts of [`JobDetail`].
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its name.
    pub id: JobId,
    /// Whose it is.
    pub user: Uuid,
    /// Where it is.
    pub state: JobState,
    /// Counts the changes of its state, from 1.
    pub version: u64,
    /// How urgent it is.
    pub lane: Lane,
    /// When its turn is, among the jobs of its lane.
    pub turn: i64,
    /// What the user calls it.
    pub label: String,
    /// What the upload was called.
    pub file_name: String,
    /// What its first bytes look like.
    pub media: String,
    /// What to make of it: [`JobOptions`], if this version knows all that is asked for.
    pub options: serde_json::Value,
    /// Where the upload is; `None` when it is gone.
    pub input: Option<ObjectKey>,
    /// How long the upload is.
    pub input_bytes: u64,
    /// BLAKE3 of the upload, in hexadecimal.
    pub input_blake3: Option<String>,
    /// What happened to it before it is queued again.
    pub history: History,
    /// Attempts that have begun.
    pub attempts: u32,
    /// Who had it last.
    pub worker: Option<String>,
    /// No attempt begins sooner.
    pub not_before_ms: i64,
    /// When it was accepted.
    pub created_ms: i64,
    /// When it was put into the queue last.
    pub dispatched_ms: Option<i64>,
    /// When its last attempt began.
    pub started_ms: Option<i64>,
    /// When it was over.
    pub ended_ms: Option<i64>,
    /// What came out.
    pub output: Option<Output>,
    /// W3C trace context of the request that it came with.
    pub traceparent: Option<String>,
}

/// Why a job cannot be sent to any worker.
#[derive(Debug, thiserror::Error)]
pub enum Unsendable {
    /// There is nothing to convert.
    #[error("the upload is gone")]
    NoInput,
    /// They are those of another version, or damaged.
    #[error("the options cannot be read")]
    Options(#[from] serde_json::Error),
}

/// An output, as its worker told of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Where it is.
    pub key: ObjectKey,
    /// Its length.
    pub bytes: u64,
    /// How long it plays.
    pub duration_ms: u64,
    /// BLAKE3 of its audio frames, in hexadecimal.
    pub audio_blake3: String,
    /// Whether audio is missing.
    pub truncated: bool,
}

/// The long texts of a job.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct JobDetail {
    /// Everything worth knowing that is no error.
    pub warnings: Vec<String>,
    /// The codec's account of a finished job.
    pub report: Option<serde_json::Value>,
    /// Why the last attempt failed.
    pub failure: Option<Failure>,
}

/// The columns of [`Job`].
pub(crate) const COLUMNS: &str = "id, user_id, state, version, lane, turn, label, file_name, media, \
    options, traceparent, input_key, input_bytes, input_blake3, history, attempts, worker, \
    not_before_ms, created_ms, dispatched_ms, started_ms, ended_ms, output_key, output_bytes, \
    duration_ms, audio_blake3, truncated";

impl Job {
    /// What the workers are sent.
    pub fn message(&self) -> Result<JobMessage, Unsendable> {
        let input = self.input.clone().ok_or(Unsendable::NoInput)?;
        Ok(JobMessage {
            lane: self.lane,
            options: JobOptions::deserialize(&self.options)?,
            traceparent: self.traceparent.clone(),
            history: self.history,
            queued_ms: now_ms(),
            ..JobMessage::new(self.id, input)
        })
    }

    pub(crate) fn from_row(row: &AnyRow) -> Result<Self, Error> {
        let lane: String = row.try_get("lane")?;
        let state: String = row.try_get("state")?;
        Ok(Self {
            id: parsed(row, "id")?,
            user: parsed(row, "user_id")?,
            state: JobState::named(&state).ok_or_else(|| strange("state", &state))?,
            version: unsigned(row, "version")?,
            lane: lane_named(&lane).ok_or_else(|| strange("lane", &lane))?,
            turn: row.try_get("turn")?,
            label: row.try_get("label")?,
            file_name: row.try_get("file_name")?,
            media: row.try_get("media")?,
            // What is damaged is no object, and no options of anybody's.
            options: json(row, "options").unwrap_or_default(),
            input: key(row, "input_key")?,
            input_bytes: unsigned(row, "input_bytes")?,
            input_blake3: row.try_get("input_blake3")?,
            history: history(row)?,
            attempts: u32::try_from(unsigned(row, "attempts")?).unwrap_or(u32::MAX),
            worker: row.try_get("worker")?,
            not_before_ms: row.try_get("not_before_ms")?,
            created_ms: row.try_get("created_ms")?,
            dispatched_ms: row.try_get("dispatched_ms")?,
            started_ms: row.try_get("started_ms")?,
            ended_ms: row.try_get("ended_ms")?,
            output: output(row)?,
            traceparent: row.try_get("traceparent")?,
        })
    }
}

fn output(row: &AnyRow) -> Result<Option<Output>, Error> {
    let Some(key) = key(row, "output_key")? else { return Ok(None) };
    Ok(Some(Output {
        key,
        bytes: unsigned(row, "output_bytes")?,
        duration_ms: unsigned(row, "duration_ms")?,
        audio_blake3: row.try_get("audio_blake3")?,
        truncated: row.try_get::<i64, _>("truncated")? != 0,
    }))
}

/// The lane of this name.
#[must_use]
pub fn lane_named(name: &str) -> Option<Lane> {
    Lane::ALL.into_iter().find(|lane| lane.name() == name)
}

/// What happened to a job. Of one whose history cannot be read the worst is believed.
pub(crate) fn history(row: &AnyRow) -> Result<History, Error> {
    let text: String = row.try_get("history")?;
    let damaged = |_| History { suspect: true, ..History::default() };
    Ok(serde_json::from_str(&text).unwrap_or_else(damaged))
}

/// All of the rows that can be read: what is wrong with one is told, and keeps nobody from the
/// others.
pub(crate) fn readable<T>(rows: &[AnyRow], read: impl Fn(&AnyRow) -> Result<T, Error>) -> Vec<T> {
    let tell = |row: &AnyRow, error: &Error| {
        let id: String = row.try_get("id").unwrap_or_default();
        tracing::error!(id, error = chain(error), "a row of the ledger cannot be read");
    };
    rows.iter().filter_map(|row| read(row).inspect_err(|error| tell(row, error)).ok()).collect()
}

/// A number that cannot be negative.
pub(crate) fn unsigned(row: &AnyRow, column: &'static str) -> Result<u64, Error> {
    let number: i64 = row.try_get(column)?;
    u64::try_from(number).map_err(|_| strange(column, &number.to_string()))
}

pub(crate) fn parsed<T: std::str::FromStr>(row: &AnyRow, column: &'static str) -> Result<T, Error> {
    let text: String = row.try_get(column)?;
    text.parse().map_err(|_| strange(column, &text))
}

pub(crate) fn optional<T: std::str::FromStr>(
    row: &AnyRow,
    column: &'static str,
) -> Result<Option<T>, Error> {
    let text: Option<String> = row.try_get(column)?;
    text.map(|text| text.parse().map_err(|_| strange(column, &text))).transpose()
}

pub(crate) fn json<T: serde::de::DeserializeOwned>(
    row: &AnyRow,
    column: &'static str,
) -> Result<T, Error> {
    let text: String = row.try_get(column)?;
    serde_json::from_str(&text).map_err(|error| Error::Decode(Box::new(error)))
}

fn key(row: &AnyRow, column: &'static str) -> Result<Option<ObjectKey>, Error> {
    let text: Option<String> = row.try_get(column)?;
    text.map(ObjectKey::try_from).transpose().map_err(|error| Error::Decode(Box::new(error)))
}

pub(crate) fn strange(column: &str, value: &str) -> Error {
    Error::Decode(format!("{value:?} is no {column}").into())
}

/// A number as the database keeps it.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn to_json(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Encode(Box::new(error)))
}
