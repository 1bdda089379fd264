//! Decoding: two libraries behind one trait, held to the same corpus.
//!
//! FFmpeg decodes nearly everything; Symphonia is memory-safe and covers the common part. Both end
//! in [`PcmBlock`]s of floats, cut to what the container says is to be heard.

mod exact_length;
pub(crate) mod ffmpeg;
pub(crate) mod symphonia;

use serde::Serialize;

use crate::cancel::CancelToken;
use crate::envelope::{self, Envelope};
use crate::error::{CodecError, Result};
use crate::isobmff::Movie;
use crate::language::same_language;
use crate::limits::Limits;
use crate::metadata::Metadata;
use crate::pcm::PcmBlock;
use crate::probe::{AudioTrack, CoverFacts, Probe};
use crate::source::{GuardedSource, MediaSource, Stop};

/// The decoding library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DecoderKind {
    /// FFmpeg.
    #[default]
    Ffmpeg,
    /// Symphonia: memory-safe; no HE-AAC, Opus, AC-3, DTS or WMA.
    Symphonia,
}

/// Which audio track to convert.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TrackChoice {
    /// The container's default, else the first that can be decoded.
    #[default]
    Auto,
    /// By number among the audio tracks, from 0.
    Index(usize),
    /// The first in a language, by any of its ISO 639 codes ("de", "deu", "ger", "de-CH").
    Language(String),
}

/// How decoding went so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Health {
    /// Packets of the track.
    pub(crate) packets: u64,
    /// Damaged packets after the first that could be decoded.
    pub(crate) damaged: u64,
    /// Those of them that come after the last that could be decoded.
    pub(crate) damaged_at_end: u64,
    /// The demuxer gave up before the end.
    pub(crate) ended_early: bool,
}

impl Health {
    /// Counts a damaged packet, unless nothing could be decoded yet: a stream that was cut out of a
    /// longer one starts in the middle of a frame.
    fn count_damage(&mut self, decoded_any: bool) {
        self.damaged += u64::from(decoded_any);
        self.damaged_at_end += u64::from(decoded_any);
    }
}

/// Gives the audio of one track, block by block.
pub(crate) trait Decoder: Send {
    /// The next block, never empty; `None` at the end. Damaged packets are skipped and counted.
    ///
    /// The first call decides the format that the caller works with, later blocks may differ.
    fn next_block(&mut self) -> Result<Option<PcmBlock>>;

    fn health(&self) -> Health;

    /// Walks through the rest of the track without decoding; the seconds it holds by the count of
    /// its packets.
    fn measure(&mut self, enough_seconds: u64) -> Result<f64>;
}

/// Decodes the audio of `source` and hands `take` each block, cut to what the container says is to
/// be heard, in the source's rate and channels. Returns whether audio is missing because packets
/// were damaged or the container breaks off.
pub fn decode(
    source: impl MediaSource,
    decoder: DecoderKind,
    track: &TrackChoice,
    limits: &Limits,
    cancel: &CancelToken,
    mut take: impl FnMut(&PcmBlock),
) -> Result<bool> {
    let source = GuardedSource::new(source, limits, Stop::new(limits, cancel))?;
    let opened = Opened::open(source, decoder, limits)?;
    let track = opened.choose(track, limits)?;
    let mut decoder = opened.decoder(&track, limits)?;
    let mut samples = 0;
    while let Some(block) = decoder.next_block()? {
        samples += block.len() as u64;
        limits.check_decoded(samples, block.format.rate.hz())?;
        take(&block);
    }
    let health = decoder.health();
    Ok(health.damaged > 0 || health.ended_early)
}

/// The facts that a demuxer finds.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) container: String,
    pub(crate) duration_seconds: Option<f64>,
    pub(crate) tracks: Vec<AudioTrack>,
    pub(crate) video_streams: usize,
    pub(crate) other_streams: usize,
    pub(crate) metadata: Metadata,
    pub(crate) warnings: Vec<String>,
}

/// An opened input, before a track is chosen.
pub(crate) struct Opened {
    pub(crate) facts: Facts,
    pub(crate) envelope: Envelope,
    bytes: u64,
    demuxer: Demuxer,
}

enum Demuxer {
    Ffmpeg(ffmpeg::Demuxer),
    Symphonia(symphonia::Demuxer),
}

