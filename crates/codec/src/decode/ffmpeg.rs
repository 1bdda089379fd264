//! The FFmpeg decoder: whitelisted demuxers and codecs over a guarded source.
//!
//! Uploads attack FFmpeg. Playlists in disguise make it open files and sockets even through custom
//! I/O, so nothing but the containers and audio codecs listed here is ever opened, no protocol at
//! all, and requests for further resources are refused (`ffi::demux`).

mod samples;

use std::sync::Arc;

use ffmpeg_next::codec::packet::side_data;
use ffmpeg_next::error::EAGAIN;
use ffmpeg_next::format::context::{Input, StreamIo};
use ffmpeg_next::format::stream::{Disposition, Stream};
use ffmpeg_next::media::Type;
use ffmpeg_next::{Dictionary, Error, Packet, codec, frame};

use crate::decode::exact_length::ExactLength;
use crate::decode::{Decoder, Facts, Health};
use crate::envelope;
use crate::error::{CodecError, LimitKind, Result};
use crate::ffi;
use crate::isobmff::{Edit, Movie};
use crate::limits::Limits;
use crate::metadata::{Chapter, Metadata};
use crate::pcm::PcmBlock;
use crate::probe::AudioTrack;
use crate::source::{GuardedSource, SourceState, Stop};

/// Demuxers of containers with structure of their own. Left out on purpose: everything that refers
/// to other resources (HLS, DASH, concat, SDP, …), pictures, text, and headerless formats, which
/// take any bytes for sound.
const FORMATS: &str = "mov,matroska,webm,avi,flv,mpegts,mpeg,asf,ogg,wav,w64,aiff,flac,mp3,aac,\
    ac3,eac3,dts,dtshd,truehd,mlp,amr,au,caf,ape,wv,tta,tak,mpc,mpc8,rm,mxf,nut,dv,voc,oma,dsf,\
    loas,gxf,nsv,wtv,swf";

/// Audio decoders, by FFmpeg's names. Video decoders are left out, so that looking for stream
/// parameters cannot reach one.
const CODECS: &str = "aac,aac_latm,ac3,eac3,alac,amrnb,amrwb,ape,atrac3,atrac3p,cook,dca,flac,gsm,\
    gsm_ms,ilbc,mlp,mp1,mp1float,mp2,mp2float,mp3,mp3float,mp3adu,mp3adufloat,mpc7,mpc8,nellymoser,\
    opus,ra_144,ra_288,sipr,speex,tak,truehd,tta,vorbis,wavpack,wmalossless,wmapro,wmav1,wmav2,\
    wmavoice,dsd_lsbf,dsd_lsbf_planar,dsd_msbf,dsd_msbf_planar,\
    pcm_alaw,pcm_mulaw,pcm_bluray,pcm_dvd,pcm_f32be,pcm_f32le,pcm_f64be,pcm_f64le,pcm_lxf,pcm_s8,\
    pcm_s8_planar,pcm_s16be,pcm_s16be_planar,pcm_s16le,pcm_s16le_planar,pcm_s24be,pcm_s24le,\
    pcm_s24le_planar,pcm_s32be,pcm_s32le,pcm_s32le_planar,pcm_u8,pcm_u16be,pcm_u16le,pcm_u24be,\
    pcm_u24le,pcm_u32be,pcm_u32le,\
    adpcm_g722,adpcm_g726,adpcm_ima_qt,adpcm_ima_wav,adpcm_ms,adpcm_swf,adpcm_yamaha";

/// Bytes per read of the source. Demuxers skip video within a buffer without a seek.
const READ_BYTES: usize = 64 << 10;
/// Demuxer errors in a row after which the rest is given up.
const MAX_ERRORS_IN_A_ROW: u32 = 256;
/// "Unknown", in the 32-bit durations of MP4.
const UNKNOWN_DURATION: i64 = u32::MAX as i64;

/// An opened container.
pub(crate) struct Demuxer {
    input: Input,
    /// Stream indexes of the audio tracks.
    streams: Vec<usize>,
    /// Edits by track ID.
    edits: Vec<(u32, Edit)>,
    stop: Stop,
    state: Arc<SourceState>,
}

