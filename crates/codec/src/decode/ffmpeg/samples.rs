//! FFmpeg's sample formats become planar floats, without a detour through 16 bits.

use ffmpeg_next::format::Sample;
use ffmpeg_next::format::sample::Type;
use ffmpeg_next::frame;

use crate::pcm::{ChannelLayout, PcmBlock, PcmFormat, SampleRate};

/// `None` if the frame is malformed or in a format no decoder on the whitelist gives.
pub(crate) fn to_block(frame: &frame::Audio, layout: ChannelLayout) -> Option<PcmBlock> {
    let channels = layout.channels as usize;
    let rate = SampleRate::new(frame.rate())?;
    if channels == 0 || frame.planes() == 0 || usize::from(frame.channels()) != channels {
        return None;
    }
    let planes = match frame.format() {
        Sample::F32(kind) => planes(frame, kind, channels, |s: f32| s),
        Sample::F64(kind) => planes(frame, kind, channels, |s: f64| s as f32),
        Sample::I32(kind) => planes(frame, kind, channels, |s: i32| s as f32 / 2_147_483_648.0),
        Sample::I16(kind) => planes(frame, kind, channels, |s: i16| f32::from(s) / 32_768.0),
        Sample::U8(kind) => planes(frame, kind, channels, |s: u8| (f32::from(s) - 128.0) / 128.0),
        _ => return None,
    };
    Some(PcmBlock { format: PcmFormat { rate, layout }, planes })
}

fn planes<T: frame::audio::Sample + Copy>(
    frame: &frame::Audio,
    kind: Type,
    channels: usize,
    to_float: impl Fn(T) -> f32,
) -> Vec<Vec<f32>> {
    match kind {
        Type::Planar => (0..channels)
            .map(|channel| frame.plane::<T>(channel).iter().map(|s| to_float(*s)).collect())
            .collect(),
        Type::Packed => {
            let packed = frame.plane::<T>(0);
            (0..channels)
                .map(|c| packed[c..].iter().step_by(channels).map(|s| to_float(*s)).collect())
                .collect()
        }
    }
}
