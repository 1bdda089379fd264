//! The FFmpeg decoder: whitelisted demuxers and codecs over a guarded source.
//!
//! Uploads attack FFmpeg. Playlists in disguise make it open files and sockets even through custom
//! I/O, so nothing but the containers and audio codecs listed here is ever opened, no protocol at
//! all, and requests for further resources are refused (`ffi::demux`).

mod facts;
mod packets;
mod samples;

use ffmpeg_next::codec::packet::side_data;
use ffmpeg_next::error::EAGAIN;
use ffmpeg_next::format::context::{Input, StreamIo};
use ffmpeg_next::format::stream::Stream;
use ffmpeg_next::media::Type;
use ffmpeg_next::{Dictionary, Error, Packet, codec, frame};

use self::facts::facts;
use self::packets::{Next, Packets, SampledPackets};
use crate::decode::exact_length::ExactLength;
use crate::decode::{Decoder, Facts, Health};
use crate::envelope;
use crate::error::{CodecError, LimitKind, Result};
use crate::ffi;
use crate::isobmff::Movie;
use crate::limits::Limits;
use crate::pcm::PcmBlock;
use crate::probe::AudioTrack;
use crate::source::GuardedSource;

/// Demuxers of containers with structure of their own. Left out on purpose: everything that refers
/// to other resources (HLS, DASH, concat, SDP, …), pictures, text, and headerless formats, which
/// take any bytes for sound.
const FORMATS: &str = "mov,matroska,webm,avi,flv,mpegts,mpeg,asf,ogg,wav,w64,aiff,flac,mp3,aac,\
    ac3,eac3,dts,dtshd,truehd,mlp,amr,au,caf,ape,wv,tta,tak,mpc,mpc8,rm,mxf,nut,dv,voc,oma,dsf,\
    loas,gxf,nsv,wtv,swf";

/// Audio decoders, by FFmpeg's names. Video decoders are left out, so that looking for stream
/// parameters cannot reach one.
pub(crate) const CODECS: &str = "aac,aac_latm,ac3,eac3,alac,amrnb,amrwb,ape,atrac3,atrac3plus,cook,dca,flac,gsm,\
    gsm_ms,ilbc,mlp,mp1,mp1float,mp2,mp2float,mp3,mp3float,mp3adu,mp3adufloat,mpc7,mpc8,nellymoser,\
    opus,real_144,real_288,sipr,speex,tak,truehd,tta,vorbis,wavpack,wmalossless,wmapro,wmav1,wmav2,\
    wmavoice,dsd_lsbf,dsd_lsbf_planar,dsd_msbf,dsd_msbf_planar,\
    pcm_alaw,pcm_mulaw,pcm_bluray,pcm_dvd,pcm_f32be,pcm_f32le,pcm_f64be,pcm_f64le,pcm_lxf,pcm_s8,\
    pcm_s8_planar,pcm_s16be,pcm_s16be_planar,pcm_s16le,pcm_s16le_planar,pcm_s24be,pcm_s24le,\
    pcm_s24le_planar,pcm_s32be,pcm_s32le,pcm_s32le_planar,pcm_u8,pcm_u16be,pcm_u16le,pcm_u24be,\
    pcm_u24le,pcm_u32be,pcm_u32le,\
    g722,g726,adpcm_ima_qt,adpcm_ima_wav,adpcm_ms,adpcm_swf,adpcm_yamaha";

/// Bytes per read of the source. Demuxers skip video within a buffer without a seek.
const READ_BYTES: usize = 64 << 10;
/// "Unknown", in the 32-bit durations of MP4.
const UNKNOWN_DURATION: i64 = u32::MAX as i64;

/// An opened container.
pub(crate) struct Demuxer {
    input: Input,
    /// Stream indexes of the audio tracks.
    streams: Vec<usize>,
    /// What an MP4 says; empty for anything else.
    movie: Movie,
    /// As it is, where FFmpeg sees a disguise.
    source: GuardedSource,
}

