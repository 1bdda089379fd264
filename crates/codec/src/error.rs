//! What can go wrong, as facts; `kind()` says what the caller should do about it.
//!
//! Every variant is one situation that a user can be told about in one sentence. `Display` states
//! the fact without its `source`; [`CodecError::advice`] says what to do.

use std::io;

use serde::{Deserialize, Serialize};

/// How a caller should react to a [`CodecError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The input cannot be converted; trying again changes nothing.
    BadInput,
    /// The input is, or claims to be, larger than [`Limits`](crate::Limits) allow.
    LimitExceeded,
    /// Reading the source or writing the sink failed; trying again may help.
    Io,
    /// The caller cancelled.
    Cancelled,
    /// A defect of Tonemill or of a library under it.
    Bug,
}

/// The budget that ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// Bytes of the input.
    InputBytes,
    /// Seconds of decoded audio.
    DecodedSeconds,
    /// Bytes of the MP3.
    OutputBytes,
    /// Streams in the container.
    Streams,
    /// Channels of the audio track.
    Channels,
    /// Sample rate of the audio track, in Hz.
    SampleRate,
    /// Memory that the container's index needs.
    IndexBytes,
    /// Seconds on the wall clock.
    WallClockSeconds,
}

/// Why a file was not converted or probed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The input has no bytes.
    #[error("the file is empty")]
    EmptyInput,
    /// No demuxer on the whitelist recognises the input.
    #[error("this is not an audio or video file of a kind Tonemill reads")]
    UnknownFormat,
    /// The container was recognised, but its structure cannot be read.
    #[error("the file is damaged: its {container} structure cannot be read")]
    DamagedContainer {
        /// Short name of the container, or "media" where even that is uncertain.
        container: String,
    },
    /// The container holds no audio at all.
    #[error("the file has no audio track ({video} video, {other} other streams)")]
    NoAudioTrack {
        /// Number of video streams.
        video: usize,
        /// Number of streams that are neither audio nor video.
        other: usize,
    },
    /// There is audio, but not the track that was asked for.
    #[error("there is no audio track {wanted}: the file has {available}")]
    NoSuchTrack {
        /// The index or language asked for.
        wanted: String,
        /// What there is, as index and language.
        available: String,
    },
    /// The track's codec is not on the whitelist, or has no decoder.
    #[error("the audio is coded as {codec}, for which there is no decoder")]
    UnsupportedCodec {
        /// Name of the codec.
        codec: String,
    },
    /// The track's channels have no known meaning, so that no down-mix is right.
    #[error("the audio has {channels} channels of unknown layout")]
    UnknownLayout {
        /// Number of channels.
        channels: u32,
    },
    /// The media is encrypted (DRM).
    #[error("the audio is encrypted")]
    Encrypted,
    /// The container refers to another file for its audio.
    #[error("the audio is not in this file, which only refers to another one")]
    ExternalData,
    /// The track decodes to nothing.
    #[error("{}", if *cut_off { "the file ends before its audio begins" } else { "not one sample of the audio track could be decoded" })]
    NoSamples {
        /// The file ends before its audio does.
        cut_off: bool,
    },
    /// So much of the track is damaged that the rest would be noise.
    #[error("the audio is damaged beyond use: {damaged} of {packets} packets cannot be decoded")]
    Undecodable {
        /// Packets that failed.
        damaged: u64,
        /// Packets read in all.
        packets: u64,
    },
    /// With `strict`: the input ends early or is damaged inside.
    #[error(
        "the file is truncated or damaged: {decoded_seconds:.2} s could be decoded{}",
        declared_seconds
            .filter(|s| *s > decoded_seconds + 0.01)
            .map(|s| format!(" of {s:.2} s"))
            .unwrap_or_default()
    )]
    Truncated {
        /// Seconds that could be decoded.
        decoded_seconds: f64,
        /// Seconds that the container declares, where it does.
        declared_seconds: Option<f64>,
    },
    /// `start`/`end` select nothing.
    #[error(
        "nothing lies between start and end{}",
        audio_seconds.map(|s| format!(": the audio is {s:.2} s long")).unwrap_or_default()
    )]
    EmptyRange {
        /// Length of the audio in seconds, if it was decoded to its end.
        audio_seconds: Option<f64>,
    },
    /// A limit was reached.
    #[error("{}", over_limit(*limit, *allowed, *found))]
    Limit {
        /// Which one.
        limit: LimitKind,
        /// The largest value that is allowed; for the sample rate possibly the smallest.
        allowed: u64,
        /// The value found, where it is known.
        found: Option<u64>,
    },
    /// Reading the source failed.
    #[error("the input cannot be read")]
    Source(#[source] io::Error),
    /// Writing the sink failed.
    #[error("the output cannot be written")]
    Sink(#[source] io::Error),
    /// The system gives no more memory.
    #[error("there is not enough memory")]
    OutOfMemory,
    /// The system gives no thread.
    #[error("no thread can be started")]
    Thread(#[source] io::Error),
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
    /// A defect.
    #[error("internal error in {stage}: {detail}")]
    Bug {
        /// The stage that found it.
        stage: &'static str,
        /// What was found.
        detail: String,
    },
}

/// What is too much, with the numbers that are known.
fn over_limit(limit: LimitKind, allowed: u64, found: Option<u64>) -> String {
    let more = |what: &str, unit: &str| match found {
        Some(found) => format!("{what} {found}{unit}, more than the {allowed} allowed"),
        None => format!("{what} more than the {allowed}{unit} allowed"),
    };
    match (limit, found) {
        (LimitKind::InputBytes, _) => more("the file has", " bytes"),
        (LimitKind::DecodedSeconds, _) => more("the audio lasts", " s"),
        (LimitKind::OutputBytes, _) => more("the MP3 would have", " bytes"),
        (LimitKind::Streams, _) => more("the file has", " streams"),
        (LimitKind::Channels, _) => more("the audio has", " channels"),
        (LimitKind::SampleRate, Some(found)) if found < allowed => {
            format!("the sample rate is {found} Hz, less than the {allowed} Hz required")
        }
        (LimitKind::SampleRate, _) => more("the sample rate is", " Hz"),
        (LimitKind::IndexBytes, _) => more("the file's index needs", " bytes"),
        (LimitKind::WallClockSeconds, _) => format!("not finished after {allowed} s"),
    }
}

impl CodecError {
    /// What the caller should do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::EmptyInput
            | Self::UnknownFormat
            | Self::DamagedContainer { .. }
            | Self::NoAudioTrack { .. }
            | Self::NoSuchTrack { .. }
            | Self::UnsupportedCodec { .. }
            | Self::UnknownLayout { .. }
            | Self::Encrypted
            | Self::ExternalData
            | Self::NoSamples { .. }
            | Self::Undecodable { .. }
            | Self::Truncated { .. }
            | Self::EmptyRange { .. } => ErrorKind::BadInput,
            Self::Limit { .. } | Self::OutOfMemory => ErrorKind::LimitExceeded,
            Self::Source(_) | Self::Sink(_) | Self::Thread(_) => ErrorKind::Io,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Bug { .. } => ErrorKind::Bug,
        }
    }

    /// What the owner of the file can do, as the second half of a sentence.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::EmptyInput => "copy or download it again",
            Self::UnknownFormat => {
                "check that it is the media file itself, not a page or a playlist"
            }
            Self::DamagedContainer { .. } | Self::NoSamples { .. } | Self::Undecodable { .. } => {
                "fetch or export the file again"
            }
            Self::NoAudioTrack { .. } => "choose a file with sound",
            Self::NoSuchTrack { .. } => "run `tonemill probe` to see the tracks",
            Self::UnsupportedCodec { .. } => {
                "convert the audio to a common codec, such as AAC, first"
            }
            Self::UnknownLayout { .. } => "give the file a channel layout, or split its channels",
            Self::Encrypted => "use a file without copy protection",
            Self::ExternalData => "export the file with its media inside",
            Self::Truncated { .. } => "fetch the file again, or convert it without strict",
            Self::EmptyRange { .. } => "choose a start before the end of the audio",
            Self::Limit { limit, .. } => match limit {
                LimitKind::InputBytes | LimitKind::DecodedSeconds | LimitKind::OutputBytes => {
                    "split the file or raise the limit"
                }
                LimitKind::WallClockSeconds => "raise the limit, or use a faster machine",
                LimitKind::Streams
                | LimitKind::Channels
                | LimitKind::SampleRate
                | LimitKind::IndexBytes => "it is probably damaged: fetch or export it again",
            },
            Self::Source(_) => "check the input and try again",
            Self::Sink(_) => "check the free space and the permissions, and try again",
            Self::OutOfMemory => "raise the limit on memory",
            Self::Thread(_) => "raise the limits on memory and processes, or use fewer threads",
            Self::Cancelled => "start again when ready",
            Self::Bug { .. } => "report it with the file",
        }
    }
}