impl Demuxer {
    /// `movie` is what the source says as an MP4; empty for anything else.
    pub(crate) fn open(
        source: GuardedSource,
        limits: &Limits,
        movie: &Movie,
    ) -> Result<(Self, Facts)> {
        let (state, stop) = (source.state(), source.stop());
        let mut again = source.clone();
        let io = StreamIo::from_read_seek_with_capacity(source, READ_BYTES)
            .map_err(|e| bug("open", e))?;
        let mut options = Dictionary::new();
        options.set("format_whitelist", FORMATS);
        options.set("codec_whitelist", CODECS);
        options.set("protocol_whitelist", "");
        options.set("max_streams", &limits.streams.to_string());
        options.set("fpsprobesize", "0"); // nobody asks for the frame rate
        let input = ffi::demux::open(io, options)
            .map_err(|error| state.take_error().unwrap_or_else(|| open_error(error, &mut again)))?;
        limits.check_streams(input.nb_streams() as usize)?;

        let is_audio = |s: &Stream<'_>| s.parameters().medium() == Type::Audio;
        let streams: Vec<usize> = input.streams().filter(is_audio).map(|s| s.index()).collect();
        let facts = facts(&input, &streams, limits);
        let edits = movie.edits.clone();
        Ok((Self { input, streams, edits, stop, state }, facts))
    }

    pub(crate) fn decoder(mut self, track: &AudioTrack, limits: &Limits) -> Result<FfmpegDecoder> {
        let index = self.streams[track.index];
        ffi::demux::discard_all_but(&mut self.input, |_, stream| stream == index);
        let missing = || bug("open", Error::StreamNotFound);
        let stream = self.input.stream(index).ok_or_else(missing)?;
        if stream.side_data().any(|data| data.kind() == side_data::Type::EncryptionInitInfo) {
            return Err(CodecError::Encrypted);
        }
        let parameters = stream.parameters();
        let unsupported = |_| CodecError::UnsupportedCodec { codec: track.codec.clone() };
        let library_decoder = codec::decoder::find(parameters.id())
            .ok_or(Error::DecoderNotFound)
            .map_err(unsupported)?;
        let time_base = stream.time_base();
        let exact = self.exact_length(&stream);
        let context = codec::Context::from_parameters(parameters).map_err(unsupported)?;
        let mut decoder = context.decoder();
        decoder.set_packet_time_base(time_base);
        let mut options = Dictionary::new();
        options.set("codec_whitelist", CODECS);
        options.set("threads", "1"); // one thread a job; segments use the others
        options.set("max_samples", "1048576");
        let opened = decoder.open_as_with(library_decoder, options).map_err(unsupported)?;
        let decoder = opened.audio().map_err(unsupported)?;
        Ok(FfmpegDecoder {
            input: self.input,
            stream: index,
            decoder,
            frame: frame::Audio::empty(),
            draining: false,
            decoded_any: false,
            held: None,
            exact,
            health: Health::default(),
            limits: limits.clone(),
            stop: self.stop,
            state: self.state,
        })
    }
}

impl Demuxer {
    fn exact_length(&self, stream: &Stream<'_>) -> ExactLength {
        let time_base = stream.time_base();
        let in_seconds = time_base.numerator() == 1;
        if !in_seconds || !self.input.format().name().starts_with("mov") {
            return ExactLength::default();
        }
        let edit = self.edits.iter().find(|(id, _)| i64::from(*id) == i64::from(stream.id()));
        let media = Some(stream.duration())
            .filter(|ticks| *ticks > 0 && *ticks != UNKNOWN_DURATION)
            .map(i64::unsigned_abs);
        ExactLength::new(time_base.denominator().unsigned_abs(), edit.map(|(_, edit)| *edit), media)
    }
}

