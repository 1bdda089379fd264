//! The Symphonia decoder: the common formats in memory-safe Rust.
//!
//! Symphonia trims encoder delay of MP3, Vorbis and FLAC itself, but plays an MP4's media from its
//! first sample to its last; the edit list is applied here.

mod tags;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use symphonia::core::audio::{Channels, GenericAudioBufferRef};
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::common::Limit;
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackFlags, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::{ChapterGroup, ChapterGroupItem, MetadataOptions, StandardTag};
use symphonia::core::units::Duration;

use self::tags::named_tags;
use crate::decode::exact_length::ExactLength;
use crate::decode::{Decoder, Facts, Health};
use crate::envelope;
use crate::error::{CodecError, Result};
use crate::isobmff::Edit;
use crate::limits::Limits;
use crate::metadata::{Chapter, Metadata};
use crate::pcm::{ChannelLayout, PcmBlock, PcmFormat, SampleRate};
use crate::probe::AudioTrack;
use crate::source::{GuardedSource, SourceState, Stop};

impl MediaSource for GuardedSource {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.len())
    }
}

/// An opened container.
pub(crate) struct Demuxer {
    format: Box<dyn FormatReader>,
    /// Symphonia's IDs of the audio tracks.
    tracks: Vec<u32>,
    edits: Vec<(u32, Edit)>,
    stop: Stop,
    state: std::sync::Arc<SourceState>,
}

impl Demuxer {
    pub(crate) fn open(
        source: GuardedSource,
        limits: &Limits,
        edits: &[(u32, Edit)],
    ) -> Result<(Self, Facts)> {
        let (state, stop) = (source.state(), source.stop());
        let mut again = source.clone();
        let stream = MediaSourceStream::new(Box::new(source), MediaSourceStreamOptions::default());
        let metadata_options = MetadataOptions::default()
            .limit_tag_bytes(Limit::Maximum(1 << 20))
            .limit_visual_bytes(Limit::Maximum(limits.picture_bytes));
        let (hint, format_options) = (Hint::new(), FormatOptions::default());
        let mut format = contained(|| {
            symphonia::default::get_probe().probe(&hint, stream, format_options, metadata_options)
        })
        .map_err(|_| state.take_error().unwrap_or_else(|| open_error(&mut again)))?;
        limits.check_streams(format.tracks().len())?;
        let is_audio = |t: &&Track| t.track_type() == Some(TrackType::Audio);
        let tracks: Vec<_> = format.tracks().iter().filter(is_audio).map(|t| t.id).collect();
        let mut facts = facts(format.as_mut(), limits);
        for (track, id) in facts.tracks.iter_mut().zip(&tracks) {
            if let Some((_, edit)) = edits.iter().find(|(track, _)| track == id) {
                track.duration_seconds = Some(edit.length as f64 / f64::from(edit.time_scale));
            }
        }
        Ok((Self { format, tracks, edits: edits.to_vec(), stop, state }, facts))
    }

    pub(crate) fn decoder(self, track: &AudioTrack, limits: &Limits) -> Result<SymphoniaDecoder> {
        let id = self.tracks[track.index];
        let unsupported = || CodecError::UnsupportedCodec { codec: track.codec.clone() };
        let info = self.format.tracks().iter().find(|t| t.id == id).ok_or_else(unsupported)?;
        let parameters = audio_parameters(info).ok_or_else(unsupported)?;
        let decoder = symphonia::default::get_codecs()
            .make_audio_decoder(parameters, &AudioDecoderOptions::default())
            .map_err(|_| unsupported())?;
        let edit = self.edits.iter().find(|(track, _)| *track == id).map(|(_, edit)| *edit);
        let exact = match info.time_base {
            Some(base) if base.numer.get() == 1 && self.is_mp4() => {
                let media =
                    info.duration.map(Duration::get).filter(|ticks| *ticks < u64::from(u32::MAX));
                ExactLength::new(base.denom.get(), edit, media)
            }
            _ => ExactLength::default(),
        };
        Ok(SymphoniaDecoder {
            exact,
            held: None,
            format: self.format,
            track: id,
            decoder,
            edit,
            position: 0,
            health: Health::default(),
            limits: limits.clone(),
            stop: self.stop,
            state: self.state,
        })
    }
}

/// Hostile input makes some of Symphonia's readers panic, which is damage like any other.
fn contained<T>(call: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or(Err(Error::LimitError("it panicked")))
}

impl Demuxer {
    fn is_mp4(&self) -> bool {
        self.format.format_info().short_name == "isomp4"
    }
}