/// Shorthand of this crate.
pub type Result<T, E = CodecError> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    fn io() -> io::Error {
        io::Error::other("x")
    }

    #[test]
    fn every_variant_has_its_kind() {
        use CodecError as E;
        use ErrorKind as K;
        let limit = E::Limit { limit: LimitKind::Streams, allowed: 1, found: Some(2) };
        let table = [
            (E::EmptyInput, K::BadInput),
            (E::UnknownFormat, K::BadInput),
            (E::DamagedContainer { container: "mp4".into() }, K::BadInput),
            (E::NoAudioTrack { video: 1, other: 0 }, K::BadInput),
            (E::NoSuchTrack { wanted: "3".into(), available: "0".into() }, K::BadInput),
            (E::UnsupportedCodec { codec: "ac4".into() }, K::BadInput),
            (E::UnknownLayout { channels: 12 }, K::BadInput),
            (E::Encrypted, K::BadInput),
            (E::ExternalData, K::BadInput),
            (E::NoSamples { cut_off: false }, K::BadInput),
            (E::Undecodable { damaged: 9, packets: 10 }, K::BadInput),
            (E::Truncated { decoded_seconds: 1.0, declared_seconds: Some(2.0) }, K::BadInput),
            (E::EmptyRange { audio_seconds: Some(1.0) }, K::BadInput),
            (limit, K::LimitExceeded),
            (E::OutOfMemory, K::LimitExceeded),
            (E::Source(io()), K::Io),
            (E::Sink(io()), K::Io),
            (E::Thread(io()), K::Io),
            (E::Cancelled, K::Cancelled),
            (E::Bug { stage: "encode", detail: "x".into() }, K::Bug),
        ];
        for (error, kind) in table {
            assert_eq!(error.kind(), kind, "{error}");
            assert!(!error.to_string().is_empty() && !error.advice().is_empty());
        }
    }

    #[test]
    fn messages_name_the_numbers() {
        let limit =
            CodecError::Limit { limit: LimitKind::Channels, allowed: 32, found: Some(65528) };
        assert_eq!(limit.to_string(), "the audio has 65528 channels, more than the 32 allowed");
        let rate = LimitKind::SampleRate;
        let low = CodecError::Limit { limit: rate, allowed: 4000, found: Some(1) };
        assert_eq!(low.to_string(), "the sample rate is 1 Hz, less than the 4000 Hz required");
    }
}
