//! What FFmpeg finds in a container: its tracks, tags, chapters and cover.

use ffmpeg_next::codec;
use ffmpeg_next::format::context::Input;
use ffmpeg_next::format::stream::{Disposition, Stream};
use ffmpeg_next::media::Type;

use super::{CODECS, UNKNOWN_DURATION};
use crate::decode::Facts;
use crate::ffi;
use crate::ffi::demux::DurationFrom;
use crate::limits::Limits;
use crate::metadata::{Chapter, Metadata};
use crate::probe::AudioTrack;

/// `streams` are the indexes of the audio streams.
pub(super) fn facts(input: &Input, streams: &[usize], limits: &Limits) -> Facts {
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
    let duration_from = ffi::demux::duration_from(input);
    let duration = Some(input.duration()).filter(|_| duration_from != DurationFrom::Bitrate);
    Facts {
        container: input.format().name().to_owned(),
        duration_seconds: duration.filter(|d| *d > 0).map(|d| d as f64 / 1e6),
        tracks: streams
            .iter()
            .filter_map(audio)
            .enumerate()
            .map(|(index, stream)| track(index, &stream, duration_from))
            .collect(),
        video_streams,
        other_streams: input.nb_streams() as usize - streams.len() - video_streams - pictures,
        metadata,
        warnings,
    }
}

fn track(index: usize, stream: &Stream<'_>, duration_from: DurationFrom) -> AudioTrack {
    let parameters = stream.parameters();
    let mut tags = ffi::demux::stream_tags(stream);
    let decoder = codec::decoder::find(parameters.id());
    let decodable = decoder.is_some_and(|d| CODECS.split(',').any(|name| name == d.name()));
    let codec = match parameters.id() {
        codec::Id::None => ffi::frame::codec_tag(&parameters),
        id => id.name().to_owned(),
    };
    let ticks = stream.duration();
    let seconds = |ticks: i64| ticks as f64 * f64::from(stream.time_base());
    let guessed = duration_from == DurationFrom::Bitrate;
    let declared = (ticks > 0 && ticks != UNKNOWN_DURATION && !guessed).then(|| seconds(ticks));
    // Timestamps start anywhere where they are all there is.
    let start = Some(stream.start_time()).filter(|_| duration_from == DurationFrom::Header);
    AudioTrack {
        index,
        codec,
        decodable,
        sample_rate_hz: ffi::frame::declared_rate_hz(&parameters),
        channels: ffi::frame::declared_layout(&parameters).channels,
        duration_seconds: declared.or_else(|| clock_seconds(tags.get("duration")?)),
        start_seconds: start.filter(|ticks| *ticks > 0).map_or(0.0, seconds),
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