/// A declared length, unless it is one of the values that mean "unknown".
fn plausible(seconds: f64) -> Option<f64> {
    const CENTURY_SECONDS: f64 = 3.2e9;
    (seconds < CENTURY_SECONDS).then_some(seconds)
}

fn open_error(source: &mut GuardedSource) -> CodecError {
    let mut head = Vec::new();
    let _ = io::Seek::rewind(source);
    let _ = io::Read::read_to_end(&mut io::Read::take(source, 16), &mut head);
    match envelope::signature(&head) {
        Some(container) => CodecError::DamagedContainer { container: container.to_owned() },
        None => CodecError::UnknownFormat,
    }
}

fn audio_parameters(track: &Track) -> Option<&AudioCodecParameters> {
    track.codec_params.as_ref().and_then(CodecParameters::audio)
}

fn facts(format: &mut dyn FormatReader, limits: &Limits) -> Facts {
    let mut warnings = Vec::new();
    let mut metadata = Metadata::default();
    if let Some(revision) = format.metadata().skip_to_latest() {
        let tags =
            revision.media.tags.iter().chain(
                revision.per_track.first().into_iter().flat_map(|track| &track.metadata.tags),
            );
        metadata.add_tags(&named_tags(tags), limits, &mut warnings);
        for visual in &revision.media.visuals {
            metadata.add_picture(&visual.data, limits, &mut warnings);
        }
    }
    if let Some(group) = format.chapters() {
        add_chapters(group, &mut metadata, limits, &mut warnings);
    }
    let of_type = |wanted| format.tracks().iter().filter(move |t| t.track_type() == Some(wanted));
    let tracks: Vec<_> =
        of_type(TrackType::Audio).enumerate().map(|(index, t)| audio_track(index, t)).collect();
    let video_streams = of_type(TrackType::Video).count();
    let info = format.media_info();
    let duration = info.time_base.zip(info.duration).and_then(|(base, d)| base.calc_duration(d));
    Facts {
        container: format.format_info().short_name.to_owned(),
        duration_seconds: duration.and_then(|time| plausible(time.as_secs_f64())),
        other_streams: format.tracks().len() - tracks.len() - video_streams,
        video_streams,
        tracks,
        metadata,
        warnings,
    }
}

fn audio_track(index: usize, track: &Track) -> AudioTrack {
    let parameters = audio_parameters(track);
    let registered =
        parameters.and_then(|p| symphonia::default::get_codecs().get_audio_decoder(p.codec));
    let decodable = registered.is_some_and(|_| {
        let options = AudioDecoderOptions::default();
        parameters.is_some_and(|p| {
            symphonia::default::get_codecs().make_audio_decoder(p, &options).is_ok()
        })
    });
    let unknown = || parameters.map_or("unknown".to_owned(), |p| p.codec.to_string());
    let frames = track.num_frames.zip(parameters.and_then(|p| p.sample_rate));
    AudioTrack {
        index,
        codec: registered.map_or_else(unknown, |r| r.codec.info.short_name.to_owned()),
        decodable,
        sample_rate_hz: parameters.and_then(|p| p.sample_rate).unwrap_or(0),
        channels: parameters
            .and_then(|p| p.channels.as_ref())
            .map_or(0, |channels| channels.count() as u32),
        duration_seconds: match (track.time_base, track.duration, frames) {
            (Some(base), Some(duration), _) => {
                base.calc_duration(duration).and_then(|t| plausible(t.as_secs_f64()))
            }
            (_, _, Some((frames, rate))) if rate > 0 => Some(frames as f64 / f64::from(rate)),
            _ => None,
        },
        start_seconds: 0.0,
        language: track.language.clone().filter(|language| language != "und"),
        title: None,
        default: track.flags.contains(TrackFlags::DEFAULT),
    }
}

fn add_chapters(
    group: &ChapterGroup,
    metadata: &mut Metadata,
    limits: &Limits,
    warnings: &mut Vec<String>,
) {
    for item in &group.items {
        let ChapterGroupItem::Chapter(chapter) = item else { continue };
        let title = chapter.tags.iter().find_map(|tag| match &tag.std {
            Some(StandardTag::ChapterTitle(title) | StandardTag::TrackTitle(title)) => {
                Some(title.to_string())
            }
            _ => None,
        });
        let start_seconds = chapter.start_time.as_secs_f64();
        let end_seconds = chapter.end_time.map_or(start_seconds, |time| time.as_secs_f64());
        metadata.add_chapter(Chapter { start_seconds, end_seconds, title }, limits, warnings);
    }
}

