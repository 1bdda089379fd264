//! What is in a file, as far as it says: the facts that a conversion starts from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cancel::CancelToken;
use crate::decode::{DecoderKind, Opened};
use crate::error::Result;
use crate::limits::Limits;
use crate::metadata::Chapter;
use crate::source::{GuardedSource, MediaSource, Stop};

/// One audio track.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AudioTrack {
    /// Number among the audio tracks, from 0.
    pub index: usize,
    /// The decoder library's name of the codec.
    pub codec: String,
    /// Whether there is a decoder for it.
    pub decodable: bool,
    /// Declared sample rate, in Hz; 0 where the container does not say.
    pub sample_rate_hz: u32,
    /// Declared channels; 0 where the container does not say.
    pub channels: u32,
    /// Declared length of this track, in seconds. Not to be believed.
    pub duration_seconds: Option<f64>,
    /// How much later than the container's it starts, in seconds.
    pub start_seconds: f64,
    /// Language, as the container writes it.
    pub language: Option<String>,
    /// Title of the track.
    pub title: Option<String>,
    /// Whether the container marks it as the default.
    pub default: bool,
}

/// The facts of one file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Probe {
    /// The decoder library's name of the container.
    pub container: String,
    /// Length of the input, in bytes.
    pub bytes: u64,
    /// Declared length, in seconds. Not to be believed.
    pub duration_seconds: Option<f64>,
    /// The audio tracks, in order.
    pub tracks: Vec<AudioTrack>,
    /// Number of video streams, attached pictures not counted.
    pub video_streams: usize,
    /// Number of streams that are neither audio nor video.
    pub other_streams: usize,
    /// Tags that would be carried over.
    pub tags: BTreeMap<&'static str, String>,
    /// Chapters that would be carried over.
    pub chapters: Vec<Chapter>,
    /// MIME type and bytes of the cover that would be carried over.
    pub cover: Option<CoverFacts>,
    /// What was left out or looks wrong.
    pub warnings: Vec<String>,
}

/// The facts of a cover.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CoverFacts {
    /// MIME type.
    pub mime: &'static str,
    /// Length, in bytes.
    pub bytes: usize,
}

/// Reads what `source` says about itself, without decoding more than a demuxer needs.
///
/// A file without audio is not an error here: its `tracks` are empty.
pub fn probe(
    source: impl MediaSource,
    decoder: DecoderKind,
    limits: &Limits,
    cancel: &CancelToken,
) -> Result<Probe> {
    let source = GuardedSource::new(source, limits, Stop::new(limits, cancel))?;
    let opened = Opened::open(source, decoder, limits)?;
    Ok(opened.probe())
}