impl Demuxer {
    /// `movie` is what the source says as an MP4; empty for anything else.
    pub(crate) fn open(
        mut source: GuardedSource,
        limits: &Limits,
        movie: Movie,
    ) -> Result<(Self, Facts)> {
        let state = source.state();
        let disguised = source.clone().disguise(movie.disguise());
        let io = StreamIo::from_read_seek_with_capacity(disguised, READ_BYTES)
            .map_err(|e| bug("open", e))?;
        let mut options = Dictionary::new();
        options.set("format_whitelist", FORMATS);
        options.set("codec_whitelist", CODECS);
        options.set("protocol_whitelist", "");
        options.set("max_streams", &limits.streams.to_string());
        options.set("fpsprobesize", "0"); // nobody asks for the frame rate
        if movie.is_fragmented {
            // Else all fragments are looked up beforehand, and the file is read twice.
            options.set("fflags", "+ignidx");
        }
        let input = ffi::demux::open(io, options).map_err(|error| {
            state.take_error().unwrap_or_else(|| open_error(error, &mut source))
        })?;
        limits.check_streams(input.nb_streams() as usize)?;

        let is_audio = |s: &Stream<'_>| s.parameters().medium() == Type::Audio;
        let streams: Vec<usize> = input.streams().filter(is_audio).map(|s| s.index()).collect();
        let mut facts = facts(&input, &streams, limits);
        facts.video_streams += movie.video_tracks.len();
        if movie.is_fragmented {
            // FFmpeg knows the first fragment's.
            facts.duration_seconds = movie.fragments_seconds;
            facts.tracks.iter_mut().for_each(|track| track.duration_seconds = None);
        }
        Ok((Self { input, streams, movie, source }, facts))
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
        let rest = self.sampled_packets(&stream);
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
            packets: Packets::new(self.input, index, rest, &self.source),
            decoder,
            frame: frame::Audio::empty(),
            draining: false,
            decoded_any: false,
            held: None,
            exact,
            health: Health::default(),
            limits: limits.clone(),
        })
    }

    /// The packets that FFmpeg was not shown.
    fn sampled_packets(&self, stream: &Stream<'_>) -> Option<SampledPackets> {
        let table = of_track(&self.movie.samples, stream)?;
        // Some state less media than there is: to its end is to the end of the table.
        let end = of_track(&self.movie.edits, stream)
            .map(|edit| (edit.start.saturating_add(edit.length), edit.media))
            .filter(|(end, media)| end < media)
            .map_or(u64::MAX, |(end, _)| end);
        Some(SampledPackets::new(self.source.clone(), table, end))
    }

    fn exact_length(&self, stream: &Stream<'_>) -> ExactLength {
        let time_base = stream.time_base();
        let in_seconds = time_base.numerator() == 1;
        if !in_seconds || !self.input.format().name().starts_with("mov") {
            return ExactLength::default();
        }
        let edit = of_track(&self.movie.edits, stream).copied();
        let media = Some(stream.duration())
            .filter(|ticks| *ticks > 0 && *ticks != UNKNOWN_DURATION)
            .map(i64::unsigned_abs);
        ExactLength::new(time_base.denominator().unsigned_abs(), edit, media)
    }
}

/// What is known by a stream's track ID, which FFmpeg keeps as the stream's, signed.
fn of_track<'a, T>(by_id: &'a [(u32, T)], stream: &Stream<'_>) -> Option<&'a T> {
    let found = by_id.iter().find(|(id, _)| *id == stream.id().cast_unsigned());
    found.map(|(_, known)| known)
}

/// What FFmpeg's number means for the user. `source` is looked at again for its signature.
fn open_error(error: Error, source: &mut GuardedSource) -> CodecError {
    if is_out_of_memory(error) {
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

/// Whether it is the machine that failed, not the input: that is no damage to go on after.
fn is_out_of_memory(error: Error) -> bool {
    matches!(error, Error::Other { errno } if errno == ffmpeg_next::error::ENOMEM)
}

/// Decodes one stream of an input.
pub(crate) struct FfmpegDecoder {
    packets: Packets,
    decoder: codec::decoder::Audio,
    frame: frame::Audio,
    draining: bool,
    decoded_any: bool,
    /// One block behind, because the last one is cut.
    held: Option<PcmBlock>,
    exact: ExactLength,
    health: Health,
    limits: Limits,
}

impl FfmpegDecoder {
    /// The next packet of the stream; `None` at the end of the file or of what can be read of it.
    fn read_packet(&mut self) -> Result<Option<Packet>> {
        loop {
            match self.packets.next()? {
                Next::Packet(packet) => {
                    self.health.packets += 1;
                    return Ok(Some(packet));
                }
                Next::Damage => self.count_damage(),
                Next::End => return Ok(None),
                Next::BrokenOff => {
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
        let sent = self.decoder.send_packet(packet);
        if sent.is_err_and(is_out_of_memory) {
            return Err(CodecError::OutOfMemory);
        }
        if sent.is_err() || packet.is_corrupt() {
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
                Err(error) if is_out_of_memory(error) => return Err(CodecError::OutOfMemory),
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
        let stream = self.packets.stream();
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