/// Decodes one track of a format.
pub(crate) struct SymphoniaDecoder {
    format: Box<dyn FormatReader>,
    track: u32,
    decoder: Box<dyn AudioDecoder>,
    edit: Option<Edit>,
    exact: ExactLength,
    /// One block behind, because the last one is cut.
    held: Option<PcmBlock>,
    /// Samples decoded so far, those before the edit counted.
    position: u64,
    health: Health,
    limits: Limits,
    stop: Stop,
    state: std::sync::Arc<SourceState>,
}

impl SymphoniaDecoder {
    fn read_packet(&mut self) -> Result<Option<symphonia::core::packet::Packet>> {
        loop {
            self.stop.check()?;
            let outcome = contained(|| self.format.next_packet());
            if let (Err(_), Some(error)) = (&outcome, self.state.take_error()) {
                return Err(error);
            }
            match outcome {
                Ok(Some(packet)) if packet.track_id == self.track => {
                    self.health.packets += 1;
                    return Ok(Some(packet));
                }
                Ok(Some(_)) => {}
                Ok(None) => return Ok(None),
                Err(Error::ResetRequired) if self.restart() => {}
                Err(_) => {
                    self.health.ended_early = true;
                    return Ok(None);
                }
            }
        }
    }

    /// The next link of a chained Ogg: its first audio track goes on with a new decoder.
    fn restart(&mut self) -> bool {
        let Some(track) = self.format.default_track(TrackType::Audio) else { return false };
        let Some(parameters) = audio_parameters(track) else { return false };
        let made = symphonia::default::get_codecs()
            .make_audio_decoder(parameters, &AudioDecoderOptions::default());
        let Ok(decoder) = made else { return false };
        self.track = track.id;
        self.decoder = decoder;
        true
    }

    /// The next decoded block, without what lies before the edit.
    fn decode(&mut self) -> Result<Option<PcmBlock>> {
        while let Some(packet) = self.read_packet()? {
            let decoded = contained(|| self.decoder.decode(&packet).map(|d| to_block(&d)));
            let Ok(Some(mut block)) = decoded else {
                self.health.count_damage(self.position > 0);
                continue;
            };
            let format = block.format;
            self.limits.check_shape(format.layout.channels, format.rate.hz())?;
            self.exact.packet(packet.dur.get());
            let start = self.edit.map_or(0, |edit| {
                let ticks = edit.start.saturating_mul(format.rate.hz().into());
                ticks / u64::from(edit.time_scale.max(1))
            });
            let skipped = start.saturating_sub(self.position);
            self.position += block.len() as u64;
            block.skip(usize::try_from(skipped).unwrap_or(usize::MAX));
            if !block.is_empty() {
                self.health.damaged_at_end = 0;
                return Ok(Some(block));
            }
        }
        Ok(None)
    }
}

impl Decoder for SymphoniaDecoder {
    fn next_block(&mut self) -> Result<Option<PcmBlock>> {
        if self.held.is_none() {
            self.held = self.decode()?;
        }
        let Some(mut block) = self.held.take() else { return Ok(None) };
        self.held = self.decode()?;
        if self.held.is_none() {
            self.exact.cut_last(&mut block);
        }
        self.exact.gave(block.len());
        Ok(Some(block))
    }

    fn health(&self) -> Health {
        self.health
    }

    fn measure(&mut self, enough_seconds: u64) -> Result<f64> {
        let track = self.format.tracks().iter().find(|t| t.id == self.track);
        let tick = track
            .and_then(|t| t.time_base)
            .map_or(0.0, |base| f64::from(base.numer.get()) / f64::from(base.denom.get()));
        let mut seconds = 0.0;
        while seconds <= enough_seconds as f64 {
            let Some(packet) = self.read_packet()? else { break };
            seconds += packet.dur.get() as f64 * tick;
        }
        Ok(seconds)
    }
}

/// `None` if the rate is zero.
fn to_block(decoded: &GenericAudioBufferRef<'_>) -> Option<PcmBlock> {
    let spec = decoded.spec();
    let format = PcmFormat { rate: SampleRate::new(spec.rate())?, layout: layout(spec.channels()) };
    let mut planes = Vec::new();
    decoded.copy_to_vecs_planar::<f32>(&mut planes);
    Some(PcmBlock { format, planes })
}

/// Symphonia's positions are bits in the order of `WAVEFORMATEXTENSIBLE`, as FFmpeg's are up to
/// there.
fn layout(channels: &Channels) -> ChannelLayout {
    const SHARED: u64 = (1 << 18) - 1;
    let mask = match channels {
        Channels::Positioned(positions) => positions.bits(),
        _ => 0,
    };
    let mask = if mask & !SHARED == 0 { mask } else { 0 };
    ChannelLayout { channels: channels.count() as u32, mask }
}