/// What FFmpeg's number means for the user. `source` is looked at again for its signature.
fn open_error(error: Error, source: &mut GuardedSource) -> CodecError {
    if matches!(error, Error::Other { errno } if errno == ffmpeg_next::error::ENOMEM) {
        return CodecError::Limit {
            limit: LimitKind::IndexBytes,
            allowed: ffi::demux::MAX_ALLOCATION_BYTES as u64,
            found: None,
        };
    }
    let mut head = Vec::new();
    let _ = std::io::Seek::rewind(source);
    let _ = std::io::Read::read_to_end(&mut std::io::Read::take(source, 16), &mut head);
    match envelope::signature(&head) {
        Some(container) => CodecError::DamagedContainer { container: container.to_owned() },
        None => CodecError::UnknownFormat,
    }
}

fn facts(input: &Input, streams: &[usize], limits: &Limits) -> Facts {
    let mut warnings = Vec::new();
    let mut metadata = Metadata::default();
    metadata.add_tags(&ffi::demux::container_tags(input), limits, &mut warnings);
    let audio = |index: &usize| input.stream(*index);
    if let Some(first) = streams.first().and_then(audio) {
        // Ogg keeps the file's tags with the stream.
        metadata.add_tags(&ffi::demux::stream_tags(&first), limits, &mut warnings);
        metadata.tags.remove("language");
    }
    for chapter in input.chapters() {
        let scale = f64::from(chapter.time_base());
        let mut tags = ffi::demux::chapter_tags(&chapter);
        let chapter = Chapter {
            start_seconds: chapter.start() as f64 * scale,
            end_seconds: chapter.end() as f64 * scale,
            title: tags.remove("title"),
        };
        metadata.add_chapter(chapter, limits, &mut warnings);
    }
    let is_picture = |s: &Stream<'_>| s.disposition().contains(Disposition::ATTACHED_PIC);
    for stream in input.streams().filter(is_picture) {
        if let Some(bytes) = ffi::demux::attached_picture(&stream) {
            metadata.add_picture(bytes, limits, &mut warnings);
        }
    }
    let video = |s: &Stream<'_>| s.parameters().medium() == Type::Video && !is_picture(s);
    let video_streams = input.streams().filter(video).count();
    let pictures = input.streams().filter(is_picture).count();
    let duration = input.duration();
    Facts {
        container: input.format().name().to_owned(),
        duration_seconds: (duration > 0).then(|| duration as f64 / 1e6),
        tracks: streams
            .iter()
            .filter_map(audio)
            .enumerate()
            .map(|(index, stream)| track(index, &stream))
            .collect(),
        video_streams,
        other_streams: input.nb_streams() as usize - streams.len() - video_streams - pictures,
        metadata,
        warnings,
    }
}

fn track(index: usize, stream: &Stream<'_>) -> AudioTrack {
    let parameters = stream.parameters();
    let mut tags = ffi::demux::stream_tags(stream);
    let decoder = codec::decoder::find(parameters.id());
    let decodable = decoder.is_some_and(|d| CODECS.split(',').any(|name| name == d.name()));
    let codec = match parameters.id() {
        codec::Id::None => ffi::frame::codec_tag(&parameters),
        id => id.name().to_owned(),
    };
    let ticks = stream.duration();
    let declared = (ticks > 0 && ticks != UNKNOWN_DURATION)
        .then(|| ticks as f64 * f64::from(stream.time_base()));
    AudioTrack {
        index,
        codec,
        decodable,
        sample_rate_hz: ffi::frame::declared_rate_hz(&parameters),
        channels: ffi::frame::declared_layout(&parameters).channels,
        duration_seconds: declared.or_else(|| clock_seconds(tags.get("duration")?)),
        language: tags.remove("language").filter(|language| language != "und"),
        title: tags.remove("title"),
        default: stream.disposition().contains(Disposition::DEFAULT),
    }
}