impl Opened {
    pub(crate) fn open(
        mut source: GuardedSource,
        kind: DecoderKind,
        limits: &Limits,
    ) -> Result<Self> {
        let bytes = source.len();
        let state = source.state();
        let first_error = |e| state.take_error().unwrap_or(CodecError::Source(e));
        let movie = Movie::read(&mut source, bytes).map_err(first_error)?;
        let envelope =
            envelope::inspect(&mut source, bytes, movie.as_ref()).map_err(first_error)?;
        std::io::Seek::rewind(&mut source).map_err(first_error)?;
        let movie = movie.unwrap_or_default();
        state.watch_boxes(movie.box_watch());
        if movie.encrypted_audio {
            return Err(CodecError::Encrypted);
        }
        if movie.external_audio {
            return Err(CodecError::ExternalData);
        }
        // Demuxers stumble over what they cannot decrypt.
        let encrypted = movie.encrypted;
        let explain = |error| match error {
            CodecError::DamagedContainer { .. } if encrypted => CodecError::Encrypted,
            error => error,
        };
        let (demuxer, facts) = match kind {
            DecoderKind::Ffmpeg => {
                let (demuxer, facts) =
                    ffmpeg::Demuxer::open(source, limits, movie).map_err(explain)?;
                (Demuxer::Ffmpeg(demuxer), facts)
            }
            DecoderKind::Symphonia => {
                let (demuxer, facts) =
                    symphonia::Demuxer::open(source, limits, &movie.edits).map_err(explain)?;
                (Demuxer::Symphonia(demuxer), facts)
            }
        };
        Ok(Self { facts, envelope, bytes, demuxer })
    }

    pub(crate) fn probe(self) -> Probe {
        let facts = self.facts;
        let mut warnings = facts.warnings;
        if self.envelope == Envelope::Truncated {
            warnings.push("the file ends before the end that its container declares".to_owned());
        }
        Probe {
            container: facts.container,
            bytes: self.bytes,
            duration_seconds: facts.duration_seconds,
            tracks: facts.tracks,
            video_streams: facts.video_streams,
            other_streams: facts.other_streams,
            cover: facts
                .metadata
                .cover
                .as_ref()
                .map(|cover| CoverFacts { mime: cover.mime, bytes: cover.bytes.len() }),
            tags: facts.metadata.tags,
            chapters: facts.metadata.chapters,
            warnings,
        }
    }

    /// The track to convert.
    pub(crate) fn choose(&self, choice: &TrackChoice, limits: &Limits) -> Result<AudioTrack> {
        let facts = &self.facts;
        if facts.tracks.is_empty() {
            let (video, other) = (facts.video_streams, facts.other_streams);
            return Err(CodecError::NoAudioTrack { video, other });
        }
        let mut tracks = facts.tracks.iter();
        let (found, wanted) = match choice {
            TrackChoice::Auto => {
                let default = facts.tracks.iter().find(|t| t.default && t.decodable);
                let found = default.or(tracks.find(|t| t.decodable)).or(facts.tracks.first());
                (found, String::new())
            }
            TrackChoice::Index(index) => (facts.tracks.get(*index), format!("{index}")),
            TrackChoice::Language(wanted) => {
                let found =
                    tracks.find(|t| t.language.as_ref().is_some_and(|l| same_language(l, wanted)));
                (found, format!("in language \"{wanted}\""))
            }
        };
        let Some(track) = found else {
            let describe = |t: &AudioTrack| match &t.language {
                Some(language) => format!("{} ({language})", t.index),
                None => t.index.to_string(),
            };
            let available = facts.tracks.iter().map(describe).collect::<Vec<_>>().join(", ");
            let available = match facts.tracks.len() {
                1 => format!("only track {available}"),
                _ => format!("tracks {available}"),
            };
            return Err(CodecError::NoSuchTrack { wanted, available });
        };
        limits.check_declared_shape(track.channels, track.sample_rate_hz)?;
        if !track.decodable {
            return Err(CodecError::UnsupportedCodec { codec: track.codec.clone() });
        }
        Ok(track.clone())
    }

    /// A decoder of `track`, which is one of the facts'.
    pub(crate) fn decoder(self, track: &AudioTrack, limits: &Limits) -> Result<Box<dyn Decoder>> {
        Ok(match self.demuxer {
            Demuxer::Ffmpeg(demuxer) => Box::new(demuxer.decoder(track, limits)?),
            Demuxer::Symphonia(demuxer) => Box::new(demuxer.decoder(track, limits)?),
        })
    }
}