/// Matroska's per-track statistics: "00:00:30.024000000".
fn clock_seconds(text: &str) -> Option<f64> {
    let mut parts = text.trim().splitn(3, ':').map(|part| part.parse::<f64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    let seconds = hours * 3600.0 + minutes * 60.0 + seconds;
    // `parse` also takes "nan", "inf" and signs.
    (seconds.is_finite() && seconds >= 0.0).then_some(seconds)
}

/// Decodes one stream of an input.
pub(crate) struct FfmpegDecoder {
    input: Input,
    stream: usize,
    decoder: codec::decoder::Audio,
    frame: frame::Audio,
    draining: bool,
    decoded_any: bool,
    /// One block behind, because the last one is cut.
    held: Option<PcmBlock>,
    exact: ExactLength,
    health: Health,
    limits: Limits,
    stop: Stop,
    state: Arc<SourceState>,
}

impl FfmpegDecoder {
    /// The next packet of the stream; `None` at the end of the file or of what can be read of it.
    fn read_packet(&mut self) -> Result<Option<Packet>> {
        let mut errors = 0;
        loop {
            self.stop.check()?;
            // A fresh one each time: reading over a packet would leak what it holds.
            let mut packet = Packet::empty();
            let outcome = packet.read(&mut self.input);
            // FFmpeg reports some failures of the source as the end of the file.
            if let (Err(_), Some(error)) = (&outcome, self.state.take_error()) {
                return Err(error);
            }
            match outcome {
                Ok(()) if packet.stream() == self.stream => {
                    self.health.packets += 1;
                    return Ok(Some(packet));
                }
                Ok(()) => {}
                Err(Error::Eof) => return Ok(None),
                Err(Error::InvalidData) if errors < MAX_ERRORS_IN_A_ROW => {
                    errors += 1;
                    self.count_damage();
                }
                Err(_) => {
                    self.health.ended_early = true;
                    return Ok(None);
                }
            }
        }
    }

    fn count_damage(&mut self) {
        self.health.count_damage(self.decoded_any);
    }

    fn send(&mut self, packet: &Packet) -> Result<()> {
        if packet.side_data().any(|data| data.kind() == side_data::Type::EncryptionInfo) {
            return Err(CodecError::Encrypted);
        }
        self.exact.packet(u64::try_from(packet.duration()).unwrap_or(0));
        if self.decoder.send_packet(packet).is_err() || packet.is_corrupt() {
            self.count_damage();
        }
        Ok(())
    }

    /// The next decoded block; `None` when the decoder is drained.
    fn decode(&mut self) -> Result<Option<PcmBlock>> {
        loop {
            match self.decoder.receive_frame(&mut self.frame) {
                Ok(()) => {
                    let layout = ffi::frame::layout(&self.frame);
                    self.limits.check_shape(layout.channels, self.frame.rate())?;
                    match samples::to_block(&self.frame, layout) {
                        Some(block) if !block.is_empty() => {
                            self.decoded_any = true;
                            self.health.damaged_at_end = 0;
                            return Ok(Some(block));
                        }
                        Some(_) => {}
                        None => self.count_damage(),
                    }
                }
                Err(Error::Other { errno: EAGAIN }) if !self.draining => {
                    match self.read_packet()? {
                        Some(packet) => self.send(&packet)?,
                        None => {
                            self.draining = true;
                            // Refused only if already draining.
                            let _ = self.decoder.send_eof();
                        }
                    }
                }
                Err(Error::Eof | Error::Other { errno: EAGAIN }) => return Ok(None),
                Err(_) if self.draining => {
                    self.count_damage();
                    return Ok(None);
                }
                Err(_) => self.count_damage(),
            }
        }
    }
}

impl Decoder for FfmpegDecoder {
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
        let stream = self.input.stream(self.stream);
        let parameters = stream.as_ref().map(Stream::parameters);
        let seconds_per_packet = parameters.map_or(0.0, |p| {
            let rate = f64::from(ffi::frame::declared_rate_hz(&p).max(1));
            ffi::frame::samples_per_packet(&p) as f64 / rate
        });
        let tick = stream.map_or(0.0, |s| f64::from(s.time_base()));
        let mut seconds = 0.0;
        while seconds <= enough_seconds as f64 {
            let Some(packet) = self.read_packet()? else { break };
            let declared = packet.duration() as f64 * tick;
            seconds += if seconds_per_packet > 0.0 { seconds_per_packet } else { declared };
        }
        Ok(seconds)
    }
}

fn bug(stage: &'static str, error: Error) -> CodecError {
    CodecError::Bug { stage, detail: error.to_string() }
}
